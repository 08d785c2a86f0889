"""Messages under way: many requests over one connection, gathered, sent again until answered, matched to their callers.

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
        """By what shares a message."""
        self._line: list[int] = []
        self.followers: set[asyncio.Event] = set()
        """Set when there may be more events, or no more answers."""
        self.closed = False
        self._turn_is_due = False
        self._failure: asyncio.Future[None] = self._loop.create_future()
        """Ends with a fault of ours, and then the client does."""
        self.messages_sent = 0

    async def start(self) -> None:
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
        """Have what is waiting sent, once all who have a turn now have had it."""
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

    def resend_all(self) -> None:
        """The connection is back: what was in flight may be lost."""
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
        # A caller that asks again at once must not keep the loop from what would let it pass.
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

    async def ask(self, subject: str, payload: bytes, decode: Callable[[bytes], T]) -> T:
        """Send a request by itself, and return its decoded reply. Raises ``SolventError``."""
        if self.is_full:
            await self._turn_away()
        future: asyncio.Future[T] = self._loop.create_future()
        self._outstanding += 1

        def answered(reply: bytes, is_last: bool) -> bool:
            answer = decode(reply)
            if not is_last and isinstance(answer, list) and any(isinstance(each, SolventError) for each in answer):
                # The refusal of an atomic batch.
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
    """Give a sink its answer, unless its caller has gone."""
    if not sink.done():
        sink.set_result(answer)
    return True


def _fail(sink: _Sink, error: SolventError) -> None:
    if not sink.done():
        sink.set_exception(error)
