"""The client: the methods of the embedded engine, over NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

import anyio
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from solvent.actors import Answers, Place
from solvent.engine.api.credits import BATCH_COMMANDS_MAX, Credits
from solvent.engine.api.events import PoolEvent
from solvent.engine.api.receipts import Receipt, asked_for
from solvent.engine.api.requests import (
    BATCH_REQUESTS,
    BatchRequest,
    CommandRequest,
    DebitRequest,
    Request,
    TransferRequest,
    key_of,
)
from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.dimensions import Dimensions
from solvent.engine.values.errors import InvalidRequest, SolventError, StateConflict, TooLarge
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT, PoolId, PoolLike, check_id, parse_pool
from solvent.engine.values.positions import END, parse_position
from solvent.engine.values.quantities import QuantityLike
from solvent.engine.values.times import TimeLike
from solvent.transports.wire.answers import decode_answers, decode_receipt, decoder_of
from solvent.transports.wire.background import background
from solvent.transports.wire.bodies import body_of, debit_body, encode_body
from solvent.transports.wire.operations import BATCH, READS

from .connection import Connection, connect_nats
from .following import ReadPage, follow
from .multiplexer import OUTSTANDING_MAX, Gather, Multiplexer, settle
from .subjects import BALANCE_EVENT, events_subject, subject_of

TIMEOUT_S: Final = 10.0

PORTION_COMMANDS_MAX: Final = 1_024
PORTION_BYTES_MAX: Final = 512 << 10
"""The size of a portion of a large batch. Two of them fit into what a service lets wait, of one pool and in bytes."""
PORTIONS: Final = 2
"""The portions of large batches that are under way at once: while one is being written, the next one travels."""

_Sending: TypeAlias = tuple[PoolId, bytes, str, Place]
"""A command of a batch: its pool, its bytes, its operation, and the place for its answer."""
A = TypeVar("A")

_DECODERS: Final[dict[type[Any], Callable[[bytes], Any]]] = {
    **{each.answer: decoder_of(each.answer) for each in READS.values()},
    Receipt: decode_receipt,
}


class Client(Credits):
    """``Credits`` over NATS. Only ``connect`` creates it. Use it on the loop that created it."""

    def __init__(self, connection: Connection, *, gather: Gather, timeout_s: float, outstanding_max: int) -> None:
        self._nats = connection
        self.requests = Multiplexer(connection, gather=gather, timeout_s=timeout_s, outstanding_max=outstanding_max)
        """The requests under way."""
        self._portions = asyncio.Semaphore(PORTIONS)

    @property
    def messages_sent(self) -> int:
        """The number of messages sent, resends included."""
        return self.requests.messages_sent

    async def send(self, request: Request[A]) -> A:
        if isinstance(request, CommandRequest):
            pool, part = _part_of(request)
            receipt = await self.requests.submit(pool, request.operation, part)
            return cast("A", asked_for(receipt, pool, key_of(request)))
        address, body = body_of(request)
        subject = subject_of(*address, request.operation)
        decode = _DECODERS[request.answer]
        answer: A = await self.requests.ask(address.environment, subject, encode_body(body), decode)
        if isinstance(request, TransferRequest):
            asked_for(cast("Receipt", answer), request.pool, request.key)
        return answer

    async def debit(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: QuantityLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        # Build no request struct: this is the hot path.
        target = parse_pool(pool)
        body = debit_body(target, amount, key, partial, occurred_at, metric, quantity, dimensions, backfill)
        return asked_for(await self.requests.submit(target, DebitRequest.operation, encode_body(body)), target, key)

    async def batch(self, requests: Sequence[BatchRequest], *, atomic: bool = False) -> list[Receipt | SolventError]:
        if len(requests) > BATCH_COMMANDS_MAX:
            raise TooLarge("requests", f"at most {BATCH_COMMANDS_MAX} commands", got=str(len(requests)))
        answers = await (self._batch_atomically(requests) if atomic else self._batch(requests))
        for request, answer in zip(requests, answers, strict=True):
            if type(answer) is Receipt:
                asked_for(answer, request.pool, key_of(request))
        return answers

    async def _batch(self, requests: Sequence[BatchRequest]) -> list[Receipt | SolventError]:
        if not requests:
            return []
        done: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        answers = Answers(len(requests), partial(settle, done))
        sending: list[_Sending] = []
        for request, place in zip(requests, answers.places(), strict=True):
            try:
                pool, part = _part_of_batch(request)
            except SolventError as error:
                place.set_exception(error)
            else:
                sending.append((pool, part, request.operation, place))
        if len(sending) <= PORTION_COMMANDS_MAX and sum([len(each[1]) for each in sending]) <= PORTION_BYTES_MAX:
            self._put_on_piles(sending)
        else:
            await self._send_in_portions(sending)
        return list((await done).values)

    def _put_on_piles(self, sending: Sequence[_Sending]) -> None:
        for pool, part, operation, place in sending:
            try:
                self.requests.check_open()
                if self.requests.is_full:
                    raise self.requests.why_full()
            except SolventError as error:
                place.set_exception(error)
            else:
                self.requests.put_on_pile(pool, operation, part, place)

    async def _send_in_portions(self, sending: Sequence[_Sending]) -> None:
        """Send the commands of a large batch so that it does not fill up the service by itself.

        At most ``PORTIONS`` of all large batches of this client are under way. They go out in order.
        """
        for portion in _portions(sending):
            await self._portions.acquire()
            answered = Answers(len(portion), partial(self._portion_answered, [each[3] for each in portion]))
            self._put_on_piles([(*each[:3], place) for each, place in zip(portion, answered.places(), strict=True)])

    def _portion_answered(self, places: Sequence[Place], answers: Answers) -> None:
        self._portions.release()
        for place, answer in zip(places, answers.values, strict=True):
            if isinstance(answer, BaseException):
                place.set_exception(answer)
            else:
                place.set_result(answer)

    async def _batch_atomically(self, requests: Sequence[BatchRequest]) -> list[Receipt | SolventError]:
        """Send all commands in one message, whatever ``gather`` is, because they are done together or not at all."""
        parts: list[bytes] = []
        pools: list[PoolId] = []
        bad: dict[int, SolventError] = {}
        for place, request in enumerate(requests):
            try:
                pool, part = _part_of_batch(request)
            except SolventError as error:
                bad[place] = error
            else:
                pools.append(pool)
                parts.append(part)
        if bad:
            refused = StateConflict("batch_refused", "another command of this batch was refused, so none was done")
            return [bad.get(place, refused) for place in range(len(requests))]
        if not pools:
            return []
        if len({(pool.environment, pool.customer) for pool in pools}) > 1:
            mixed = InvalidRequest("requests", "commands of one customer: an atomic batch is all about one")
            return [mixed] * len(requests)
        subject = subject_of(pools[0].environment, pools[0].customer, BATCH)
        payload = b'{"atomic":true,"commands":[' + b",".join(parts) + b"]}"
        return await self.requests.ask(pools[0].environment, subject, payload, decode_answers)

    def events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str | None = None,
    ) -> AsyncIterator[PoolEvent]:
        if after is not None and after != END:
            parse_position(after)
        target = None if pool is None else parse_pool(pool)
        if target is not None:
            environment, customer = target.environment, target.customer
        check_id(environment, "environment")
        subject = events_subject(environment, None if customer is None else check_id(customer, "customer"))
        read = partial(self.past_events, target, customer=customer, environment=environment)
        return self._follow(subject, read, END if after is None else after)

    async def _follow(self, subject: str, read: ReadPage, after: str) -> AsyncIterator[PoolEvent]:
        self.requests.check_open()
        ring = asyncio.Event()

        def take(subject: str, _: str, data: bytes, headers: bytes | None) -> bool:
            if not subject.endswith(BALANCE_EVENT):
                ring.set()
            return True

        async def otherwise(message: Msg) -> None:
            ring.set()

        self.requests.followers.add(ring)
        try:
            subscription = await self._nats.subscribe_directly(subject, take, otherwise=otherwise)
            try:
                async for event in follow(read, after, ring, self.requests.check_open):
                    yield event
            finally:
                with suppress(NatsError):
                    await subscription.unsubscribe()
        finally:
            self.requests.followers.discard(ring)


def _portions(sending: Sequence[_Sending]) -> Iterator[Sequence[_Sending]]:
    """Yield commands in portions of at most ``PORTION_COMMANDS_MAX``, and about ``PORTION_BYTES_MAX``."""
    start = size = 0
    for place, each in enumerate(sending):
        if place > start and (place - start >= PORTION_COMMANDS_MAX or size + len(each[1]) > PORTION_BYTES_MAX):
            yield sending[start:place]
            start, size = place, 0
        size += len(each[1])
    if start < len(sending):
        yield sending[start:]


def _part_of(request: CommandRequest) -> tuple[PoolId, bytes]:
    """Return the pool of a command, and its bytes in a message, alone or in a batch."""
    pool = parse_pool(request.pool)
    if type(request) is DebitRequest:
        body = debit_body(
            pool,
            request.amount,
            request.key,
            request.partial,
            request.occurred_at,
            request.metric,
            request.quantity,
            request.dimensions,
            request.backfill,
        )
    else:
        _, body = body_of(request)
    return pool, encode_body(body)


def _part_of_batch(request: BatchRequest) -> tuple[PoolId, bytes]:
    if not isinstance(request, BATCH_REQUESTS):
        raise InvalidRequest("requests", "a GrantRequest, DebitRequest, ...", got=type(request).__name__)
    return _part_of(request)


@asynccontextmanager
async def connect(
    url: str = "nats://127.0.0.1:4222",
    *,
    gather: Gather = "environment",
    timeout_s: float = TIMEOUT_S,
    outstanding_max: int = OUTSTANDING_MAX,
    **options: Any,
) -> AsyncIterator[Client]:
    """Connect to the service behind the NATS server at ``url``, for the length of a block.

    Args:
        url: The NATS server.
        gather: How commands of one turn of the event loop share messages: those of one "environment", of one "customer"
            in it, or none ("off"). Commands of several customers travel on ``solvent.v1.<environment>.-.batch``; where
            NATS does not permit that, they are sent for each customer.
        timeout_s: The seconds that each request may take, retries included.
        outstanding_max: The most requests without an answer. More are refused as ``Overloaded``.
        options: Options of ``nats.connect``, for instance ``user_credentials``, ``tls``, ``inbox_prefix``.

    Returns:
        A context manager that yields a ``Client``, which has the methods of ``Credits``.

    Raises:
        NatsServerUnavailable: There is no NATS server, or it is too old.
        NotPermitted: The NATS server refuses the credentials, or does not let them receive answers.
    """
    client: Client | None = None

    async def reconnected() -> None:
        if client is not None:
            client.requests.resend_all()

    options.setdefault("name", "solvent-client")
    connection = await connect_nats(url, reconnected_cb=reconnected, **options)
    try:
        client = Client(connection, gather=gather, timeout_s=timeout_s, outstanding_max=outstanding_max)
        await client.requests.start()
        async with background(client.requests.run):
            yield client
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()
