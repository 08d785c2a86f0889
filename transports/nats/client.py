"""The client: Solvent's methods over NATS, the same as the embedded engine's.

Commands that are issued in one turn of the event loop travel in one message, a lone one at once by itself. Replies come
to one subscription and find their caller by a number. A request that finds no service, or whose reply does not come, is
sent again under its key until its time is up, so a service or a NATS server that restarts is ridden out and nothing
is applied twice. Then it fails as ``Unavailable``: the outcome is unknown, and asking again with the same key tells.

A receipt is believed whichever copy of the request it answers. A refusal only if it answers the last one: a copy that
is still under way may be granted. Messages of one connection arrive in order, so behind the last copy there is none.

A caller that is cancelled leaves its command under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from decimal import Decimal
from functools import partial
from math import inf, isfinite
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar, cast

import anyio
from anyio.abc import TaskStatus
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from solvent.actors import Answers, Place
from solvent.engine.api.balances import Balance, CustomerTotals, GrantList, HoldList, PoolPage
from solvent.engine.api.credits import BATCH_COMMANDS_MAX, REQUESTS, Credits, DebitRequest, Request
from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.api.ledger import CostReport, LedgerPage
from solvent.engine.api.prices import CardList, Estimate
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.settings import AlertsView, AllowanceList, BudgetList, RecurringList
from solvent.engine.api.usage_requests import AnyUsageRequest
from solvent.engine.api.verdicts import Verdict
from solvent.engine.rules.checking import check_transfer, check_ttl, set_rates_command
from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.dimensions import Dimensions, encode_dimensions
from solvent.engine.values.errors import InvalidRequest, Overloaded, SolventError, StateConflict, TooLarge, Unavailable
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolId, PoolLike, check_id, parse_pool
from solvent.engine.values.positions import END, parse_position
from solvent.engine.values.quantities import check_quantity
from solvent.engine.values.terms import CostBasis
from solvent.engine.values.times import SECOND_US, TimeLike
from solvent.transports.wire.bodies import (
    BODY_BYTES_MAX,
    CODE_HEADER,
    Body,
    CheckBody,
    DebitBody,
    EstimateBody,
    LedgerBody,
    MomentBody,
    PastEventsBody,
    PoolsBody,
    RangeBody,
    RatesBody,
    SetRatesBody,
    TotalsBody,
    TransferBody,
    amount_on_the_wire,
    decode_answers,
    decode_error,
    decode_receipt,
    decode_unit_answers,
    decoder_of,
    encode_body,
)
from solvent.transports.wire.usage_reads import ANSWERS as USAGE_ANSWERS
from solvent.transports.wire.usage_reads import usage_subject

from .background import background
from .connection import Connection, connect_nats
from .following import ReadPage, follow
from .subjects import BALANCE_EVENT, events_subject, subject_of

TIMEOUT_S: Final = 10.0
RESEND_AFTER_S: Final = 2.0
"""How long a reply may take before the request is sent again. Doubles each time: what is slow is not made slower."""
NO_SERVICE_WAIT_S: Final = 0.2
"""How long to wait before asking again when nobody serves the subject."""
SWEEP_S: Final = 0.05
"""How often deadlines are looked at: an answer can be late by this much."""
GATHERED_MAX: Final = 128
"""Commands of one message. A message costs both ends and the disk what some twenty commands cost, so fewer would cost
much; and of more, the first would wait for the last, while now the service works on one and the client on another."""
OUTSTANDING_MAX: Final = 100_000
"""Commands without an answer yet. More are refused as ``Overloaded``; each takes about a kilobyte."""
MESSAGE_BYTES_SPARE: Final = 4_096
"""What a batch leaves free of the server's largest message, for subject and headers."""

_OnReply: TypeAlias = Callable[[bytes, bool], bool]
"""Hears a reply, and whether it answers the last copy. Says whether nothing is left to wait for."""
Gather: TypeAlias = Literal["environment", "customer", "off"]
T = TypeVar("T")
log = logging.getLogger(__name__)


