"""Publishes the events of pools, and their balances when they change.

Alerts and recharge requests come from the journal, in order, each at least once. The position of the last published one
is noted in the journal too, so a service that was killed publishes the last second's again. Of each pool, the newest
balance is published at most once a second. A lost balance does no harm, because the next read returns the newest.

Messages are not kept for subscribers that are away. To keep them, let a JetStream stream collect the subjects, or ask
for ``past_events``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import anyio
import msgspec
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from solvent.engine.api.balances import Balance
from solvent.engine.api.events import PoolEvent
from solvent.engine.engine import Engine
from solvent.engine.values.errors import SolventError
from solvent.engine.values.pool_id import is_stream, parse_canonical, parse_pool
from solvent.transports.wire.answers import encode_event

from .subjects import BALANCE_EVENT, event_subject

PUBLISHER: Final = "nats"
"""The name under which the journal notes what was published."""
NOTE_INTERVAL_S: Final = 1.0
RETRY_INTERVAL_S: Final = 1.0
BALANCES_INTERVAL_S: Final = 1.0
BALANCES_MAX: Final = 1_000
"""The most balances published in one interval. Others wait for the next."""

log = logging.getLogger(__name__)


class Publisher:
    """Publishes the events of ``engine`` on one connection. Use ``run`` in a task group."""

    def __init__(self, engine: Engine, nats: Nats, environments: Sequence[str]) -> None:
        self._engine = engine
        self._nats = nats
        self._environments = frozenset(environments)
        self._published = 0
        """The last frame whose events were all given to the connection."""
        self._noted = 0

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Publish until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._publish_events)
            tasks.start_soon(self._note)
            tasks.start_soon(self._publish_balances)
            task_status.started()

    async def _publish_events(self) -> None:
        while True:
            try:
                noted = await self._engine.feed.published(PUBLISHER)
                async for span in self._engine.feed.spans(noted, self._is_served):
                    for event in span.events:
                        pool = parse_pool(event.pool)
                        subject = event_subject(pool.environment, pool.customer, event.kind)
                        await self._publish(subject, event)
                    self._published = span.position.last_whole_frame
            except (SolventError, NatsError, OSError) as error:
                # The journal is being read again, or NATS is away. Begin at the noted position, so some are repeated.
                log.warning("could not publish events, trying again: %s", error)
                await anyio.sleep(RETRY_INTERVAL_S)

    async def _note(self) -> None:
        """Note regularly up to which frame all events have reached the server."""
        while True:
            await anyio.sleep(NOTE_INTERVAL_S)
            published = self._published
            if published <= self._noted:
                continue
            try:
                await self._nats.flush()
                await self._engine.feed.note_published(PUBLISHER, published)
                self._noted = published
            except (SolventError, NatsError, OSError) as error:
                log.info("could not note which events were published, trying again: %s", error)

    async def _publish_balances(self) -> None:
        with self._engine.feed.following() as changes:
            while True:
                for name in await changes.take(BALANCES_MAX):
                    if not is_stream(name) and self._is_served(name):
                        await self._publish_balance(name)
                await anyio.sleep(BALANCES_INTERVAL_S)

    async def _publish_balance(self, name: str) -> None:
        pool = parse_canonical(name)
        try:
            balance = await self._engine.balance(pool)
            await self._publish(event_subject(pool.environment, pool.customer, BALANCE_EVENT), balance)
        except (SolventError, NatsError, OSError) as error:
            log.info("could not publish the balance of %s: %s", name, error)

    async def _publish(self, subject: str, event: PoolEvent | Balance) -> None:
        """Publish an event, without its long texts if it does not fit into a message otherwise.

        One that does not fit even then is logged and left out: it must not keep back those behind it. Readers by
        position get it whole.
        """
        payload = encode_event(event)
        if len(payload) > self._nats.max_payload and isinstance(event, PoolEvent):
            long = [name for name in ("value", "budget") if getattr(event, name) is not None]
            payload = encode_event(msgspec.structs.replace(event, cut=tuple(long), **dict.fromkeys(long)))
        if len(payload) > self._nats.max_payload:
            log.error("an event of %s does not fit into a message of %d bytes", event.pool, self._nats.max_payload)
            return
        await self._nats.publish(subject, payload)

    def _is_served(self, name: str) -> bool:
        return not self._environments or parse_canonical(name).environment in self._environments
