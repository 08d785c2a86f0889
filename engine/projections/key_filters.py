"""Bloom filters over the hashes of all indexed idempotency keys: which keys may have been used before?

A key that is not in the filters is certainly new. A key that is in them may be old, and is then looked up and compared
in full. The filters err about once in 80,000. They form *layers*, each for a number of keys. When one is full, the next
begins, four times larger, so that a look-up checks few layers at any age of the journal. A layer is split into filters
of one size by the lowest bits of the hash, and a look-up checks one filter of each layer. This is because turning a
filter into bytes holds the interpreter: for one filter of 50 MB, 40 ms.

Filters are a cache of the index. They are saved in it with a checksum, and rebuilt from it if the checksum does not
match. A filter that forgot a key would cause a double charge, so a doubtful one is never used.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Final
from zlib import crc32

from rbloom import Bloom

FILTER_CAPACITY: Final = 1 << 16
"""The number of keys for one filter: 0.2 MB."""
CAPACITY_FIRST: Final = 1 << 20
CAPACITY_GROWTH: Final = 4
CAPACITY_MAX: Final = 1 << 24
"""The largest capacity of a layer: 50 MB in 256 filters. Further layers have this size too."""
FALSE_POSITIVE_RATE: Final = 1e-5

_as_is: Final = operator.index
"""The hash function for the filters: their items are hashes already."""


class SavedFilter:
    """One filter as bytes, with the counts needed to trust it."""

    __slots__ = ("body", "capacity", "count", "crc")

    def __init__(self, capacity: int, count: int, body: bytes, crc: int | None = None) -> None:
        self.capacity, self.count, self.body = capacity, count, body
        """The capacity and the count of keys are those of the whole layer, when the filter was saved."""
        self.crc = crc32(body) if crc is None else crc

    @property
    def is_final(self) -> bool:
        """Whether its layer was full, so that the filter never changes again."""
        return self.count >= self.capacity

    def is_intact(self) -> bool:
        # Damage may change the type as well.
        return isinstance(self.body, bytes) and crc32(self.body) == self.crc


class SeenKeys:
    """A growing set of 64-bit key hashes that answers "surely new" or "perhaps seen".

    Its filters are numbered through all layers, the oldest first.
    """

    def __init__(self, saved: Sequence[SavedFilter] = ()) -> None:
        """``saved`` are the filters of whole layers, in order: see ``are_whole``. If those of the last layer were saved
        at different times, add the keys that some of them lack again."""
        self._layers: list[tuple[list[Bloom], int]] = []
        """The filters of each layer, and the mask for the bits of a hash that choose among them."""
        self._count = 0
        """The number of keys in the last layer; the others are full."""
        self._all: list[tuple[Bloom, int]] = []
        """Every filter, with the capacity of its layer."""
        for _, layer in _by_layer(saved):
            self._append([Bloom.load_bytes(each.body, _as_is) for each in layer])
            # The count of the oldest filter, since all later keys are added again.
            self._count = min(each.count for each in layer)
        if not self._layers:
            self._begin(CAPACITY_FIRST)

    def _begin(self, capacity: int) -> None:
        self._append([Bloom(FILTER_CAPACITY, FALSE_POSITIVE_RATE, _as_is) for _ in range(capacity // FILTER_CAPACITY)])

    def _append(self, filters: list[Bloom]) -> None:
        self._layers.append((filters, len(filters) - 1))
        self._all += [(each, self.capacity) for each in filters]
        self._count = 0

    def __contains__(self, key_hash: int) -> bool:
        # The filter takes 128 bits; its own mixing spreads 64 as well (measured: 1.3e-5 false positives when full).
        for filters, mask in self._layers:  # noqa: SIM110 - any() over a generator costs twice as much, on every debit
            if key_hash in filters[key_hash & mask]:
                return True
        return False

    def add(self, key_hashes: Sequence[int]) -> None:
        """Add all of ``key_hashes``."""
        added = 0
        while added < len(key_hashes):
            room = self.capacity - self._count
            if not room:
                self._begin(_capacity_after(self.capacity))
                continue
            filters, mask = self._layers[-1]
            fitting = key_hashes[added : added + room]
            for key_hash in fitting:
                filters[key_hash & mask].add(key_hash)
            self._count += len(fitting)
            added += len(fitting)

    @property
    def filters(self) -> int:
        return len(self._all)

    @property
    def growing(self) -> range:
        """The numbers of the filters that still grow: those of the last layer."""
        return range(len(self._all) - len(self._layers[-1][0]), len(self._all))

    @property
    def capacity(self) -> int:
        """The capacity of the layer that grows."""
        return len(self._layers[-1][0]) * FILTER_CAPACITY

    def save(self, number: int) -> SavedFilter:
        """Return filter ``number`` as bytes."""
        bloom, capacity = self._all[number]
        return SavedFilter(capacity, self._count if number in self.growing else capacity, bloom.save_bytes())


def are_whole(saved: Sequence[SavedFilter]) -> bool:
    """Return whether ``saved`` are all the filters of one layer after the other."""
    return all(
        len(layer) * FILTER_CAPACITY == capacity
        and all(each.capacity == capacity and each.is_intact() for each in layer)
        for capacity, layer in _by_layer(saved)
    )


def _by_layer(saved: Sequence[SavedFilter]) -> Iterator[tuple[int, Sequence[SavedFilter]]]:
    """Yield the capacity of each layer, and its filters among ``saved``. The last layer may lack some."""
    capacity, start = CAPACITY_FIRST, 0
    while start < len(saved):
        end = start + capacity // FILTER_CAPACITY
        yield capacity, saved[start:end]
        capacity, start = _capacity_after(capacity), end


def _capacity_after(capacity: int) -> int:
    """Return the capacity of the layer that follows one of ``capacity``."""
    return min(capacity * CAPACITY_GROWTH, CAPACITY_MAX)
