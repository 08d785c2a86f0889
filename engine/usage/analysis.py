"""What usage says: how two periods compare, which buckets stand out, when a pool runs dry.

Pure functions over the rows of answers (see ``usage_query``). Credits are whole units and stay exact at any size, times
are microseconds since 1970, and what is between two units or two microseconds is a ``Fraction``. The one float is the
score of a spike.

Values are compared with their type: 1, 1.0, true and "1" are four groups. That is why groups come as rows: a mapping
by their values would have lost three of them before anything here could look.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil, floor
from typing import Final, Protocol, TypeAlias

import msgspec

from solvent.engine.api.usage_table import Value
from solvent.engine.api.usage_words import CompareOrder

SENSITIVITY: Final = 3.5
"""From which score on a bucket is a spike: the one that Iglewicz and Hoaglin recommend."""
HISTORY_MIN: Final = 5
HISTORY_MAX: Final = 168
"""Buckets: a week of hours, close to half a year of days."""
HABIT: Final = 3

_MAD: Final = 0.6745
"""The median absolute deviation of a normal distribution, in standard deviations."""
_MEAN_AD: Final = 1.253314
"""A standard deviation of a normal distribution, in mean absolute deviations."""
_PARTS_MIN: Final = 100
"""Up to so many groups, the least scale is 1 % of what all of them together spend."""

_BARS: Final = "▁▂▃▄▅▆▇█"


class Used(Protocol):
    """What one group used. ``UsageRow`` is one."""

    @property
    def values(self) -> tuple[Value, ...]: ...
    @property
    def other(self) -> bool: ...
    @property
    def credits(self) -> int: ...
    @property
    def events(self) -> int: ...


class UsedInBucket(Protocol):
    """What one group used in the bucket that begins at ``start``. ``UsageRow`` is one."""

    @property
    def start(self) -> int: ...
    @property
    def values(self) -> tuple[Value, ...]: ...
    @property
    def other(self) -> bool: ...
    @property
    def credits(self) -> int: ...


class Compared(msgspec.Struct, frozen=True):
    """A group in two periods."""

    values: tuple[Value, ...]
    """All ``None`` for the others."""
    other: bool
    """Stands for all groups that did not make the top."""
    credits_before: int
    credits_after: int
    events_before: int
    events_after: int

    @property
    def change(self) -> int:
        """Units."""
        return self.credits_after - self.credits_before

    @property
    def relative(self) -> Fraction | None:
        """The change in parts of what there was before: 1 is twice as much. ``None`` if there was nothing.

        An increase is above 0 also where more had been reversed than spent.
        """
        return Fraction(self.change, abs(self.credits_before)) if self.credits_before else None


class Series(msgspec.Struct, frozen=True):
    """What a group used in each bucket, oldest first, zeros included."""

    values: tuple[Value, ...]
    credits: Sequence[int]
    """Units."""
    other: bool = False


class Spike(msgspec.Struct, frozen=True):
    """A bucket in which a group did what its history does not explain."""

    values: tuple[Value, ...]
    other: bool
    bucket: int
    """Its index in the series."""
    credits: int
    expected: Fraction
    """The median of the history."""
    score: float
    """How many standard deviations that is, less than 0 for a drop."""

    @property
    def excess(self) -> Fraction:
        """Units above what was expected."""
        return self.credits - self.expected


class Forecast(msgspec.Struct, frozen=True):
    """How long a pool lasts if it goes on burning as it did."""

    rate: Fraction
    """Units per microsecond; less than 0 where more was reversed than spent."""
    runs_dry_at: int | None
    """The first microsecond at which nothing is left; ``None`` if that is not within the horizon."""
    expires_unused: int
    """Units that expire until then, or until the horizon. Rounded down: what was begun is burned."""


def compare(
    after: Iterable[Used],
    before: Iterable[Used],
    *,
    order: CompareOrder = "change",
    descending: bool = True,
    top: int | None = None,
) -> list[Compared]:
    """Return every group that is in either period, ordered, or the ``top`` groups and the others as one, which is last.

    Several rows of a group are added up, and nothing is lost: the sums over the answer are those of the rows. Ordered
    by the size of the change, by the change itself ("increase"), by the credits after it or by name; groups that are
    equal in this go by name. ``top`` is at least 1.
    """
    sums: dict[_Exact, _Sum] = {}
    others: list[_Sum] = []
    for rows, period in ((before, 0), (after, 1)):
        for row in rows:
            if row.other:
                found = _Sum(row.values)
                others.append(found)
            else:
                found = sums.setdefault(exact(row.values), _Sum(row.values))
            found.credits[period] += row.credits
            found.events[period] += row.events
    ordered = [found.compared() for found in sums.values()]
    ordered.sort(key=lambda each: _name_rank(each.values), reverse=order == "name" and descending)
    match order:
        case "change":
            ordered.sort(key=lambda each: abs(each.change), reverse=descending)
        case "increase":
            ordered.sort(key=lambda each: each.change, reverse=descending)
        case "credits":
            ordered.sort(key=lambda each: each.credits_after, reverse=descending)
    kept = len(ordered) if top is None else top
    rest = [*ordered[kept:], *(found.compared() for found in others)]
    if not rest:
        return ordered
    remainder = Compared(
        (None,) * len(rest[0].values),
        True,
        sum(each.credits_before for each in rest),
        sum(each.credits_after for each in rest),
        sum(each.events_before for each in rest),
        sum(each.events_after for each in rest),
    )
    return [*ordered[:kept], remainder]


def series_of(rows: Iterable[UsedInBucket], starts: Sequence[int]) -> list[Series]:
    """Return the series of each group in an answer by buckets, in the order in which the groups first come.

    ``starts`` are those of all buckets of the query, so that the answer need not be filled.
    """
    position = {start: number for number, start in enumerate(starts)}
    found: dict[tuple[bool, _Exact], Series] = {}
    credits: dict[tuple[bool, _Exact], list[int]] = {}
    for row in rows:
        key = row.other, exact(row.values)
        if key not in found:
            credits[key] = [0] * len(starts)
            found[key] = Series(row.values, credits[key], row.other)
        credits[key][position[row.start]] += row.credits
    return list(found.values())


def spikes(
    series: Iterable[Series],
    *,
    sensitivity: float = SENSITIVITY,
    history_min: int = HISTORY_MIN,
    history_max: int = HISTORY_MAX,
    habit: int = HABIT,
    least: int = 1,
    both: bool = False,
) -> list[Spike]:
    """Return the buckets that stand out, those furthest from what was expected first; with ``both`` also the drops.

    A bucket is judged against the up to ``history_max`` buckets of its group before it, if there are ``history_min``;
    neither the bucket itself nor what came later has a say, so a verdict once given stands. Buckets of an hour should
    have a day of history, or every first morning is a spike. A bucket is one if

    - its modified z-score (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993) is ``sensitivity`` or more:
      0.6745 times its distance from the median, in median absolute deviations;
    - it is ``least`` units or more from the median;
    - it is half as far again from the median as what the history reached ``habit`` times. A nightly job is news for
      the first nights only, and so is a plateau: spikes stay in the history, which bears them as medians do.

    Where more than half of the history is one value, the median absolute deviation is 0 and says nothing. The standard
    deviation is then estimated by the mean absolute deviation (times 1.253314), but as no less than a hundredth of what
    all groups together used per bucket, on average over the history and the bucket itself; with more than 100 groups,
    than what the average group did. So what a silent group suddenly uses is a spike if it matters to the whole.

    ``sensitivity`` is above 0, the counts and ``least`` are 1 or more, and ``history_min <= history_max``. Series of
    different lengths raise ``ValueError``.
    """
    every = list(series)
    columns = zip(*(each.credits for each in every), strict=True)
    activity = list(accumulate((sum(map(abs, column)) for column in columns), initial=0))
    parts = max(_PARTS_MIN, len(every))
    found: list[Spike] = []
    for each in every:
        credits = each.credits
        history: list[int] = []
        """Sorted."""
        for bucket, units in enumerate(credits):
            count = bucket if bucket < history_max else history_max
            if count >= history_min:
                reached = habit if habit < count else count
                # Few come further than this test, which the third condition implies: it is what makes this fast.
                if units > history[-reached] or (both and units < history[reached - 1]):
                    double = history[count // 2] + history[(count - 1) // 2]
                    excess = 2 * units - double
                    known = 2 * history[-reached] - double if excess > 0 else double - 2 * history[reached - 1]
                    size = abs(excess)
                    if (excess > 0 or both) and size >= 2 * least and 2 * size > 3 * known:
                        used = activity[bucket + 1] - activity[bucket - count]
                        score = _score(history, double, excess, used, (count + 1) * parts)
                        if abs(score) >= sensitivity:
                            found.append(Spike(each.values, each.other, bucket, units, Fraction(double, 2), score))
            if count < history_max:
                insort(history, units)
            elif (leaving := credits[bucket - history_max]) != units:
                del history[bisect_left(history, leaving)]
                insort(history, units)
    return sorted(found, key=lambda spike: (-abs(spike.excess), spike.bucket, spike.other, _name_rank(spike.values)))


def forecast(
    blocks: Iterable[tuple[int, int | None]], spent: int, *, over_us: int, now: int, horizon_us: int
) -> Forecast:
    """Return when ``blocks`` are used up if ``spent`` net units in ``over_us`` microseconds are how it goes on.

    ``blocks`` are (units available, moment of expiry or ``None``) in the order in which they burn, whenever they
    expire; what a block still has when it expires is lost. Nothing else is assumed to come in or to leave.
    ``over_us`` is above 0, units and ``horizon_us`` are not below.
    """
    rate = Fraction(spent, over_us)
    end = now + horizon_us
    if rate <= 0:
        idle = sum(units for units, expires_at in blocks if expires_at is not None and expires_at <= end)
        return Forecast(rate, None, idle)
    moment, lost = Fraction(now), Fraction(0)
    """When the blocks so far are gone, and what of them expired by then."""
    for units, expires_at in blocks:
        over = moment if moment < end else end
        if expires_at is not None and expires_at <= over:
            lost += units
        elif moment <= end:
            gone = moment + units / rate
            if expires_at is not None and expires_at < gone:
                if expires_at <= end:
                    lost += (gone - expires_at) * rate
                gone = Fraction(expires_at)
            moment = gone
    return Forecast(rate, ceil(moment) if moment <= end else None, floor(lost))


def sparkline(values: Sequence[int], width: int) -> str:
    """Return ``values`` as bars, at most ``width`` of them: neighbours that have to share a bar are added up.

    The highest bar is the greatest; 0 and less is the lowest, and whatever is more than 0 is above that. Where bars
    stand for unequally many values, they are compared by the average of these.
    """
    count = min(len(values), width)
    if count <= 0:
        return ""
    edges = [number * len(values) // count for number in range(count + 1)]
    sums = [Fraction(sum(values[start:end]), end - start) for start, end in pairwise(edges)]
    heights = [max(each, Fraction(0)) for each in sums]
    highest = max(heights)
    return "".join(_BARS[ceil(height / highest * (len(_BARS) - 1)) if highest else 0] for height in heights)


_Exact: TypeAlias = tuple[str, ...]


class _Sum:
    __slots__ = ("credits", "events", "values")

    def __init__(self, values: tuple[Value, ...]) -> None:
        self.values = values
        self.credits = [0, 0]
        """Before and after."""
        self.events = [0, 0]

    def compared(self) -> Compared:
        return Compared(self.values, False, *self.credits, *self.events)


def exact(values: tuple[Value, ...]) -> _Exact:
    """Tells apart what Python calls equal: no two types write a value alike, and 0.0 and -0.0 are two values."""
    return tuple(map(repr, values))


def _name_rank(values: tuple[Value, ...]) -> tuple[tuple[int, float, str], ...]:
    """Sorts by name as answers do: booleans, numbers by size, strings by code points, and last what is missing."""
    return tuple([_value_rank(value) for value in values])


def _value_rank(value: Value) -> tuple[int, float, str]:
    match value:
        case None:
            return 3, 0, ""
        case bool():
            return 0, 0, repr(value)
        case str():
            return 2, 0, value
        case _:
            return 1, value, repr(value)


def _score(history: Sequence[int], double: int, excess: int, used: int, parts: int) -> float:
    """Standard deviations in an excess. It is given times two, as is the median, so that both are whole.

    The least scale, where it is needed, is ``used / parts``. Quotients of whole numbers, however large, round once.
    """
    count = len(history)
    deviations = sorted([abs(2 * units - double) for units in history])
    median = deviations[count // 2] + deviations[(count - 1) // 2]
    if median:
        return _MAD * (2 * excess / median)
    by_share = excess * parts / (2 * used)
    total = sum(deviations)
    return min(by_share, excess * count / total / _MEAN_AD, key=abs) if total else by_share
