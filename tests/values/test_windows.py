"""Windows of the calendar, against the wall clock itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.times import MOMENT_MAX_US
from solvent.engine.values.windows import PERIODS, Period, check_zone, window_of, windows_between

ZONES = (
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Cairo",
    "Africa/Monrovia",
    "Asia/Beirut",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Antarctica/Troll",
)
DAY_US = 86_400_000_000
moments = st.datetimes(datetime(1975, 1, 1), datetime(2060, 1, 1)).map(lambda at: us(at.replace(tzinfo=UTC)))
zones = st.sampled_from(ZONES)


def us(at: datetime) -> int:
    return round((at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def local(at_us: int, zone: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).astimezone(ZoneInfo(zone))


def label(at_us: int, period: Period, zone: str) -> object:
    """What the wall clock and the calendar say, as far as the period goes."""
    at = local(at_us, zone)
    match period:
        case "minute":
            return at.date(), at.hour, at.minute, at.utcoffset()
        case "hour":
            return at.date(), at.hour, at.utcoffset()
        case "day":
            return at.date()
        case "week":
            return at.isocalendar()[:2]
        case "month":
            return at.year, at.month
        case "quarter":
            return at.year, (at.month - 1) // 3
        case "year":
            return at.year
    return None


@settings(max_examples=600)
@given(moments, st.sampled_from(PERIODS), zones)
@example(us(datetime(2011, 12, 29, 23, tzinfo=UTC)), "day", "Pacific/Apia")
@example(us(datetime(2018, 11, 4, 3, 30, tzinfo=UTC)), "day", "America/Sao_Paulo")
@example(us(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)), "hour", "Europe/Paris")
def test_a_window_holds_its_moment_and_all_of_it_looks_alike(at: int, period: Period, zone: str) -> None:
    start, end = window_of(at, period, zone)
    assert 0 <= start <= at < end <= MOMENT_MAX_US
    wanted = label(at, period, zone)
    assert label(start, period, zone) == label(end - 1, period, zone) == wanted
    # The neighbours begin where it ends: no gap, no overlap, and each is another one.
    if end < MOMENT_MAX_US:
        assert window_of(end, period, zone)[0] == end
        assert label(end, period, zone) != wanted
    if start > 0:
        assert window_of(start - 1, period, zone)[1] == start
        assert label(start - 1, period, zone) != wanted


@pytest.mark.parametrize("zone", ZONES)
def test_the_days_of_two_years_tile_them(zone: str) -> None:
    start, end = us(datetime(2025, 1, 1, tzinfo=UTC)), us(datetime(2027, 1, 1, tzinfo=UTC))
    days = list(windows_between(start, end, "day", zone))
    assert days[0][0] <= start
    assert days[-1][1] >= end
    assert [before[1] for before in days[:-1]] == [after[0] for after in days[1:]]
    assert {round((b - a) / 3_600_000_000, 1) for a, b in days} <= {22.0, 23.0, 23.5, 24.0, 24.5, 25.0, 26.0}


def test_days_on_which_the_clock_changes_are_one_window() -> None:
    spring = window_of(us(datetime(2026, 3, 29, 12, tzinfo=UTC)), "day", "Europe/Paris")
    autumn = window_of(us(datetime(2026, 10, 25, 12, tzinfo=UTC)), "day", "Europe/Paris")
    assert [(end - start) // 3_600_000_000 for start, end in (spring, autumn)] == [23, 25]


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    first = window_of(us(datetime(2026, 10, 25, 0, 30, tzinfo=UTC)), "hour", "Europe/Paris")
    second = window_of(us(datetime(2026, 10, 25, 1, 30, tzinfo=UTC)), "hour", "Europe/Paris")
    assert first[1] == second[0]
    assert first[1] - first[0] == second[1] - second[0] == 3_600_000_000


def test_weeks_begin_on_monday_and_a_skipped_midnight_begins_later() -> None:
    start, _ = window_of(us(datetime(2026, 11, 29, 12, tzinfo=UTC)), "week", "UTC")
    assert local(start, "UTC").date() == date(2026, 11, 23)
    start, _ = window_of(us(datetime(2018, 11, 4, 12, tzinfo=UTC)), "day", "America/Sao_Paulo")
    assert local(start, "America/Sao_Paulo").hour == 1


def test_a_date_that_a_zone_skipped_has_no_window() -> None:
    before = window_of(us(datetime(2011, 12, 30, 9, 59, tzinfo=UTC)), "day", "Pacific/Apia")
    assert local(before[0], "Pacific/Apia").date() == date(2011, 12, 29)
    assert local(before[1], "Pacific/Apia").date() == date(2011, 12, 31)


def test_total_is_all_of_time() -> None:
    assert window_of(5, "total", "Asia/Tokyo") == (0, MOMENT_MAX_US)


@pytest.mark.parametrize(
    "bad", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "a" * 100, "é", None, 7, "\0"]
)
def test_what_is_no_zone_is_refused(bad: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_zone(bad, "time_zone")
    assert refused.value.field == "time_zone"


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_a_clock_that_is_set_back_over_midnight_does_not_divide_a_day(period: Period) -> None:
    # A minute past midnight on 7 November 2010, St. John's went back to 23:01 of the 6th.
    before, midnight, back, after = (
        us(datetime(2010, 11, 7, hour, minute, tzinfo=UTC)) for hour, minute in ((2, 29), (2, 30), (2, 45), (3, 45))
    )
    windows = [window_of(at, period, "America/St_Johns") for at in (before, midnight, back, after)]
    assert all(start <= at < end for at, (start, end) in zip((before, midnight, back, after), windows, strict=True))
    assert windows[1] == windows[2] == windows[3]
    if period == "day":
        assert windows[0][1] == windows[1][0] == midnight
