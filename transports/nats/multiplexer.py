"""Requests under way on one connection: gathered into messages, sent again until answered, and matched to callers.

Commands issued in one turn of the event loop share a message; a single command travels alone. Replies come to one
subscription and find their caller by a number. A request without a reply is sent again under its key until its time is
up. So it survives a restart of the service or the NATS server, and nothing is applied twice. After that it fails as
``Unavailable``: the outcome is unknown, and a retry with the same key returns it.

What NATS refuses is answered at once: a subject or an inbox that is not permitted, and a request that finds no service,
unless the service has answered this client before. Then it is waited for, once. Each message counts its copies that a
service may have got; without any, the error says that nothing was applied.

A receipt is accepted for any copy of the request. A refusal is accepted only for the last copy, because an earlier copy
that is still under way may be granted. Messages of one connection arrive in order, so no copy follows the last one.

If a caller is cancelled, its command stays under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar

import anyio
import msgspec
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
from solvent.transports.wire.cutting import ANSWER_BYTES_MAX
from solvent.transports.wire.operations import BATCH

from .connection import Connection
from .headers import CODE_HEADER
from .launcher import NatsServerUnavailable
from .refusals import Action, Denial, NoService, NotPermitted
from .subjects import subject_of

RESEND_AFTER_S: Final = 2.0
"""The seconds before a request is sent again. They double each time, so that a slow service is not made slower."""
NO_SERVICE_WAIT_S: Final = 0.2
"""The seconds to wait before asking again when no service has the subject."""
NO_SERVICE_COPIES: Final = 2
"""The copies that must find no service before a request is refused, if no service has answered before."""
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
ENVIRONMENTS_MAX: Final = 10_000
"""The most environments of which it is remembered whether they are served."""
REFUSED_S: Final = 1.0
"""The seconds for which a NATS server refuses the credentials before requests are answered so. A configuration that is
changed twice within them disturbs nobody."""

_OnReply: TypeAlias = Callable[[bytes, bool], bool]
"""A function of a reply and whether it answers the last copy. Returns whether the message is done."""
Gather: TypeAlias = Literal["environment", "customer", "off"]
T = TypeVar("T")
log = logging.getLogger(__name__)


class _Environment:
    """An environment, and what is known of its service."""

    __slots__ = ("is_served", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_served = False
        """Whether its service has answered, and was not waited for in vain since."""


class _Message:
    """One message under way, and the callers that wait for its answers."""

    __slots__ = (
        "copies",
        "copies_heard",
        "deadline",
        "environment",
        "on_error",
        "on_reply",
        "patience_s",
        "payload",
        "place",
        "resend_at",
        "subject",
        "weight",
    )

    def __init__(
        self,
        environment: _Environment,
        subject: str,
        payload: bytes,
        *,
        copies_heard: int,
        deadline: float,
        weight: int,
        on_reply: _OnReply,
        on_error: Callable[[SolventError], None],
    ) -> None:
        self.environment = environment
        self.subject = subject
        self.payload = payload
        self.deadline = deadline
        self.resend_at = inf
        """The time to send it again, infinite while it waits to be sent."""
        self.patience_s = RESEND_AFTER_S
        self.copies = 0
        """The number of times it was sent."""
        self.copies_heard = copies_heard
        """The number of copies that a service may have got. At 0, nothing was applied."""
        self.place = 0
        """The place of its last copy among all messages of the client."""
        self.weight = weight
        self.on_reply = on_reply
        self.on_error = on_error


_Sink: TypeAlias = asyncio.Future[Any] | Place
"""The receiver of one command's answer: its caller's future, or its place in a caller's batch."""


