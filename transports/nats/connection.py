"""The NATS connection of client and service: nats-py's, made to outlive bad messages and bad moments.

nats-py stops reading for good, while it still counts as connected, when a message cannot be decoded: one request whose
subject is not UTF-8 would make a service deaf. Here such a message is refused and reading goes on. nats-py also closes
for good when the server reports an error. Here a connection that was there once reconnects for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError
from nats.protocol.parser import PERMISSIONS_ERR

from solvent.engine.errors import InvalidRequest

from .launcher import VERSION_MIN, NatsServerUnavailable, parse_version
from .wire import encode_error, headers_of

RECONNECT_WAIT_S: Final = 0.1
PENDING_BYTES: Final = 8 << 20
"""What may wait for a connection that is down."""
SLICE: Final = 512
"""Messages that are read before others have a turn of the event loop: nats-py reads on while there is anything. More
than the gateway takes in a turn, so that a flood is refused there and does not pile up in the NATS server, which would
hang up at last."""
PING_S: Final = 10
"""How often an idle connection is tried; after two pings without an answer it counts as lost."""

log = logging.getLogger(__name__)


class Connection(Nats):
    """``nats.aio.client.Client`` with the gaps closed that the module speaks of."""

    _read_in_turn = 0

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except Exception as error:  # noqa: BLE001 - it came from outside: it must not end the reading
            log.warning("a message to %r cannot be read: %s", subject[:100], error)
            # A reply subject that cannot be read either leaves nobody to tell.
            with contextlib.suppress(UnicodeDecodeError, NatsError):
                if reply:
                    refusal = InvalidRequest("subject", "a subject and headers in UTF-8")
                    await self.publish(reply.decode(), encode_error(refusal), headers=headers_of(refusal))
        self._read_in_turn += 1
        if self._read_in_turn >= SLICE:
            self._read_in_turn = 0
            await asyncio.sleep(0)

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            # Whoever waited for it has given up. Setting its result would raise.
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        if self.is_connected and PERMISSIONS_ERR not in err_msg:
            log.warning("the NATS server says: %s", err_msg)
            await self._process_op_err(NatsError(f"nats: {err_msg}"))
        else:
            await super()._process_err(err_msg)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.is_connected and asyncio.current_task() is self._reading_task:
            # It ended by an error that nats-py only logs.
            await self._process_op_err(NatsError("nats: reading has ended"))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            if not self.is_connected:
                self._forget_pending()
            await super()._close(status, do_cbs)
        except OSError as error:
            # The server went away while the rest was sent to it. The second time there is no rest.
            log.warning("the NATS server went away: %s", error)
            self._forget_pending()
            self._status = Nats.DISCONNECTED
            await super()._close(status, do_cbs)

    def _forget_pending(self) -> None:
        self._pending = []
        self._pending_data_size = 0


async def connect_nats(url: str, *, name: str, **options: Any) -> Connection:
    """A NATS connection that reconnects for ever, once it was there. Raises ``NatsServerUnavailable``."""
    connection = Connection()
    servers = url.split(",")
    servers_untried = len(servers)
    was_there = False

    async def on_error(error: Exception) -> None:
        nonlocal servers_untried
        if was_there:
            # Of the many attempts to reconnect only the first is worth a line.
            level = logging.DEBUG if connection.is_reconnecting else logging.WARNING
            log.log(level, "%s: %s", name, error)
            return
        # Left alone, nats-py would try a wrong address for ever: it should be heard of at once.
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
        await connection.close()
        raise NatsServerUnavailable(f"no NATS server answers at {url}: {error}") from error
    was_there = True
    version = parse_version(str(connection.connected_server_version))
    if version < VERSION_MIN:
        await connection.close()
        wanted = ".".join(map(str, VERSION_MIN))
        raise NatsServerUnavailable(f"the NATS server at {url} is {'.'.join(map(str, version))}: {wanted} is needed")
    return connection
