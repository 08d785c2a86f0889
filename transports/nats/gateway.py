"""The gateway: it takes requests from NATS, submits commands to the engine, and sends answers back.

Commands and reads come over two connections, so that a flood of debits in one socket cannot delay a balance in the
other. A command's subscription callback only decodes and submits. Its answer is sent when the engine has it, so
requests of different pools overtake one another. Every request gets an answer, also one that cannot be decoded, and one
that meets a bug: the bug is logged here, and the answer has no details.

If the process dies, requests under way get no answer and may or may not have been journalled. Clients retry with their
keys. ``stop`` takes no more requests, answers those under way, and then returns. Close the connections after it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from solvent.actors import Answers, Place
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import Request
from solvent.engine.api.usage_answers import Usage
from solvent.engine.engine import Engine
from solvent.engine.pools.asking import outcome_of, outcomes_of
from solvent.engine.values.errors import InvalidRequest, Overloaded, SolventError, TooLarge, Unavailable
from solvent.transports.wire.answers import ReceiptForm
from solvent.transports.wire.batches import Batch, decode_batch, decode_events
from solvent.transports.wire.bodies import (
    BODY_BYTES_MAX,
    Address,
    CommandBody,
    decode_body,
    decoder_of_body,
    request_of,
)
from solvent.transports.wire.cutting import (
    check_answers_fit,
    encode_answers_to_fit,
    encode_error_to_fit,
    encode_to_fit,
)
from solvent.transports.wire.operations import BATCH, COMMANDS, READS
from solvent.transports.wire.pages import read_to_fit
from solvent.transports.wire.submitting import INTERNAL, check_together, submit_all
from solvent.transports.wire.usage import with_lines

from .connection import Connection
from .discovery import QUEUE_GROUP, Discovery, EndpointStatistics
from .headers import headers_of
from .subjects import PREFIX, encode_token, parse_subject

READS_MAX: Final = 1_000
"""The most reads under way. More are refused: a read costs a task, and a ledger page a walk through the journal."""
RETRY_AFTER_S: Final = 0.2
PENDING_BYTES_MAX: Final = 64 << 20
"""The bytes of one subscription that wait in memory before nats-py drops more. They are refused long before."""
BACKLOG_MESSAGES_MAX: Final = 4_096
BACKLOG_BYTES_MAX: Final = 2 << 20
"""The bytes of one operation's requests that wait for their turn. With more, the first are refused as ``Overloaded``.
This is about a second of work; a client that waits longer has sent its request again."""

SLICE: Final = 256
"""The commands that are taken before other tasks get a turn of the event loop: some 5 ms of work. A read takes several
turns, and must not wait long for each."""
HEADERS_BYTES: Final = 700
"""The bytes that the headers of an error may have, which count in the size of its message."""
WHOLE_BYTES_MAX: Final = 48 << 10
"""The bytes of the largest request that is taken in one turn: some hundreds of commands."""

_Begin: TypeAlias = "Callable[[_Reply, str, bytes], Awaitable[None] | None]"
"""A function that takes a request: its reply, its subject, its body. Returns the rest of the work of a large one."""
log = logging.getLogger(__name__)
"""The log of our own failures."""


class _Reply:
    """A request under way: the subject of its answer, and its statistics."""

    __slots__ = ("began_ns", "endpoint", "to")

    def __init__(self, to: str, endpoint: EndpointStatistics) -> None:
        self.to = to
        self.endpoint = endpoint
        self.began_ns = time.perf_counter_ns()
        endpoint.requests += 1


class Gateway:
    """Serves ``engine`` on two NATS connections. Call ``run`` in a task group, then ``start``, finally ``stop``."""

    def __init__(self, engine: Engine, commands: Connection, reads: Connection, discovery: Discovery) -> None:
        self._engine = engine
        self._commands = commands
        self._reads = reads
        self._discovery = discovery
        self._subscriptions: list[Subscription] = []
        self._running = 0
        self._taken = 0
        self._idle = asyncio.Event()
        self._tasks: TaskGroup | None = None
        self._reading = 0

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run reads until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            await anyio.sleep_forever()

    async def start(self, environments: Sequence[str]) -> None:
        """Subscribe to the requests of ``environments``, or of all environments if the sequence is empty."""
        for environment in [encode_token(each) for each in environments] or ["*"]:
            for operation, decoder in _COMMANDS.items():
                begin = partial(self._report if operation == "report" else self._command, decoder)
                await self._listen(self._commands, environment, operation, begin)
            await self._listen(self._commands, environment, BATCH, self._batch)
            for operation, read_decoder in _READS.items():
                await self._listen(self._reads, environment, operation, partial(self._read, read_decoder))
        await self._commands.flush()
        await self._reads.flush()

    async def _listen(
        self,
        connection: Connection,
        environment: str,
        operation: str,
        begin: _Begin,
    ) -> None:
        subject = f"{PREFIX}.{environment}.*.{operation}"
        # The name of an endpoint has no dots (ADR-32).
        endpoint = EndpointStatistics(operation.replace(".", "-"), subject)
        self._discovery.endpoints.append(endpoint)
        subscription: Subscription | None = None
        in_turn = 0
        """The number of requests inside ``receive``."""

        def take(subject: str, reply_to: str, data: bytes, headers: bytes | None) -> bool:
            """Take a small request as it is read, if this turn has time left and no other request waits before it."""
            if self._taken >= SLICE or len(data) > WHOLE_BYTES_MAX or in_turn or subscription is None:
                return False
            if subscription.pending_msgs:
                return False
            self._running += 1
            self._taken += 1
            self._begin(connection, _Reply(reply_to, endpoint), begin, subject, data)
            return True

        async def receive(message: Msg) -> None:
            nonlocal in_turn
            in_turn += 1
            try:
                reply = _Reply(message.reply, endpoint)
                self._running += 1
                if subscription is not None and _is_behind(subscription):
                    # Refuse without leaving a turn to others, so that the queue does not grow while it is worked off.
                    self._refuse(connection, reply, Overloaded(retry_after=RETRY_AFTER_S))
                    return
                rest = self._begin(connection, reply, begin, message.subject, message.data)
                if rest is not None:
                    await self._supervised(connection, reply, rest)
                await self._leave_a_turn()
            finally:
                in_turn -= 1

        subscription = await connection.subscribe_directly(
            subject, take, queue=QUEUE_GROUP, otherwise=receive, pending_bytes_limit=PENDING_BYTES_MAX
        )
        self._subscriptions.append(subscription)

    def _begin(
        self, connection: Connection, reply: _Reply, begin: _Begin, subject: str, data: bytes
    ) -> Awaitable[None] | None:
        """Take a request. Returns the rest of the work for the caller to await, or ``None`` if the request is small."""
        try:
            if len(data) > BODY_BYTES_MAX:
                raise TooLarge("body", f"at most {BODY_BYTES_MAX} bytes", got=str(len(data)))
            return begin(reply, subject, data)
        except SolventError as error:
            self._refuse(connection, reply, error)
        except Exception:  # noqa: BLE001 - the supervisor of requests: logged, and answered
            self._fail(connection, reply)
        return None

    async def _supervised(self, connection: Connection, reply: _Reply, work: Awaitable[None]) -> None:
        try:
            await work
        except SolventError as error:
            self._refuse(connection, reply, error)
        except Exception:  # noqa: BLE001 - the supervisor of requests: logged, and answered
            self._fail(connection, reply)

    async def _leave_a_turn(self) -> None:
        """Wait for the next turn of the loop if this one has taken ``SLICE`` commands. Call it for every command."""
        self._taken += 1
        if self._taken >= SLICE:
            self._taken = 0
            await asyncio.sleep(0)

    def _report(
        self, decoder: msgspec.json.Decoder[CommandBody], reply: _Reply, subject: str, data: bytes
    ) -> Awaitable[None] | None:
        events = decode_events(data)
        if events is None:
            self._command(decoder, reply, subject, data)
            return None
        check_answers_fit(len(events), self._commands.max_payload)
        return self._submit_all(events, reply, subject, is_small=len(data) <= WHOLE_BYTES_MAX)

    def _command(self, decoder: msgspec.json.Decoder[CommandBody], reply: _Reply, subject: str, data: bytes) -> None:
        body = decode_body(decoder, data)
        address = Address(*parse_subject(subject))
        if address.customer is None:
            raise InvalidRequest("customer", "a customer in the subject")
        live = self._engine.live
        future = live.submit(*body.command(address, live.scale_of))
        future.add_done_callback(partial(self._commanded, reply))

    def _commanded(self, reply: _Reply, future: asyncio.Future[Any]) -> None:
        outcome = _outcome(future)
        if isinstance(outcome, SolventError):
            self._refuse(self._commands, reply, outcome)
        else:
            self._answer(self._commands, reply, encode_to_fit(outcome, self._commands.max_payload))

    def _batch(self, reply: _Reply, subject: str, data: bytes) -> Awaitable[None] | None:
        batch = decode_batch(data)
        check_answers_fit(len(batch.commands), self._commands.max_payload)
        if batch.atomic:
            self._begin_task(self._commands, reply, partial(self._answer_together, batch, reply, subject))
            return None
        is_small = len(data) <= WHOLE_BYTES_MAX
        return self._submit_all(batch.commands, reply, subject, is_small=is_small, receipts=batch.receipts)

    async def _answer_together(self, batch: Batch, reply: _Reply, subject: str) -> None:
        """Answer an atomic batch. It needs several pools at once, so it has a task of its own."""
        address, live = Address(*parse_subject(subject)), self._engine.live
        checked = check_together(live, batch.commands, address)
        self._answer_all(reply, await live.do_together(checked), batch.receipts)

    def _submit_all(
        self,
        commands: list[CommandBody | InvalidRequest],
        reply: _Reply,
        subject: str,
        *,
        is_small: bool,
        receipts: ReceiptForm = "text",
    ) -> Awaitable[None] | None:
        address = Address(*parse_subject(subject))
        if not commands:
            self._answer_all(reply, [], receipts)
            return None
        places = Answers(len(commands), partial(self._answered, reply, receipts)).places()
        if not is_small:
            return self._submit_in_slices(commands, places, address)
        self._taken += len(commands)
        submit_all(self._engine.live, commands, places, address)
        return None

    async def _submit_in_slices(
        self,
        commands: list[CommandBody | InvalidRequest],
        places: list[Place],
        address: Address,
    ) -> None:
        for start in range(0, len(commands), SLICE):
            end = start + SLICE
            submit_all(self._engine.live, commands[start:end], places[start:end], address, large=True)
            if end < len(commands):
                await asyncio.sleep(0)

    def _answered(self, reply: _Reply, receipts: ReceiptForm, answers: Answers) -> None:
        try:
            self._answer_all(reply, outcomes_of(answers), receipts)
        except Exception:  # noqa: BLE001 - the supervisor of requests: logged, and answered
            self._fail(self._commands, reply)

    def _answer_all(self, reply: _Reply, answers: Sequence[Receipt | SolventError], receipts: ReceiptForm) -> None:
        reply.endpoint.errors += sum([isinstance(answer, SolventError) for answer in answers])
        self._answer(self._commands, reply, encode_answers_to_fit(answers, receipts, self._commands.max_payload))

    def _read(self, decoder: msgspec.json.Decoder[Any], reply: _Reply, subject: str, data: bytes) -> None:
        body = decode_body(decoder, data)
        address = Address(*parse_subject(subject))
        self._begin_task(self._reads, reply, partial(self._answer_read, body, address, reply))

    def _begin_task(self, connection: Connection, reply: _Reply, work: Callable[[], Awaitable[None]]) -> None:
        if self._reading >= READS_MAX:
            raise Overloaded(retry_after=RETRY_AFTER_S)
        assert self._tasks is not None  # noqa: S101 - narrows the type: run was started before start
        self._reading += 1
        self._tasks.start_soon(self._run_task, connection, reply, work)

    async def _run_task(self, connection: Connection, reply: _Reply, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._supervised(connection, reply, work())
        finally:
            self._reading -= 1

    async def _answer_read(self, body: Any, address: Address, reply: _Reply) -> None:
        payload = await read_to_fit(self._ask, request_of(body, address), self._reads.max_payload)
        self._answer(self._reads, reply, payload)

    async def _ask(self, request: Request[Any]) -> Any:
        answer: Any = await self._engine.send(request)
        return await with_lines(answer, self._reads.max_payload) if isinstance(answer, Usage) else answer

    def _answer(self, connection: Connection, reply: _Reply, payload: bytes) -> None:
        _send(connection, reply.to, payload)
        self._done(reply)

    def _refuse(self, connection: Connection, reply: _Reply, error: SolventError) -> None:
        reply.endpoint.failed(error)
        _send(
            connection, reply.to, encode_error_to_fit(error, connection.max_payload - HEADERS_BYTES), headers_of(error)
        )
        self._done(reply)

    def _fail(self, connection: Connection, reply: _Reply) -> None:
        log.exception("a request to %s failed", reply.endpoint.subject)
        self._refuse(connection, reply, SolventError(INTERNAL))

    def _done(self, reply: _Reply) -> None:
        reply.endpoint.processing_ns += time.perf_counter_ns() - reply.began_ns
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def stop(self, timeout_s: float) -> None:
        """Take no more requests, and wait at most ``timeout_s`` seconds until those under way are answered."""
        with anyio.move_on_after(timeout_s):
            for subscription in self._subscriptions:
                try:
                    # Messages that the server sent before this still reach the callback.
                    await subscription.drain()  # type: ignore[no-untyped-call]
                except (NatsError, OSError) as error:
                    log.warning("the connection is gone already: %s", error)
            while self._running:
                self._idle.clear()
                await self._idle.wait()
            for connection in (self._commands, self._reads):
                try:
                    if connection.is_connected:
                        await connection.flush()
                except (NatsError, OSError) as error:
                    log.warning("the last answers may not have been sent: %s", error)


def _send(connection: Connection, to: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
    if not to:
        return
    try:
        connection.send(to, payload, headers=headers)
    except NatsError as error:
        # The connection is down and its buffer full. The client will ask again with its key.
        log.warning("an answer could not be sent: %s", error)


def _is_behind(subscription: Subscription) -> bool:
    return subscription.pending_msgs > BACKLOG_MESSAGES_MAX or subscription.pending_bytes > BACKLOG_BYTES_MAX


def _outcome(future: asyncio.Future[Any]) -> Any:
    """Return the outcome of a command: the answer, or any error as a value."""
    try:
        return outcome_of(future)
    except (Exception, asyncio.CancelledError):  # the supervisor of requests: logged, and answered
        log.exception("a command failed")
        return Unavailable("an internal error, the outcome is unknown: the service's log says more")


_COMMANDS: Final[dict[str, msgspec.json.Decoder[CommandBody]]] = {
    name: decoder_of_body(operation.request) for name, operation in COMMANDS.items()
}
_READS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: decoder_of_body(operation.request) for name, operation in READS.items()
}
"""The operations that run in a task of their own: reads, and rare commands."""
