"""The service over NATS: a gateway, its discovery and its publisher, for an engine that is open."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import anyio
from nats.errors import Error as NatsError

from solvent.engine.engine import Engine
from solvent.engine.values.pool_id import check_id
from solvent.transports.wire.background import background

from .connection import Connection, connect_nats
from .discovery import Discovery, refuse_second_service
from .gateway import Gateway
from .launcher import NatsServerUnavailable
from .publisher import Publisher
from .refusals import NotPermitted
from .subjects import PREFIX

STOP_TIMEOUT_S = 15.0
log = logging.getLogger(__name__)


@asynccontextmanager
async def serving(engine: Engine, nats_url: str, *, environments: Sequence[str] = ()) -> AsyncIterator[Gateway]:
    """Answer requests for ``engine`` from the NATS at ``nats_url``, for the length of a block.

    ``environments`` are those to serve; an empty list means all. Raises ``AlreadyServed``, ``NatsServerUnavailable``,
    ``NotPermitted``.
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
                for connection in connections:
                    _refuse_deafness(connection)
                await discovery.start()
            except NatsError as error:
                raise NatsServerUnavailable(f"the NATS server at {nats_url} went away: {error}") from error
            try:
                async with background(Publisher(engine, reads, environments).run):
                    yield gateway
            finally:
                with anyio.CancelScope(shield=True):
                    await gateway.stop(STOP_TIMEOUT_S)


def _refuse_deafness(connection: Connection) -> None:
    """Raise ``NotPermitted`` if NATS denies a subscription to requests: clients would be told that there is no service.

    Discovery is not needed to serve.
    """
    for denial in connection.denials:
        if denial.action == "subscribe" and denial.subject.startswith(f"{PREFIX}."):
            raise NotPermitted("subscribe", denial.subject)
