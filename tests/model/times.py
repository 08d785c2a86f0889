"""The times of the model: whole microseconds since 1970, and the months of UTC."""

from __future__ import annotations

from calendar import timegm
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND


def month_of(at: int) -> tuple[int, int]:
    """Return when the month that ``at`` lies in begins, and when the next one does."""
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
    later = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
    return timegm((day.year, day.month, 1, 0, 0, 0)) * SECOND, timegm(later.timetuple()) * SECOND
