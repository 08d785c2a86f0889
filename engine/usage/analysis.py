"""Analysis of usage: how two periods compare, which buckets stand out, when a pool runs dry.

Pure functions over the rows of answers (see ``usage_query``). Credits are whole units and stay exact at any size. Times
are microseconds since 1970. A value between two units or two microseconds is a ``Fraction``. The only float is the
score of a spike.

Equal numbers have one form in answers, so values are compared with their type: 1, true and "1" are three groups. That
is why groups come as rows: a mapping by their values would already have lost one of them.
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
"""The score from which a bucket is a spike, as Iglewicz and Hoaglin recommend."""
HISTORY_MIN: Final = 5
HISTORY_MAX: Final = 168
"""The most buckets of history: a week of hours, or nearly half a year of days."""
HABIT: Final = 3

_MAD: Final = 0.6745
"""The median absolute deviation of a normal distribution, in standard deviations."""
_MEAN_AD: Final = 1.253314
"""A standard deviation of a normal distribution, in mean absolute deviations."""
_PARTS_MIN: Final = 100
"""The smallest divisor for the least scale: with up to this many groups, it is 1 % of what all groups spend."""

_BARS: Final = "▁▂▃▄▅▆▇█"


class Used(Protocol):
    """The usage of one group. ``UsageRow`` is one."""

    @property
    def values(self) -> tuple[Value, ...]: ...
    @property
    def other(self) -> bool: ...
    @property
    def credits(self) -> int: ...
    @property
    def events(self) -> int: ...


class UsedInBucket(Protocol):
    """The usage of one group in the bucket that begins at ``start``. ``UsageRow`` is one."""

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
    """The values of the group; all ``None`` if ``other``."""
    other: bool
    """Whether this stands for all groups outside the top."""
    credits_before: int
    credits_after: int
    events_before: int
    events_after: int

    @property
    def change(self) -> int:
        """The change in units."""
        return self.credits_after - self.credits_before

    @property
    def relative(self) -> Fraction | None:
        """The change divided by the value before: 1 means twice as much. ``None`` if there was nothing before.

        An increase is above 0 even if more was reversed than spent before.
        """
        return Fraction(self.change, abs(self.credits_before)) if self.credits_before else None


class Series(msgspec.Struct, frozen=True):
    """The usage of a group in each bucket, oldest first, zeros included."""

    values: tuple[Value, ...]
    credits: Sequence[int]
    """The units in each bucket."""
    other: bool = False


class Spike(msgspec.Struct, frozen=True):
    """A bucket in which the usage of a group is not explained by its history."""

    values: tuple[Value, ...]
    other: bool
    bucket: int
    """The index of the bucket in the series."""
    credits: int
    expected: Fraction
    """The median of the history."""
    score: float
    """The distance from ``expected`` in standard deviations; less than 0 for a drop."""

    @property
    def excess(self) -> Fraction:
        """Units above what was expected."""
        return self.credits - self.expected


class Forecast(msgspec.Struct, frozen=True):
    """The time that a pool lasts if it continues to burn at the same rate."""

    rate: Fraction
    """The units per microsecond; less than 0 if more was reversed than spent."""
    runs_dry_at: int | None
    """The first microsecond at which nothing is left; ``None`` if that is beyond the horizon."""
    expires_unused: int
    """The units that expire before then, or before the horizon. Rounded down: a unit in use counts as burned."""


def compare(
    after: Iterable[Used],
    before: Iterable[Used],
    *,
    order: CompareOrder = "change",
    descending: bool = True,
    top: int | None = None,
) -> list[Compared]:
    """Return every group of either period in order; or the ``top`` groups, then all others as one.

    Several rows of a group are added up, and nothing is lost: the sums over the answer equal those of the rows. The
    order is by the size of the change, by the change itself ("increase"), by the credits after it, or by name; equal
    groups are ordered by name. ``top`` is at least 1.
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
    """Return the series of each group in an answer by buckets, in the order in which the groups first appear.

    ``starts`` are the starts of all buckets of the query, so the answer need not contain empty buckets.
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

    A bucket is judged against up to ``history_max`` buckets of its group before it, if there are ``history_min``.
    Neither the bucket itself nor later ones count, so a verdict never changes. Buckets of an hour should have a day of
    history, or every first morning is a spike. A bucket is a spike if

    - its modified z-score (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993) is ``sensitivity`` or more:
      0.6745 times its distance from the median, in median absolute deviations;
    - it is ``least`` units or more from the median;
    - it is half as far again from the median as what the history reached ``habit`` times. So a nightly job is a spike
      on the first nights only, and so is a plateau: spikes stay in the history, whose median tolerates them.

    If more than half of the history is one value, the median absolute deviation is 0 and useless. The standard
    deviation is then estimated by the mean absolute deviation (times 1.253314), but as no less than a hundredth of what
    all groups together used per bucket, on average over the history and the bucket itself; with more than 100 groups,
    no less than what the average group used. So sudden usage of a silent group is a spike if it matters to the whole.

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
        """The units in the buckets before, sorted."""
        for bucket, units in enumerate(credits):
            count = bucket if bucket < history_max else history_max
            if count >= history_min:
                reached = habit if habit < count else count
                # The third condition implies this test. Few buckets pass it, which makes this fast.
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
    """Return when ``blocks`` are used up, if spending continues at ``spent`` net units in ``over_us`` microseconds.

    ``blocks`` are (units available, moment of expiry or ``None``) in the order in which they burn, whenever they
    expire; units left in a block when it expires are lost. No other credits are assumed to come or go. ``over_us`` is
    above 0; units and ``horizon_us`` are 0 or more.
    """
    rate = Fraction(spent, over_us)
    end = now + horizon_us
    if rate <= 0:
        idle = sum(units for units, expires_at in blocks if expires_at is not None and expires_at <= end)
        return Forecast(rate, None, idle)
    moment, lost = Fraction(now), Fraction(0)
    """The moment at which the blocks so far are gone, and the units of them that expired by then."""
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
    """Return ``values`` as at most ``width`` bars. Neighbours that share a bar are added up.

    The greatest value gets the highest bar, 0 and less the lowest, and anything above 0 a higher one than that. If the
    bars stand for different numbers of values, they show averages.
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
        """The credits before and after."""
        self.events = [0, 0]

    def compared(self) -> Compared:
        return Compared(self.values, False, *self.credits, *self.events)


def exact(values: tuple[Value, ...]) -> _Exact:
    """Return a key that separates values that Python calls equal: 1 and True."""
    return tuple(map(repr, values))


def _name_rank(values: tuple[Value, ...]) -> tuple[tuple[int, float, str], ...]:
    """Return the sort key by name, as in answers: booleans, numbers by size, strings by code points, then missing."""
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
    """Return the standard deviations in an excess. It is given doubled, like the median, so that both are whole.

    The least scale, if needed, is ``used / parts``. Quotients of whole numbers, however large, round only once.
    """
    count = len(history)
    deviations = sorted([abs(2 * units - double) for units in history])
    median = deviations[count // 2] + deviations[(count - 1) // 2]
    if median:
        return _MAD * (2 * excess / median)
    by_share = excess * parts / (2 * used)
    total = sum(deviations)
    return min(by_share, excess * count / total / _MEAN_AD, key=abs) if total else by_share
