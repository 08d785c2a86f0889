"""An answer to a usage query, by columns: numbers in arrays, and each group and bucket told once.

As an object, a row costs microseconds in the process that makes it, in the one that gets it, and on the way. By
columns, thirty thousand rows are made in some milliseconds and received in less than one; who looks at a row has it
made then.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

import msgspec

from solvent.engine.values.dimensions import DimensionValue

NO_MOMENT: Final = -1
"""In the place of the first or last moment of a cell that has none."""

Bucket: TypeAlias = tuple[int, int]
Numbers: TypeAlias = Sequence[int]
_CODES: Final = ("b", "h", "i", "q")
"""Of arrays, the narrowest numbers first: what is sent is half as long for it."""


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """A column on its way: an array as this machine has it, or decimal text where a number needs more than 64 bits."""

    code: str
    """That of the array; empty for text."""
    data: bytes


class UsageGroup(msgspec.Struct, frozen=True, array_like=True):
    """A group of an answer."""

    values: tuple[Value, ...]
    """By the columns of the answer; all ``None`` for the others."""
    other: bool = False
    """Stands for all groups that did not make the top."""


class Cells(msgspec.Struct, frozen=True):
    """Rows by columns, all of one length but the last two, in any order. ``UsageRow`` says what the numbers mean."""

    order: Numbers
    """The places of the rows, in the order of the answer."""
    bucket: Numbers
    """Numbers of the buckets of the query."""
    group: Numbers
    """Numbers of the groups of the answer."""
    debited: Numbers
    reversed: Numbers
    events: Numbers
    refused: Numbers
    first_at: Numbers
    """``NO_MOMENT`` where there is none."""
    last_at: Numbers
    metered: Numbers
    """How many metrics each row has a quantity of."""
    metric: Numbers
    """Row by row, the numbers of these metrics."""
    quantity: Numbers
    """Row by row, how much of each."""

    def narrow(self) -> Cells:
        """The same in the narrowest arrays that hold it."""
        return Cells(*(_narrow(getattr(self, name)) for name in self.__struct_fields__))

    def part(self, first: int, after: int, offsets: Numbers) -> Cells:
        """Some of the rows. ``offsets`` are those of all."""
        until = min(after, len(self.bucket))
        low, high = offsets[min(first, until)], offsets[until]
        columns: list[Numbers] = [getattr(self, name)[first:after] for name in self.__struct_fields__[:-2]]
        columns += [self.metric[low:high], self.quantity[low:high]]
        return Cells(*columns)

    def offsets(self) -> list[int]:
        """Where the metrics of each row begin, and where those of the last one end."""
        return list(accumulate(self.metered, initial=0))

    def sum(self) -> Cells:
        """All rows as one, of the first bucket and the first group."""
        sums: dict[int, int] = {}
        if len(set(self.metric)) == 1:
            sums[self.metric[0]] = sum(self.quantity)
        else:
            for metric, quantity in zip(self.metric, self.quantity, strict=True):
                sums[metric] = sums.get(metric, 0) + quantity
        firsts = self.first_at if NO_MOMENT not in self.first_at else [at for at in self.first_at if at != NO_MOMENT]
        return Cells(
            (0,),
            (0,),
            (0,),
            (sum(self.debited),),
            (sum(self.reversed),),
            (sum(self.events),),
            (sum(self.refused),),
            (min(firsts, default=NO_MOMENT),),
            (max(self.last_at, default=NO_MOMENT),),
            (len(sums),),
            tuple(sums),
            tuple(sums.values()),
        )

    def packed(self) -> list[Packed]:
        """The columns as they are sent."""
        return [_packed(getattr(self, name)) for name in self.__struct_fields__]


def unpacked(parts: Sequence[Sequence[Packed]]) -> Cells:
    """The cells that were sent in ``parts``, at least one."""
    return Cells(*map(_joined, zip(*parts, strict=True)))


def pack(numbers: Numbers) -> Packed:
    """A column of any numbers, as narrow as it can be."""
    return _packed(_narrow(numbers))


def unpack(column: Packed) -> Numbers:
    """What ``pack`` was given."""
    return _joined([column])


def _narrow(numbers: Numbers) -> Numbers:
    for code in _CODES:
        try:
            return array(code, numbers)
        except OverflowError:
            continue
    return numbers


def _packed(numbers: Numbers) -> Packed:
    if isinstance(numbers, array):
        return Packed(numbers.typecode, numbers.tobytes())
    return Packed("", ",".join(map(str, numbers)).encode())


def _joined(parts: Sequence[Packed]) -> Numbers:
    code = parts[0].code
    if not code:
        return [int(number) for part in parts for number in part.data.split(b",") if number]
    whole = array(code)
    whole.frombytes(b"".join(part.data for part in parts))
    return whole


class UsageTable(msgspec.Struct, frozen=True):
    """An answer: rows by bucket, and inside a bucket by the rank of the group. The others come last."""

    columns: tuple[str, ...]
    """The fields grouped by."""
    buckets: Sequence[Bucket]
    """All of the query."""
    groups: Sequence[UsageGroup]
    metrics: Sequence[str]
    cells: Cells
    total: Cells
    """One row: what all of them come to."""
    position: int
    """The last frame of the journal that is in it."""
    as_of: int
    """What was there when it was asked: entries behind its cells are looked up as of then."""

    @property
    def rows(self) -> list[UsageRow]:
        """The rows, made now."""
        return list(self._iterate())

    def _iterate(self) -> Iterator[UsageRow]:
        cells, offsets = self.cells, self.cells.offsets()
        for place in cells.order:
            start, end = self.buckets[cells.bucket[place]]
            group = self.groups[cells.group[place]]
            first, last = cells.first_at[place], cells.last_at[place]
            yield UsageRow(
                start,
                end,
                group.values,
                group.other,
                cells.debited[place],
                cells.reversed[place],
                cells.events[place],
                cells.refused[place],
                self._quantities(offsets[place], offsets[place + 1]),
                None if first == NO_MOMENT else first,
                None if last == NO_MOMENT else last,
            )

    def _quantities(self, low: int, high: int) -> dict[str, int]:
        cells, metrics = self.cells, self.metrics
        return {metrics[cells.metric[place]]: cells.quantity[place] for place in range(low, high)}


def table_of(
    columns: tuple[str, ...], buckets: Sequence[Bucket], rows: Iterable[UsageRow], *, position: int, as_of: int
) -> UsageTable:
    """A table of ``rows``, whose buckets are of ``buckets``."""
    found = list(rows)
    numbers = {start: number for number, (start, _) in enumerate(buckets)}
    names: dict[str, int] = {}
    metrics = [names.setdefault(metric, len(names)) for row in found for metric in row.quantities]
    cells = Cells(
        range(len(found)),
        [numbers[row.start] for row in found],
        range(len(found)),
        [row.debited for row in found],
        [row.reversed for row in found],
        [row.events for row in found],
        [row.refused for row in found],
        [NO_MOMENT if row.first_at is None else row.first_at for row in found],
        [NO_MOMENT if row.last_at is None else row.last_at for row in found],
        [len(row.quantities) for row in found],
        metrics,
        [quantity for row in found for quantity in row.quantities.values()],
    )
    groups = [UsageGroup(row.values, row.other) for row in found]
    return UsageTable(columns, buckets, groups, list(names), cells, cells.sum(), position, as_of)


Value: TypeAlias = DimensionValue | None


class UsageRow(msgspec.Struct, frozen=True, array_like=True):
    """What one group used in one bucket."""

    start: int
    end: int
    """The bucket: a window of the calendar, or the range that was asked for if there is no window."""
    values: tuple[Value, ...]
    """By the columns of the answer; all ``None`` for the others."""
    other: bool
    """Stands for all groups that did not make the top."""
    debited: int
    """Units that debits and captures spent."""
    reversed: int
    """Units that reversals gave back, at least 0, at the time of the reversal."""
    events: int
    """Debits and captures. One that several grants paid is counted with the first of them."""
    refused: int
    """Debits and holds that were refused for lack of credits or budget, as far as they were counted."""
    quantities: dict[str, int]
    """Billionths of what was metered, by metric; ``NO_METRIC`` where a quantity came without one."""
    first_at: int | None
    last_at: int | None
    """When the first and the last debit or capture occurred; ``None`` if there are only reversals."""

    @property
    def credits(self) -> int:
        """Net units: less than 0 where more was reversed than spent."""
        return self.debited - self.reversed
