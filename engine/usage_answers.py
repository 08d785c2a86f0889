"""What is asked of usage from outside, and what is answered: plain data, the same embedded and on the wire."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from .answers import LedgerEntry
from .dimensions import DimensionValue
from .pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT

GroupValue: TypeAlias = DimensionValue | None


class UsageQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A question as it was asked, with its range of time as moments. ``Credits.usage`` says what each part means."""

    pool: str | None = None
    customer: str | None = None
    environment: str = ENVIRONMENT_DEFAULT
    currency: str = CURRENCY_DEFAULT
    period: str | None = None
    start: str | None = None
    end: str | None = None
    window: str | None = None
    time_zone: str = "UTC"
    group_by: tuple[str, ...] = ()
    filters: tuple[dict[str, Any], ...] = ()
    top: int | None = None
    order: str = "credits"
    descending: bool | None = None
    fill_empty: bool = False
    consistent: bool = False


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
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


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: lines by bucket, and inside a bucket by the rank of the group, "other" last."""

    question: UsageQuestion
    start: datetime
    end: datetime
    lines: tuple[UsageLine, ...]
    total: UsageLine
    """Of all lines together."""
    position: int
    """The last frame of the journal that is in it."""
    as_of: int
    """What entries behind its lines are looked up as of."""

    def records(self) -> list[dict[str, Any]]:
        """The lines as flat dictionaries, one column per field grouped by: for a ``DataFrame`` of any library.

        A dimension that is called as a column of the line, or ``dimension.<anything>``, is written
        ``dimension.<name>``.
        """
        return [_record(line) for line in self.lines]


class UsageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a ledger that counts in a line of usage."""

    pool: str
    credits: Decimal
    """What of it counts there; less than 0 for a reversal."""
    entry: LedgerEntry


class UsageEntryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the entries behind a line, by time. ``next_cursor`` continues, however many more came since."""

    entries: tuple[UsageEntry, ...]
    next_cursor: str | None


class UsageChange(msgspec.Struct, frozen=True, kw_only=True):
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


class UsageComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One period against another, group by group."""

    question: UsageQuestion
    start: datetime
    end: datetime
    before_start: datetime
    before_end: datetime
    changes: tuple[UsageChange, ...]
    total: UsageChange


class UsageSpike(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket in which a group used much more than before."""

    line: UsageLine
    expected: Decimal
    """The median of the buckets before it, to the currency's places."""
    score: float
    """How far it stands out: the modified z-score."""


class UsageSpikes(msgspec.Struct, frozen=True, kw_only=True):
    """What stands out, the largest excess first. ``usage_entries(usage, spike.line)`` tells what is behind one."""

    usage: Usage
    """The answer in which the spikes are, for looking up entries; it begins with the history that they stand out
    against, and its lines are those of the spikes."""
    spikes: tuple[UsageSpike, ...]
    method: str


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
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


class UsageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far the usage file is behind the journal, in frames."""

    position: int
    journal: int
    rebuilt: int | None = None
    """How far the new file is that is being made, if one is."""
    failure: str | None = None
    """Why the last one could not be made: then the old file stays."""


_COLUMNS = frozenset(UsageLine.__struct_fields__) - {"group"}


def _record(line: UsageLine) -> dict[str, Any]:
    values = {
        f"dimension.{name}" if name in _COLUMNS or name.startswith("dimension.") else name: value
        for name, value in line.group.items()
    }
    return {
        "start": line.start,
        "end": line.end,
        **values,
        **{name: getattr(line, name) for name in UsageLine.__struct_fields__ if name not in ("start", "end", "group")},
    }
