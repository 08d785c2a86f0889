"""Runs the actors of an engine and what they stand on, and replaces that after a failure of the journal."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from solvent.actors import ActorError, ActorSystem, Family, Options
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.projections.index_file import IndexDamaged
from solvent.engine.rules.commands import Read
from solvent.engine.values.errors import JournalError, SolventError, Unavailable

from .actor import Due, Message, PoolActor, Services
from .asking import outcome_of
from .partition import Partition

SWEEP_INTERVAL_S: Final = 1.0
"""How often due pools are woken. An expiry is written down about so late when nobody asks, and in time when asked."""
SWEEP_POOLS_MAX: Final = 500
RECOVERY_INTERVAL_S: Final = 0.5
"""Between two tries to read the journal again after a failure."""
SEED_BITS: Final = 63

log = logging.getLogger(__name__)


@asynccontextmanager
async def running(
    directory: Path,
    journal: SqliteJournal,
    services: Services,
    options: Options,
    stop_timeout_s: float,
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]],
) -> AsyncIterator[tuple[Family[Message], Family[Message]]]:
    """The tasks of an engine, those ``beside`` it, and the actors of pools and of streams, for the length of a block.

    An exception of the block leaves it as it is: the task group alone would wrap it in a group, and
    ``except InsufficientCredits`` around the block would not see it.
    """
    of_block: Exception | None = None
    async with anyio.create_task_group() as tasks, ActorSystem() as system:
        family = system.register("pool", lambda pool_id: PoolActor(pool_id, services), options)
        # Streams have places of their own: a pool waits for its rate cards, and keeps its place meanwhile.
        streams = system.register("stream", lambda stream: PoolActor(stream, services), options)
        tasks.start_soon(_keep_running, directory, journal, services, (family, streams))
        tasks.start_soon(_sweep, services, family)
        for each in beside:
            tasks.start_soon(each)
        try:
            yield family, streams
        except Exception as error:  # noqa: BLE001 - raised again below, past the group
            of_block = error
        finally:
            with anyio.CancelScope(shield=True):
                await system.stop(stop_timeout_s)
                if services.ready.is_set():
                    await _settle(services.partition)
            tasks.cancel_scope.cancel()
    if of_block is not None:
        raise of_block


async def _sweep(services: Services, family: Family[Message]) -> None:
    """Wake pools to which time does something, so that it is written down even when nobody asks."""
    while True:
        await anyio.sleep(SWEEP_INTERVAL_S)
        await services.ready.wait()
        partition = services.partition
        try:
            pools = await partition.index.due(services.now_us(), SWEEP_POOLS_MAX)
            futures = {pool: family.ask(pool, Read("due")) for pool in pools}
        except (ActorError, SolventError) as error:
            # Overloaded, or the index is being replaced: what is due stays so.
            log.info("due pools are not woken this time: %s", error)
            continue
        if futures:
            await asyncio.wait(futures.values())
        for pool, future in futures.items():
            due = outcome_of(future)
            if isinstance(due, Due):
                partition.projector.woken(pool, due.at, due.version)
            else:
                log.info("pool %s was not woken: %s", pool, due)


async def _settle(partition: Partition) -> None:
    try:
        await partition.settle()
    except (JournalError, IndexDamaged, sqlite3.Error) as error:
        # Nothing is lost: the next start catches the indexes up from the journal.
        log.warning("the indexes could not be brought up to date at the stop: %s", error)


async def _keep_running(
    directory: Path, journal: SqliteJournal, services: Services, families: Sequence[Family[Message]]
) -> None:
    """Run the partition; when the journal or the index fails, read everything again and run the next one."""
    partition = services.partition
    while True:
        services.ready.set()
        # A flush that failed may have written its frame all the same: whoever waits for events looks again.
        services.listeners.notices.ring()
        try:
            await partition.run()
        except* (JournalError, IndexDamaged) as failures:
            services.ready.clear()
            services.rate_books.clear()
            # What the actors hold may never have reached the journal: none may decide anything on it.
            for family in families:
                family.crash_all(Unavailable("the journal is read again after a failure"), counts=False)
            log.error("reading the journal again after a failure: %s", failures.exceptions)
        finally:
            with anyio.CancelScope(shield=True):
                await partition.aclose()
        partition = services.partition = await _open_again(directory, journal, services)


async def _open_again(directory: Path, journal: SqliteJournal, services: Services) -> Partition:
    while True:
        try:
            return await Partition.open(
                directory,
                journal,
                seed=secrets.randbits(SEED_BITS),
                now_us=services.now_us,
                listeners=services.listeners,
                on_progress=None,
            )
        except (IndexDamaged, JournalError, sqlite3.Error) as error:
            log.error("the journal cannot be read again yet: %s", error)
            await anyio.sleep(RECOVERY_INTERVAL_S)
