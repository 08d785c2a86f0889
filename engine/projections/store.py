"""Pools without an actor: loads them, and keeps pools that just left an actor until a snapshot has them.

A loaded pool is exact, whatever the caches contain: the newest durable section of a pool is known (to the projector,
then to the index), and events after the snapshot are folded from the journal. Loads at about the same time share reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from solvent.engine.journal.frames import NO_HEAD, Head
from solvent.engine.journal.protocol import Journal
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.pool import Pool, check_books
from solvent.engine.runtime.pacing import rest
from solvent.engine.values.errors import JournalCorrupt, SolventError, Unavailable

from .history import read_history
from .index import Index
from .snapshots import Snapshot, Snapshots, encode_pool

PARKED_MAX: Final = 10_000
"""The most changed pools without an actor that wait for a snapshot. Further ones are dropped, and load more slowly."""
LOAD_POOLS_MAX: Final = 1_000
ENCODE_SLICE: Final = 50
"""The snapshots encoded before other tasks get a turn: about a quarter of a millisecond."""

log = logging.getLogger(__name__)


class Holder(Protocol):
    """An actor, reduced to what snapshots need."""

    pool_id: str
    pool: Pool


class PoolStore:
    """The store from which an actor loads its pool, and to which it leaves the pool."""

    def __init__(
        self,
        *,
        journal: Journal,
        index: Index,
        snapshots: Snapshots,
        barrier: Callable[[], Awaitable[None]],
        unprojected_head: Callable[[str], Head | None],
        began_earlier: Callable[[list[str]], Awaitable[list[str]]],
    ) -> None:
        self._journal = journal
        self._index = index
        self._snapshots = snapshots
        self._barrier = barrier
        self._unprojected_head = unprojected_head
        self._began_earlier = began_earlier
        self._dirty: dict[str, Holder] = {}
        self._parked: dict[str, tuple[Pool, Head]] = {}
        self._parked_sealing: dict[str, tuple[Pool, Head]] = {}
        self._wanted: list[tuple[str, asyncio.Future[tuple[Pool, Head]]]] = []
        self._wake = asyncio.Event()

    def changed(self, holder: Holder) -> None:
        """Note that a pool in an actor has new events."""
        self._dirty[holder.pool_id] = holder

    def leave(self, holder: Holder, head: Head) -> None:
        """Take over a pool from its actor, all of it durable up to ``head``."""
        if self._dirty.pop(holder.pool_id, None) is not None and len(self._parked) < PARKED_MAX:
            self._parked[holder.pool_id] = (holder.pool, head)

    def forget(self, holder: Holder) -> None:
        """Never make a snapshot of this actor: its state cannot be trusted."""
        self._dirty.pop(holder.pool_id, None)

    def forget_all(self) -> None:
        """Forget all actors, because the journal is read again."""
        self._dirty.clear()
        self._parked.clear()
        self._parked_sealing.clear()

    async def load(self, pool_id: str) -> tuple[Pool, Head]:
        """Return the pool as of its last durable event, and its head. A pool that does not exist is empty.

        Raises ``JournalError``, ``Unavailable``.
        """
        for shelf in (self._parked, self._parked_sealing):
            parked = shelf.pop(pool_id, None)
            if parked is not None:
                return parked
        loaded: asyncio.Future[tuple[Pool, Head]] = asyncio.get_running_loop().create_future()
        self._wanted.append((pool_id, loaded))
        self._wake.set()
        return await loaded

    async def run(self) -> None:
        """Load requested pools, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                wanted, self._wanted = self._wanted[:LOAD_POOLS_MAX], self._wanted[LOAD_POOLS_MAX:]
                if not self._wanted:
                    self._wake.clear()
                await self._load(wanted)
        finally:
            for _, loaded in self._wanted:
                if not loaded.done():
                    loaded.set_exception(Unavailable("the engine stopped"))
            self._wanted.clear()

    async def _load(self, wanted: list[tuple[str, asyncio.Future[tuple[Pool, Head]]]]) -> None:
        try:
            # A pool whose actor was lost may still have events on their way to the disk.
            await self._barrier()
            names = list({pool_id for pool_id, _ in wanted})
            heads = await self.heads(names)
            saved = await self._snapshots.load(list(heads)) if heads else {}
        except SolventError as error:
            for _, loaded in wanted:
                if not loaded.done():
                    loaded.set_exception(error)
            return
        except BaseException:
            for _, loaded in wanted:
                if not loaded.done():
                    loaded.set_exception(Unavailable("the engine stopped"))
            raise
        for pool_id, loaded in wanted:
            try:
                head = heads.get(pool_id, NO_HEAD)
                pool = await self._complete(pool_id, saved.get(pool_id), head)
            except SolventError as error:
                if not loaded.done():
                    loaded.set_exception(error)
            else:
                if not loaded.done():
                    loaded.set_result((pool, head))

    async def heads(self, pools: list[str]) -> dict[str, Head]:
        """Return the newest section of each of ``pools`` that exists, at least as new as was durable at the call.

        Raises ``JournalError``, ``Unavailable``.
        """
        heads = await self._known_heads(pools)
        absent = [pool_id for pool_id in pools if pool_id not in heads]
        if absent and (earlier := await self._began_earlier(absent)):
            # They may have begun since the first look. Without its head, a pool would be served as empty.
            heads.update(await self._known_heads(earlier))
            if lost := [pool_id for pool_id in earlier if pool_id not in heads]:
                self._index.condemn(f"the head of pool {lost[0]} is lost")
        return heads

    async def _known_heads(self, pools: list[str]) -> dict[str, Head]:
        heads: dict[str, Head] = {}
        indexed: list[str] = []
        for pool_id in pools:
            head = self._unprojected_head(pool_id)
            if head is None:
                indexed.append(pool_id)
            else:
                heads[pool_id] = head
        if indexed:
            heads.update(await self._index.heads(indexed))
        return heads

    async def _complete(self, pool_id: str, saved: Pool | None, head: Head) -> Pool:
        """Return the pool at ``head``, based on a snapshot if a usable one exists."""
        if saved is not None and saved.version > head.version:
            # It was saved after its entries were flushed. Served from the journal, the pool would have lost them.
            raise JournalCorrupt(
                f"snapshots.db has version {saved.version} of the pool, the journal ends with {head.version}: restore "
                f"the journal with its log, or accept the loss with solvent accept-loss",
                pool=pool_id,
            )
        pool = Pool() if saved is None else saved
        if pool.version == head.version:
            return pool
        async for sections in read_history(self._journal, self._index, pool_id, head, after=pool.version):
            for section in sections:
                skip = pool.version + 1 - section.first_version
                for event in section.events[skip:]:
                    apply(pool, event)
        if pool.version != head.version:
            raise JournalCorrupt(f"the history ends at version {pool.version} of {head.version}", pool=pool_id)
        check_books(pool)
        return pool

    async def capture(self) -> list[Snapshot]:
        """Return snapshots of all pools that changed since the last call, some with events not durable yet.

        Save them once everything handed to the writer is durable; then call ``captured``.
        """
        dirty, self._dirty = self._dirty, {}
        self._parked_sealing, self._parked = self._parked, {}
        pools = [(holder.pool_id, holder) for holder in dirty.values()]
        snapshots: list[Snapshot] = []
        for number, (pool_id, (pool, _)) in enumerate(list(self._parked_sealing.items()), 1):
            snapshots.append(Snapshot(pool_id, pool.version, encode_pool(pool), pool.clock))
            if number % ENCODE_SLICE == 0:
                await rest()
        for number, (pool_id, holder) in enumerate(pools, 1):
            pool = holder.pool
            snapshots.append(Snapshot(pool_id, pool.version, encode_pool(pool), pool.clock))
            if number % ENCODE_SLICE == 0:
                await rest()
        return snapshots

    def captured(self) -> None:
        """Note that the snapshots of the last ``capture`` were saved."""
        self._parked_sealing = {}
