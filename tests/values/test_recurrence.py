"""Rhythms of the calendar, against dates counted one after another, and shares against exact fractions."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.values.recurrence import (
    RECURRENCE_PERIODS,
    RecurrencePeriod,
    Rhythm,
    occurrence,
    period_at,
    same_times,
    share_of,
)
from solvent.engine.values.times import MOMENT_MAX_US, parse_time, to_datetime

ZONES = (
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Pacific/Apia",
    "Pacific/Kiritimati",
)
HOUR_US = 3_600_000_000
moments = st.datetimes(datetime(1975, 1, 1), datetime(2060, 1, 1)).map(lambda at: us(at.replace(tzinfo=UTC)))
rhythms = st.builds(
    Rhythm,
    anchor=moments,
    period=st.sampled_from(RECURRENCE_PERIODS),
    every=st.integers(1, 14),
    zone=st.sampled_from(ZONES),
)


def us(at: datetime) -> int:
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def local_times(start: str, zone: str, period: RecurrencePeriod, count: int, every: int = 1) -> list[str]:
    rhythm = Rhythm(parse_time(start, "start"), period, every, zone)
    return [
        to_datetime(occurrence(rhythm, number)).astimezone(ZoneInfo(zone)).isoformat(sep=" ", timespec="minutes")
        for number in range(count)
    ]


def test_a_month_that_is_too_short_ends_on_its_last_day_and_the_next_is_whole_again() -> None:
    assert local_times("2027-12-31T00:00:00Z", "UTC", "month", 5) == [
        "2027-12-31 00:00+00:00",
        "2028-01-31 00:00+00:00",
        "2028-02-29 00:00+00:00",
        "2028-03-31 00:00+00:00",
        "2028-04-30 00:00+00:00",
    ]


def test_a_leap_day_is_the_28th_in_other_years() -> None:
    years = local_times("2028-02-29T12:00:00Z", "UTC", "year", 5)
    assert [year[:10] for year in years] == ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]


def test_the_hour_of_the_wall_clock_stays_through_daylight_saving() -> None:
    assert local_times("2026-03-28T08:00:00+01:00", "Europe/Paris", "day", 3) == [
        "2026-03-28 08:00+01:00",
        "2026-03-29 08:00+02:00",
        "2026-03-30 08:00+02:00",
    ]


def test_an_hour_that_is_skipped_comes_later_and_one_that_comes_twice_is_the_first() -> None:
    assert local_times("2026-03-28T02:30:00+01:00", "Europe/Paris", "day", 3)[1:] == [
        "2026-03-29 03:30+02:00",
        "2026-03-30 02:30+02:00",
    ]
    assert local_times("2026-10-24T02:30:00+02:00", "Europe/Paris", "day", 3)[1:] == [
        "2026-10-25 02:30+02:00",
        "2026-10-26 02:30+01:00",
    ]


def test_a_day_that_a_zone_skips_has_no_period_of_its_own() -> None:
    assert local_times("2011-12-29T10:00:00-10:00", "Pacific/Apia", "day", 3) == [
        "2011-12-29 10:00-10:00",
        "2011-12-31 10:00+14:00",
        "2011-12-31 10:00+14:00",
    ]
    rhythm = Rhythm(parse_time("2011-12-29T10:00:00-10:00", "start"), "day", 1, "Pacific/Apia")
    second = occurrence(rhythm, 2)
    assert period_at(rhythm, second) == (second, occurrence(rhythm, 3))


def test_every_so_many_weeks() -> None:
    weeks = local_times("2026-11-23T00:00:00Z", "UTC", "week", 3, every=2)
    assert [week[:10] for week in weeks] == ["2026-11-23", "2026-12-07", "2026-12-21"]


def days_of_month(anchor: datetime, every: int, count: int) -> list[date]:
    """Walked month by month, as with a finger on a wall calendar."""
    year, month, found = anchor.year, anchor.month, []
    for step in range(count * every):
        if step % every == 0:
            found.append(date(year, month, min(anchor.day, monthrange(year, month)[1])))
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return found


@given(moments, st.integers(1, 14), st.sampled_from(ZONES))
def test_months_follow_the_calendar_on_the_wall(anchor: int, every: int, zone: str) -> None:
    info = ZoneInfo(zone)
    expected = days_of_month(to_datetime(anchor).astimezone(info), every, 30)
    rhythm = Rhythm(anchor, "month", every, zone)
    for number, day in enumerate(expected):
        at = to_datetime(occurrence(rhythm, number))
        assert at.astimezone(info).date() == day or not _exists(day, rhythm)


def _exists(day: date, rhythm: Rhythm) -> bool:
    """Whether the wall clock of the zone ever shows this day at the rhythm's hour."""
    info = ZoneInfo(rhythm.zone)
    wall = datetime.combine(day, to_datetime(rhythm.anchor).astimezone(info).time().replace(fold=0), tzinfo=info)
    return wall.astimezone(UTC).astimezone(info).replace(tzinfo=None) == wall.replace(tzinfo=None)


