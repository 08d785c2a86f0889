"""Questions about usage and their answers: plain data, the same for an embedded engine and on the wire."""

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
    """A question about usage: whose, in which time, broken down by which fields.

    In an answer, the range is given as ``start`` and ``end``, even if the request gave it in words.
    """

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
    """The first moment of the range, ISO 8601 with an offset. Give either ``period``, or ``start`` and ``end``."""
    end: str | None = None
    """The moment after the last."""
    window: str | None = None
    """The calendar window of each bucket: minute, hour, day, week, month, quarter or year. Default: one bucket, the
    whole range."""
    time_zone: str = "UTC"
    """The time zone of ``period`` and ``window``, such as Europe/Paris."""
    group_by: tuple[str, ...] = ()
    """At most 8 fields: dimensions, and ``$metric``, ``$customer``, ``$resource``, ``$grant``, ``$category``,
    ``$cost_basis``, ``$currency``. Write a dimension whose name begins with a dollar sign with a second one."""
    filters: tuple[dict[str, Any], ...] = ()
    """At most 50 conditions that must all hold: ``field``, ``op`` (=, in, not in, missing, prefix), and ``value`` or
    ``values`` (at most 1,000)."""
    top: int | None = None
    """The number of groups to keep, 1 to 10,000, ranked by ``order`` over the whole range. The others are summed in one
    line, "other". Default: all."""
    order: str = "credits"
    """What groups are ranked by: credits, events, refused, quantity or name."""
    descending: bool | None = None
    """Whether the largest comes first. Default: yes, except by name."""
    fill_empty: bool = False
    """Whether windows in which nothing happened have lines too."""
    consistent: bool = False
    """Whether to wait until everything acknowledged before this request is in the answer."""


