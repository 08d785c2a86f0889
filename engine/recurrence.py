"""When something recurs: every day, week, month or year at the wall-clock time of its anchor."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from .times import DAY_US, EPOCH, MICROSECOND, MOMENT_MAX_US

RecurrencePeriod: TypeAlias = Literal["day", "week", "month", "year"]
RECURRENCE_PERIODS: Final[tuple[RecurrencePeriod, ...]] = ("day", "week", "month", "year")
EVERY_MAX: Final = 1_000
_DAYS: Final = {"day": 1.0, "week": 7.0, "month": 30.436875, "year": 365.2425}


class Rhythm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    anchor: int
    period: RecurrencePeriod
    every: int = 1
    zone: str = "UTC"


def occurrence(rhythm: Rhythm, number: int) -> int:
    if not number:
        return rhythm.anchor
    info = ZoneInfo(rhythm.zone)
    local = (EPOCH + rhythm.anchor * MICROSECOND).astimezone(info)
    steps = number * rhythm.every
    try:
        if rhythm.period in ("day", "week"):
            day = local.date() + timedelta(days=steps * (7 if rhythm.period == "week" else 1))
        else:
            months = local.year * 12 + local.month - 1 + steps * (12 if rhythm.period == "year" else 1)
            year, month = divmod(months, 12)
            day = date(year, month + 1, min(local.day, monthrange(year, month + 1)[1]))
    except (OverflowError, ValueError):
        return 0 if number < 0 else MOMENT_MAX_US
    moment = datetime.combine(day, local.time().replace(fold=0), tzinfo=info)
    return min(max((moment.astimezone(UTC) - EPOCH) // MICROSECOND, 0), MOMENT_MAX_US)


def period_at(rhythm: Rhythm, at: int) -> tuple[int, int]:
    number = int((at - rhythm.anchor) / (_DAYS[rhythm.period] * DAY_US * rhythm.every))
    while occurrence(rhythm, number) > at:
        number -= 1
    while (end := occurrence(rhythm, number + 1)) <= at:
        number += 1
    return occurrence(rhythm, number), end


def share_of(amount: int, part: int, whole: int) -> int:
    double, rest = divmod(2 * amount * part, 2 * whole)
    if rest > whole or (rest == whole and double % 2):
        double += 1
    return double
