"""What is asked of usage from outside, and what is answered: plain data, the same embedded and on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from operator import sub
from typing import Any, Final, TypeAlias, overload

import msgspec

from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT
from solvent.engine.values.quantities import QUANTITY_PLACES
from solvent.engine.values.readable import Readable, text_of
from solvent.engine.values.times import to_datetime

from .ledger import LedgerEntry
from .usage_table import NO_MOMENT, UsageTable

GroupValue: TypeAlias = DimensionValue | None


class UsageQuestion(
    Readable, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A question about usage: whose, which time, broken down by what. In an answer, its range of time is in moments."""

    pool: str | None = None
    """The pool. Default: all pools of ``customer``, or of ``environment``, in ``currency``."""
    customer: str | None = None
    """The customer. Default: all of the environment."""
    environment: str = ENVIRONMENT_DEFAULT
    """The environment."""
    currency: str = CURRENCY_DEFAULT
    """The currency, where no pool is given."""
    period: str | None = None
    """A range in words, such as "last 7 days", "this month", "2026-Q3" or "2026-07-01..2026-07-14"."""
    start: str | None = None
    """The first moment of the range, ISO 8601 with an offset. Either ``period`` or ``start`` and ``end`` are given."""
    end: str | None = None
    """The moment after the last."""
    window: str | None = None
    """The buckets of the calendar: minute, hour, day, week, month, quarter or year. Default: one, the whole range."""
    time_zone: str = "UTC"
    """The time zone of ``period`` and ``window``, such as Europe/Paris."""
    group_by: tuple[str, ...] = ()
    """At most 8 fields: dimensions, and ``$metric``, ``$customer``, ``$resource``, ``$grant``, ``$category``,
    ``$cost_basis``, ``$currency``. A dimension whose name begins with a dollar sign is written with one more."""
    filters: tuple[dict[str, Any], ...] = ()
    """At most 50 conditions that must all hold: ``field``, ``op`` (=, in, not in, missing, prefix), and ``value`` or
    ``values`` (at most 1,000)."""
    top: int | None = None
    """The groups to keep, 1 to 10,000, ranked by ``order`` over the whole range; the rest is one line, "other"."""
    order: str = "credits"
    """By what groups are ranked: credits, events, refused, quantity or name."""
    descending: bool | None = None
    """Whether the largest comes first. Default: yes, except by name."""
    fill_empty: bool = False
    """Whether windows in which nothing happened are lines too."""
    consistent: bool = False
    """Whether to wait until all that was acknowledged before is in the answer."""