class _Message:
    """One message on its way, and who waits for what is in it."""

    __slots__ = (
        "copies",
        "deadline",
        "on_error",
        "on_reply",
        "patience_s",
        "payload",
        "resend_at",
        "subject",
        "weight",
    )

    def __init__(
        self,
        subject: str,
        payload: bytes,
        *,
        deadline: float,
        weight: int,
        on_reply: _OnReply,
        on_error: Callable[[SolventError], None],
    ) -> None:
        self.subject = subject
        self.payload = payload
        self.deadline = deadline
        self.resend_at = inf
        """Infinite while it is in line to be sent."""
        self.patience_s = RESEND_AFTER_S
        self.copies = 0
        """How many times it was sent."""
        self.weight = weight
        self.on_reply = on_reply
        self.on_error = on_error


_Sink: TypeAlias = asyncio.Future[Any] | Place
"""Where the answer to one command goes: its caller's future, or its place in a caller's batch."""


class _Pile:
    """Commands that can share messages and have not been sent yet, as they will travel."""

    __slots__ = ("customer", "environment", "operation", "parts", "pool", "sinks")

    def __init__(self, environment: str, customer: str | None, pool: PoolId, operation: str) -> None:
        self.environment = environment
        self.customer = customer
        """``None`` if each command names its own."""
        self.pool = pool
        """That of the first, and ``operation`` what it is: if it stays the only one, it travels by itself."""
        self.operation = operation
        self.parts: list[bytes] = []
        self.sinks: list[_Sink] = []


