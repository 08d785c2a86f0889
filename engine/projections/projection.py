"""The additions of a batch of frames to the index, gathered in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from solvent.engine.journal.frames import CommittedSection, Head
from solvent.engine.values.pool_id import currency_of, is_stream

from .keys import OPENING, hash_key

MARK_EVERY: Final = 256
"""The versions between two marks in a pool's history, roughly. Any version is at most this many steps from a mark."""
PLACE: Final = 4
"""The count of numbers in ``Projection.places`` for each section."""


class Projection:
    """The additions of one batch to the index."""

    __slots__ = ("due", "hashes", "heads", "marks", "notices", "opened", "places", "scales", "seed", "through", "woken")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.through = 0
        self.opened = 0
        """The number of new pools."""
        self.scales: set[tuple[str, int]] = set()
        """The currencies of new pools, each with their decimal places."""
        self.heads: dict[str, Head] = {}
        self.marks: list[tuple[str, Head]] = []
        self.hashes = array("Q")
        """The hashes of the keys, in order. This and ``places`` are arrays, because tens of thousands of small objects
        would delay the loop at each garbage collection."""
        self.places = array("q")
        """The frame, offset, length and number of keys of one section after the other."""
        self.due: dict[str, int] = {}
        """The time of the next change due in each pool."""
        self.notices: list[int] = []
        """The frames with notices (events to be published)."""
        self.woken: dict[str, tuple[int | None, int]] = {}
        """The pools that were due and woken, each with the time it is next due, and the version of that answer."""

    def add(self, number: int, sections: Iterable[CommittedSection]) -> None:
        """Add the sections of the next frame, ``number``."""
        self.through = number
        for section in sections:
            head = section.head
            self.heads[section.pool] = head
            if section.due_at is not None:
                self.due[section.pool] = section.due_at
            if section.has_notices and self.notices[-1:] != [number]:
                self.notices.append(number)
            if head.version // MARK_EVERY != (section.first_version - 1) // MARK_EVERY:
                self.marks.append((section.pool, head))
            hashes = section.key_hashes
            if section.first_version == 1:
                self.opened += 1
                if section.scale is not None and not is_stream(section.pool):
                    self.scales.add((currency_of(section.pool), section.scale))
                hashes = [*hashes, hash_key(section.pool, OPENING, self.seed)]
            if hashes:
                pointer = head.pointer
                self.places.extend((pointer.frame, pointer.offset, pointer.length, len(hashes)))
                self.hashes.extend(hashes)

    @property
    def key_count(self) -> int:
        """The number of keys, counting the openings of pools."""
        return len(self.hashes)

    def absorb(self, later: Projection) -> None:
        """Add all of ``later``, the batch that follows this one."""
        self.through = max(self.through, later.through)
        self.opened += later.opened
        self.scales |= later.scales
        self.heads.update(later.heads)
        self.marks += later.marks
        self.hashes += later.hashes
        self.places += later.places
        self.due.update(later.due)
        self.notices += later.notices
        self.woken.update(later.woken)
