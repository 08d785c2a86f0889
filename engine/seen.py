"""Which idempotency keys may have been used before: Bloom filters over the hashes of all indexed keys.

A key that is not in here is new, for certain; one that is may be old, and is then looked up and compared in full. A
filter errs in about one of 80,000 look-ups. Each filter is made for a number of keys; when it is full the next,
four times larger, is begun, so that a look-up asks few of them at any age of the journal.

Filters are a cache of the index: they are saved beside it with a checksum, and made anew from it when that does not
fit. A filter that forgot a key would charge twice, so a doubtful one is never used.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

from rbloom import Bloom

CAPACITY_FIRST: Final = 1 << 20
CAPACITY_GROWTH: Final = 4
CAPACITY_MAX: Final = 1 << 24
"""50 MB of filter. Beyond it filters are added at this size."""
FALSE_POSITIVE_RATE: Final = 1e-5

_as_is: Final = operator.index
"""What the filters ask for the hash of a number that is one."""


class SavedFilter:
    """One filter as bytes, with what is needed to trust it."""

    __slots__ = ("body", "capacity", "count", "crc")

    def __init__(self, capacity: int, count: int, body: bytes, crc: int | None = None) -> None:
        self.capacity, self.count, self.body = capacity, count, body
        self.crc = crc32(body) if crc is None else crc

    def is_intact(self) -> bool:
        return crc32(self.body) == self.crc


class SeenKeys:
    """A growing set of 64-bit key hashes that answers "surely new" or "perhaps seen"."""

    def __init__(self, saved: Iterable[SavedFilter] = ()) -> None:
        self._filters: list[Bloom] = []
        self._capacities: list[int] = []
        self._count = 0
        """Of the last filter: the others are full."""
        for layer in saved:
            self._filters.append(Bloom.load_bytes(layer.body, _as_is))
            self._capacities.append(layer.capacity)
            self._count = layer.count
        if not self._filters:
            self._begin(CAPACITY_FIRST)

    def _begin(self, capacity: int) -> None:
        self._filters.append(Bloom(capacity, FALSE_POSITIVE_RATE, _as_is))
        self._capacities.append(capacity)
        self._count = 0

    def __contains__(self, key_hash: int) -> bool:
        # The filter takes 128 bits; its own mixing spreads 64 as well (measured: 1.2e-5 false positives when full).
        for bloom in self._filters:  # noqa: SIM110 - any() over a generator costs twice as much, on every debit
            if key_hash in bloom:
                return True
        return False

    def add(self, key_hashes: Sequence[int]) -> None:
        """Add all of ``key_hashes``."""
        added = 0
        while added < len(key_hashes):
            room = self._capacities[-1] - self._count
            if not room:
                self._begin(min(self._capacities[-1] * CAPACITY_GROWTH, CAPACITY_MAX))
                continue
            fitting = key_hashes[added : added + room]
            self._filters[-1].update(fitting)
            self._count += len(fitting)
            added += len(fitting)

    @property
    def filters(self) -> int:
        return len(self._filters)

    @property
    def capacity(self) -> int:
        """Of the filter that grows."""
        return self._capacities[-1]

    def save(self, number: int) -> SavedFilter:
        """Filter ``number`` (0 is the oldest) as bytes. All but the last are final."""
        last = number == len(self._filters) - 1
        capacity = self._capacities[number]
        return SavedFilter(capacity, self._count if last else capacity, self._filters[number].save_bytes())
