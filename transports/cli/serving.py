"""The service: an engine, and the transports that answer for it, until a signal stops it.

The requests under way are answered first. A ``kill -9`` at any moment loses nothing that was acknowledged.
"""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from os import PathLike
from typing import NamedTuple

import anyio
import msgspec

from solvent.engine.engine import Engine
from solvent.engine.settings import SETTINGS_DEFAULT, Settings
from solvent.engine.values.errors import InvalidRequest
from solvent.transports.nats.launcher import nats_server
from solvent.transports.nats.service import serving

log = logging.getLogger(__name__)


class Http(NamedTuple):
    """Where and how HTTP is answered."""

    address: str
    """A host and a port on loopback, such as "127.0.0.1:8080"."""
    certificate: str | PathLike[str] | None = None
    private_key: str | PathLike[str] | None = None
    """Files in PEM, to speak TLS."""


class Served(NamedTuple):
    """The URLs at which requests are answered; ``None`` where they are not."""

    nats: str | None
    http: str | None


async def serve(
    directory: str | PathLike[str],
    *,
    nats: bool = True,
    nats_url: str | None = None,
    nats_port: int | None = None,
    http: Http | None = None,
    environments: Sequence[str] | None = None,
    currencies: Mapping[str, int] | None = None,
    settings: Settings = SETTINGS_DEFAULT,
    on_ready: Callable[[Served], None] = lambda served: None,
    stop: anyio.Event | None = None,
) -> None:
    """Serve the journal in ``directory`` until SIGTERM, SIGINT or ``stop``.

    Without ``nats_url``, a nats-server is started on loopback, on ``nats_port`` if given; with ``nats`` false, none is
    used. ``on_ready`` is called once requests are answered.

    Raises ``JournalLocked``, ``JournalError``, ``AlreadyServed``, ``NatsServerUnavailable``, ``AddressInUse``;
    ``InvalidRequest`` if there is nothing to serve on.
    """
    if not nats and http is None:
        raise InvalidRequest("http", "an address, since NATS is not served either")
    async with AsyncExitStack() as stack:
        settings = msgspec.structs.replace(settings, usage="always")
        engine = await stack.enter_async_context(Engine.open(directory, currencies=currencies, settings=settings))
        url: str | None = None
        if nats:
            url = nats_url if nats_url is not None else await stack.enter_async_context(nats_server(port=nats_port))
            await stack.enter_async_context(serving(engine, url, environments=environments or ()))
        page: str | None = None
        if http is not None:
            # Only here: its packages are an extra.
            from solvent.transports.http.server import serving_http

            page = await stack.enter_async_context(
                serving_http(engine, http.address, certificate=http.certificate, private_key=http.private_key)
            )
        on_ready(Served(url, page))
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
