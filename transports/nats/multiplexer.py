"""Requests under way on one connection: gathered into messages, sent again until answered, and matched to callers.

Commands issued in one turn of the event loop share a message; a single command travels alone. Replies come to one
subscription and find their caller by a number. A request that finds no service, or gets no reply, is sent again under
its key until its time is up. So it survives a restart of the service or the NATS server, and nothing is applied twice.
After that it fails as ``Unavailable``: the outcome is unknown, and a retry with the same key returns it.

A receipt is accepted for any copy of the request. A refusal is accepted only for the last copy, because an earlier copy
that is still under way may be granted. Messages of one connection arrive in order, so no copy follows the last one.

If a caller is cancelled, its command stays under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskStatus
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from solvent.actors import Place
from solvent.engine.api.receipts import Receipt
from solvent.engine.values.errors import Overloaded, SolventError, TooLarge, Unavailable
from solvent.engine.values.pool_id import PoolId
from solvent.transports.wire.answers import decode_error, decode_receipt, decode_unit_answers
from solvent.transports.wire.bodies import BODY_BYTES_MAX

from .connection import Connection
from .headers import CODE_HEADER
from .subjects import subject_of

RESEND_AFTER_S: Final = 2.0
"""The seconds before a request is sent again. They double each time, so that a slow service is not made slower."""
NO_SERVICE_WAIT_S: Final = 0.2
"""The seconds to wait before asking again when no service has the subject."""
SWEEP_S: Final = 0.05
"""The seconds between checks of the deadlines. A timeout can be late by this much."""
GATHERED_MAX: Final = 128
"""The most commands in a message. A message costs both ends and the disk as much as some twenty commands, so fewer
would be expensive. With more, the first command would wait for the last, while now service and client each work on
one."""
OUTSTANDING_MAX: Final = 100_000
"""The most commands without an answer. More are refused as ``Overloaded``; each takes about a kilobyte."""
MESSAGE_BYTES_SPARE: Final = 4_096
"""The bytes of the largest message that a batch leaves free for subject and headers."""

_OnReply: TypeAlias = Callable[[bytes, bool], bool]
"""A function of a reply and whether it answers the last copy. Returns whether the message is done."""
Gather: TypeAlias = Literal["environment", "customer", "off"]
T = TypeVar("T")
log = logging.getLogger(__name__)


class _Message:
    """One message under way, and the callers that wait for its answers."""

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
        """The time to send it again, infinite while it waits to be sent."""
        self.patience_s = RESEND_AFTER_S
        self.copies = 0
        """The number of times it was sent."""
        self.weight = weight
        self.on_reply = on_reply
        self.on_error = on_error


_Sink: TypeAlias = asyncio.Future[Any] | Place
"""The receiver of one command's answer: its caller's future, or its place in a caller's batch."""


class _Pile:
    """Encoded commands that can share messages and have not been sent yet."""

    __slots__ = ("customer", "environment", "operation", "parts", "pool", "sinks")

    def __init__(self, environment: str, customer: str | None, pool: PoolId, operation: str) -> None:
        self.environment = environment
        self.customer = customer
        """The customer, ``None`` if each command names its own."""
        self.pool = pool
        """The pool of the first command, and ``operation`` its operation. A command that stays alone travels alone."""
        self.operation = operation
        self.parts: list[bytes] = []
        self.sinks: list[_Sink] = []


