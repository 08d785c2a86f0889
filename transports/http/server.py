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
from .reading import PROGRESS_S

try:
    from uvicorn import Config, Server
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError as missing:
    raise HttpNotInstalled from missing

CONNECTIONS_MAX: Final = 1_024
"""The most connections at once. More are closed at once."""
HEADERS_S: Final = 10.0
"""The longest that a request's head, or the rest of a body that was refused, may take to arrive."""
HEAD_BYTES_MAX: Final = 64 << 10
"""The most bytes of a head, or of trailers, that are kept until they are whole. One part of what is received may come
on top."""
AHEAD_MAX: Final = 100
"""The most requests that wait on a connection behind the one under way. Each takes about 3 KB."""
TAKEN_S: Final = PROGRESS_S
"""The longest that a client may take nothing of an answer that waits for it."""
IDLE_S: Final = 75
"""The seconds after which a connection without a request is closed."""
BACKLOG: Final = 1_024
STOP_S: Final = 15
"""The longest that ``stop`` waits for the requests under way."""
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
log = logging.getLogger(__name__)


class _Connection(HttpToolsProtocol):
    """A connection whose client can neither keep it for nothing nor fill the memory.

    uvicorn alone has a timer for idle connections, which it forgets when a single byte arrives. It keeps a head of any
    size, and an answer for as long as the client does not take it. Here each of these has a bound.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._held = 0
        """The bytes since the parser last handed something on."""
        if len(self.connections) > CONNECTIONS_MAX:
            self.transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._held += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        answered = self.cycle is None or self.cycle.response_complete
        if self._held > HEAD_BYTES_MAX:
            if answered:
                self.transport.write(_HEAD_TOO_LARGE)
            self._close()
        elif answered and self._timer is None and self.timeout_keep_alive_task is None:
            # Line ends between requests, or the rest of a body that was refused.
            self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self.scope[ABORT] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        self._wait()

    def on_headers_complete(self) -> None:
        self._held = 0
        self._stop_waiting()
        if len(self.pipeline) >= AHEAD_MAX:
            self.transport.abort()
            # It stops the parser, which has more of them in the part that was received.
            raise ConnectionAbortedError("too many requests ahead")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._held = 0
        super().on_message_complete()
        if self.cycle.response_complete:
            # The rest of a body that was refused has arrived: the connection is idle only now.
            self._stop_waiting()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._taking is not None:
            self._taking.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(HEADERS_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            # Nothing is read while answers are under way, so the rest of this head may be here already.
            self._wait()
        else:
            self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._watch()

    def _watch(self) -> None:
        """See to it that what waits for the client is taken. Closing a connection would wait for that without end."""
        if self._taking is None and (left := self.transport.get_write_buffer_size()):
            self._taking = self.loop.call_later(TAKEN_S, self._check_taken, left)

    def _check_taken(self, before: int) -> None:
        self._taking = None
        if self.transport.get_write_buffer_size() < before:
            self._watch()
        else:
            log.info("a connection was cut: nothing of an answer was taken for %g s", TAKEN_S)
            self.transport.abort()


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
