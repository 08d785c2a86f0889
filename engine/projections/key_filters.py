"""Which idempotency keys may have been used before: Bloom filters over the hashes of all indexed keys.

A key that is not in here is new, for certain; one that is may be old, and is then looked up and compared in full. A
look-up errs about once in 80,000. Filters stand in *layers*, each made for a number of keys; when one is full the next,
four times larger, is begun, so that a look-up asks few of them at any age of the journal. A layer is cut into filters
of one size by the lowest bits of the hash, and a look-up asks one of each: to make bytes of a filter holds the
interpreter, and of 50 MB in one piece that would be for 40 ms.

Filters are a cache of the index: they are saved beside it with a checksum, and made anew from it when that does not
fit. A filter that forgot a key would charge twice, so a doubtful one is never used.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Final
from zlib import crc32

from rbloom import Bloom

FILTER_CAPACITY: Final = 1 << 16
"""Keys for which one filter is made: 0.2 MB."""
CAPACITY_FIRST: Final = 1 << 20
CAPACITY_GROWTH: Final = 4
CAPACITY_MAX: Final = 1 << 24
"""50 MB in 256 filters. Beyond it layers are added at this size."""
FALSE_POSITIVE_RATE: Final = 1e-5

_as_is: Final = operator.index
"""What the filters ask for the hash of a number that is one."""


class SavedFilter:
    """One filter as bytes, with what is needed to trust it."""

    __slots__ = ("body", "capacity", "count", "crc")

    def __init__(self, capacity: int, count: int, body: bytes, crc: int | None = None) -> None:
        self.capacity, self.count, self.body = capacity, count, body
        """Keys of its whole layer: those it was made for, and those it held."""
        self.crc = crc32(body) if crc is None else crc

    @property
    def is_final(self) -> bool:
        """Whether its layer was full: it will not change any more."""
        return self.count >= self.capacity

    def is_intact(self) -> bool:
        return crc32(self.body) == self.crc


class SeenKeys:
    """A growing set of 64-bit key hashes that answers "surely new" or "perhaps seen".

    Its filters are numbered through all layers, the oldest first.
    """

    def __init__(self, saved: Sequence[SavedFilter] = ()) -> None:
        """Of the filters of whole layers, in order: see ``are_whole``. Where those of the last layer were saved one
        after the other, the keys that some of them lack have to be added again."""
        self._layers: list[tuple[list[Bloom], int]] = []
        """The filters of each, and the bits of a hash that choose among them."""
        self._count = 0
        """Keys of the last layer: the others are full."""
        self._all: list[tuple[Bloom, int]] = []
        """Every filter, with the capacity of its layer."""
        for _, layer in _by_layer(saved):
            self._append([Bloom.load_bytes(each.body, _as_is) for each in layer])
            # As of the oldest of them, since whatever came later is added again.
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
        """The filters that are added to: those of the last layer."""
        return range(len(self._all) - len(self._layers[-1][0]), len(self._all))

    @property
    def capacity(self) -> int:
        """Of the layer that grows."""
        return len(self._layers[-1][0]) * FILTER_CAPACITY

    def save(self, number: int) -> SavedFilter:
        """Filter ``number`` as bytes."""
        bloom, capacity = self._all[number]
        return SavedFilter(capacity, self._count if number in self.growing else capacity, bloom.save_bytes())


def are_whole(saved: Sequence[SavedFilter]) -> bool:
    """Whether ``saved`` are all filters of one layer after the other, as they were saved."""
    return all(
        len(layer) * FILTER_CAPACITY == capacity
        and all(each.capacity == capacity and each.is_intact() for each in layer)
        for capacity, layer in _by_layer(saved)
    )


def _by_layer(saved: Sequence[SavedFilter]) -> Iterator[tuple[int, Sequence[SavedFilter]]]:
    """The capacity of each layer, and which of ``saved`` are its filters. The last may lack some."""
    capacity, start = CAPACITY_FIRST, 0
    while start < len(saved):
        end = start + capacity // FILTER_CAPACITY
        yield capacity, saved[start:end]
        capacity, start = _capacity_after(capacity), end


def _capacity_after(capacity: int) -> int:
    """Of the layer that follows one of ``capacity``."""
    return min(capacity * CAPACITY_GROWTH, CAPACITY_MAX)