@settings(max_examples=500)
@given(rhythms, st.data())
@example(Rhythm(us(datetime(2011, 12, 29, 20, tzinfo=UTC)), "day", 1, "Pacific/Apia"), None)
def test_a_period_holds_its_moment_and_periods_meet(rhythm: Rhythm, data: st.DataObject | None) -> None:
    at = rhythm.anchor + HOUR_US if data is None else data.draw(moments)
    start, end = period_at(rhythm, at)
    assert start <= at < end
    assert period_at(rhythm, start) == (start, end)
    assert period_at(rhythm, end - 1) == (start, end)
    assert period_at(rhythm, end)[0] == end


@given(rhythms, st.integers(-40, 40))
def test_later_numbers_are_later(rhythm: Rhythm, number: int) -> None:
    moments = [occurrence(rhythm, number + step) for step in range(8)]
    assert moments == sorted(moments)
    longest = {"day": 25, "week": 7 * 24 + 1, "month": 31 * 24 + 1, "year": 366 * 24 + 1}[rhythm.period]
    slack_h = 24 if rhythm.zone in ("Pacific/Apia", "Pacific/Kiritimati") else 1
    for earlier, later in pairwise(moments):
        assert later - earlier <= (longest * rhythm.every + slack_h) * HOUR_US


@pytest.mark.parametrize("period", RECURRENCE_PERIODS)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
@pytest.mark.parametrize("anchor", [0, 1, MOMENT_MAX_US - 1])
def test_the_ends_of_time_are_bounds(period: RecurrencePeriod, zone: str, anchor: int) -> None:
    rhythm = Rhythm(anchor, period, 1_000, zone)
    assert occurrence(rhythm, -10_000) == 0
    assert occurrence(rhythm, 10_000_000) == MOMENT_MAX_US
    for at in (0, 1, anchor, MOMENT_MAX_US - 1):
        start, end = period_at(rhythm, at)
        assert 0 <= start <= at < end <= MOMENT_MAX_US


@given(st.integers(0, 10**12), st.integers(0, 10**15), st.integers(1, 10**15))
@example(1, 1, 2)
@example(3, 1, 2)
def test_a_share_is_the_fraction_rounded_half_even(amount: int, part: int, whole: int) -> None:
    assert share_of(amount, part, whole) == round(Fraction(amount * part, whole))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("2026-01-01", "month", 1, "UTC"), ("2026-07-01", "month", 1, "Etc/UTC"), True),
        (("2026-01-01", "month", 1, "Europe/Paris"), ("2026-07-01", "month", 1, "Europe/Paris"), False),
        (("2026-01-01", "week", 1, "UTC"), ("2026-01-15", "day", 7, "UTC"), True),
        (("2026-01-01", "week", 1, "UTC"), ("2026-01-14", "day", 7, "UTC"), False),
        (("2026-01-01", "year", 1, "UTC"), ("2020-01-01", "month", 12, "UTC"), True),
        (("2026-01-01", "month", 3, "UTC"), ("2026-10-01", "month", 3, "UTC"), True),
        (("2026-01-01", "month", 3, "UTC"), ("2026-11-01", "month", 3, "UTC"), False),
        (("2026-01-31", "month", 1, "UTC"), ("2026-03-31", "month", 1, "UTC"), True),
        (("2026-01-31", "month", 1, "UTC"), ("2026-02-28", "month", 1, "UTC"), False),
        (("2026-01-01", "day", 1, "Europe/Paris"), ("2026-01-01", "day", 1, "America/New_York"), False),
        (("2026-01-01", "month", 1, "UTC"), ("2026-01-01", "day", 1, "UTC"), False),
    ],
)
def test_two_rhythms_are_the_same_if_they_recur_at_the_same_times(
    one: tuple[str, RecurrencePeriod, int, str], other: tuple[str, RecurrencePeriod, int, str], same: bool
) -> None:
    first, second = [
        Rhythm(int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 10**6, period, every, zone)
        for day, period, every, zone in (one, other)
    ]
    assert same_times(first, second) is same_times(second, first) is same
    at = first.anchor + 40 * 365 * 86_400 * 10**6
    ends = [[period_at(each, at + month * 30 * 86_400 * 10**6) for month in range(40)] for each in (first, second)]
    assert (ends[0] == ends[1]) is same