class UsageLine(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """What one group used in one bucket of time."""

    start: datetime
    """The first moment of the bucket, which is a window of the calendar or the whole range."""
    end: datetime
    """The moment after the bucket."""
    group: dict[str, GroupValue]
    """The value of each field in ``group_by``; ``None`` for events without the field."""
    other: bool = False
    """Whether this is the sum of the groups outside the top."""
    credits: Decimal
    """The net credits: ``debited`` less ``reversed``."""
    debited: Decimal
    """The credits that debits and captures took from grants."""
    reversed: Decimal
    """The credits that reversals gave back."""
    events: int
    """The number of debits and captures that have a part here. One that several grants paid counts with each."""
    refused: int
    """The number of debits and holds refused for lack of credits or budget. A statistic, not from the ledger."""
    quantities: dict[str, Decimal]
    """The quantity that was metered, by metric; "" is the metric of quantities that came without one. What several
    grants paid for is divided among them in proportion to what each paid."""
    first_at: datetime | None
    """The time of the first event; ``None`` if there are only reversals."""
    last_at: datetime | None
    """The time of the last event; ``None`` if there are only reversals."""


class UsageLines(Sequence[UsageLine]):
    """The lines of an answer, stored by columns. A line is made each time it is read. Equal to any list of equal lines.

    Making thirty thousand lines at once would block the event loop for a tenth of a second.
    """

    __slots__ = ("_moments", "_offsets", "_scale", "_table")
    __hash__ = None  # type: ignore[assignment] # as of a list: it equals lists

    def __init__(self, table: UsageTable, scale: int) -> None:
        """Take the lines of ``table``; ``scale`` is the number of decimal places of its currency."""
        self._table = table
        self._scale = scale
        self._offsets = table.cells.offsets()
        self._moments: dict[int, datetime] = {}
        """The starts and ends of buckets that were converted before: many lines share them."""

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
        """Return the same as ``Usage.columns``, made without lines in between: several times as fast."""
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
    """The converted form of each number, made once."""

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
    """Return lines of usage as a list: msgspec calls this for types that it cannot encode."""
    if isinstance(value, UsageLines):
        return list(value)
    raise NotImplementedError(f"{type(value).__name__} has no encoding")


class Usage(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a question about usage."""

    question: UsageQuestion
    """The question that this answers."""
    start: datetime
    """The first moment of the range."""
    end: datetime
    """The moment after the range."""
    lines: Sequence[UsageLine]
    """The lines by bucket, and inside a bucket by the rank of the group; "other" is last."""
    total: UsageLine
    """The sum of all lines."""
    position: int
    """The last frame of the journal that the answer includes."""
    as_of: int
    """The version of the data. ``usage_entries`` uses it to find the entries behind a line."""

    def __post_init__(self) -> None:
        if isinstance(self.lines, list):  # As it is decoded.
            msgspec.structs.force_setattr(self, "lines", tuple(self.lines))

    def columns(self) -> dict[str, list[Any]]:
        """Return the lines by columns, in the form that ``DataFrame`` takes in any library.

        Each field in ``group_by`` is a column. A dimension whose name is that of another column, or begins with
        ``dimension.``, becomes ``dimension.<name>``.
        """
        if isinstance(self.lines, UsageLines):
            return self.lines.columns()
        fields = self.question.group_by
        first, *rest = ([getattr(line, name) for line in self.lines] for name in _PLAIN)
        named = {_column_of(name): [line.group[name] for line in self.lines] for name in fields}
        return {"start": first, "end": rest[0], **named, **dict(zip(_PLAIN[2:], rest[1:], strict=True))}

    def records(self) -> list[dict[str, Any]]:
        """Return the lines as flat dictionaries, with a key for each of the ``columns``."""
        columns = self.columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class UsageEntry(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """A ledger entry that counts in a line of usage."""

    pool: str
    """The name of the pool whose ledger has the entry."""
    credits: Decimal
    """The credits of the entry that count in the line; below 0 for a reversal."""
    entry: LedgerEntry


class UsageEntryPage(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """A page of the entries behind a line, ordered by time."""

    entries: tuple[UsageEntry, ...]
    next_cursor: str | None
    """The cursor of the next page, which later entries do not affect; ``None`` if this is the last."""


class UsageChange(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """What one group used in a period and in the period that it is compared with."""

    group: dict[str, GroupValue]
    """The value of each field in ``group_by``; ``None`` for events without the field."""
    other: bool = False
    """Whether this is the sum of the groups outside the top."""
    credits: Decimal
    """The net credits used in the period."""
    before: Decimal
    """The net credits used in the other period."""
    events: int
    """The number of debits and captures in the period."""
    events_before: int
    """The number of debits and captures in the other period."""
    change: Decimal
    """``credits`` less ``before``."""
    relative: Decimal | None
    """The change as a share of ``before``, to four places: 0.5 means 50% more. ``None`` if ``before`` is 0."""


class UsageComparison(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """One period against another, group by group."""

    question: UsageQuestion
    """The question about the period."""
    start: datetime
    """The first moment of the period."""
    end: datetime
    """The moment after the period."""
    before_start: datetime
    """The first moment of the other period."""
    before_end: datetime
    """The moment after the other period."""
    changes: tuple[UsageChange, ...]
    """The change of each group, in the requested order."""
    total: UsageChange
    """The change of all groups together."""


class UsageSpike(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """A bucket in which a group used much more than before."""

    line: UsageLine
    """The group in the bucket that stands out."""
    expected: Decimal
    """The median of the group's buckets before this one, in credits, to the currency's decimal places."""
    score: float
    """The modified z-score: how far the bucket stands out."""


class UsageSpikes(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """The buckets and groups that stand out. ``usage_entries(usage, spike.line)`` returns the entries of a spike."""

    start: datetime
    """The first moment of the requested range. The range ends where ``usage`` ends."""
    usage: Usage
    """The usage that has the spikes, for looking up entries. It begins with the history that the spikes are compared
    with, and its lines are only those of the spikes."""
    spikes: tuple[UsageSpike, ...]
    """The spikes, the largest excess first."""
    method: str
    """The method in words."""


class Forecast(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """A forecast of when a pool runs dry if its credits continue to be used at the same rate."""

    pool: str
    """The name of the pool."""
    version: int
    """The version of the pool."""
    available: Decimal
    """The credits available now."""
    start: datetime
    """The first moment of the range from which the rate is taken."""
    end: datetime
    """The moment after that range."""
    per_day: Decimal
    """The net credits used in 24 hours, rounded half-even to the currency's decimal places."""
    runs_dry_at: datetime | None
    """The time at which the credits end; ``None`` if not within ten years, or if nothing is being used."""
    expiring: Decimal
    """The credits that will expire unused before then."""
    assumption: str
    """The method in words."""


class UsageStatus(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """How far the usage file has followed the journal, in frames."""

    position: int
    """The last frame that is in the usage file."""
    journal: int
    """The last frame of the journal."""
    rebuilt: int | None = None
    """The last frame that is in the new file; ``None`` if the file is not being rebuilt."""
    failure: str | None = None
    """The reason why the last rebuild failed; ``None`` if it did not. The old file stays in use then."""


_ZERO: Final = Decimal(0)
_PLAIN: Final = tuple(name for name in UsageLine.__struct_fields__ if name != "group")


def _column_of(field: str) -> str:
    return f"dimension.{field}" if field in _PLAIN or field.startswith("dimension.") else field
