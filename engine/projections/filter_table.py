"""The key filters where they are saved: in the index, so that a start need not make them from all its keys."""

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
"""Keys after which all growing filters have been saved, one after the other: what has to be added again after a crash,
about 0.2 s. Those of a large layer are saved once for every sixteenth of it that is new, 0.8 s at most: they take up to
50 MB."""


class FilterTable:
    """The saved filters of an index file, and which of them lack keys."""

    def __init__(self, file: IndexFile) -> None:
        self._file = file
        self._unsaved_keys = 0
        """That were indexed since the last filter was saved, as far as they count for the next."""
        self._saved_growing = range(0)
        """The filters that were growing when some were saved last: these and all after them may have grown since."""
        self._stale_filters: dict[int, None] = {}
        """Filters that lack keys where they are saved, the one that was saved longest ago first."""

    def indexed(self, keys: int) -> None:
        """Hear how many keys were added to the index."""
        self._unsaved_keys += keys

    async def load(self) -> SeenKeys:
        """The filters over all indexed keys: as saved, plus what was indexed since. Raises ``IndexDamaged``."""
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
        # One that is final has all it will ever have.
        covered = min((last for each, last in found if not each.is_final), default=newest)
        async with writer.execute("select number from segment where last_frame > ?", (covered,)) as cursor:
            segments = [int(row[0]) for row in await cursor.fetchall()]
        for number in segments:
            # A key that is misread now would be taken for new later.
            if difference := await self._file.read(partial(difference_in, self._file.reader, number)):
                self._file.note(difference)
                raise IndexDamaged(difference)
            async with writer.execute(f"select hash from keys_{number} where frame > ?", (covered,)) as cursor:
                while rows := list(await cursor.fetchmany(HASHES_PER_READ)):
                    seen.add([key_hash + SIGNED_64 for (key_hash,) in rows])
                    self._unsaved_keys += len(rows)
        return seen

    async def save(self, seen: SeenKeys, *, now: bool = False) -> None:
        """Save as many of the filters as keys have been added, or ``now`` all that lack any where they are saved.

        All keys that the index covers must be in them. Those of a new layer are saved at once: what a layer has been
        given is told from its filters, so there can be none without all of them.
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
        # Each by itself if that may be: less goes to the disk at once.
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
                # Apart: the checksum takes most of a millisecond.
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