class Client(Credits):
    """``Credits`` over NATS. Made by ``connect`` only; use it on the loop that made it."""

    def __init__(self, connection: Connection, *, gather: Gather, timeout_s: float, outstanding_max: int) -> None:
        self._nats = connection
        self._gather: Gather = gather
        self._timeout_s = timeout_s
        self._outstanding_max = outstanding_max
        self._loop = asyncio.get_running_loop()
        self._inbox = connection.new_inbox()
        self._under_way: dict[int, _Message] = {}
        self._outstanding = 0
        self._last_number = 0
        self._piles: dict[object, _Pile] = {}
        """By what shares a message."""
        self._line: list[int] = []
        self._followers: set[asyncio.Event] = set()
        """To be told when there may be more events, or no more answers."""
        self._closed = False
        self._turn_is_due = False
        self._failure: asyncio.Future[None] = self._loop.create_future()
        """Ends with a fault of ours, and then the client does."""
        self.messages_sent = 0

    async def _start(self) -> None:
        await self._nats.subscribe_directly(f"{self._inbox}.*.*", self._take, otherwise=self._receive)

    def _take(self, subject: str, _: str, data: bytes, headers: bytes | None) -> bool:
        """Hear a reply as it is read. One with headers is no receipt, and has time."""
        if headers:
            return False
        _, number_text, copy = subject.rsplit(".", 2)
        number = int(number_text)
        sent = self._under_way.get(number)
        if sent is not None:
            is_last = int(copy) == sent.copies
            try:
                if sent.on_reply(data, is_last):
                    self._end(number, sent)
            except Exception as unreadable:  # noqa: BLE001 - logged, and told to the callers
                self._give_up(number, sent, is_last, unreadable)
        return True

    async def _receive(self, message: Msg) -> None:
        """Hear a refusal, or that there is nobody to ask."""
        _, number_text, copy = message.subject.rsplit(".", 2)
        number = int(number_text)
        sent = self._under_way.get(number)
        if sent is None or int(copy) != sent.copies:
            return
        headers = message.headers or {}
        if headers.get("Status") == "503" and not message.data:
            # Nobody serves the subject, for now: asked again until the time is up.
            sent.resend_at = self._loop.time() + NO_SERVICE_WAIT_S
            sent.patience_s = RESEND_AFTER_S
            return
        try:
            if CODE_HEADER not in headers:
                if sent.on_reply(message.data, True):
                    self._end(number, sent)
                return
            error = decode_error(message.data)
        except Exception as unreadable:  # noqa: BLE001 - logged, and told to the callers
            self._give_up(number, sent, True, unreadable)
            return
        self._end(number, sent)
        sent.on_error(error)

    def _give_up(self, number: int, sent: _Message, is_last: bool, unreadable: Exception) -> None:
        """Whatever is wrong with a reply, its callers must hear of it."""
        log.error("a reply to %s cannot be read", sent.subject, exc_info=unreadable)
        if is_last:
            self._end(number, sent)
            sent.on_error(Unavailable(f"the outcome is unknown: the reply cannot be read: {unreadable}"))

    def _end(self, number: int, sent: _Message) -> None:
        del self._under_way[number]
        self._outstanding -= sent.weight

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look at deadlines, until cancelled. Then whatever has no answer fails, and nothing more is taken."""
        try:
            task_status.started()
            while not self._failure.done():
                await asyncio.wait([self._failure], timeout=SWEEP_S)
                self._sweep()
            self._failure.result()
        finally:
            self._closed = True
            gone = Unavailable("the client was closed: the outcome is unknown, retry with the same key")
            for sent in list(self._under_way.values()):
                sent.on_error(gone)
            for pile in self._piles.values():
                for sink in pile.sinks:
                    _fail(sink, gone)
            self._under_way.clear()
            self._piles.clear()
            self._tell_followers()

    def _tell_followers(self) -> None:
        for told in self._followers:
            told.set()

    def _wake(self) -> None:
        """Have what is waiting sent, once all who have a turn now have had it."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._closed:
            return
        try:
            if self._piles:
                self._pack()
            line, self._line = self._line, []
            for number in line:
                self._send(number)
            self._nats.write()
        except Exception as fault:  # noqa: BLE001 - ``run`` raises it, and tells all who wait
            if not self._failure.done():
                self._failure.set_exception(fault)

    def _send(self, number: int) -> None:
        sent = self._under_way.get(number)
        if sent is None:
            return
        sent.copies += 1
        sent.resend_at = self._loop.time() + sent.patience_s
        sent.patience_s *= 2
        try:
            self._nats.send(sent.subject, sent.payload, reply=f"{self._inbox}.{number}.{sent.copies}")
            self.messages_sent += 1
        except MaxPayloadError:
            self._end(number, sent)
            sent.on_error(TooLarge("body", f"at most {self._nats.max_payload} bytes", got=str(len(sent.payload))))
        except NatsError as error:
            # Not connected, and the buffer is full. The sweep sends it again.
            log.debug("a request could not be sent yet: %s", error)

    def _sweep(self) -> None:
        now = self._loop.time()
        for number, sent in list(self._under_way.items()):
            if now >= sent.deadline:
                self._end(number, sent)
                sent.on_error(
                    Unavailable(
                        f"no answer within {self._timeout_s:g} s: the outcome is unknown, retry with the same key"
                    )
                )
            elif now >= sent.resend_at:
                sent.resend_at = inf
                self._line.append(number)
        if self._line:
            self._wake()

    def _resend_all(self) -> None:
        """The connection is back: what was in flight may be lost."""
        self._line = list(self._under_way)
        for sent in self._under_way.values():
            sent.resend_at, sent.patience_s = inf, RESEND_AFTER_S
        self._wake()
        self._tell_followers()

    def _put_under_way(
        self,
        subject: str,
        payload: bytes,
        *,
        weight: int,
        on_reply: _OnReply,
        on_error: Callable[[SolventError], None],
        deadline: float | None = None,
    ) -> None:
        self._last_number += 1
        self._under_way[self._last_number] = _Message(
            subject,
            payload,
            deadline=self._loop.time() + self._timeout_s if deadline is None else deadline,
            weight=weight,
            on_reply=on_reply,
            on_error=on_error,
        )
        self._line.append(self._last_number)
        self._wake()

    @property
    def _is_full(self) -> bool:
        return self._closed or self._outstanding >= self._outstanding_max

    async def _turn_away(self) -> NoReturn:
        # A caller that asks again at once must not keep the loop from what would let it pass.
        await asyncio.sleep(0)
        if self._closed:
            raise _closed()
        raise Overloaded(retry_after=SWEEP_S)

    async def _submit(self, pool: PoolId, operation: str, part: bytes) -> Receipt:
        if self._is_full:
            await self._turn_away()
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self._put_on_pile(pool, operation, part, future)
        return await future

    def _put_on_pile(self, pool: PoolId, operation: str, part: bytes, sink: _Sink) -> None:
        self._outstanding += 1
        key: object
        if self._gather == "environment":
            key = pool.environment
        elif self._gather == "customer":
            key = (pool.environment, pool.customer)
        else:
            key = len(self._piles)
        pile = self._piles.get(key)
        if pile is None:
            customer = None if self._gather == "environment" else pool.customer
            pile = self._piles[key] = _Pile(pool.environment, customer, pool, operation)
            self._wake()
        pile.parts.append(part)
        pile.sinks.append(sink)

    def _pack(self) -> None:
        """Make messages of the commands that were issued since the last turn."""
        piles, self._piles = self._piles, {}
        for pile in piles.values():
            if len(pile.parts) == 1:
                self._pack_one(pile)
            else:
                self._pack_pile(pile)

    def _pack_one(self, pile: _Pile) -> None:
        sink = pile.sinks[0]
        self._put_under_way(
            subject_of(pile.environment, pile.pool.customer, pile.operation),
            pile.parts[0],
            weight=1,
            on_reply=lambda reply, _: _settle(sink, decode_receipt(reply)),
            on_error=lambda error: _fail(sink, error),
        )

    def _pack_pile(self, pile: _Pile) -> None:
        subject = subject_of(pile.environment, pile.customer, "batch")
        until = self._loop.time() + self._timeout_s
        room = min(self._nats.max_payload, BODY_BYTES_MAX) - MESSAGE_BYTES_SPARE
        parts, sinks = pile.parts, pile.sinks
        start = size = 0
        for place, part in enumerate(parts):
            if len(part) > room:
                # It goes by itself, and is refused by itself.
                size = room
            if place > start and (size + len(part) > room or place - start >= GATHERED_MAX):
                self._send_group(subject, parts[start:place], sinks[start:place], until)
                start, size = place, 0
            size += len(part) + 1
        self._send_group(subject, parts[start:], sinks[start:], until)

    def _send_group(self, subject: str, parts: list[bytes], sinks: list[_Sink], until: float) -> None:
        def answered(reply: bytes, is_last: bool) -> bool:
            answers = decode_unit_answers(reply)
            if len(answers) != len(sinks):
                raise ValueError(f"{len(answers)} answers to {len(sinks)} commands")
            complete = True
            for sink, answer in zip(sinks, answers, strict=True):
                if not isinstance(answer, SolventError):
                    if not sink.done():
                        sink.set_result(answer)
                elif is_last:
                    _fail(sink, answer)
                else:
                    complete = False
            return complete

        def failed(error: SolventError) -> None:
            if isinstance(error, TooLarge) and len(sinks) > 1:
                # The answers may not fit into one message, though the commands did. With their keys it is safe to ask
                # again, for half of them at a time.
                half = len(sinks) // 2
                self._outstanding += len(sinks)
                self._send_group(subject, parts[:half], sinks[:half], until)
                self._send_group(subject, parts[half:], sinks[half:], until)
                return
            for sink in sinks:
                _fail(sink, error)

        payload = b'{"receipts":"units","commands":[' + b",".join(parts) + b"]}"
        self._put_under_way(subject, payload, weight=len(parts), on_reply=answered, on_error=failed, deadline=until)

    async def _read(self, subject: str, body: object, kind: type[T]) -> T:
        if self._is_full:
            await self._turn_away()
        future: asyncio.Future[T] = self._loop.create_future()
        payload = encode_body(body)
        self._outstanding += 1
        decode = _decoders(kind)

        def answered(reply: bytes, is_last: bool) -> bool:
            answer = decode(reply)
            if not is_last and isinstance(answer, list) and any(isinstance(each, SolventError) for each in answer):
                # The refusal of an atomic batch.
                return False
            return _settle(future, answer)

        self._put_under_way(subject, payload, weight=1, on_reply=answered, on_error=lambda error: _fail(future, error))
        return await future

    async def _command(self, operation: str, pool: PoolLike, fields: dict[str, Any]) -> Receipt:
        target = parse_pool(pool)
        return await self._submit(target, operation, encode_body(_body_of(operation, target, fields)))

    async def debit(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """See ``Credits.debit``. The same by a shorter way: this is the hot path."""
        target = parse_pool(pool)
        part = _debit_part(
            target, amount, key, partial, occurred_at, metric, quantity, dimensions, backfill
        )  # fmt: skip
        return await self._submit(target, "debit", part)

    async def transfer(self, source: PoolLike, target: PoolLike, amount: AmountLike, *, key: str) -> Receipt:
        """See ``Credits.transfer``."""
        giving, getting = parse_pool(source), parse_pool(target)
        check_transfer(giving, getting)
        body = TransferBody(
            resource=giving.resource,
            currency=giving.currency,
            amount=amount_on_the_wire(amount),
            key=key,
            to_resource=getting.resource,
        )
        return await self._read(subject_of(giving.environment, giving.customer, "transfer"), body, Receipt)

    async def batch(self, requests: Sequence[Request], *, atomic: bool = False) -> list[Receipt | SolventError]:
        """See ``Credits.batch``."""
        if len(requests) > BATCH_COMMANDS_MAX:
            raise TooLarge("requests", f"at most {BATCH_COMMANDS_MAX} commands", got=str(len(requests)))
        if atomic:
            return await self._batch_atomically(requests)
        if not requests:
            return []
        done: asyncio.Future[Answers] = self._loop.create_future()
        answers = Answers(len(requests), partial(_settle, done))
        for request, place in zip(requests, answers.places(), strict=True):
            try:
                if self._closed:
                    raise _closed()
                if self._is_full:
                    raise Overloaded(retry_after=SWEEP_S)
                target, part = _part_of(request)
            except SolventError as error:
                place.set_exception(error)
            else:
                self._put_on_pile(target, request.operation, part, place)
        return list((await done).values)

    async def _batch_atomically(self, requests: Sequence[Request]) -> list[Receipt | SolventError]:
        """One message, whatever ``gather`` says: what belongs together travels together."""
        bodies: list[dict[str, Any]] = []
        pools: list[PoolId] = []
        bad: dict[int, SolventError] = {}
        for place, request in enumerate(requests):
            try:
                fields = _fields_of(request)
                pools.append(parse_pool(request.pool))
                bodies.append(_body_of(request.operation, pools[-1], fields))
            except SolventError as error:
                bad[place] = error
        if bad:
            refused = StateConflict("batch_refused", "another command of this batch was refused, so none was done")
            return [bad.get(place, refused) for place in range(len(requests))]
        if not pools:
            return []
        if len({(pool.environment, pool.customer) for pool in pools}) > 1:
            mixed = InvalidRequest("requests", "commands of one customer: an atomic batch is all about one")
            return [mixed] * len(requests)
        subject = subject_of(pools[0].environment, pools[0].customer, "batch")
        answers: list[Receipt | SolventError] = await self._read(subject, {"commands": bodies, "atomic": True}, list)
        return answers

    async def check(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        dimensions: Dimensions | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
    ) -> Verdict:
        """See ``Credits.check``."""
        target = parse_pool(pool)
        body = CheckBody(
            resource=target.resource,
            currency=target.currency,
            amount=amount_on_the_wire(amount),
            dimensions=None if dimensions is None else _dimensions_on_the_wire(dimensions, "dimensions"),
            metric=metric,
            quantity=None if quantity is None else check_quantity(quantity),
        )
        return await self._read(subject_of(target.environment, target.customer, "check"), body, Verdict)

    async def balance(self, pool: PoolLike, *, as_of: TimeLike | None = None) -> Balance:
        """See ``Credits.balance``."""
        return await self._read_pool(pool, "balance", Balance, as_of)

    async def grants(self, pool: PoolLike, *, as_of: TimeLike | None = None) -> GrantList:
        """See ``Credits.grants``."""
        return await self._read_pool(pool, "grants", GrantList, as_of)

    async def holds(self, pool: PoolLike) -> HoldList:
        """See ``Credits.holds``."""
        return await self._read_pool(pool, "holds", HoldList)

    async def estimate(
        self,
        pool: PoolLike,
        metric: str,
        quantity: AmountLike,
        *,
        occurred_at: TimeLike | None = None,
        dimensions: Dimensions | None = None,
    ) -> Estimate:
        """See ``Credits.estimate``."""
        target = parse_pool(pool)
        body = EstimateBody(
            resource=target.resource,
            currency=target.currency,
            metric=metric,
            quantity=check_quantity(quantity),
            occurred_at=None if occurred_at is None else _time_on_the_wire(occurred_at, "occurred_at"),
            dimensions=None if dimensions is None else _dimensions_on_the_wire(dimensions, "dimensions"),
        )
        return await self._read(subject_of(target.environment, target.customer, "estimate"), body, Estimate)

    async def set_rates(
        self,
        rates: Sequence[Mapping[str, Any]],
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        currency: str = CURRENCY_DEFAULT,
        effective_at: TimeLike | None = None,
    ) -> Receipt:
        """See ``Credits.set_rates``."""
        check_id(environment, "environment")
        # Checked here too: JSON would turn some values into others.
        command = set_rates_command(currency=currency, rates=rates, effective_at=effective_at)
        body = SetRatesBody(
            rates=[
                {"metric": rate.metric, "match": dict(rate.match), "credits": rate.credits, "per": rate.per}
                for rate in command.card.rates
            ],
            currency=currency,
            effective_at=None if effective_at is None else _time_on_the_wire(effective_at, "effective_at"),
        )
        return await self._read(subject_of(environment, None, "rates.set"), body, Receipt)

    async def rates(self, *, environment: str = ENVIRONMENT_DEFAULT, currency: str = CURRENCY_DEFAULT) -> CardList:
        """See ``Credits.rates``."""
        check_id(environment, "environment")
        body = RatesBody(currency=check_id(currency, "currency"))
        return await self._read(subject_of(environment, None, "rates"), body, CardList)

    async def budgets(self, pool: PoolLike) -> BudgetList:
        """See ``Credits.budgets``."""
        return await self._read_pool(pool, "budgets", BudgetList)

    async def allowances(self, pool: PoolLike) -> AllowanceList:
        """See ``Credits.allowances``."""
        return await self._read_pool(pool, "allowances", AllowanceList)

    async def recurring(self, pool: PoolLike) -> RecurringList:
        """See ``Credits.recurring``."""
        return await self._read_pool(pool, "recurring", RecurringList)

    async def alerts(self, pool: PoolLike) -> AlertsView:
        """See ``Credits.alerts``."""
        return await self._read_pool(pool, "alerts", AlertsView)

    def events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str | None = None,
    ) -> AsyncIterator[PoolEvent]:
        """See ``Credits.events``.

        Needs the permission to ask for ``events``, as ``past_events`` does. Without the one to subscribe to what is
        published, events are found some seconds late.
        """
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
        self._check_open()
        told = asyncio.Event()

        def take(subject: str, _: str, data: bytes, headers: bytes | None) -> bool:
            if not subject.endswith(BALANCE_EVENT):
                told.set()
            return True

        async def otherwise(message: Msg) -> None:
            told.set()

        self._followers.add(told)
        try:
            subscription = await self._nats.subscribe_directly(subject, take, otherwise=otherwise)
            try:
                async for event in follow(read, after, told, self._check_open):
                    yield event
            finally:
                with suppress(NatsError):
                    await subscription.unsubscribe()
        finally:
            self._followers.discard(told)

    def _check_open(self) -> None:
        if self._closed:
            raise _closed()

    async def past_events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str = "0.0",
        limit: int = 100,
    ) -> EventPage:
        """See ``Credits.past_events``."""
        body = PastEventsBody(whole=True, after=after, limit=limit)
        if pool is not None:
            target = parse_pool(pool)
            environment, customer = target.environment, target.customer
            body = PastEventsBody(resource=target.resource, currency=target.currency, after=after, limit=limit)
        check_id(environment, "environment")
        subject = subject_of(environment, None if customer is None else check_id(customer, "customer"), "events")
        return await self._read(subject, body, EventPage)

    async def _read_pool(self, pool: PoolLike, operation: str, kind: type[T], as_of: TimeLike | None = None) -> T:
        target = parse_pool(pool)
        body = Body(resource=target.resource, currency=target.currency)
        if as_of is not None:
            moment = _time_on_the_wire(as_of, "as_of")
            body = MomentBody(resource=target.resource, currency=target.currency, as_of=moment)
        return await self._read(subject_of(target.environment, target.customer, operation), body, kind)

    async def costs(self, pool: PoolLike, *, start: TimeLike | None = None, end: TimeLike | None = None) -> CostReport:
        """See ``Credits.costs``."""
        target = parse_pool(pool)
        body = RangeBody(
            resource=target.resource,
            currency=target.currency,
            start=None if start is None else _time_on_the_wire(start, "start"),
            end=None if end is None else _time_on_the_wire(end, "end"),
        )
        return await self._read(subject_of(target.environment, target.customer, "costs"), body, CostReport)

    async def ledger(
        self, pool: PoolLike, *, limit: int = 100, cursor: str | None = None, newest_first: bool = True
    ) -> LedgerPage:
        """See ``Credits.ledger``. A page that does not fit into one message is ``TooLarge``: ask for fewer."""
        target = parse_pool(pool)
        body = LedgerBody(
            resource=target.resource,
            currency=target.currency,
            limit=limit,
            cursor=cursor,
            newest_first=newest_first,
        )
        return await self._read(subject_of(target.environment, target.customer, "ledger"), body, LedgerPage)

    async def _ask_usage(self, request: AnyUsageRequest, kind: type[T]) -> T:
        return await self._read(usage_subject(request), request, kind)

    async def pools(
        self,
        customer: str | None = None,
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        limit: int = 100,
        cursor: str | None = None,
    ) -> PoolPage:
        """See ``Credits.pools``."""
        check_id(environment, "environment")
        subject = subject_of(environment, None if customer is None else check_id(customer, "customer"), "pools")
        return await self._read(subject, PoolsBody(limit=limit, cursor=cursor), PoolPage)

    async def totals(self, customer: str, *, environment: str = ENVIRONMENT_DEFAULT) -> CustomerTotals:
        """See ``Credits.totals``."""
        check_id(environment, "environment")
        subject = subject_of(environment, check_id(customer, "customer"), "totals")
        return await self._read(subject, TotalsBody(), CustomerTotals)