class UsageLine(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """What one group used in one bucket of time."""

    start: datetime
    end: datetime
    """The bucket: a window of the calendar, or the whole range."""
    group: dict[str, GroupValue]
    """A value for each field that was grouped by; ``None`` is "does not have it"."""
    other: bool = False
    """Stands for all groups that did not make the top."""
    credits: Decimal
    """Net: what debits and captures took from grants, less what was reversed."""
    debited: Decimal
    reversed: Decimal
    events: int
    """Debits and captures."""
    refused: int
    """Debits and holds that were refused for lack of credits or budget: a statistic, not from the ledger."""
    quantities: dict[str, Decimal]
    """What was metered, by metric; "" where a quantity came without one."""
    first_at: datetime | None
    last_at: datetime | None
    """When the first and the last of the events occurred."""


class UsageLines(Sequence[UsageLine]):
    """The lines of an answer, kept by columns: a line is made whenever it is looked at. Equals the same lines anywhere.

    Made all at once, thirty thousand of them would stop the loop for a tenth of a second.
    """

    __slots__ = ("_moments", "_offsets", "_scale", "_table")
    __hash__ = None  # type: ignore[assignment] # as of a list: it equals lists

    def __init__(self, table: UsageTable, scale: int) -> None:
        """``scale`` is the currency's."""
        self._table = table
        self._scale = scale
        self._offsets = table.cells.offsets()
        self._moments: dict[int, datetime] = {}
        """Starts and ends of buckets, which many lines share."""

    def __len__(self) -> int:
        return len(self._table.cells.bucket)

    @overload
    def __getitem__(self, place: int) -> UsageLine: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[UsageLine, ...]: ...
    def __getitem__(self, place: int | slice) -> UsageLine | tuple[UsageLine, ...]:
        found = self._table.cells.order[place]
        return self._line(found) if isinstance(found, int) else tuple(map(self._line, found))

    def __iter__(self) -> Iterator[UsageLine]:
        return map(self._line, self._table.cells.order)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, tuple, UsageLines)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return text_of(self)

    def _line(self, number: int) -> UsageLine:
        table, cells = self._table, self._table.cells
        start, end = table.buckets[cells.bucket[number]]
        group = table.groups[cells.group[number]]
        gave_back, first, last = cells.reversed[number], cells.first_at[number], cells.last_at[number]
        debited = to_decimal(cells.debited[number], self._scale)
        return UsageLine(
            start=self._moment(start),
            end=self._moment(end),
            group=dict(zip(table.columns, group.values, strict=True)),
            other=group.other,
            credits=to_decimal(cells.debited[number] - gave_back, self._scale) if gave_back else debited,
            debited=debited,
            reversed=to_decimal(gave_back, self._scale) if gave_back else _ZERO,
            events=cells.events[number],
            refused=cells.refused[number],
            quantities=self._quantities(number),
            first_at=None if first == NO_MOMENT else to_datetime(first),
            last_at=None if last == NO_MOMENT else to_datetime(last),
        )

    def _quantities(self, number: int, told: Callable[[int], Decimal] | None = None) -> dict[str, Decimal]:
        cells, metrics, quantity_of = self._table.cells, self._table.metrics, told or _quantity_of
        places = range(self._offsets[number], self._offsets[number + 1])
        return {metrics[cells.metric[place]]: quantity_of(cells.quantity[place]) for place in places}

    def _moment(self, at: int) -> datetime:
        moment = self._moments.get(at)
        if moment is None:
            moment = self._moments[at] = to_datetime(at)
        return moment

    def columns(self) -> dict[str, list[Any]]:
        """See ``Usage.columns``: made without a line on the way, several times as fast."""
        table, cells = self._table, self._table.cells
        amount, moment = _Known(lambda units: to_decimal(units, self._scale)), _Known(_moment_of)
        quantity = _Known(_quantity_of)

        def ordered(column: Sequence[int]) -> Iterator[int]:
            return map(column.__getitem__, cells.order)

        debited = list(map(amount.__getitem__, ordered(cells.debited)))
        net = map(sub, ordered(cells.debited), ordered(cells.reversed))
        buckets = [table.buckets[number] for number in ordered(cells.bucket)]
        groups = [table.groups[number] for number in ordered(cells.group)]
        return {
            "start": [moment[start] for start, _ in buckets],
            "end": [moment[end] for _, end in buckets],
            **{_column_of(name): [group.values[place] for group in groups] for place, name in enumerate(table.columns)},
            "other": [group.other for group in groups],
            "credits": list(map(amount.__getitem__, net)) if any(cells.reversed) else list(debited),
            "debited": debited,
            "reversed": list(map(amount.__getitem__, ordered(cells.reversed))),
            "events": list(ordered(cells.events)),
            "refused": list(ordered(cells.refused)),
            "quantities": [self._quantities(place, quantity.__getitem__) for place in cells.order],
            "first_at": list(map(_moment_of, ordered(cells.first_at))),
            "last_at": list(map(_moment_of, ordered(cells.last_at))),
        }


