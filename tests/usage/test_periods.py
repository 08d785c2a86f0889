"""Periods of reports, against dates and the wall clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.usage.periods import COUNT_MAX, PERIOD_CHARS_MAX, Span, parse_span, previous_span, year_before
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.times import MOMENT_MAX_US
from solvent.engine.values.windows import Period, window_of, windows_between

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIDNIGHT_ZONES = (
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Kiritimati",
    "Antarctica/Troll",
)
"""Where every day of the years asked about has a midnight: the oracle knows no other days."""
ZONES = (*MIDNIGHT_ZONES, "America/Sao_Paulo", "Africa/Cairo", "Asia/Beirut", "America/Havana", "Pacific/Apia")
KINDS: tuple[Period, ...] = ("hour", "day", "week", "month", "quarter", "year")
HOUR_US = 3_600_000_000
PARIS = "Europe/Paris"


def us(at: datetime) -> int:
    return (at.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def at(text: str, zone: str = PARIS) -> int:
    """The wall clock of ``zone`` as a moment."""
    return us(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def span(start: str, end: str, zone: str = PARIS) -> Span:
    return Span(at(start, zone), at(end, zone))


def midnight(day: date, zone: str) -> int:
    return us(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)))


def local_day(moment: int, zone: str) -> date:
    return (EPOCH + timedelta(microseconds=moment)).astimezone(ZoneInfo(zone)).date()


def begins(day: date, kind: Period) -> bool:
    match kind:
        case "week":
            return day.weekday() == 0
        case "month":
            return day.day == 1
        case "quarter":
            return day.day == 1 and day.month in (1, 4, 7, 10)
        case "year":
            return (day.month, day.day) == (1, 1)
    return True


def first_of(day: date, kind: Period) -> date:
    """The first day of the calendar period of ``day``, found by walking back to it."""
    while not begins(day, kind):
        day -= timedelta(days=1)
    return day


def first_after(day: date, kind: Period) -> date:
    day += timedelta(days=1)
    while not begins(day, kind):
        day += timedelta(days=1)
    return day


def steps_back(day: date, kind: Period, number: int) -> date:
    first = first_of(day, kind)
    for _ in range(number):
        first = first_of(first - timedelta(days=1), kind)
    return first


def name_of(first: date, kind: Period) -> str:
    match kind:
        case "week":
            return "{}-W{:02}".format(*first.isocalendar()[:2])
        case "month":
            return first.isoformat()[:7]
        case "quarter":
            return f"{first.year}-Q{(first.month + 2) // 3}"
        case "year":
            return str(first.year)
    return first.isoformat()


zones = st.sampled_from(ZONES)
moments = st.datetimes(datetime(2012, 2, 1), datetime(2060, 1, 1)).map(lambda moment: us(moment.replace(tzinfo=UTC)))
dates = st.dates(date(2012, 2, 1), date(2060, 1, 1))
day_kinds = st.sampled_from(KINDS[1:])
counts = st.integers(1, 30)
NOW = at("2026-07-14T15:30:20")
"""A Tuesday."""


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("today", "2026-07-14", "2026-07-15"),
        ("yesterday", "2026-07-13", "2026-07-14"),
        ("this hour", "2026-07-14T15", "2026-07-14T16"),
        ("this day", "2026-07-14", "2026-07-15"),
        ("this week", "2026-07-13", "2026-07-20"),
        ("this month", "2026-07-01", "2026-08-01"),
        ("this quarter", "2026-07-01", "2026-10-01"),
        ("this year", "2026-01-01", "2027-01-01"),
        ("previous hour", "2026-07-14T14", "2026-07-14T15"),
        ("previous day", "2026-07-13", "2026-07-14"),
        ("previous week", "2026-07-06", "2026-07-13"),
        ("previous month", "2026-06-01", "2026-07-01"),
        ("previous quarter", "2026-04-01", "2026-07-01"),
        ("previous year", "2025-01-01", "2026-01-01"),
        ("day to date", "2026-07-14", "2026-07-14T15:30:20"),
        ("week to date", "2026-07-13", "2026-07-14T15:30:20"),
        ("month to date", "2026-07-01", "2026-07-14T15:30:20"),
        ("quarter to date", "2026-07-01", "2026-07-14T15:30:20"),
        ("Year to date", "2026-01-01", "2026-07-14T15:30:20"),
        ("last hour", "2026-07-14T14", "2026-07-14T15"),
        ("last day", "2026-07-13", "2026-07-14"),
        ("last month", "2026-06-01", "2026-07-01"),
        ("last 1 minute", "2026-07-14T15:29:20", "2026-07-14T15:30:20"),
        ("last 90 minutes", "2026-07-14T14:00:20", "2026-07-14T15:30:20"),
        ("last 24 hours", "2026-07-13T15:30:20", "2026-07-14T15:30:20"),
        ("last 1 day", "2026-07-14", "2026-07-14T15:30:20"),
        ("last 1 days", "2026-07-14", "2026-07-14T15:30:20"),
        ("last 7 days", "2026-07-08", "2026-07-14T15:30:20"),
        ("last 30 days", "2026-06-15", "2026-07-14T15:30:20"),
        ("last 2 weeks", "2026-07-06", "2026-07-14T15:30:20"),
        ("last 12 months", "2025-08-01", "2026-07-14T15:30:20"),
        ("last 4 quarters", "2025-10-01", "2026-07-14T15:30:20"),
        ("last 2 years", "2025-01-01", "2026-07-14T15:30:20"),
        ("2026", "2026-01-01", "2027-01-01"),
        ("2026-Q1", "2026-01-01", "2026-04-01"),
        ("2026-Q4", "2026-10-01", "2027-01-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("2026-W29", "2026-07-13", "2026-07-20"),
        ("2026-W01", "2025-12-29", "2026-01-05"),
        ("2026-W53", "2026-12-28", "2027-01-04"),
        ("2026-07..2026-09", "2026-07-01", "2026-10-01"),
        ("2026-07..2026-07", "2026-07-01", "2026-08-01"),
        ("2025-Q4..2026-W02", "2025-10-01", "2026-01-12"),
        ("2026-07-01..2026-07-14", "2026-07-01", "2026-07-15"),
        ("2026-07..", "2026-07-01", "2026-07-14T15:30:20"),
        ("2026-07-01T10:00:00+02:00..2026-07-02T00:00:00Z", "2026-07-01T10", "2026-07-02T02"),
        ("2026-07-01t08:00:00.5z..2026-07-03", "2026-07-01T10:00:00.500000", "2026-07-04"),
        ("2026-07..2026-07-04T00:00:00+02:00", "2026-07-01", "2026-07-04"),
        ("2026-07-01T10:00:00+02:00..", "2026-07-01T10", "2026-07-14T15:30:20"),
        (" \tThis MONTH\n", "2026-07-01", "2026-08-01"),
        ("2026-q3", "2026-07-01", "2026-10-01"),
        ("2026-w29", "2026-07-13", "2026-07-20"),
    ],
)
def test_what_a_text_means(text: str, start: str, end: str) -> None:
    assert parse_span(text, PARIS, NOW) == span(start, end)


def test_a_range_without_a_start_begins_in_1970() -> None:
    assert parse_span("..2026-07", PARIS, NOW) == Span(0, at("2026-08-01"))
    assert parse_span("..2026-07-01T00:00:00Z", PARIS, NOW) == Span(0, at("2026-07-01", "UTC"))


def test_days_on_which_the_clock_changes_have_23_and_25_hours() -> None:
    for text, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-W13", 7 * 24 - 1), ("2026-10", 31 * 24 + 1)):
        period = parse_span(text, PARIS, NOW)
        assert period.end - period.start == hours * HOUR_US
    evening = at("2026-03-29T20:00:00")
    assert parse_span("today", PARIS, evening) == parse_span("2026-03-29", PARIS, NOW)
    assert parse_span("last 1 day", PARIS, evening) == Span(at("2026-03-29"), evening)
    # Elapsed time does not go by the wall clock.
    assert parse_span("last 20 hours", PARIS, evening) == Span(at("2026-03-28T23:00:00"), evening)


def test_the_hour_that_comes_twice_is_two_periods() -> None:
    second = us(datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
    this, before = parse_span("this hour", PARIS, second), parse_span("previous hour", PARIS, second)
    assert before == previous_span(this, PARIS) == Span(this.start - HOUR_US, this.start)
    assert year_before(before, PARIS) == span("2025-10-25T02", "2025-10-25T03")


def test_the_calendar_begins_in_1970_and_ends_in_9998() -> None:
    assert parse_span("1970", PARIS, NOW) == Span(0, at("1971-01-01"))
    assert parse_span("1970-W01", "Asia/Tokyo", NOW) == Span(0, at("1970-01-05", "Asia/Tokyo"))
    assert parse_span("9998", PARIS, NOW) == span("9998-01-01", "9999-01-01")
    assert parse_span("9998-W53", "UTC", NOW).end == at("9999-01-04", "UTC")
    for text in ("last 1000 years", "last 1000 quarters"):
        assert parse_span(text, PARIS, NOW) == Span(0, NOW)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "now",
            "tomorrow",
            "this",
            "this fortnight",
            "this minute",
            "next month",
            "this  month",
            "this days",
        ),
        *("previous 7 days", "last", "last minute", "last 0 days", "last 1001 days", "last -1 days", "last 7 day"),
        *("last 1.5 days", "last ٣ days", "last ² days", "last 7 dayss", "last 7 s", "last 7", "last 7  days"),
        *(
            "hour to date",
            "to date",
            "years to date",
            "year to",
            "year to  date",
            "this year to date",
            "decade to date",
        ),
        *("26", "20260", "2026-", "2026-7", "2026-00", "2026-13", "2026-Q0", "2026-Q5", "2026-W00", "2025-W53"),
        *("2026-02-29", "2026-06-31", "2026-07-1", "2026-07-14-1", "1969", "9999", "1969-12-31", "٢٠٢٦"),
        *("2026-07-14T10:00:00Z", "2026-07-01-2026-07-14"),
        *("..", "....", "2026..2025", "2026-07...2026-08", "2027..", "2026-07 .. 2026-08", "today..", "x..2026", "..y"),
        *("2026-07-01T10:00:00..2026-08", "2026-07-01T10:00:00Z..2026-07-01T10:00:00Z", "1969-01-01T00:00:00Z.."),
        *("..1969", "2026-07-02T00:00:00Z..2026-07-01", "2026-07-14..2026-07-13"),
        "2026" + "." * PERIOD_CHARS_MAX,
        *(None, 2026, b"2026", ["today"]),
    ],
)
def test_what_is_no_period_is_refused(text: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_span(text, PARIS, NOW)
    assert refused.value.field == "period"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("this fortnight", "one of hour, day"),
        ("last 0 days", f"from 1 to {COUNT_MAX}"),
        ("last 7 day", "last 7 days"),
        ("1969", "a year from 1970 to 9998"),
        ("2026-02-30", "that the calendar has"),
        ("2026..2025", "begins before it ends"),
        ("2026-07-01T10:00:00..", "a time with its zone"),
        ("soon", "last 7 days"),
    ],
)
def test_a_refusal_says_what_would_be_right(text: str, expected: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_span(text, PARIS, NOW)
    assert expected in refused.value.expected


def test_a_period_that_has_not_begun_is_empty_so_far() -> None:
    start = at("2026-07-14")
    with pytest.raises(InvalidRequest):
        parse_span("last 1 day", PARIS, start)
    with pytest.raises(InvalidRequest):
        parse_span("2026-07-14..", PARIS, start)
    assert parse_span("last 1 day", PARIS, start + 1) == Span(start, start + 1)
    for text in ("yesterday", "previous hour", "last year", "last 5 minutes"):
        with pytest.raises(InvalidRequest):
            parse_span(text, "UTC", 0)


def test_a_date_that_a_zone_skipped_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_span("2011-12-30", "Pacific/Apia", NOW)
    assert refused.value.field == "period"
    assert parse_span("2011-12-29", "Pacific/Apia", NOW).end == parse_span("2011-12-31", "Pacific/Apia", NOW).start


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("2026-03-29", "2026-03-28"),
        ("2026-01-01", "2025-12-31"),
        ("2027-W01", "2026-W53"),
        ("2024-03", "2024-02"),
        ("2026-02", "2026-01"),
        ("2026-Q1", "2025-Q4"),
        ("2026", "2025"),
        # Whole days, whole months.
        ("2026-03-23..2026-03-31", "2026-03-14..2026-03-22"),
        ("2026-06-29..2026-07-12", "2026-06-15..2026-06-28"),
        ("2026-07..2026-08", "2026-05..2026-06"),
        ("2026-02..2026-03", "2025-12..2026-01"),
        ("2025..2026", "2023..2024"),
        ("2026-Q1..2026-Q2", "2025-Q3..2025-Q4"),
        # Named otherwise, but a calendar period all the same.
        ("2026-06-01..2026-06-30", "2026-05"),
        ("2026-01..2026-12", "2025"),
        ("2026-04..2026-06", "2026-Q1"),
        ("2026-07-13..2026-07-19", "2026-07-06..2026-07-12"),
        # Elapsed time.
        ("2026-07-01T10:00:00Z..2026-07-01T11:30:00Z", "2026-07-01T08:30:00Z..2026-07-01T10:00:00Z"),
        ("2026-03-29..2026-03-29T10:00:00Z", "2026-03-28T12:00:00Z..2026-03-28T23:00:00Z"),
    ],
)
def test_the_period_just_before(text: str, before: str) -> None:
    assert previous_span(parse_span(text, PARIS, NOW), PARIS) == parse_span(before, PARIS, NOW)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("2026", "2025"),
        ("2026-Q3", "2025-Q3"),
        ("2026-07", "2025-07"),
        ("2024-02", "2023-02"),
        ("2025-02", "2024-02"),
        ("2026-07-14", "2025-07-14"),
        ("2026-03-29", "2025-03-29"),
        ("2027-03-30", "2026-03-30"),
        ("2024-02-28", "2023-02-28"),
        ("2024-02-29", "2023-02-28"),
        ("2025-02-28", "2024-02-28..2024-02-29"),  # it ends where March begins
        ("2024-03-01", "2023-03-01"),
        # The weeks 52 earlier, of the year before and across its week 53.
        ("2026-W29", "2025-W29"),
        ("2026-W53", "2026-W01"),
        ("2027-W10", "2026-W11"),
        # Bounds of the wall clock.
        ("2026-07..2026-09", "2025-07..2025-09"),
        ("2024-01..2024-02", "2023-01..2023-02"),
        ("2025-01..2025-02", "2024-01..2024-02"),
        ("2024-02-01..2024-02-28", "2023-02"),
        ("2026-10-20T10:00:00+02:00..2026-10-26T10:00:00+01:00", "2025-10-20T08:00:00Z..2025-10-26T09:00:00Z"),
        ("2024-02-29T01:00:00Z..2024-02-29T05:00:00Z", "2023-02-28T01:00:00Z..2023-02-28T05:00:00Z"),
        ("2024-02-23..2024-02-29T09:00:00Z", "2023-02-23..2023-02-28T09:00:00Z"),
        # Nothing would be left of these.
        ("2024-02-28T09:00:00Z..2024-02-29T09:00:00Z", "2023-02-28T09:00:00Z..2023-03-01T09:00:00Z"),
        ("2026-03-30T00:00:00Z..2026-03-30T01:00:00Z", "2025-03-30T01:00:00Z..2025-03-30T02:00:00Z"),
    ],
)
def test_the_same_period_last_year(text: str, before: str) -> None:
    assert year_before(parse_span(text, PARIS, NOW), PARIS) == parse_span(before, PARIS, NOW)


def test_nothing_lies_before_1970() -> None:
    for text in ("1970", "1970-W01", "1970-01", "1970-01-01", "1970-01-01T00:00:00Z..1970-01-01T00:00:01Z"):
        first = parse_span(text, "UTC", NOW)
        assert previous_span(first, "UTC") == Span(0, 0)
        assert year_before(first, "UTC") == Span(0, 0)
    assert previous_span(Span(10, 30), "UTC") == Span(0, 10)
    assert year_before(parse_span("1970..1971", "UTC", NOW), "UTC") == parse_span("1970", "UTC", NOW)


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Asia/Beirut"])
def test_where_midnight_is_skipped_a_day_is_a_day(zone: str) -> None:
    text = {"America/Sao_Paulo": "2018-11-04", "Asia/Beirut": "2022-03-27"}[zone]
    day = parse_span(text, zone, NOW)
    assert day.end - day.start == 23 * HOUR_US
    assert year_before(day, zone) == parse_span(f"{int(text[:4]) - 1}{text[4:]}", zone, NOW)
    assert year_before(parse_span(f"{int(text[:4]) + 1}{text[4:]}", zone, NOW), zone) == day


@settings(max_examples=200)
@given(moments, day_kinds, st.sampled_from(MIDNIGHT_ZONES))
@example(us(datetime(2026, 12, 31, 12, tzinfo=UTC)), "week", "UTC")
@example(us(datetime(2024, 2, 29, 12, tzinfo=UTC)), "month", PARIS)
def test_calendar_periods_are_those_of_the_dates(now: int, kind: Period, zone: str) -> None:
    first = first_of(local_day(now, zone), kind)
    start, end = midnight(first, zone), midnight(first_after(first, kind), zone)
    this = parse_span(f"this {kind}", zone, now)
    if start < now:
        assert parse_span(f"{kind} to date", zone, now) == Span(start, now)
    assert this == Span(start, end) == parse_span(name_of(first, kind), zone, now)
    assert this.start <= now < this.end
    before = parse_span(f"previous {kind}", zone, now)
    assert before == Span(midnight(steps_back(first, kind, 1), zone), start) == parse_span(f"last {kind}", zone, now)


@settings(max_examples=200)
@given(moments, day_kinds, counts, st.sampled_from(MIDNIGHT_ZONES))
def test_the_last_n_are_the_present_one_so_far_and_whole_ones(now: int, kind: Period, number: int, zone: str) -> None:
    number = min(number, 5) if kind in ("quarter", "year") else number
    start = midnight(steps_back(local_day(now, zone), kind, number - 1), zone)
    if start == now:
        return
    last = parse_span(f"last {number} {kind}s", zone, now)
    assert last == Span(start, now)
    assert last.start <= parse_span(f"this {kind}", zone, now).start
    assert len(list(windows_between(last.start, last.end, kind, zone))) == number - (
        parse_span(f"this {kind}", zone, now).start == now
    )


@settings(max_examples=200)
@given(moments, st.sampled_from(["minute", "hour"]), st.integers(1, COUNT_MAX), zones)
def test_the_last_minutes_and_hours_are_elapsed_time(now: int, kind: str, number: int, zone: str) -> None:
    length = number * (HOUR_US if kind == "hour" else HOUR_US // 60)
    assert parse_span(f"last {number} {kind}s", zone, now) == Span(now - length, now)


@settings(max_examples=200)
@given(dates, day_kinds, zones)
def test_named_periods_tile_time(day: date, kind: Period, zone: str) -> None:
    first = first_of(day, kind)
    this = parse_span(name_of(first, kind), zone, NOW)
    before = parse_span(name_of(steps_back(first, kind, 1), kind), zone, NOW)
    assert before.end == this.start
    assert previous_span(this, zone) == before
    both = parse_span(f"{name_of(steps_back(first, kind, 1), kind)}..{name_of(first, kind)}", zone, NOW)
    assert both == Span(before.start, this.end)


@settings(max_examples=200)
@given(moments, st.sampled_from(KINDS), zones)
def test_going_back_by_calendar_periods_leaves_no_gap(now: int, kind: Period, zone: str) -> None:
    this = parse_span(f"this {kind}", zone, now)
    for _ in range(5):
        before = previous_span(this, zone)
        assert before.start < before.end == this.start
        assert (before.start, before.end) == window_of(this.start - 1, kind, zone)
        this = before


@settings(max_examples=200)
@given(dates, st.integers(1, 400), st.sampled_from(MIDNIGHT_ZONES))
def test_whole_days_are_preceded_by_as_many(day: date, number: int, zone: str) -> None:
    following = day + timedelta(days=number)
    if day.day == following.day == 1 or (number == 7 and day.weekday() == 0):
        return  # Months, and a week, have examples of their own.
    before = previous_span(Span(midnight(day, zone), midnight(following, zone)), zone)
    assert before == Span(midnight(day - timedelta(days=number), zone), midnight(day, zone))


@settings(max_examples=200)
@given(moments, moments, zones)
def test_comparisons_are_never_empty_and_the_one_before_is_adjacent(one: int, other: int, zone: str) -> None:
    start, end = sorted((one, other + (one == other)))
    period = Span(start, end)
    before = previous_span(period, zone)
    assert before.end == start
    assert before.start < before.end
    year = year_before(period, zone)
    assert 0 <= year.start < year.end
    assert year.start < start
    # Two years of the wall clock differ by at most a leap day, and by what a zone may change its offset.
    assert abs((start - year.start) - 365 * 24 * HOUR_US) <= 50 * HOUR_US


@settings(max_examples=200)
@given(dates, st.sampled_from(["day", "month", "quarter", "year"]), zones)
def test_calendar_periods_have_their_namesake_last_year(day: date, kind: Period, zone: str) -> None:
    if (day.month, day.day) in ((2, 28), (2, 29)) and kind == "day":
        return  # February has examples of its own.
    first = first_of(day, kind)
    earlier = parse_span(name_of(first.replace(year=first.year - 1), kind), zone, NOW)
    assert year_before(parse_span(name_of(first, kind), zone, NOW), zone) == earlier


@settings(max_examples=200)
@given(dates, zones)
def test_a_week_is_compared_with_that_of_52_weeks_earlier(day: date, zone: str) -> None:
    first = first_of(day, "week")
    earlier = parse_span(name_of(first - timedelta(weeks=52), "week"), zone, NOW)
    assert year_before(parse_span(name_of(first, "week"), zone, NOW), zone) == earlier


words = st.sampled_from(
    [
        *("today", "this", "previous", "last", "1", "7", "1000", "0", "day", "days", "months", "hours", "week", "year"),
        *("2026", "1970", "9998", "0000", "-", "07", "31", "Q3", "Q9", "W29", "W53", "..", ".", "T10:00:00", "Z", " "),
        *("2026-07", "2024-02-29", "2026-07-14T10:00:00Z", "9999-12-30T23:59:59-14:00", "0001-01-01T00:00:00+14:00"),
    ]
)


@settings(max_examples=200)
@given(
    st.text(max_size=120) | st.lists(words, max_size=6).map("".join) | st.lists(words, max_size=4).map(" ".join),
    zones,
    st.integers(0, MOMENT_MAX_US - 1) | moments | st.just(0),
)
def test_any_text_is_a_span_or_refused(text: str, zone: str, now: int) -> None:
    try:
        period = parse_span(text, zone, now)
    except InvalidRequest as refused:
        assert refused.field == "period"
    else:
        assert 0 <= period.start < period.end <= MOMENT_MAX_US
        assert 0 <= year_before(period, zone).start <= year_before(period, zone).end
        assert previous_span(period, zone).end == period.start


@settings(max_examples=200)
@given(
    st.builds(
        lambda which, kind: f"{which} {kind}", st.sampled_from(["this", "previous", "last"]), st.sampled_from(KINDS)
    )
    | st.builds(lambda number, kind: f"last {number} {kind}s", counts, st.sampled_from(("minute", *KINDS)))
    | st.builds(lambda day, kind: name_of(first_of(day, kind), kind), dates, day_kinds),
    zones,
    moments,
)
@example("last 1 days", "UTC", us(datetime(2012, 2, 1, tzinfo=UTC)))
def test_every_form_is_the_same_in_capitals_and_with_spaces_around(text: str, zone: str, now: int) -> None:
    now |= 1  # A microsecond at which nothing begins: "last 1 day" is empty as its day begins.
    assert parse_span(f"  {text.upper()} ", zone, now) == parse_span(text, zone, now)