class Multiplexer:
    """The requests of one client on one connection. Use it on the loop that made it."""

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
        """The piles by what their commands share."""
        self._line: list[int] = []
        self.followers: set[asyncio.Event] = set()
        """Set when there may be more events, and when the client closes."""
        self.closed = False
        self._turn_is_due = False
        self._failure: asyncio.Future[None] = self._loop.create_future()
        """Gets the exception of a bug here, which then ends the client."""
        self.messages_sent = 0

    async def start(self) -> None:
        await self._nats.subscribe_directly(f"{self._inbox}.*.*", self._take, otherwise=self._receive)

    def _take(self, subject: str, _: str, data: bytes, headers: bytes | None) -> bool:
        """Take a reply as it is read. One with headers is not a receipt and goes through the queue."""
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
        """Take a refusal, or the report that there is no service."""
        _, number_text, copy = message.subject.rsplit(".", 2)
        number = int(number_text)
        sent = self._under_way.get(number)
        if sent is None or int(copy) != sent.copies:
            return
        headers = message.headers or {}
        if headers.get("Status") == "503" and not message.data:
            # No service has the subject for now, so ask again until the time is up.
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
        """Fail the callers of a reply that cannot be read."""
        log.error("a reply to %s cannot be read", sent.subject, exc_info=unreadable)
        if is_last:
            self._end(number, sent)
            sent.on_error(Unavailable(f"the outcome is unknown: the reply cannot be read: {unreadable}"))

    def _end(self, number: int, sent: _Message) -> None:
        del self._under_way[number]
        self._outstanding -= sent.weight

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Check deadlines until cancelled. Then fail all requests without an answer, and take no more."""
        try:
            task_status.started()
            while not self._failure.done():
                await asyncio.wait([self._failure], timeout=SWEEP_S)
                self._sweep()
            self._failure.result()
        finally:
            self.closed = True
            gone = Unavailable("the client was closed: the outcome is unknown, retry with the same key")
            for sent in list(self._under_way.values()):
                sent.on_error(gone)
            for pile in self._piles.values():
                for sink in pile.sinks:
                    _fail(sink, gone)
            self._under_way.clear()
            self._piles.clear()
            self._wake_followers()

    def _wake_followers(self) -> None:
        for told in self.followers:
            told.set()

    def _wake(self) -> None:
        """Send what is waiting after all callbacks that are due now."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self.closed:
            return
        try:
            if self._piles:
                self._pack()
            line, self._line = self._line, []
            for number in line:
                self._send(number)
            self._nats.write()
        except Exception as fault:  # noqa: BLE001 - ``run`` raises it, and fails all waiting callers
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
            # The connection is down and its buffer full. The sweep sends it again.
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

    def resend_all(self) -> None:
        """Send all messages again after a reconnect, because those in flight may be lost."""
        self._line = list(self._under_way)
        for sent in self._under_way.values():
            sent.resend_at, sent.patience_s = inf, RESEND_AFTER_S
        self._wake()
        self._wake_followers()

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
    def is_full(self) -> bool:
        return self.closed or self._outstanding >= self._outstanding_max

    async def _turn_away(self) -> NoReturn:
        # A caller that asks again at once must leave the loop time for the answers that make room.
        await asyncio.sleep(0)
        if self.closed:
            raise _closed()
        raise Overloaded(retry_after=SWEEP_S)

    async def submit(self, pool: PoolId, operation: str, part: bytes) -> Receipt:
        if self.is_full:
            await self._turn_away()
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self.put_on_pile(pool, operation, part, future)
        return await future

    def put_on_pile(self, pool: PoolId, operation: str, part: bytes, sink: _Sink) -> None:
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
        """Pack the commands that were issued since the last turn into messages."""
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
            on_reply=lambda reply, _: settle(sink, decode_receipt(reply)),
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
                # It travels alone, and is refused alone.
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
                # The answers may not fit into one message although the commands did. With their keys it is safe to
                # ask again, for half of them at a time.
                half = len(sinks) // 2
                self._outstanding += len(sinks)
                self._send_group(subject, parts[:half], sinks[:half], until)
                self._send_group(subject, parts[half:], sinks[half:], until)
                return
            for sink in sinks:
                _fail(sink, error)

        payload = b'{"receipts":"units","commands":[' + b",".join(parts) + b"]}"
        self._put_under_way(subject, payload, weight=len(parts), on_reply=answered, on_error=failed, deadline=until)

    async def ask(self, subject: str, payload: bytes, decode: Callable[[bytes], T]) -> T:
        """Send a request alone, and return its decoded reply. Raises ``SolventError``."""
        if self.is_full:
            await self._turn_away()
        future: asyncio.Future[T] = self._loop.create_future()
        self._outstanding += 1

        def answered(reply: bytes, is_last: bool) -> bool:
            answer = decode(reply)
            if not is_last and isinstance(answer, list) and any(isinstance(each, SolventError) for each in answer):
                # This is the refusal of an atomic batch.
                return False
            return settle(future, answer)

        self._put_under_way(subject, payload, weight=1, on_reply=answered, on_error=lambda error: _fail(future, error))
        return await future

    def check_open(self) -> None:
        """Raise ``Unavailable`` if the client was closed."""
        if self.closed:
            raise _closed()


def _closed() -> Unavailable:
    return Unavailable("nothing was done: the client is closed")


def settle(sink: _Sink, answer: object) -> bool:
    """Pass an answer to a sink, unless its caller has gone."""
    if not sink.done():
        sink.set_result(answer)
    return True


def _fail(sink: _Sink, error: SolventError) -> None:
    if not sink.done():
        sink.set_exception(error)