def _closed() -> Unavailable:
    return Unavailable("nothing was done: the client is closed")


def _debit_part(
    pool: PoolId,
    amount: AmountLike,
    key: str,
    partial: bool,
    occurred_at: TimeLike | None,
    metric: str | None,
    quantity: AmountLike | None,
    dimensions: Dimensions | None,
    backfill: bool,
) -> bytes:
    """A debit as it travels. Raises ``InvalidRequest`` for what JSON would turn into something else."""
    if type(amount) is not str and type(amount) is not int:
        amount = amount_on_the_wire(amount)
    if dimensions is not None and not _is_text(dimensions):
        dimensions = _dimensions_on_the_wire(dimensions, "dimensions")
    return encode_body(
        DebitBody(
            customer=pool.customer,
            resource=pool.resource,
            currency=pool.currency,
            amount=cast("int | str", amount),
            key=key,
            partial=partial,
            occurred_at=None if occurred_at is None else _time_on_the_wire(occurred_at, "occurred_at"),
            metric=metric,
            quantity=None if quantity is None else check_quantity(quantity),
            dimensions=cast("dict[str, Any] | None", dimensions),
            backfill=backfill,
        )
    )


def _is_text(dimensions: Dimensions) -> bool:
    """Whether all of them are text, as nearly always: then JSON says them as they are."""
    if type(dimensions) is not dict:
        return False
    for name, value in dimensions.items():  # noqa: SIM110 - all() over a generator costs twice as much, on every debit
        if type(value) is not str or type(name) is not str:
            return False
    return True