class _Pile:
    """Encoded commands that can share messages and have not been sent yet."""

    __slots__ = ("customer", "environment", "operation", "parts", "pool", "sinks")

    def __init__(self, environment: str, customer: str, pool: PoolId, operation: str) -> None:
        self.environment = environment
        self.customer: str | None = customer
        """The customer of all commands, ``None`` if they have several: each names its own."""
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
        self._replies = f"{self._inbox}.*.*"
        self._under_way: dict[int, _Message] = {}
        self._environments: dict[str, _Environment] = {}
        self._narrow: set[str] = set()
        """The environments in which this client may not speak for all customers at once."""
        self._denied: dict[str, int] = {}
        """The number of messages to each subject that were denied and not found yet."""
        self._refusal: NotPermitted | None = None
        """Why no request can be answered: the inbox is denied."""
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
        """Begin to hear replies. Raises ``NotPermitted`` if NATS lets none arrive, ``NatsServerUnavailable``."""
        self._nats.on_denied, self._nats.on_lost = self._be_denied, self._lose_connection
        try:
            await self._nats.subscribe_directly(self._replies, self._take, otherwise=self._receive)
            await self._nats.flush()
        except (NatsError, OSError) as error:
            raise NatsServerUnavailable(f"the NATS server went away: {error}") from error
        if self._refusal is not None:
            raise self._refusal

    def _take(self, subject: str, _: str, data: bytes, headers: bytes | None) -> bool:
        """Take a reply as it is read. One with headers is not a receipt and goes through the queue."""
        if headers:
            return False
        _, number_text, copy = subject.rsplit(".", 2)
        number = int(number_text)
        sent = self._under_way.get(number)
        if sent is not None:
            sent.environment.is_served = True
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
        if sent is None:
            return
        headers = message.headers or {}
        if headers.get("Status") == "503" and not message.data:
            sent.copies_heard -= 1
            if int(copy) == sent.copies:
                self._find_no_service(number, sent)
            return
        sent.environment.is_served = True
        if int(copy) != sent.copies:
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

    def _find_no_service(self, number: int, sent: _Message) -> None:
        """Ask again, once or, if an earlier copy may have been heard or the service was there, until the time is up.

        The second time is for a service whose subscriptions are just becoming known, and slows callers in a loop.
        """
        if sent.copies_heard or sent.environment.is_served or sent.copies < NO_SERVICE_COPIES:
            sent.resend_at = self._loop.time() + NO_SERVICE_WAIT_S
            sent.patience_s = RESEND_AFTER_S
            return
        self._end(number, sent)
        sent.on_error(NoService(sent.environment.name))

    def _be_denied(self, denial: Denial) -> None:
        if denial.action == "publish":
            # Several messages may be under way to this subject. When the server has read them all, their number tells
            # which it denied: the last ones.
            if not self._denied:
                self._nats.fence(partial(self._find_denied, self.messages_sent))
            self._denied[denial.subject] = self._denied.get(denial.subject, 0) + 1
        elif denial.subject == self._replies:
            self._refusal = NotPermitted("subscribe", self._replies)
            self._fail_all("subscribe", self._replies)

    def _find_denied(self, last: int) -> None:
        """Fail the messages that were denied, of those up to the place ``last``."""
        denied, self._denied = self._denied, {}
        for subject, count in denied.items():
            found = [item for item in self._under_way.items() if item[1].subject == subject and item[1].copies]
            found = sorted((item for item in found if item[1].place <= last), key=lambda item: item[1].place)
            for number, sent in found[-count:]:
                sent.copies_heard -= 1
                self._end(number, sent)
                sent.on_error(NotPermitted("publish", subject, outcome_unknown=sent.copies_heard > 0))

    def _lose_connection(self) -> None:
        self._denied.clear()
        self._narrow.clear()
        self._refusal = None

    def _fail_all(self, action: Action, subject: str) -> None:
        for number, sent in list(self._under_way.items()):
            self._end(number, sent)
            sent.on_error(NotPermitted(action, subject, outcome_unknown=sent.copies_heard > 0))

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
                sent.on_error(gone if sent.copies_heard else _closed())
            for pile in self._piles.values():
                for sink in pile.sinks:
                    _fail(sink, _closed())
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
        # While the connection is down nothing leaves, and ``resend_all`` sends it when it is back.
        if sent is None or not self._nats.is_connected:
            return
        sent.copies += 1
        sent.resend_at = self._loop.time() + sent.patience_s
        sent.patience_s *= 2
        try:
            self._nats.send(sent.subject, sent.payload, reply=f"{self._inbox}.{number}.{sent.copies}")
            sent.copies_heard += 1
            self.messages_sent += 1
            sent.place = self.messages_sent
        except MaxPayloadError:
            self._end(number, sent)
            sent.on_error(TooLarge("body", f"at most {self._nats.max_payload} bytes", got=str(len(sent.payload))))
        except NatsError as error:
            # The buffer of the connection is full. The sweep sends it again.
            sent.copies -= 1
            log.debug("a request could not be sent yet: %s", error)

    def _sweep(self) -> None:
        now = self._loop.time()
        refusal = self._nats.refusal
        if refusal is not None and not self._nats.is_connected and now - refusal[0] >= REFUSED_S:
            self._fail_all("connect", refusal[1])
        for number, sent in list(self._under_way.items()):
            if now >= sent.deadline:
                self._end(number, sent)
                sent.on_error(self._too_late(sent))
            elif now >= sent.resend_at:
                sent.resend_at = inf
                self._line.append(number)
        if self._line:
            self._wake()

    def _too_late(self, sent: _Message) -> SolventError:
        within = f"within {self._timeout_s:g} s"
        if sent.copies_heard:
            return Unavailable(f"no answer {within}: the outcome is unknown, retry with the same key")
        if sent.copies and self._nats.is_connected:
            # The next request is answered at once, until the service has answered one.
            sent.environment.is_served = False
            return NoService(sent.environment.name)
        return NatsServerUnavailable(f"nothing could be sent to the NATS server {within}: nothing was applied")

    def resend_all(self) -> None:
        """Send all messages again after a reconnect, because those in flight may be lost."""
        self._line = list(self._under_way)
        for sent in self._under_way.values():
            sent.resend_at, sent.patience_s = inf, RESEND_AFTER_S
        self._wake()
        self._wake_followers()

    def _put_under_way(
        self,
        environment: str,
        subject: str,
        payload: bytes,
        *,
        weight: int,
        on_reply: _OnReply,
        on_error: Callable[[SolventError], None],
        deadline: float | None = None,
        copies_heard: int = 0,
    ) -> None:
        known = self._environments.get(environment)
        if known is None:
            if len(self._environments) >= ENVIRONMENTS_MAX:
                self._environments.clear()
            known = self._environments[environment] = _Environment(environment)
        self._last_number += 1
        self._under_way[self._last_number] = _Message(
            known,
            subject,
            payload,
            copies_heard=copies_heard,
            deadline=self._loop.time() + self._timeout_s if deadline is None else deadline,
            weight=weight,
            on_reply=on_reply,
            on_error=on_error,
        )
        self._line.append(self._last_number)
        self._wake()

    @property
    def is_full(self) -> bool:
        return self._outstanding >= self._outstanding_max or self.closed or self._refusal is not None

    def why_full(self) -> SolventError:
        """Return why no request is taken."""
        if self.closed:
            return _closed()
        return Overloaded(retry_after=SWEEP_S) if self._refusal is None else self._refusal

    async def _turn_away(self) -> NoReturn:
        # A caller that asks again at once must leave the loop time for the answers that make room.
        await asyncio.sleep(0)
        raise self.why_full()

    async def submit(self, pool: PoolId, operation: str, part: bytes) -> Receipt:
        if self.is_full:
            await self._turn_away()
        future: asyncio.Future[Receipt] = self._loop.create_future()
        self.put_on_pile(pool, operation, part, future)
        return await future

    def put_on_pile(self, pool: PoolId, operation: str, part: bytes, sink: _Sink) -> None:
        self._outstanding += 1
        key: object
        if self._gather == "environment" and pool.environment not in self._narrow:
            key = pool.environment
        elif self._gather != "off":
            key = (pool.environment, pool.customer)
        else:
            key = len(self._piles)
        pile = self._piles.get(key)
        if pile is None:
            pile = self._piles[key] = _Pile(pool.environment, pool.customer, pool, operation)
            self._wake()
        elif pile.customer != pool.customer:
            pile.customer = None
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
            pile.environment,
            subject_of(pile.environment, pile.pool.customer, pile.operation),
            pile.parts[0],
            weight=1,
            on_reply=lambda reply, _: settle(sink, decode_receipt(reply)),
            on_error=lambda error: _fail(sink, error),
        )

    def _pack_pile(self, pile: _Pile) -> None:
        until = self._loop.time() + self._timeout_s
        room = min(self._nats.max_payload, BODY_BYTES_MAX) - MESSAGE_BYTES_SPARE
        # Their answers have to fit into one message too.
        most = min(GATHERED_MAX, max(1, self._nats.max_payload // ANSWER_BYTES_MAX))
        parts, sinks = pile.parts, pile.sinks
        start = size = 0
        for place, part in enumerate(parts):
            if len(part) > room:
                # It travels alone, and is refused alone.
                size = room
            if place > start and (size + len(part) > room or place - start >= most):
                self._send_group(pile.environment, pile.customer, parts[start:place], sinks[start:place], until)
                start, size = place, 0
            size += len(part) + 1
        self._send_group(pile.environment, pile.customer, parts[start:], sinks[start:], until)

    def _send_group(
        self,
        environment: str,
        customer: str | None,
        parts: list[bytes],
        sinks: list[_Sink],
        until: float,
        *,
        copies_heard: int = 0,
    ) -> None:
        """Send commands in one message: of ``customer``, or of several customers if it is ``None``."""

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
                for some in (slice(half), slice(half, None)):
                    self._send_group(environment, customer, parts[some], sinks[some], until, copies_heard=1)
                return
            if isinstance(error, NotPermitted) and error.action == "publish" and customer is None:
                # This client may not speak for all customers at once. It may for each of these.
                self._narrow.add(environment)
                self._outstanding += len(sinks)
                for one, places in _by_customer(parts).items():
                    own = [parts[place] for place in places], [sinks[place] for place in places]
                    heard = int(error.outcome_unknown)
                    self._send_group(environment, one, *own, until, copies_heard=heard)
                return
            for sink in sinks:
                _fail(sink, error)

        self._put_under_way(
            environment,
            subject_of(environment, customer, BATCH),
            b'{"receipts":"units","commands":[' + b",".join(parts) + b"]}",
            weight=len(parts),
            on_reply=answered,
            on_error=failed,
            deadline=until,
            copies_heard=copies_heard,
        )

    async def ask(self, environment: str, subject: str, payload: bytes, decode: Callable[[bytes], T]) -> T:
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

        self._put_under_way(
            environment, subject, payload, weight=1, on_reply=answered, on_error=lambda error: _fail(future, error)
        )
        return await future

    def check_open(self) -> None:
        """Raise ``Unavailable`` if the client was closed."""
        if self.closed:
            raise _closed()


class _Named(msgspec.Struct):
    """As much of a command as tells whose it is."""

    customer: str


_named: Final = msgspec.json.Decoder(_Named)


def _by_customer(parts: list[bytes]) -> dict[str, list[int]]:
    """Return the places of the commands of each customer."""
    found: dict[str, list[int]] = {}
    for place, part in enumerate(parts):
        found.setdefault(_named.decode(part).customer, []).append(place)
    return found


def _closed() -> Unavailable:
    closed = Unavailable("nothing was done: the client is closed")
    closed.outcome_unknown = False
    return closed


def settle(sink: _Sink, answer: object) -> bool:
    """Pass an answer to a sink, unless its caller has gone."""
    if not sink.done():
        sink.set_result(answer)
    return True


def _fail(sink: _Sink, error: SolventError) -> None:
    if not sink.done():
        sink.set_exception(error)
