"""The key filters as saved in the index, so that a start need not rebuild them from all keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

from solvent.engine.runtime.pacing import rest

from .index_file import IndexDamaged, IndexFile
from .key_filters import SavedFilter, SeenKeys, are_whole
from .segments import SIGNED_64, difference_in

HASHES_PER_READ: Final = 10_000
FILTER_SAVE_EVERY: Final = 250_000
"""The number of keys within which all growing filters are saved, one after the other. After a crash, up to so many keys
are added again, which takes about 0.2 s. The filters of a large layer take up to 50 MB, so they are only saved once for
every sixteenth of the layer that is new; adding those keys again takes 0.8 s at most."""


class FilterTable:
    """The saved filters of an index file, and which of them lack keys."""

    def __init__(self, file: IndexFile) -> None:
        self._file = file
        self._unsaved_keys = 0
        """The keys indexed since the last filter was saved, as far as they count towards the next save."""
        self._saved_growing = range(0)
        """The filters that were growing at the last save. These and all later ones may have grown since."""
        self._stale_filters: dict[int, None] = {}
        """The filters whose saved form lacks keys, the one saved longest ago first."""

    def indexed(self, keys: int) -> None:
        """Count ``keys`` that were added to the index."""
        self._unsaved_keys += keys

    async def load(self) -> SeenKeys:
        """Return the filters over all indexed keys: as saved, plus the keys since then. Raises ``IndexDamaged``."""
        writer = self._file.writer
        async with writer.execute(
            "select capacity, count, body, crc, last_frame from filter order by number"
        ) as cursor:
            found = [(SavedFilter(*row[:4]), int(row[4])) for row in await cursor.fetchall()]
        if not are_whole([each for each, _ in found]):
            found = []
        seen = SeenKeys([each for each, _ in found])
        if found:
            self._saved_growing = seen.growing
        newest = max((last for _, last in found), default=0)
        # A final filter has all the keys it will ever have.
        covered = min((last for each, last in found if not each.is_final), default=newest)
        async with writer.execute("select number from segment where last_frame > ?", (covered,)) as cursor:
            segments = [int(row[0]) for row in await cursor.fetchall()]
        for number in segments:
            # A key misread now would be taken for new later.
            if difference := await self._file.read(partial(difference_in, self._file.reader, number)):
                self._file.note(difference)
                raise IndexDamaged(difference)
            async with writer.execute(f"select hash from keys_{number} where frame > ?", (covered,)) as cursor:
                while rows := list(await cursor.fetchmany(HASHES_PER_READ)):
                    seen.add([key_hash + SIGNED_64 for (key_hash,) in rows])
                    self._unsaved_keys += len(rows)
        return seen

    async def save(self, seen: SeenKeys, *, now: bool = False) -> None:
        """Save filters in proportion to the keys added since, or ``now`` all whose saved form lacks keys.

        All keys that the index covers must be in them. The filters of a new layer are saved together: the count of a
        layer is derived from its filters, so a saved layer must have all of them.
        """
        if self._unsaved_keys:
            self._stale_filters |= dict.fromkeys(range(self._saved_growing.start, seen.filters))
        enough = max(FILTER_SAVE_EVERY, seen.capacity // 16)
        if now:
            wanted = len(self._stale_filters)
        elif seen.growing != self._saved_growing:
            wanted = len(self._stale_filters) if self._unsaved_keys >= FILTER_SAVE_EVERY else 0
        else:
            wanted = self._unsaved_keys * len(seen.growing) // enough
        chosen = list(self._stale_filters)[:wanted]
        if not chosen:
            return
        # Save each by itself if possible, so that less goes to the disk at once.
        for together in [chosen] if seen.growing != self._saved_growing else [[number] for number in chosen]:
            await self._save(seen, together)
            for number in together:
                del self._stale_filters[number]
        self._saved_growing = seen.growing
        self._unsaved_keys = 0

    async def _save(self, seen: SeenKeys, numbers: Sequence[int]) -> None:
        writer = self._file.writer
        try:
            await writer.execute("begin immediate")
            for number in numbers:
                # In a thread, because the checksum takes most of a millisecond.
                layer = await self._file.machine.in_thread(partial(seen.save, number))
                await writer.execute(
                    "insert or replace into filter values (?, ?, ?, ?, ?, ?)",
                    (number, layer.capacity, layer.count, layer.crc, self._file.position, layer.body),
                )
                await rest()
            await self._file.seal()
            await writer.execute("commit")
        except sqlite3.Error as error:
            await self._file.undo(error)
