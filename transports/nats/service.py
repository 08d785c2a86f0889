"""The service: an engine, a gateway, and a NATS server of its own if none is given.

SIGTERM and SIGINT stop it after the requests under way are answered. A ``kill -9`` at any moment loses nothing that was
acknowledged.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from os import PathLike

import anyio
import msgspec
from nats.errors import Error as NatsError

from solvent.engine.engine import Engine
from solvent.engine.settings import SETTINGS_DEFAULT, Settings
from solvent.engine.values.pool_id import check_id

from .background import background
from .connection import connect_nats
from .discovery import Discovery, refuse_second_service
from .gateway import Gateway
from .launcher import NatsServerUnavailable, nats_server
from .publisher import Publisher

STOP_TIMEOUT_S = 15.0
log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(engine: Engine, nats_url: str, *, environments: Sequence[str] = ()) -> AsyncIterator[Gateway]:
    """Answer requests for ``engine`` from the NATS at ``nats_url``, for the length of a block.

    ``environments`` are those to serve; an empty list means all. Raises ``AlreadyServed``, ``NatsServerUnavailable``.
    """
    for environment in environments:
        check_id(environment, "environments")
    instance = secrets.token_hex(11).upper()
    async with AsyncExitStack() as stack:
        connections = []
        for purpose in ("commands", "reads"):
            connection = await connect_nats(nats_url, name=f"solvent-{purpose}-{instance}")
            stack.push_async_callback(connection.close)
            connections.append(connection)
        commands, reads = connections
        await refuse_second_service(reads, environments)
        discovery = Discovery(
            reads,
            instance=instance,
            version=version("solvent"),
            environments=environments,
            statistics=engine.statistics,
        )
        gateway = Gateway(engine, commands, reads, discovery)
        async with background(gateway.run):
            try:
                await gateway.start(environments)
                await discovery.start()
            except NatsError as error:
                raise NatsServerUnavailable(f"the NATS server at {nats_url} went away: {error}") from error
            try:
                async with background(Publisher(engine, reads, environments).run):
                    yield gateway
            finally:
                with anyio.CancelScope(shield=True):
                    await gateway.stop(STOP_TIMEOUT_S)


async def serve(
    directory: str | PathLike[str],
    *,
    nats_url: str | None = None,
    nats_port: int | None = None,
    environments: Sequence[str] | None = None,
    currencies: Mapping[str, int] | None = None,
    settings: Settings = SETTINGS_DEFAULT,
    on_ready: Callable[[str], None] = lambda url: None,
    stop: anyio.Event | None = None,
) -> None:
    """Serve the journal in ``directory`` until SIGTERM, SIGINT or ``stop``.

    Without ``nats_url``, a nats-server is started on loopback, on ``nats_port`` if given. ``on_ready`` is called with
    the URL once requests are answered.

    Raises ``JournalLocked``, ``JournalError``, ``AlreadyServed``, ``NatsServerUnavailable``.
    """
    async with AsyncExitStack() as stack:
        settings = msgspec.structs.replace(settings, usage="always")
        engine = await stack.enter_async_context(Engine.open(directory, currencies=currencies, settings=settings))
        url = nats_url if nats_url is not None else await stack.enter_async_context(nats_server(port=nats_port))
        await stack.enter_async_context(serving(engine, url, environments=environments or ()))
        on_ready(url)
        async with anyio.create_task_group() as tasks:
            stopped = anyio.Event() if stop is None else stop
            tasks.start_soon(_stop_on_signal, stopped)
            await stopped.wait()
            tasks.cancel_scope.cancel()
        log.info("stopping: requests under way are answered")


async def _stop_on_signal(stopped: anyio.Event) -> None:
    # Outside the main thread signals cannot be received, so only ``stop`` stops the service.
    with contextlib.suppress(ValueError, RuntimeError), anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as s:
        async for _ in s:
            stopped.set()
            return