def _part_of(request: Request) -> tuple[PoolId, bytes]:
    """The pool of a command of a batch, and the command as it travels."""
    if isinstance(request, DebitRequest):
        pool = parse_pool(request.pool)
        return pool, _debit_part(
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
    fields = _fields_of(request)
    pool = parse_pool(request.pool)
    return pool, encode_body(_body_of(request.operation, pool, fields))


def _fields_of(request: Request) -> dict[str, Any]:
    if not isinstance(request, REQUESTS):
        raise InvalidRequest("requests", "a GrantRequest, DebitRequest, ...", got=type(request).__name__)
    return {name: getattr(request, name) for name in request.__struct_fields__ if name != "pool"}


def _body_of(operation: str, pool: PoolId, fields: dict[str, Any]) -> dict[str, Any]:
    """A command as it travels."""
    body: dict[str, Any] = {"op": operation, "customer": pool.customer}
    if pool.resource is not None:
        body["resource"] = pool.resource
    if pool.currency != CURRENCY_DEFAULT:
        body["currency"] = pool.currency
    for name, value in fields.items():
        # What is none or false is left out; only where terms are changed has "none" a meaning.
        if (value is not None and value is not False) or operation == "grant.update":
            convert = _ON_THE_WIRE.get(name)
            body[name] = value if convert is None or value is None else convert(value, name)
    return body


def _settle(sink: _Sink, answer: object) -> bool:
    if not sink.done():
        sink.set_result(answer)
    return True


def _fail(sink: _Sink, error: SolventError) -> None:
    if not sink.done():
        sink.set_exception(error)


_READ_KINDS: Final = (
    AlertsView,
    AllowanceList,
    Balance,
    BudgetList,
    CardList,
    CostReport,
    CustomerTotals,
    Estimate,
    EventPage,
    GrantList,
    HoldList,
    LedgerPage,
    PoolPage,
    RecurringList,
    Verdict,
)
_DECODERS: Final[dict[type[Any], Callable[[bytes], Any]]] = {
    Receipt: decode_receipt,
    list: decode_answers,
    **{kind: decoder_of(kind) for kind in _READ_KINDS},
    **{kind: decoder_of(kind) for kind in USAGE_ANSWERS},
}


def _decoders(kind: type[T]) -> Callable[[bytes], T]:
    return _DECODERS[kind]


def _time_on_the_wire(value: TimeLike, field: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    raise InvalidRequest(field, "a datetime or ISO 8601 text", got=type(value).__name__)


def _dimensions_on_the_wire(dimensions: Dimensions, field: str) -> dict[str, Any]:
    # JSON would turn some values into others: a NaN into null, a decimal into text. Checked here as they are.
    encode_dimensions(dimensions, field)
    return dict(dimensions)


def _quantity_on_the_wire(value: object, field: str) -> str:
    return check_quantity(value, field)


def _ttl_on_the_wire(value: object, field: str) -> Any:
    if isinstance(value, Decimal):
        # Microseconds as seconds: so few digits are the same in binary.
        return check_ttl(value) / SECOND_US
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if isfinite(value) else str(value)
    raise InvalidRequest(field, "a number of seconds", got=type(value).__name__)


def _cost_on_the_wire(cost: object, field: str) -> dict[str, Any]:
    if isinstance(cost, CostBasis):
        return {"per_credit": cost.per_credit, "currency": cost.currency}
    if isinstance(cost, Mapping):
        return dict(cost)
    if isinstance(cost, (tuple, list)) and len(cost) == 2:
        return {"per_credit": cost[0], "currency": cost[1]}
    raise InvalidRequest(field, 'a price per credit and a currency, such as ("0.0125", "USD")')


def _low_on_the_wire(low: object, field: str) -> Any:
    return [amount_on_the_wire(each, field) for each in low] if isinstance(low, (list, tuple)) else low


def _recharge_on_the_wire(recharge: object, field: str) -> Any:
    """A rule, or the id of a request."""
    if not isinstance(recharge, Mapping):
        return recharge
    rule = dict(recharge)
    for name in ("below", "target", "monthly_max"):
        if rule.get(name) is not None:
            rule[name] = amount_on_the_wire(rule[name], f"{field}.{name}")
    if rule.get("cost_basis") is not None:
        rule["cost_basis"] = _cost_on_the_wire(rule["cost_basis"], "cost_basis")
    return rule


_ON_THE_WIRE: Final[dict[str, Callable[[Any, str], Any]]] = {
    "amount": amount_on_the_wire,
    "quantity": _quantity_on_the_wire,
    "ttl_s": _ttl_on_the_wire,
    "effective_at": _time_on_the_wire,
    "expires_at": _time_on_the_wire,
    "occurred_at": _time_on_the_wire,
    "anchor": _time_on_the_wire,
    "starts_at": _time_on_the_wire,
    "ends_at": _time_on_the_wire,
    "roll_over": amount_on_the_wire,
    "low": _low_on_the_wire,
    "recharge": _recharge_on_the_wire,
    "cost_basis": _cost_on_the_wire,
    "dimensions": _dimensions_on_the_wire,
    "metadata": _dimensions_on_the_wire,
    "match": _dimensions_on_the_wire,
}
"""How a part of a command is put into JSON, by its name; the others go as they are."""


@asynccontextmanager
async def connect(
    url: str = "nats://127.0.0.1:4222",
    *,
    gather: Gather = "environment",
    timeout_s: float = TIMEOUT_S,
    outstanding_max: int = OUTSTANDING_MAX,
    **options: Any,
) -> AsyncIterator[Client]:
    """A client of the service on the NATS at ``url``, for the length of a block.

    ``gather`` says how commands of one turn of the loop share messages: per ``environment``, which needs the permission
    to publish for any customer (``solvent.v1.<environment>.-.batch``), per ``customer``, or ``off``. ``timeout_s``
    bounds each request, retries included. ``options`` go to ``nats.connect``, for instance ``user_credentials``,
    ``tls``, ``inbox_prefix``.

    Raises ``NatsServerUnavailable`` if there is no NATS, or one that is too old.
    """
    client: Client | None = None

    async def reconnected() -> None:
        if client is not None:
            client._resend_all()

    options.setdefault("name", "solvent-client")
    connection = await connect_nats(url, reconnected_cb=reconnected, **options)
    try:
        client = Client(connection, gather=gather, timeout_s=timeout_s, outstanding_max=outstanding_max)
        await client._start()
        async with background(client.run):
            yield client
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()