class _Known(dict[int, Any]):
    """What each number is told as, made once."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[int], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: int) -> Any:
        told = self[number] = self._make(number)
        return told


def _quantity_of(billionths: int) -> Decimal:
    return to_decimal(billionths, QUANTITY_PLACES)


def _moment_of(at: int) -> datetime | None:
    return None if at == NO_MOMENT else to_datetime(at)


def plain_lines(value: object) -> list[UsageLine]:
    """What msgspec calls for what it does not know: lines of usage are encoded as a list of lines."""
    if isinstance(value, UsageLines):
        return list(value)
    raise NotImplementedError(f"{type(value).__name__} has no encoding")


class Usage(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """An answer: lines by bucket, and inside a bucket by the rank of the group, "other" last."""

    question: UsageQuestion
    start: datetime
    end: datetime
    lines: Sequence[UsageLine]
    total: UsageLine
    """Of all lines together."""
    position: int
    """The last frame of the journal that is in it."""
    as_of: int
    """What entries behind its lines are looked up as of."""

    def __post_init__(self) -> None:
        if isinstance(self.lines, list):  # As it is decoded.
            msgspec.structs.force_setattr(self, "lines", tuple(self.lines))

    def columns(self) -> dict[str, list[Any]]:
        """The lines by columns, one for each field grouped by: what a ``DataFrame`` of any library is made of.

        A dimension that is called as a column of the line, or ``dimension.<anything>``, is written
        ``dimension.<name>``.
        """
        if isinstance(self.lines, UsageLines):
            return self.lines.columns()
        fields = self.question.group_by
        first, *rest = ([getattr(line, name) for line in self.lines] for name in _PLAIN)
        named = {_column_of(name): [line.group[name] for line in self.lines] for name in fields}
        return {"start": first, "end": rest[0], **named, **dict(zip(_PLAIN[2:], rest[1:], strict=True))}

    def records(self) -> list[dict[str, Any]]:
        """The lines as flat dictionaries, with a key for each of the ``columns``."""
        columns = self.columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class UsageEntry(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a ledger that counts in a line of usage."""

    pool: str
    credits: Decimal
    """What of it counts there; less than 0 for a reversal."""
    entry: LedgerEntry


class UsageEntryPage(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """Some of the entries behind a line, by time. ``next_cursor`` continues, however many more came since."""

    entries: tuple[UsageEntry, ...]
    next_cursor: str | None


class UsageChange(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """What one group used in a period, and in the one it is compared with."""

    group: dict[str, GroupValue]
    other: bool = False
    credits: Decimal
    before: Decimal
    events: int
    events_before: int
    change: Decimal
    relative: Decimal | None
    """The change as a share of ``before``, to four places: 0.5 is half as much again. ``None`` where that was 0."""


class UsageComparison(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """One period against another, group by group."""

    question: UsageQuestion
    start: datetime
    end: datetime
    before_start: datetime
    before_end: datetime
    changes: tuple[UsageChange, ...]
    total: UsageChange


class UsageSpike(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """A bucket in which a group used much more than before."""

    line: UsageLine
    expected: Decimal
    """The median of the buckets before it, to the currency's places."""
    score: float
    """How far it stands out: the modified z-score."""


class UsageSpikes(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """What stands out, the largest excess first. ``usage_entries(usage, spike.line)`` tells what is behind one."""

    start: datetime
    """Where the range begins that was asked for; it ends as ``usage`` does."""
    usage: Usage
    """The answer in which the spikes are, for looking up entries; it begins with the history that they stand out
    against, and its lines are those of the spikes."""
    spikes: tuple[UsageSpike, ...]
    method: str


class Forecast(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """When a pool runs dry if it goes on as it did."""

    pool: str
    version: int
    available: Decimal
    start: datetime
    end: datetime
    """The range whose usage is taken for the rate."""
    per_day: Decimal
    """Net credits used in 24 hours, rounded half-even to the currency's places."""
    runs_dry_at: datetime | None
    """``None``: not within ten years, or nothing is being used."""
    expiring: Decimal
    """What will expire unused before that."""
    assumption: str


class UsageStatus(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """How far the usage file is behind the journal, in frames."""

    position: int
    journal: int
    rebuilt: int | None = None
    """How far the new file is that is being made, if one is."""
    failure: str | None = None
    """Why the last one could not be made: then the old file stays."""


_ZERO: Final = Decimal(0)
_PLAIN: Final = tuple(name for name in UsageLine.__struct_fields__ if name != "group")


def _column_of(field: str) -> str:
    return f"dimension.{field}" if field in _PLAIN or field.startswith("dimension.") else field
