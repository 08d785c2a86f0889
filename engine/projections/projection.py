"""What a batch of frames adds to the index, gathered in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from solvent.engine.journal.frames import CommittedSection, Head
from solvent.engine.values.pool_id import currency_of, is_stream

from .keys import OPENING, hash_key

MARK_EVERY: Final = 256
"""A pool's history is marked about once in this many versions: a page deep inside is at most so many steps away."""
PLACE: Final = 4
"""Numbers that ``Projection.places`` has for each section."""


class Projection:
    """What one batch adds to the index."""

    __slots__ = ("due", "hashes", "heads", "marks", "notices", "opened", "places", "scales", "seed", "through", "woken")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.through = 0
        self.opened = 0
        """Pools that began."""
        self.scales: set[tuple[str, int]] = set()
        """Their currencies, each with the decimal places that they keep."""
        self.heads: dict[str, Head] = {}
        self.marks: list[tuple[str, Head]] = []
        self.hashes = array("Q")
        """Of the keys, as they were given. An array, as ``places`` is: tens of thousands of small objects would hold up
        the loop at each collection of garbage."""
        self.places = array("q")
        """Frame, offset, length and number of keys, one section after the other."""
        self.due: dict[str, int] = {}
        """When time will next do something to a pool."""
        self.notices: list[int] = []
        """Frames in which pools say something by themselves."""
        self.woken: dict[str, tuple[int | None, int]] = {}
        """Pools that were due and have been asked: when they are due next, as of which version."""

    def add(self, number: int, sections: Iterable[CommittedSection]) -> None:
        """Add the sections of frame ``number``, the next."""
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
        """Keys in it, the openings of pools among them."""
        return len(self.hashes)

    def absorb(self, later: Projection) -> None:
        """Add all of a batch that follows this one."""
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
