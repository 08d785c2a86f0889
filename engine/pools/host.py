"""The host of a partition: runs it with its actors, and replaces it after a failure of the journal or the index.

From outside, there is one engine that keeps running. Inside, ``services.partition`` is replaced. The host ends the
failed partition and makes every actor drop its state, which may never have reached the journal. Then it opens the next
partition from the journal. Meanwhile ``services.ready`` is not set. An engine hosts exactly one partition, and no other
code knows that there could be several.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from solvent.actors import ActorError, ActorSystem, Options
from solvent.engine.journal.listeners import Listeners
from solvent.engine.journal.opening import OpenJournal
from solvent.engine.projections.index_file import IndexDamaged
from solvent.engine.rules.commands import Read
from solvent.engine.rules.limits import Limits
from solvent.engine.rules.rates import RateBook
from solvent.engine.values.errors import JournalError, SolventError, Unavailable

from .actor import Due, PoolActor
from .asking import outcome_of
from .borrowing import Loans
from .partition import Partition, Progress
from .pools import Pools
from .rate_books import RateBooks
from .refusal_log import RefusalLog
from .refusals import Refusals
from .scales import Scales
from .services import Services

SWEEP_INTERVAL_S: Final = 1.0
"""The interval at which due pools are woken. An expiry is recorded up to about this late, but at once when the pool is
asked."""
SWEEP_POOLS_MAX: Final = 500
RECOVERY_INTERVAL_S: Final = 0.5
"""The pause between two attempts to read the journal again after a failure."""

log = logging.getLogger(__name__)


class Host:
    """One partition and its actors. Only ``Host.open`` creates it."""

    def __init__(
        self,
        opened: OpenJournal,
        partition: Partition,
        system: ActorSystem,
        *,
        currencies: Mapping[str, int],
        limits: Limits,
        options: Options,
        now_us: Callable[[], int],
        listeners: Listeners,
    ) -> None:
        self._opened = opened
        self.services = services = Services(
            now_us=now_us,
            limits=limits,
            scales=Scales(currencies, partition.index.scales),
            partition=partition,
            rate_books=RateBooks(self._read_rates),
            listeners=listeners,
            refusals=Refusals(),
            loans=Loans(options.resident_max),
        )
        self.refusal_log = RefusalLog(opened.folder, services.refusals, machine=opened.machine)
        self._family = system.register("pool", lambda pool_id: PoolActor(pool_id, services), options)
        # Streams have their own places in memory, because a pool keeps its place while it waits for its rate cards.
        self._streams = system.register("stream", lambda stream: PoolActor(stream, services), options)
        self.pools = Pools(services, self._family, self._streams)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        opened: OpenJournal,
        *,
        currencies: Mapping[str, int],
        limits: Limits,
        options: Options,
        stop_timeout_s: float,
        now_us: Callable[[], int],
        on_progress: Progress | None,
        beside: Callable[[], Coroutine[Any, Any, None]],
    ) -> AsyncIterator[Host]:
        """Open a partition on a journal and host it for the length of a block, with the task ``beside`` next to it.

        Leaving the block answers pending commands, within ``stop_timeout_s``, and brings the caches up to date. An
        exception in the block leaves it unchanged: the task group alone would wrap it in a group, and
        ``except InsufficientCredits`` around the block would not see it. Raises ``JournalError``.
        """
        listeners = Listeners()
        try:
            partition = await Partition.open(opened, now_us=now_us, listeners=listeners, on_progress=on_progress)
        except (IndexDamaged, sqlite3.Error) as error:
            raise JournalError(f"the index or the snapshots in {opened.folder} cannot be written: {error}") from error
        of_block: Exception | None = None
        async with anyio.create_task_group() as tasks, ActorSystem() as system:
            host = cls(
                opened,
                partition,
                system,
                currencies=currencies,
                limits=limits,
                options=options,
                now_us=now_us,
                listeners=listeners,
            )
            for task in (host._keep_running, host._wake_due_pools, beside, host.refusal_log.run):
                tasks.start_soon(task)
            try:
                yield host
            except Exception as error:  # noqa: BLE001 - raised again below, past the group
                of_block = error
            finally:
                with anyio.CancelScope(shield=True):
                    await system.stop(stop_timeout_s)
                    await host._settle()
                tasks.cancel_scope.cancel()
        if of_block is not None:
            raise of_block

    async def _keep_running(self) -> None:
        """Run the partition. When the journal or the index fails, open the next partition and run that."""
        services = self.services
        while True:
            services.ready.set()
            # A failed flush may have written its frame after all, so readers that wait for events must look again.
            services.listeners.notices.ring()
            try:
                await services.partition.run()
            except* (JournalError, IndexDamaged) as failures:
                services.ready.clear()
                services.rate_books.clear()
                # The state of the actors may never have reached the journal, so none may decide on it.
                for family in (self._family, self._streams):
                    family.crash_all(Unavailable("the journal is being read again after a failure"), counts=False)
                log.error("reading the journal again after a failure: %s", failures.exceptions)
            finally:
                with anyio.CancelScope(shield=True):
                    await services.partition.aclose()
            services.partition = await self._open_again()

    async def _open_again(self) -> Partition:
        services = self.services
        while True:
            try:
                return await Partition.open(self._opened, now_us=services.now_us, listeners=services.listeners)
            except (IndexDamaged, JournalError, sqlite3.Error) as error:
                log.error("the journal cannot be read again yet: %s", error)
                await anyio.sleep(RECOVERY_INTERVAL_S)

    async def _wake_due_pools(self) -> None:
        """Wake pools with a change due, such as an expiry, so that it is recorded even if no one asks them."""
        services = self.services
        while True:
            await anyio.sleep(SWEEP_INTERVAL_S)
            await services.ready.wait()
            partition = services.partition
            try:
                pools = await partition.index.due(services.now_us(), SWEEP_POOLS_MAX)
            except SolventError as error:
                # The index is being replaced. What is due stays due.
                log.info("due pools are not woken this time: %s", error)
                continue
            futures: dict[str, Any] = {}
            for pool in pools:
                try:
                    futures[pool] = self._family.ask(pool, Read("due"))
                except (ActorError, SolventError) as error:
                    # Overloaded, or a name that was damaged.
                    log.info("pool %s was not woken: %s", pool, error)
            if futures:
                await asyncio.wait(futures.values())
            for pool, future in futures.items():
                due = outcome_of(future)
                if isinstance(due, Due):
                    partition.projector.woken(pool, due.at, due.version)
                else:
                    log.info("pool %s was not woken: %s", pool, due)

    async def _settle(self) -> None:
        """Bring the caches up to date before the stop, unless the partition has failed."""
        if not self.services.ready.is_set():
            return
        try:
            await self.services.partition.settle()
        except (JournalError, IndexDamaged, sqlite3.Error) as error:
            # Nothing is lost: the next start catches the indexes up from the journal.
            log.warning("the indexes could not be brought up to date at the stop: %s", error)

    async def _read_rates(self, stream: str) -> RateBook:
        return await self.pools.read_rates(stream)
