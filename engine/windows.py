from __future__ import annotations

from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from .errors import InvalidRequest
from .times import MOMENT_MAX_US

Period: TypeAlias = Literal["minute", "hour", "day", "week", "month", "quarter", "year", "total"]
PERIODS: Final[tuple[Period, ...]] = ("minute", "hour", "day", "week", "month", "quarter", "year", "total")


def check_zone(name: object, field: str) -> str:
    try:
        ZoneInfo(name)  # type: ignore[arg-type]
    except Exception:
        raise InvalidRequest(field, "a time zone") from None
    return str(name)


def check_period(value: object, field: str, allowed: tuple[Period, ...] = PERIODS) -> Period:
    for period in allowed:
        if period == value:
            return period
    raise InvalidRequest(field, f"one of {', '.join(allowed)}")


def window_of(at_us: int, period: Period, zone: str) -> tuple[int, int]:
    if period == "total":
        return 0, MOMENT_MAX_US
    sizes = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
    size = sizes[period] * 1_000_000
    return at_us - at_us % size, at_us - at_us % size + size
