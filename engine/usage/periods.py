"""Periods of usage reports: "last 7 days", "2026-Q3" or "2026-07..2026-09" as moments, and the periods to compare with.

A span is half-open, in microseconds since 1970, UTC. Calendar periods are the windows of a time zone, so that days of
23 and 25 hours are correct, and weeks begin on Monday. Nothing here reads a clock: ``now`` is a parameter. Zones are
names that passed ``check_zone``.

``parse_span`` never returns an empty span. Spans are cut off at 1970. Only for that reason may the period before, or
the year before, be empty.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from solvent.engine.values.amounts import shown
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.times import EPOCH, MICROSECOND, SECOND_US, parse_time, to_datetime
from solvent.engine.values.windows import Period, window_of
from solvent.engine.values.words import check_word

COUNT_MAX: Final = 1_000
"""The largest N in "last N days". It bounds the points of a chart."""
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9998
"""The last year of a period. A period ends where the next one begins, and that must be a valid moment too."""
PERIOD_CHARS_MAX: Final = 100
"""The longest text of a period. Two moments with microseconds and offsets have 66 characters."""

_KINDS: Final[tuple[Period, ...]] = ("hour", "day", "week", "month", "quarter", "year")
_COUNTED: Final[tuple[Period, ...]] = ("minute", *_KINDS)
_ELAPSED_US: Final[dict[Period, int]] = {"minute": 60 * SECOND_US, "hour": 3_600 * SECOND_US}
_MONTHS: Final[dict[Period, int]] = {"month": 1, "quarter": 3, "year": 12}
_DAYS: Final[dict[Period, int]] = {"day": 1, "week": 7}
_CALENDAR: Final = re.compile(
    r"(?P<year>\d{4})(-(q(?P<quarter>\d)|w(?P<week>\d\d)|(?P<month>\d\d)(-(?P<day>\d\d))?))?", re.ASCII
)
_EXPECTED: Final = 'a period such as "today", "this month", "last 7 days", "2026-Q3" or "2026-07-01..2026-07-14"'


class Span(msgspec.Struct, frozen=True, gc=False):
    """The moments from ``start`` up to, and not including, ``end``."""

    start: int
    end: int


def parse_span(text: object, zone: str, now: int) -> Span:
    """Return the span that ``text`` means at ``now`` in ``zone``. Case and surrounding spaces do not matter.

    - ``today``, ``yesterday``, and ``this`` or ``previous hour|day|week|month|quarter|year``: the whole calendar
      period, even the part of it that is still to come. ``last month`` is the same as ``previous month``.
    - ``day|week|month|quarter|year to date``: the present one so far, up to ``now``.
    - ``last N minutes|hours``: exactly that much time, up to ``now``.
    - ``last N days|weeks|months|quarters|years``: the present one so far, and the N-1 whole ones before it, so that a
      chart ends today. ``last 1 day`` is thus today so far, while ``last day`` is yesterday.
    - ``2026``, ``2026-Q3``, ``2026-07``, ``2026-07-14``, ``2026-W29`` (a week of ISO 8601): that calendar period.
    - ``A..B``: from the start of A to the end of B, each one of the calendar periods above or a moment in ISO 8601 with
      its offset. Without A it begins in 1970 (``..2026-07``), without B it ends now (``2026-07..``).

    Raises ``InvalidRequest`` naming ``period`` for anything else, and for a span without a single moment.
    """
    if not isinstance(text, str) or len(text) > PERIOD_CHARS_MAX:
        raise InvalidRequest("period", _EXPECTED, got=shown(text))
    plain = text.strip().lower()
    start, end = _range(plain, zone, now) if ".." in plain else _named(plain, zone, now)
    if not start < end:
        raise InvalidRequest("period", "a period that begins before it ends", got=shown(text))
    return Span(start, end)


def previous_span(span: Span, zone: str) -> Span:
    """Return the period just before ``span``, of the same kind of length. It ends where ``span`` begins.

    A calendar period is preceded by the calendar period before it, taking the largest kind that matches; whole months
    or whole days by as many of them; any other span by as much elapsed time.
    """
    if (kind := _kind(span, zone)) is not None:
        return Span(*_window_before(span.start, kind, zone))
    first, following = _local(span.start, zone).date(), _local(span.end, zone).date()
    if _begins(span.start, "month", zone) and _begins(span.end, "month", zone):
        months = (following.year - first.year) * 12 + following.month - first.month
        return Span(_day_start(_month_first(first, -months), zone), span.start)
    if _begins(span.start, "day", zone) and _begins(span.end, "day", zone):
        return Span(_day_start(first - (following - first), zone), span.start)
    return Span(max(0, span.start - (span.end - span.start)), span.start)


def year_before(span: Span, zone: str) -> Span:
    """Return the same period last year: the same dates and wall-clock times. 29 February becomes the 28th.

    A calendar week becomes the one 52 weeks earlier, so that each weekday is compared with the same weekday. A span
    through 28 February ends with that day in the year before too. If nothing would be left, as for an hour that the
    clock skipped or the 24 hours up to a 29 February, the span keeps its length.
    """
    if _kind(span, zone) == "week":
        weeks = timedelta(weeks=52)
        first, following = (_local(at, zone).date() - weeks for at in (span.start, span.end))
        return Span(_day_start(first, zone), _day_start(following, zone))
    start, end = _year_earlier(span.start, zone), _year_earlier(span.end, zone)
    following = _local(span.end, zone).date()
    if (following.month, following.day) == (2, 29) and _begins(span.end, "day", zone):
        end = _day_start(date(following.year - 1, 3, 1), zone)
    if end <= start and start > 0:
        end = start + (span.end - span.start)
    return Span(start, end)


def _range(text: str, zone: str, now: int) -> tuple[int, int]:
    first, _, last = text.partition("..")
    if not first and not last:
        raise InvalidRequest("period", "a period with a start or an end", got=shown(text))
    start = _bounds(first, zone)[0] if first else 0
    end = _bounds(last, zone)[1] if last else now
    return start, end


def _bounds(text: str, zone: str) -> tuple[int, int]:
    """Return the start and end of one side of a range. For a moment they are the same."""
    if (window := _calendar(text, zone)) is not None:
        return window
    moment = parse_time(text.upper(), "period")
    return moment, moment


def _named(text: str, zone: str, now: int) -> tuple[int, int]:
    match text.split(" "):
        case ["today"]:
            return window_of(now, "day", zone)
        case ["yesterday"]:
            return _window_before(window_of(now, "day", zone)[0], "day", zone)
        case ["this", kind]:
            return window_of(now, _period(kind, _KINDS), zone)
        case ["previous" | "last", kind]:
            period = _period(kind, _KINDS)
            return _window_before(window_of(now, period, zone)[0], period, zone)
        case [kind, "to", "date"]:
            return window_of(now, _period(kind, _KINDS[1:]), zone)[0], now
        case ["last", count, kind]:
            return _last(count, kind, zone, now), now
    window = _calendar(text, zone)
    if window is None:
        raise InvalidRequest("period", _EXPECTED, got=shown(text))
    return window


def _period(kind: str, periods: tuple[Period, ...]) -> Period:
    period: Period = check_word(kind, "period", periods)
    return period


def _last(count: str, kinds: str, zone: str, now: int) -> int:
    """Return the start of the last ``count`` periods of a kind."""
    if not (count.isascii() and count.isdigit() and 1 <= int(count) <= COUNT_MAX):
        raise InvalidRequest("period", f"a number from 1 to {COUNT_MAX}, as in last 7 days", got=shown(count))
    number = int(count)
    kind = _period(kinds.removesuffix("s"), _COUNTED)
    if kind == kinds and number > 1:
        raise InvalidRequest("period", f"last {number} {kind}s", got=shown(f"last {count} {kind}"))
    if kind in _ELAPSED_US:
        return max(0, now - number * _ELAPSED_US[kind])
    first = _local(window_of(now, kind, zone)[0], zone).date()
    if kind in _MONTHS:
        first = _month_first(first, -(number - 1) * _MONTHS[kind])
    else:
        first -= timedelta(days=(number - 1) * _DAYS[kind])
    return _day_start(first, zone)


def _calendar(text: str, zone: str) -> tuple[int, int] | None:
    """Return the calendar period of this name, ``None`` if it is no such name. Raises if there is no such period."""
    found = _CALENDAR.fullmatch(text)
    if found is None:
        return None
    year = int(found["year"])
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise InvalidRequest("period", f"a year from {YEAR_MIN} to {YEAR_MAX}", got=shown(text))
    kind: Period
    try:
        if found["week"]:
            kind, first = "week", date.fromisocalendar(year, int(found["week"]), 1)
        elif found["quarter"]:
            kind, first = "quarter", date(year, int(found["quarter"]) * 3 - 2, 1)
        else:
            kind = "day" if found["day"] else "month" if found["month"] else "year"
            first = date(year, int(found["month"] or 1), int(found["day"] or 1))
    except ValueError:
        raise InvalidRequest("period", "a period that the calendar has", got=shown(text)) from None
    noon = _noon(first, zone)
    if kind == "day" and _local(noon, zone).date() != first:
        # Samoa went from 29 to 31 December 2011.
        raise InvalidRequest("period", f"a date that {zone} did not skip", got=shown(text))
    return window_of(noon, kind, zone)


def _kind(span: Span, zone: str) -> Period | None:
    """Return the largest kind of which ``span`` is exactly one calendar period."""
    for kind in reversed(_KINDS):
        if window_of(span.start, kind, zone) == (span.start, span.end):
            return kind
    return None


def _begins(at_us: int, kind: Period, zone: str) -> bool:
    return window_of(at_us, kind, zone)[0] == at_us


def _window_before(start_us: int, kind: Period, zone: str) -> tuple[int, int]:
    return window_of(start_us - 1, kind, zone) if start_us > 0 else (0, 0)


def _year_earlier(at_us: int, zone: str) -> int:
    local = _local(at_us, zone)
    day = 28 if (local.month, local.day) == (2, 29) else local.day
    if _begins(at_us, "day", zone):
        # Not by the wall clock: if midnight is skipped, the day begins later.
        return _day_start(date(local.year - 1, local.month, day), zone)
    return max(0, (local.replace(year=local.year - 1, day=day) - EPOCH) // MICROSECOND)


def _month_first(day: date, months: int) -> date:
    """Return the first day of the month that is ``months`` after that of ``day``."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


def _day_start(day: date, zone: str) -> int:
    return window_of(_noon(day, zone), "day", zone)[0]


def _noon(day: date, zone: str) -> int:
    """Return a moment of ``day``, even if midnight is skipped or repeated; if ``zone`` skipped it, of the next day."""
    return (datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone)) - EPOCH) // MICROSECOND


def _local(at_us: int, zone: str) -> datetime:
    return to_datetime(at_us).astimezone(ZoneInfo(zone))
