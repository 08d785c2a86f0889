"""The HTTP server: uvicorn in the loop of the engine, with bounds on connections and on slow clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from os import PathLike
from typing import Any, Final

import anyio
import anyio.abc

from solvent.engine.engine import Engine
from solvent.engine.values.errors import InvalidRequest
from solvent.transports.wire.background import background

from .app import HttpApp
from .asgi import ABORT
from .errors import AddressInUse, HttpNotInstalled
from .local import is_loopback

try:
    from uvicorn import Config, Server
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError as missing:
    raise HttpNotInstalled from missing

CONNECTIONS_MAX: Final = 1_024
"""The most connections at once. More are closed at once."""
HEADERS_S: Final = 10.0
"""The longest that a request's headers may take to arrive."""
IDLE_S: Final = 75
"""The seconds after which a connection without a request is closed."""
BACKLOG: Final = 1_024
STOP_S: Final = 15
"""The longest that ``stop`` waits for the requests under way."""
log = logging.getLogger(__name__)


class _Connection(HttpToolsProtocol):
    """A connection that is closed if there are too many, or if headers do not arrive in time."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        if len(self.connections) > CONNECTIONS_MAX:
            self.transport.abort()
            return
        self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        self._wait()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(HEADERS_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class _Server(Server):
    """uvicorn's server without its signal handlers: the service decides when it stops."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.begun = anyio.Event()
        self.ended = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            self.ended.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def parse_address(address: str) -> tuple[str, int]:
    """Return the host and the port of "127.0.0.1:8080" or "[::1]:8080". Raises ``InvalidRequest``."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise InvalidRequest("http", "an address such as 127.0.0.1:8080", got=repr(address)[:60])
    return host, int(port)


@asynccontextmanager
async def serving_http(
    engine: Engine,
    address: str,
    *,
    certificate: str | PathLike[str] | None = None,
    private_key: str | PathLike[str] | None = None,
) -> AsyncIterator[str]:
    """Answer requests for ``engine`` at ``address``, for the length of a block, and yield the URL.

    ``address`` is a host and a port on loopback, port 0 for a free one. With ``certificate`` and ``private_key``, PEM
    files, it speaks TLS. Leaving the block answers the requests under way.

    Raises ``InvalidRequest`` for an address that is not on loopback, and for files that are no certificate;
    ``AddressInUse``.
    """
    host, port = parse_address(address)
    if not is_loopback(host):
        expected = "an address on loopback: without keys, only programs on this machine are answered"
        raise InvalidRequest("http", expected, got=address[:60])
    app = HttpApp(engine, local_only=True)
    config = Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_S,
    )
    config.load()
    if certificate is not None or private_key is not None:
        config.ssl = _tls(certificate, private_key)
    with _listen(host, port) as listener:
        server = _Server(config)

        async def run(*, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(server.serve, sockets=[listener]))
                await server.begun.wait()
                task_status.started()

        async with background(run):
            scheme = "http" if config.ssl is None else "https"
            shown = f"[{host}]" if ":" in host else host
            try:
                yield f"{scheme}://{shown}:{listener.getsockname()[1]}"
            finally:
                with anyio.CancelScope(shield=True):
                    app.stop()
                    server.should_exit = True
                    await server.ended.wait()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressInUse(f"nothing can listen at {host}:{port}: {error.strerror}") from error


def _tls(certificate: str | PathLike[str] | None, private_key: str | PathLike[str] | None) -> ssl.SSLContext:
    if certificate is None or private_key is None:
        missing = "tls_cert" if certificate is None else "tls_key"
        raise InvalidRequest(missing, "a file in PEM: a certificate and its key go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest("tls_cert", "a certificate and its private key in PEM", got=str(error)[:100]) from None
    return context
