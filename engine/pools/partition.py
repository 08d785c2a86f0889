"""A partition: everything between the pool actors and one journal.

It lives from one failure of the journal or the index to the next. Then it is dropped, and another is opened from the
journal. The index catches up before anything is served, so a new partition has nothing in memory.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from solvent.engine.journal.frames import Pointer, Section
from solvent.engine.journal.listeners import Listeners
from solvent.engine.journal.opening import Location, OpenJournal, open_reader
from solvent.engine.journal.protocol import Journal, NoSection
from solvent.engine.journal.writer import Writer
from solvent.engine.projections.history import sections_between
from solvent.engine.projections.index import Index
from solvent.engine.projections.index_file import ForeignIndex, IndexDamaged
from solvent.engine.projections.keys import OPENING, KeyBook, hash_key
from solvent.engine.projections.projector import BEHIND_KEYS_MAX, Projector
from solvent.engine.projections.snapshots import Snapshots
from solvent.engine.projections.store import PoolStore
from solvent.engine.rules.events import KEYED, Event
from solvent.engine.rules.outcomes import Prior
from solvent.engine.runtime.files import INDEX_NAME, SNAPSHOTS_NAME
from solvent.engine.runtime.sqlite import is_passing, remove_database
from solvent.engine.values.errors import JournalCorrupt, JournalShorter

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
SEED_BITS: Final = 63
"""The size of the seed for the key hashes of a new index."""


class Partition:
    """The writer, projector, look-ups and caches of one engine, connected to each other."""

    def __init__(
        self,
        journal: Journal,
        index: Index,
        snapshots: Snapshots,
        keys: KeyBook,
        *,
        last_number: int,
        now_us: Callable[[], int],
        listeners: Listeners,
    ) -> None:
        self.journal = journal
        self.index = index
        self.keys = keys
        self.snapshots = snapshots
        self.projector = Projector(
            index=index, snapshots=snapshots, keys=keys, barrier=self._barrier, listeners=listeners
        )
        self.writer = Writer(journal, last_number=last_number, now_us=now_us, on_commit=self.projector.committed)
        self.store = PoolStore(
            journal=journal,
            index=index,
            snapshots=snapshots,
            barrier=self._barrier,
            unprojected_head=self.projector.head,
            began_earlier=self._began_earlier,
        )

    def _barrier(self) -> Awaitable[None]:
        return self.writer.barrier()

    @classmethod
    async def open(
        cls,
        opened: OpenJournal,
        *,
        now_us: Callable[[], int],
        listeners: Listeners,
        on_progress: Progress | None = None,
    ) -> Partition:
        """Open the caches of a journal and catch them up with it. Damaged caches are rebuilt.

        ``on_progress`` is called with (frames read, frames to read). Raises ``JournalError``, and ``IndexDamaged`` or
        ``sqlite3.Error`` if a cache cannot be written now.
        """
        journal, folder = opened.journal, opened.folder
        last_number = await journal.last_number()
        seed = opened.machine.random_bits(SEED_BITS)
        try:
            return await cls._open(opened, last_number, seed, now_us, listeners, on_progress)
        except IndexDamaged as error:
            if isinstance(error, ForeignIndex) and error.position and not last_number:
                # To SQLite, an empty file in place of the journal is a new journal.
                raise _lost(folder, 0, error.position, INDEX_NAME) from None
            log.warning("the index is rebuilt from the journal: %s", error)
            remove_database(folder / INDEX_NAME)
            return await cls._open(opened, last_number, seed, now_us, listeners, on_progress)

    @classmethod
    async def _open(
        cls,
        opened: OpenJournal,
        last_number: int,
        seed: int,
        now_us: Callable[[], int],
        listeners: Listeners,
        on_progress: Progress | None,
    ) -> Partition:
        journal, folder, machine = opened.journal, opened.folder, opened.machine
        identity = journal.identity
        index = await Index.open(folder / INDEX_NAME, journal_identity=identity, seed=seed, machine=machine)
        snapshots: Snapshots | None = None
        try:
            if index.position > last_number:
                # The index is written after the journal is flushed, so every frame in it was acknowledged.
                raise _lost(folder, last_number, index.position, INDEX_NAME)
            if not index.position and opened.readable_at is not None:
                await machine.in_thread(partial(_check_store, opened.readable_at))
            keys = KeyBook(seed=index.seed, seen=await index.filters.load())
            snapshots = await Snapshots.open(folder / SNAPSHOTS_NAME, journal_identity=identity, machine=machine)
            if snapshots.position > last_number:
                raise _lost(folder, last_number, snapshots.position, SNAPSHOTS_NAME)
            partition = cls(
                journal, index, snapshots, keys, last_number=last_number, now_us=now_us, listeners=listeners
            )
            await partition.projector.catch_up(journal, through=last_number, on_progress=on_progress)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await index.aclose()
                if snapshots is not None:
                    await snapshots.aclose()
            if index.damage or (isinstance(error, sqlite3.Error) and not is_passing(error)):
                raise IndexDamaged(index.damage or str(error)) from error
            raise
        return partition

    async def run(self) -> None:
        """Write, load and project until cancelled.

        Raises ``JournalError`` or ``IndexDamaged`` in an exception group: then ``aclose`` this and open the next
        partition.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.writer.run)
                tasks.start_soon(self.journal.write_back)
                tasks.start_soon(self.store.run)
                tasks.start_soon(self.projector.run, self.store)
                tasks.start_soon(self.index.wait_for_damage)
        finally:
            self.store.forget_all()

    async def settle(self) -> None:
        """Bring all caches up to date before a stop, so that the next start has nothing to catch up."""
        await self.projector.round(self.store, last=True)

    async def aclose(self) -> None:
        """Close the files of the caches. The journal stays open."""
        await self.index.aclose()
        await self.snapshots.aclose()

    def is_behind(self) -> bool:
        """Return whether the index is so far behind that no more commands can be taken."""
        return self.projector.behind > BEHIND_KEYS_MAX

    async def notice_frames(self, first: int, limit: int) -> list[int]:
        """Return at most ``limit`` durable frames with notices (events to be published) from ``first`` on, in order."""
        # Read memory first: frames only ever move from there to the index, so none is missed.
        recent = self.projector.notice_frames(first)
        indexed = await self.index.notice_frames(first, limit)
        return sorted({*indexed, *recent})[:limit]

    async def find_entry(self, pool: str, version: int) -> Event | None:
        """Return the durable event that made ``version`` of ``pool``, if there is one. Raises ``JournalError``."""
        head = (await self.store.heads([pool])).get(pool)
        if head is None or not 1 <= version <= head.version:
            return None
        for section in await sections_between(self.journal, self.index, pool, head, first=version, last=version):
            if section.first_version <= version <= section.last_version:
                return section.events[version - section.first_version]
        return None

    async def find_keys(self, pool: str, keys: Sequence[tuple[str, int]]) -> dict[str, Prior]:
        """Return the events that used ``keys`` (each with its hash) in ``pool``, as far as the index knows.

        Raises ``JournalError``.
        """
        pointers = await self.index.segments.find([key_hash for _, key_hash in keys])
        wanted = {key for key, _ in keys}
        priors: dict[str, Prior] = {}
        for section in await self._sections(pointers):
            if section.pool != pool:
                continue
            for version, event in enumerate(section.events, section.first_version):
                if isinstance(event, KEYED) and event.key in wanted:
                    priors[event.key] = (event, version)
        if len(priors) < len(wanted):
            # Only the filters claim that these keys were used. They may err; the index must not.
            await self.index.segments.assure(key_hash for key, key_hash in keys if key not in priors)
        return priors

    async def _began_earlier(self, pools: Sequence[str]) -> list[str]:
        """Return those of ``pools`` that begin in the indexed part of the journal."""
        hashes = [hash_key(pool, OPENING, self.keys.seed) for pool in pools]
        doubtful = [key_hash for key_hash in hashes if key_hash in self.keys.seen]
        if not doubtful:
            return []
        began = {section.pool for section in await self._sections(await self.index.segments.find(doubtful))}
        found = [pool for pool in pools if pool in began]
        if len(found) < len(doubtful):
            await self.index.segments.assure(doubtful)
        return found

    async def _sections(self, pointers: dict[int, list[Pointer]]) -> Sequence[Section]:
        try:
            return await self.journal.sections(list({each for found in pointers.values() for each in found}))
        except NoSection as error:
            # The frame is intact, so the index is wrong.
            self.index.condemn(str(error))


def _lost(folder: Path, last: int, acknowledged: int, known_by: str) -> JournalShorter:
    return JournalShorter(str(folder), last=last, acknowledged=acknowledged, known_by=known_by)


def _check_store(location: Location) -> None:
    """Raise ``JournalCorrupt`` if the file of a journal is damaged.

    With an index, frames that cannot be found are missed. Without one, nobody knows them, and SQLite notices only what
    it meets: a smaller count of the rows on a page reads like the end of the journal.
    """
    with closing(open_reader(location)) as reader:
        for fault in reader.damage():
            raise JournalCorrupt(
                f"{fault}. There is no index that knows how the journal was, so it is not served: restore the journal, "
                f"or save what can be read: solvent accept-loss --data-dir {location}"
            )
