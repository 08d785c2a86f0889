"""The NATS connection of client and service: that of nats-py, but it survives bad messages and server errors.

If a message cannot be decoded, nats-py stops reading for good while it still counts as connected. So one request whose
subject is not UTF-8 would make a service deaf. Here such a message is refused, and reading goes on. nats-py also closes
for good when the server reports an error. Here a connection that was established once reconnects for ever.

Two methods are faster than nats-py's own, for messages that come by the thousand. ``send`` collects the messages of one
turn of the event loop and writes them at its end, in one piece, without a task, and in order with everything else that
is published. ``subscribe_directly`` passes a message to a plain function as it is read, without a queue and a task.

What the server denies is passed on: nats-py only logs it, in lower case, so that nobody can say which request it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from nats.aio.client import PING_PROTO, Srv
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import DEFAULT_SUB_PENDING_BYTES_LIMIT, Subscription
from nats.aio.transport import TcpTransport
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError
from nats.errors import Error as NatsError
from nats.protocol.parser import PERMISSIONS_ERR

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.wire.answers import encode_error

from .headers import headers_of
from .launcher import VERSION_MIN, NatsServerUnavailable, parse_version
from .refusals import Denial, NotPermitted, parse_denial

RECONNECT_WAIT_S: Final = 0.1
PENDING_BYTES: Final = 8 << 20
"""The most bytes that wait for a connection that is down."""
SLICE: Final = 512
"""The messages that are read before other tasks get a turn, because nats-py reads on while there are any. They are more
than the gateway takes in a turn, so that the gateway refuses a flood. Otherwise it would pile up in the NATS server,
which would close the connection in the end."""
PING_S: Final = 10
"""The seconds between pings. After two pings without an answer the connection counts as lost."""

UNSENT_BYTES_MAX: Final = 1 << 20
"""The most unsent bytes in the socket before more is written to it."""

DENIALS_MAX: Final = 1_000
"""The most denials that are remembered, so that each is logged as a warning once."""

Take: TypeAlias = Callable[[str, str, bytes, bytes | None], bool]
_USER_INFO: Final = re.compile(r"(?<=://)[^@/,]*@")
_REFUSALS: Final = ("authorization", "authentication")
log = logging.getLogger(__name__)


class Connection(Nats):
    """``nats.aio.client.Client`` with the changes that the module describes."""

    def __init__(self) -> None:
        super().__init__()
        self._read_in_turn = 0
        self._write_is_due = False
        self._is_over = False
        self._direct: dict[int, Take] = {}
        self.denials: dict[Denial, None] = {}
        """What the server has denied since the connection was made or came back."""
        self.refusal: tuple[float, str] | None = None
        """Since when, by the clock of the loop, and why the server refuses to let this connection come back."""
        self._fences: dict[asyncio.Future[Any], Callable[[], None]] = {}
        self.on_denied: Callable[[Denial], None] = _ignore
        """Called with each denial, in the order of the messages that it is about."""
        self.on_lost: Callable[[], None] = _nothing
        """Called when the connection is lost, before it is made again."""

    def send(self, subject: str, payload: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Publish a message at the end of this turn of the loop. ``write`` writes it at once.

        The subjects are not checked, and the headers must be names and values of one line of ASCII. Raises
        ``MaxPayloadError``, ``ConnectionClosedError``, and ``OutboundBufferLimitError`` if too much is waiting because
        the connection is down or the NATS server does not read.
        """
        if self.is_closed:
            raise ConnectionClosedError
        size = len(payload)
        if size > self._max_payload:
            raise MaxPayloadError
        if self._pending_data_size + size > self._max_pending_size:
            self.write()
            if self._pending_data_size + size > self._max_pending_size:
                raise OutboundBufferLimitError
        if headers is None:
            head = f"PUB {subject} {reply} {size}\r\n".encode()
        else:
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            block = f"NATS/1.0\r\n{lines}\r\n"
            head = f"HPUB {subject} {reply} {len(block)} {len(block) + size}\r\n{block}".encode()
        self._pending += (head, payload, b"\r\n")
        self._pending_data_size += len(head) + size + 2
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += size
        if not self._write_is_due:
            self._write_is_due = True
            asyncio.get_running_loop().call_soon(self.write)

    def write(self) -> None:
        """Write what is waiting. If the connection is down or its socket full, nats-py writes it later."""
        self._write_is_due = False
        if not self._pending_data_size or not self.is_connected or self.is_connecting:
            return
        transport = self._transport
        if isinstance(transport, TcpTransport):
            stream = transport._io_writer
            if stream is not None and stream.transport.get_write_buffer_size() <= UNSENT_BYTES_MAX:
                pending, self._pending, self._pending_data_size = self._pending, [], 0
                try:
                    transport.writelines(pending)  # type: ignore[no-untyped-call]
                except (OSError, RuntimeError) as error:
                    # The socket is gone. Reading ends too, and then nats-py reconnects.
                    log.debug("the NATS server went away: %s", error)
                return
        if self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def fence(self, passed: Callable[[], None]) -> None:
        """Call ``passed`` when the server has read all that was sent until now, and its denials have arrived.

        It is not called if the connection is lost before.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pongs.append(future)
        self._fences[future] = passed
        self._pending.append(PING_PROTO)
        self._pending_data_size += len(PING_PROTO)
        self.write()

    async def subscribe_directly(
        self,
        subject: str,
        take: Take,
        *,
        queue: str = "",
        otherwise: Callable[[Msg], Awaitable[None]],
        pending_bytes_limit: int = DEFAULT_SUB_PENDING_BYTES_LIMIT,
    ) -> Subscription:
        """Subscribe, and call ``take`` with subject, reply, data and raw headers of each message as it is read.

        If ``take`` returns ``False``, the message goes through nats-py's queue to ``otherwise``. ``take`` has to make
        sure that no message overtakes those in the queue.
        """
        subscription = await self.subscribe(subject, queue=queue, cb=otherwise, pending_bytes_limit=pending_bytes_limit)
        self._direct[subscription._id] = take
        return subscription

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._direct.get(sid)
        try:
            if take is None or not take(subject.decode(), reply.decode(), data, headers):
                await super()._process_msg(sid, subject, reply, data, headers)
            else:
                self.stats["in_msgs"] += 1
                self.stats["in_bytes"] += len(data)
        except Exception as error:  # noqa: BLE001 - it came from outside: it must not end the reading
            log.warning("a message to %r cannot be read: %s", subject[:100], error)
            # If the reply subject cannot be read either, nobody can be answered.
            with contextlib.suppress(UnicodeDecodeError, NatsError):
                if reply:
                    refusal = InvalidRequest("subject", "a subject and headers in UTF-8")
                    await self.publish(reply.decode(), encode_error(refusal), headers=headers_of(refusal))
        self._read_in_turn += 1
        if self._read_in_turn >= SLICE:
            self._read_in_turn = 0
            await asyncio.sleep(0)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        # nats-py writes its ping before messages that still wait, so ``flush`` could return before they are sent.
        if self._transport is None or not self.is_connected:
            await super()._send_ping(future)
            return
        self._pongs.append(asyncio.get_running_loop().create_future() if future is None else future)
        self._pending.append(PING_PROTO)
        self._pending_data_size += len(PING_PROTO)
        await self._flush_pending()

    async def _process_pong(self) -> None:
        passed = self._fences.pop(self._pongs[0], None) if self._pongs else None
        if passed is not None:
            # At once: denials of later messages may be in the same piece that was read.
            passed()
        if self._pongs and self._pongs[0].done():
            # Its caller has given up, so setting its result would raise.
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        if PERMISSIONS_ERR in err_msg:
            # The parser removes the line only after this.
            denial = parse_denial(bytes(self._ps.buf))
            if denial is None:
                log.warning("the NATS server says: %s", err_msg)
            else:
                if denial not in self.denials and len(self.denials) < DENIALS_MAX:
                    self.denials[denial] = None
                    log.warning("NATS does not permit to %s %s", *denial)
                self.on_denied(denial)
        if self.is_connected and PERMISSIONS_ERR not in err_msg:
            log.warning("the NATS server says: %s", err_msg)
            await self._process_op_err(NatsError(f"nats: {err_msg}"))
        else:
            await super()._process_err(err_msg)

    async def _attempt_reconnect(self) -> None:
        self.denials.clear()
        self._fences.clear()
        self.on_lost()
        await super()._attempt_reconnect()

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        self.refusal = None

    async def _connect_to_server(self, s: Srv) -> None:
        if self._is_over:
            # The attempt before has swallowed the cancellation, as ``wait_for`` does in Python 3.11 when both come at
            # once. It would be repeated for ever.
            raise asyncio.CancelledError
        # nats-py forgets the socket of an attempt that the server refused. Left open, it would leak one per attempt.
        if isinstance(self._transport, TcpTransport):
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.is_connected and asyncio.current_task() is self._reading_task:
            # It ended with an error that nats-py only logs.
            await self._process_op_err(NatsError("nats: reading has ended"))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._is_over = self._is_over or status == Nats.CLOSED
        try:
            if not self.is_connected:
                self._forget_pending()
            await super()._close(status, do_cbs)
        except OSError as error:
            # The server went away while the last messages were sent. The second time there are none.
            log.warning("the NATS server went away: %s", error)
            self._forget_pending()
            self._status = Nats.DISCONNECTED
            await super()._close(status, do_cbs)

    def _forget_pending(self) -> None:
        self._pending = []
        self._pending_data_size = 0

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._direct.pop(sid, None)
        super()._remove_sub(sid, max_msgs)


def _ignore(_: Denial) -> None:
    """Nobody wants to know."""


def _nothing() -> None:
    """Nobody wants to know."""


def _refusal_of(error: Exception) -> str | None:
    """Return why the server refuses the credentials; ``None`` if ``error`` is about something else."""
    text = str(error).removeprefix("nats: ").strip("'\"")
    return text if any(word in text.lower() for word in _REFUSALS) else None


async def connect_nats(url: str, *, name: str, **options: Any) -> Connection:
    """Return a NATS connection that reconnects for ever once established.

    Raises ``NatsServerUnavailable``, ``NotPermitted``.
    """
    shown = _USER_INFO.sub("", url)
    connection = Connection()
    servers = url.split(",")
    servers_untried = len(servers)
    was_there = False

    async def on_error(error: Exception) -> None:
        nonlocal servers_untried
        if was_there:
            if PERMISSIONS_ERR in str(error):
                # It was logged with the subject as it was written.
                return
            # Only the first of many attempts to reconnect is logged as a warning.
            level = logging.DEBUG if connection.is_reconnecting else logging.WARNING
            log.log(level, "%s: %s", name, error)
            reason = _refusal_of(error)
            if reason is not None and connection.refusal is None:
                connection.refusal = asyncio.get_running_loop().time(), reason
            return
        # By itself, nats-py would try a wrong address for ever. Fail at once instead.
        servers_untried -= 1
        if servers_untried <= 0:
            raise error

    defaults: dict[str, Any] = {
        "name": name,
        "error_cb": on_error,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_WAIT_S,
        "pending_size": PENDING_BYTES,
        "ping_interval": PING_S,
        "connect_timeout": 5,
    }
    try:
        await connection.connect(servers, allow_reconnect=True, **{**defaults, **options})
    except (OSError, NatsError, TimeoutError, ValueError) as error:
        # Another error while it closes is only logged.
        was_there = True
        await connection.close()
        reason = _refusal_of(error)
        if reason is not None:
            raise NotPermitted("connect", f"{reason} at {shown}") from error
        raise NatsServerUnavailable(f"no NATS server answers at {shown}: {error}") from error
    was_there = True
    version = parse_version(str(connection.connected_server_version))
    if version < VERSION_MIN:
        await connection.close()
        wanted = ".".join(map(str, VERSION_MIN))
        raise NatsServerUnavailable(f"the NATS server at {shown} is {'.'.join(map(str, version))}: {wanted} is needed")
    return connection
