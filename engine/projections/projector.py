"""The projector: follows the journal and keeps the index, the key filters and the snapshots up to date.

It works in rounds, off the hot path. A round seals the keys in memory, makes snapshots of changed pools, waits until
all of that is durable, writes the index, and only then frees the memory. A crash between any two lines loses nothing:
at the start, the index catches up with the journal before anything is served.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.lowlevel

from solvent.engine.journal.frames import CommittedSection, Head, decode_section, digest_of, split_frame
from solvent.engine.journal.listeners import Listeners
from solvent.engine.journal.protocol import Journal
from solvent.engine.journal.writer import scale_of_new
from solvent.engine.rules.due import due_after
from solvent.engine.rules.events import KEYED, NOTICES
from solvent.engine.runtime.pacing import rest, slice_of
from solvent.engine.values.errors import JournalError

from .index import Index
from .keys import KeyBook, hash_key
from .projection import Projection
from .snapshots import Snapshots
from .statements import ROWS_PER_STATEMENT, ROWS_PER_STATEMENT_ALONE
from .store import PoolStore

ROUND_INTERVAL_S: Final = 0.5
ROUND_KEYS: Final = 20_000
"""The number of keys in memory that starts a round early."""
BEHIND_KEYS_MAX: Final = 1_000_000
"""The keys in memory, about 400 MB, beyond which the engine takes no more commands: the index cannot be written."""
STATEMENTS_OF_MERGE: Final = 20
"""The divisor that gives a merge larger steps the more keys came meanwhile. A merge of millions of rows takes seconds,
and keys pile up."""
RETRY_INTERVAL_S: Final = 2.0
CATCH_UP_FRAMES: Final = 256
CATCH_UP_KEYS: Final = 100_000

log = logging.getLogger(__name__)


class Projector:
    """Owns the rounds. The writer reports every frame to it before it sends any answer."""

    def __init__(
        self,
        *,
        index: Index,
        snapshots: Snapshots,
        keys: KeyBook,
        barrier: Callable[[], Awaitable[None]],
        listeners: Listeners,
    ) -> None:
        self._listeners = listeners
        self._index = index
        self._snapshots = snapshots
        self._keys = keys
        self._barrier = barrier
        self._pending = Projection(keys.seed)
        self._sealing: Projection | None = None
        self._round_turn = anyio.Lock()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._generation_sealed = False
        self.rounds = 0

    def committed(self, frame: int, sections: list[CommittedSection]) -> None:
        """Take note of a frame that has become durable."""
        self._pending.add(frame, sections)
        if self._pending.notices[-1:] == [frame]:
            self._listeners.notices.ring()
        for changes in self._listeners.changes:
            changes.add([section.pool for section in sections])
        if not self._wake.is_set():
            self._wake.set()
        if self._pending.key_count >= ROUND_KEYS:
            self._urgent.set()

    def woken(self, pool: str, due_at: int | None, version: int) -> None:
        """Take note that a due pool has recorded its changes, up to ``version``, and is next due at ``due_at``."""
        self._pending.woken[pool] = (due_at, version)
        self._wake.set()

    def head(self, pool: str) -> Head | None:
        """Return the newest durable section of ``pool``, if the index may not have it yet."""
        found = self._pending.heads.get(pool)
        if found is None and self._sealing is not None:
            found = self._sealing.heads.get(pool)
        return found

    def pools(self) -> set[str]:
        """Return the pools for which ``head`` returns a section."""
        return {*self._pending.heads, *(self._sealing.heads if self._sealing is not None else ())}

    def notice_frames(self, first: int) -> list[int]:
        """Return the frames with notices from ``first`` on that the index may not have yet."""
        sealing = [] if self._sealing is None else self._sealing.notices
        return [number for number in (*sealing, *self._pending.notices) if number >= first]

    @property
    def behind(self) -> int:
        """The number of keys that the index does not have yet."""
        return self._pending.key_count + (self._sealing.key_count if self._sealing is not None else 0)

    async def run(self, store: PoolStore) -> None:
        """Do rounds until cancelled. Raises ``IndexDamaged`` if the index must be rebuilt, ``JournalError`` if the
        journal failed."""
        while True:
            await self._wake.wait()
            with anyio.move_on_after(ROUND_INTERVAL_S):
                await self._urgent.wait()
            self._wake.clear()
            self._urgent.clear()
            try:
                await self.round(store)
            except sqlite3.Error as error:
                # Usually a full disk. Nothing is lost: pending keys stay pending, and the round is repeated.
                log.warning("the index could not be written, trying again: %s", error)
                self._wake.set()
                await anyio.sleep(RETRY_INTERVAL_S)

    async def round(self, store: PoolStore, *, last: bool = False) -> None:
        """Bring the index, the filters and the snapshots up to everything handed to the writer so far.

        ``last`` is for a stop: nothing is served meanwhile, and the filters are saved in any case. Rounds take turns,
        because the file takes one transaction at a time, and during a round the filters lack keys that it has.
        """
        step = ROWS_PER_STATEMENT_ALONE if last else ROWS_PER_STATEMENT
        async with self._round_turn:
            if not self._generation_sealed:
                self._keys.begin_generation()
                self._generation_sealed = True
            captured = await store.capture()
            await self._barrier()
            projection, self._pending = self._pending, Projection(self._keys.seed)
            self._sealing = projection
            try:
                if projection.through or projection.woken:
                    await self._index.project(projection, step=step)
            except sqlite3.Error:
                projection.absorb(self._pending)
                self._pending, self._sealing = projection, None
                raise
            hashes = projection.hashes
            steps = slice_of(len(hashes))
            for start in range(0, len(hashes), steps):
                self._keys.seen.add(hashes[start : start + steps])
                await rest()
            dropped = self._keys.drop_generation()
            steps = slice_of(len(dropped))
            while dropped:
                # Freed all at once, a full generation would delay the loop by ten milliseconds.
                for _ in range(min(steps, len(dropped))):
                    dropped.popitem()
                await rest()
            self._generation_sealed = False
            self._sealing = None
            if captured:
                await self._snapshots.save(captured, position=self._index.position)
            store.captured()
            await self._index.segments.merge(step=max(step, self._pending.key_count // STATEMENTS_OF_MERGE))
            await self._index.filters.save(self._keys.seen, now=last)
            self.rounds += 1

    async def catch_up(
        self, journal: Journal, *, through: int, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Index the frames up to ``through`` that the index does not cover, reading them from the journal.

        For the start, and after a failed commit: nothing may be pending. Raises ``JournalCorrupt`` if a frame is
        missing or damaged, ``IndexDamaged``.
        """
        self._pending, self._sealing, self._generation_sealed = Projection(self._keys.seed), None, False
        projection = Projection(self._keys.seed)
        position = self._index.position
        while position < through:
            frames = await journal.read(position, min(CATCH_UP_FRAMES, through - position))
            if not frames:
                raise JournalError(f"the journal ends at frame {position} instead of {through}")
            for frame in frames:
                sections: list[CommittedSection] = []
                for pointer, body in split_frame(frame):
                    section = decode_section(body, frame=frame.number)
                    hashes = [
                        hash_key(section.pool, event.key, self._keys.seed)
                        for event in section.events
                        if isinstance(event, KEYED)
                    ]
                    head = Head(section.last_version, pointer, digest_of(body))
                    due_at = min(filter(None, map(due_after, section.events)), default=None)
                    has_notices = any(isinstance(event, NOTICES) for event in section.events)
                    scale = scale_of_new(section.events) if section.first_version == 1 else None
                    sections.append(
                        CommittedSection(section.pool, section.first_version, head, hashes, due_at, has_notices, scale)
                    )
                projection.add(frame.number, sections)
                position = frame.number
            if projection.key_count >= CATCH_UP_KEYS or position == through:
                await self._index.project(projection, step=ROWS_PER_STATEMENT_ALONE)
                self._keys.seen.add(projection.hashes)
                projection = Projection(self._keys.seed)
                await self._index.segments.merge(step=ROWS_PER_STATEMENT_ALONE)
                await self._index.filters.save(self._keys.seen)
            if on_progress is not None:
                on_progress(position, through)
            await anyio.lowlevel.checkpoint()
