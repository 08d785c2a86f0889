"""Windows of the calendar: which hour, day, week or month of a time zone a moment lies in.

Moments are microseconds since 1970, UTC; windows are half-open and tile time without gap or overlap. Days have 23 or 25
hours where clocks change. Windows depend on the time zone database of the machine, which can change. Code that decides
by a window therefore records its bounds, and folding a journal never computes them again.

Hours and minutes go by the wall clock: an hour that occurs twice in autumn is two windows. A window begins at the
first moment that has its date, even if midnight is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

from .amounts import shown
from .errors import InvalidRequest
from .times import EPOCH, MICROSECOND, MOMENT_MAX_US, SECOND_US

Period: TypeAlias = Literal["minute", "hour", "day", "week", "month", "quarter", "year", "total"]
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
BudgetWindow: TypeAlias = Literal["minute", "hour", "day", "week", "month", "total"]
"""The window after which the count of a budget begins again."""
AllowanceWindow: TypeAlias = Literal["hour", "day", "week", "month"]
"""The window after which a fixed allowance begins again."""
BUDGET_WINDOWS: Final[tuple[BudgetWindow, ...]] = get_args(BudgetWindow)
ALLOWANCE_WINDOWS: Final[tuple[AllowanceWindow, ...]] = get_args(AllowanceWindow)
ZONE_CHARS_MAX: Final = 64

_CACHED: Final = 4_096
_last: dict[tuple[Period, str], tuple[int, int]] = {}
"""The last window returned, by period and zone. The next call nearly always needs the same one."""


def check_zone(value: object, field: str) -> str:
    """Return ``value`` if it names a time zone, such as Europe/Paris. Raises ``InvalidRequest``."""
    if isinstance(value, str) and 0 < len(value) <= ZONE_CHARS_MAX and value.isascii():
        try:
            _zone(value)
        except (KeyError, ValueError, OSError):
            pass
        else:
            return value
    raise InvalidRequest(field, 'the name of a time zone, such as "Europe/Paris"', got=shown(value))


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def window_of(at_us: int, period: Period, zone: str) -> tuple[int, int]:
    """Return the window [start, end) in which ``at_us`` lies. ``total`` is all of time."""
    if period == "total":
        return 0, MOMENT_MAX_US
    known = _last.get((period, zone))
    if known is not None and known[0] <= at_us < known[1]:
        return known
    found = _find(at_us, period, zone)
    if len(_last) >= _CACHED:
        _last.clear()
    _last[(period, zone)] = found
    return found


def windows_between(start_us: int, end_us: int, period: Period, zone: str) -> Iterator[tuple[int, int]]:
    """Yield the windows that overlap [start, end), in order."""
    while start_us < end_us:
        window = window_of(start_us, period, zone)
        yield window
        start_us = window[1]


def _find(at_us: int, period: Period, zone: str) -> tuple[int, int]:
    info = _zone(zone)
    local = (EPOCH + at_us * MICROSECOND).astimezone(info)
    if period == "hour" or period == "minute":
        return _clock_window(at_us, local, 3_600 if period == "hour" else 60)
    day = local.date()
    first = _first_day(day, period)
    start = _day_start(first, info)
    if start > at_us:
        # The date occurs twice, or the clock was set back over midnight: the moment belongs to the window before.
        first = _first_day(first - timedelta(days=1), period)
        start = _day_start(first, info)
    following = _following(first, period)
    end = MOMENT_MAX_US if following is None else _day_start(following, info)
    if end <= at_us and following is not None:
        # The clock was set back over midnight after the next date had begun: that date continues.
        start, following = end, _following(following, period)
        end = MOMENT_MAX_US if following is None else _day_start(following, info)
    return max(0, start), end


def _clock_window(at_us: int, local: datetime, size: int) -> tuple[int, int]:
    """Return an hour or a minute of the wall clock, cut short where the clock is set forward or back within it."""
    into = (local.minute * 60 + local.second) % size * SECOND_US + local.microsecond
    start, end = at_us - into, at_us - into + size * SECOND_US
    offset, info = local.utcoffset(), local.tzinfo
    if _offset(start, info) != offset:
        start = _change(start, at_us, info)
    if _offset(end - 1, info) != offset:
        end = _change(at_us, end - 1, info)
    return max(0, start), min(end, MOMENT_MAX_US)


def _offset(at_us: int, info: object) -> timedelta | None:
    assert isinstance(info, ZoneInfo)  # noqa: S101 - narrows the type: every local time here has a zone
    return (EPOCH + at_us * MICROSECOND).astimezone(info).utcoffset()


def _change(before: int, after: int, info: object) -> int:
    """Return the first microsecond after ``before`` that has the same offset as ``after``."""
    wanted = _offset(after, info)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, info) == wanted:
            after = middle
        else:
            before = middle
    return after


def _first_day(day: date, period: Period) -> date:
    match period:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def _following(first: date, period: Period) -> date | None:
    """Return the first day of the next window; ``None`` beyond the end of the calendar."""
    days = {"day": 1, "week": 7, "month": 31, "quarter": 93, "year": 366}[period]
    try:
        later = first + timedelta(days=days)
    except OverflowError:
        return None
    return later if period in ("day", "week") else _first_day(later, period)


def _day_start(day: date, info: ZoneInfo) -> int:
    """Return the first moment whose date in the zone is ``day`` or, if the zone skipped that date, a later one."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=info)
    # The two readings of the wall clock differ where midnight occurs twice, or is skipped.
    moments = [(midnight.replace(fold=fold).astimezone(UTC) - EPOCH) // MICROSECOND for fold in (0, 1)]
    early, late = min(moments), max(moments)
    if early == late or _date(early, info) >= day:
        return early
    # Midnight is skipped: the date begins where the clock is set forward, between the two readings.
    while late - early > 1:
        middle = (early + late) // 2
        if _date(middle, info) >= day:
            late = middle
        else:
            early = middle
    return late


def _date(at_us: int, info: ZoneInfo) -> date:
    return (EPOCH + at_us * MICROSECOND).astimezone(info).date()
