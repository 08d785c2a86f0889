"""Moments: microseconds since 1970 in UTC inside, aware datetimes and ISO 8601 text outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from .errors import InvalidRequest

TimeLike: TypeAlias = datetime | str
"""The types in which callers give a moment: an aware ``datetime``, or ISO 8601 text with an offset."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
MOMENT_MAX_US: Final = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH) // MICROSECOND


def parse_time(value: object, field: str) -> int:
    """Return the moment in microseconds since 1970, ``0 <= moment < 9999-12-31``.

    Raises ``InvalidRequest`` naming ``field`` for a time without a zone: it could mean any of 27 hours.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(field, "ISO 8601 such as 2026-11-23T10:00:00Z", got=repr(value)[:40]) from None
    if not isinstance(value, datetime):
        raise InvalidRequest(field, "a datetime or ISO 8601 text", got=type(value).__name__)
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidRequest(field, "a time with its zone, such as 2026-11-23T10:00:00Z", got=value.isoformat())
    moment = (value - EPOCH) // MICROSECOND
    if not 0 <= moment < MOMENT_MAX_US:
        raise InvalidRequest(field, "a time from 1970 to 9999", got=value.isoformat())
    return moment


def to_datetime(moment_us: int) -> datetime:
    """Return the moment as a ``datetime`` in UTC, exact to the microsecond."""
    return EPOCH + timedelta(microseconds=moment_us)


def format_time(moment_us: int) -> str:
    """Return the moment as ISO 8601 in UTC with six places. It sorts as text, and parses back to the same moment."""
    return to_datetime(moment_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
