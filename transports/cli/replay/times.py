"""Times as files write them: ISO 8601, seconds or parts of a second since 1970, or a pattern. Pure.

What no zone is said for is in the zone that the caller names, or is refused. Beyond microseconds a time is cut, not
rounded. The hour that a zone has twice in autumn is taken as the first of the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.times import EPOCH, SECOND_US

from .decimals import parse_number

AUTO: Final = "auto"
"""ISO 8601, or a number: seconds since 1970 below ``_MILLISECONDS_FROM``, milliseconds from there on."""
ISO: Final = "iso"
EPOCH_FORMAT: Final = "epoch"
"""A number whose size says whether it counts seconds, milliseconds, microseconds or nanoseconds."""
UNITS: Final[Mapping[str, int]] = {"s": 0, "ms": 3, "us": 6, "ns": 9}
"""Decimal places of a second, by the name of the unit."""

_COUNTS_FROM: Final = Decimal(10**11)
"""As seconds this is the year 5138, as milliseconds 1973: what is written today is on one side or the other."""
_COUNTS_LEAST: Final = Decimal(10**8)
"""1973 in seconds. A smaller number is more likely a date, such as 20260131."""
_DATE_DIGITS: Final = re.compile(r"\d{8}", re.ASCII)
_COUNT: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_SAMPLE: Final = datetime(2026, 11, 23, 10, 20, 30, tzinfo=UTC)


def parse_moment(value: object, zone: tzinfo | None, field: str, format: str = AUTO) -> datetime:
    """Return the moment that ``value`` means. Raises ``InvalidRequest`` naming ``field``.

    ``format`` is one of ``AUTO``, ``ISO``, ``EPOCH_FORMAT`` and ``UNITS``, or a pattern that ``check_time_format``
    took. Of ISO 8601 a space may stand between date and time. A time without an offset is in ``zone``; with ``None`` it
    is refused.
    """
    if format == EPOCH_FORMAT or format in UNITS:
        return _counted(value, field, UNITS.get(format))
    if format == AUTO and _is_count(value):
        number = parse_number(value, field)
        if not _COUNTS_LEAST <= abs(number) < 1000 * _COUNTS_FROM:
            raise InvalidRequest(field, "seconds or milliseconds since 1970, or --time-format", got=str(value)[:40])
        return _counted(value, field, UNITS["s" if abs(number) < _COUNTS_FROM else "ms"])
    if not isinstance(value, str):
        raise InvalidRequest(field, "a time as text, or --time-format", got=repr(value)[:40])
    text = value.strip()
    if format in (AUTO, ISO):
        moment = _iso(text, field)
    else:
        moment = _patterned(text, format, field)
    if moment.tzinfo is None:
        if zone is None:
            raise InvalidRequest(
                field,
                "a time with its zone, or --assume-utc or --time-zone for times without one",
                got=repr(value)[:40],
            )
        moment = moment.replace(tzinfo=zone)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(field, "a time from 1970 to 9999", got=repr(value)[:40]) from None


def check_time_format(format: str, option: str) -> str:
    """Return a format of times. A pattern has to write a date so that it can be read again: ``InvalidRequest`` names
    ``option`` if it does not."""
    if format in (AUTO, ISO, EPOCH_FORMAT) or format in UNITS:
        return format
    names = ", ".join((AUTO, ISO, EPOCH_FORMAT, *UNITS))
    try:
        read = datetime.strptime(_SAMPLE.strftime(format), format)  # noqa: DTZ007  # Only its date is looked at.
        if read.date() == _SAMPLE.date():
            return format
    except ValueError:
        pass
    raise InvalidRequest(
        option, f"one of {names}, or a pattern with a date, such as %d/%m/%Y %H:%M", got=repr(format)[:60]
    )


def _is_count(value: object) -> bool:
    if isinstance(value, str):
        text = value.strip()
        return bool(_COUNT.fullmatch(text)) and not _DATE_DIGITS.fullmatch(text)
    return isinstance(value, (int, Decimal))


def _counted(value: object, field: str, places: int | None) -> datetime:
    number = parse_number(value, field)
    if places is None:
        size = abs(number)
        places = next((3 * power for power in range(3) if size < _COUNTS_FROM * 1000**power), UNITS["ns"])
    counted, of = number.as_integer_ratio()
    try:
        return EPOCH + timedelta(microseconds=counted * SECOND_US // (of * 10**places))
    except OverflowError:
        raise InvalidRequest(field, "a time from 1970 to 9999", got=str(value)[:40]) from None


def _iso(text: str, field: str) -> datetime:
    try:
        if not text.isdigit() or _DATE_DIGITS.fullmatch(text):  # Of other digits Python would make dates, too.
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidRequest(field, "ISO 8601 such as 2026-11-23T10:00:00Z", got=repr(text)[:40])


def _patterned(text: str, pattern: str, field: str) -> datetime:
    try:
        return datetime.strptime(text, pattern)  # noqa: DTZ007  # What has no zone is given the caller's.
    except ValueError:
        raise InvalidRequest(field, f"a time written as {pattern}", got=repr(text)[:40]) from None
