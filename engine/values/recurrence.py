"""Recurrence: every day, week, month or year at the wall-clock time of an anchor.

Days, weeks, months and years are those of the calendar of a time zone, so a monthly rhythm keeps its hour through
changes of daylight saving. An occurrence on a day that a month does not have is on that month's last day, and the month
after on its own day again: occurrences are always counted from the anchor, so nothing drifts (RFC 5545 would skip such
months; subscriptions cannot). A wall-clock time that a zone skips gets the offset from before the gap; of a time that
occurs twice, the first is used (PEP 495, ``fold=0``).
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from .times import DAY_US, EPOCH, MICROSECOND, MOMENT_MAX_US

RecurrencePeriod: TypeAlias = Literal["day", "week", "month", "year"]
RECURRENCE_PERIODS: Final[tuple[RecurrencePeriod, ...]] = ("day", "week", "month", "year")
EVERY_MAX: Final = 1_000
"""The most periods from one occurrence to the next."""

_SAMPLED_DAYS: Final = 2
"""The days between the moments at which clocks are compared. No zone changes its clock for less."""
_DAYS: Final = {"day": 1.0, "week": 7.0, "month": 30.436875, "year": 365.2425}
"""The average length of each period in days, in the Gregorian calendar. Used only for a first guess."""


class Rhythm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The times at which something recurs, in UTC microseconds since 1970."""

    anchor: int
    """The occurrence of number 0."""
    period: RecurrencePeriod
    every: int = 1
    """The number of periods from one occurrence to the next, 1 to ``EVERY_MAX``."""
    zone: str = "UTC"
    """The time zone whose calendar is used."""


def occurrence(rhythm: Rhythm, number: int) -> int:
    """Return the moment of occurrence ``number``, which may be below 0.

    A moment before 1970 or after the last moment that can be written becomes that bound.
    """
    if not number:
        return rhythm.anchor
    info = ZoneInfo(rhythm.zone)
    local = (EPOCH + rhythm.anchor * MICROSECOND).astimezone(info)
    periods = number * rhythm.every
    try:
        if rhythm.period in ("day", "week"):
            day = local.date() + timedelta(days=periods * (7 if rhythm.period == "week" else 1))
        else:
            months = local.year * 12 + local.month - 1 + periods * (12 if rhythm.period == "year" else 1)
            year, month = divmod(months, 12)
            day = date(year, month + 1, min(local.day, monthrange(year, month + 1)[1]))
        moment = datetime.combine(day, local.time().replace(fold=0), tzinfo=info).astimezone(UTC)
    except (OverflowError, ValueError):
        return 0 if number < 0 else MOMENT_MAX_US
    return min(max((moment - EPOCH) // MICROSECOND, 0), MOMENT_MAX_US)


def period_at(rhythm: Rhythm, at: int) -> tuple[int, int]:
    """Return the period that contains the moment ``at``: the last occurrence not after it, and the next."""
    number = int((at - rhythm.anchor) / (_DAYS[rhythm.period] * DAY_US * rhythm.every))
    while occurrence(rhythm, number) > at:
        number -= 1
    while (end := occurrence(rhythm, number + 1)) <= at:
        number += 1
    return occurrence(rhythm, number), end


def same_times(one: Rhythm, other: Rhythm) -> bool:
    """Return whether two rhythms recur at the same times, in whatever words they say it."""
    if not same_clock(one.zone, other.zone):
        return False
    info = ZoneInfo(one.zone)
    first, second = [(EPOCH + each.anchor * MICROSECOND).astimezone(info) for each in (one, other)]
    days, months = _length(one)
    if (days, months) != _length(other) or first.time() != second.time():
        return False
    if days:
        return (first.date() - second.date()).days % days == 0
    return first.day == second.day and (first.year - second.year) * 12 % months == (second.month - first.month) % months


def _length(rhythm: Rhythm) -> tuple[int, int]:
    """Return the days, or the months, from one occurrence to the next."""
    match rhythm.period:
        case "day" | "week":
            return rhythm.every * (7 if rhythm.period == "week" else 1), 0
        case "month" | "year":
            return 0, rhythm.every * (12 if rhythm.period == "year" else 1)


@lru_cache(maxsize=1_024)
def same_clock(zone: str, other: str) -> bool:
    """Return whether two time zones, such as UTC and Etc/UTC, are one: their clocks agree from 1970 to 2040."""
    if zone == other:
        return True
    one, two = ZoneInfo(zone), ZoneInfo(other)
    return all(
        moment.astimezone(one).utcoffset() == moment.astimezone(two).utcoffset()
        for moment in (EPOCH + timedelta(days=day) for day in range(0, 70 * 366, _SAMPLED_DAYS))
    )


def share_of(amount: int, part: int, whole: int) -> int:
    """Return ``amount * part / whole``, rounded half-even like everything here. ``whole > 0``, the others ``>= 0``."""
    double, rest = divmod(2 * amount * part, 2 * whole)
    if rest > whole or (rest == whole and double % 2):
        double += 1
    return double
