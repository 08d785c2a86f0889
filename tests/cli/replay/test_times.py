"""Times as files write them, to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.replay.times import UNITS, check_time_format, parse_moment

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
moments = st.timedeltas(min_value=timedelta(days=1_200), max_value=timedelta(days=20_000))


def test_seven_decimals_are_cut_to_microseconds() -> None:
    found = parse_moment("2023-11-16 18:17:03.9799609", UTC, "t")
    assert found == datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)


def test_a_time_without_a_zone_needs_one() -> None:
    with pytest.raises(InvalidRequest, match="assume-utc"):
        parse_moment("2023-11-16 18:17:03", None, "t")
    assert parse_moment("2023-07-16 18:00:00", PARIS, "t") == datetime(2023, 7, 16, 16, tzinfo=UTC)
    assert parse_moment("2023-07-16 18:00:00Z", PARIS, "t") == datetime(2023, 7, 16, 18, tzinfo=UTC)
    assert parse_moment("2023-10-29 02:30:00", PARIS, "t") == datetime(2023, 10, 29, 0, 30, tzinfo=UTC), "the first"
    assert parse_moment("20230716", UTC, "t") == datetime(2023, 7, 16, tzinfo=UTC), "digits that are a date"


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2_000_000)))
def test_times_read_back_to_the_same_moment(since: timedelta) -> None:
    moment = EPOCH + since
    assert parse_moment(moment.isoformat(), None, "t") == moment
    assert parse_moment(moment.replace(tzinfo=None).isoformat(" "), UTC, "t") == moment


@given(moments, st.sampled_from(list(UNITS)), st.booleans(), st.booleans())
def test_counts_are_exact_to_the_microsecond(since: timedelta, unit: str, as_text: bool, by_size: bool) -> None:
    microseconds = since // timedelta(microseconds=1)
    exact = Fraction(microseconds, 10**6) * 10 ** UNITS[unit]
    places = max(0, 6 - UNITS[unit])
    number = Decimal(f"{microseconds * 10 ** UNITS[unit] // 10 ** (6 - places)}").scaleb(-places)
    assert Fraction(number) == exact
    value = str(number) if as_text else number
    assert parse_moment(value, None, "t", "epoch" if by_size else unit) == EPOCH + since
    if unit in ("s", "ms"):
        assert parse_moment(value, None, "t") == EPOCH + since


@pytest.mark.parametrize(
    "value",
    [20_260_131, "1767225600000000", 1_767_225_600_000_000_000, "5", 0, True, None, "", "noon", "2026-13-01", {}],
)
def test_what_could_be_several_times_is_none(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^t: expected"):
        parse_moment(value, UTC, "t")


@pytest.mark.parametrize("value", ["1711121300000", "171112130000", "1712010500"])
def test_digits_are_no_iso_8601_in_disguise(value: str) -> None:
    with pytest.raises(InvalidRequest, match="ISO 8601"):
        parse_moment(value, UTC, "t", "iso")


@pytest.mark.parametrize(
    ("pattern", "text", "moment"),
    [
        ("%d/%m/%Y %H:%M", "23/11/2026 10:20", datetime(2026, 11, 23, 9, 20, tzinfo=UTC)),
        ("%m/%d/%y %I:%M %p", "11/23/26 10:20 PM", datetime(2026, 11, 23, 21, 20, tzinfo=UTC)),
        (
            "%Y-%m-%dT%H:%M:%S.%f%z",
            "2026-11-23T10:20:30.25-0500",
            datetime(2026, 11, 23, 15, 20, 30, 250000, tzinfo=UTC),
        ),
        ("%Y%j", "2026327", datetime(2026, 11, 22, 23, tzinfo=UTC)),
    ],
)
def test_a_pattern_reads_what_it_describes(pattern: str, text: str, moment: datetime) -> None:
    assert parse_moment(text, PARIS, "t", check_time_format(pattern, "--time-format")) == moment
    with pytest.raises(InvalidRequest, match="a time written as"):
        parse_moment("soon", PARIS, "t", pattern)


@pytest.mark.parametrize("pattern", ["", "seconds", "%H:%M", "%Y-%m", "%Q", "%", "%d"])
def test_a_pattern_has_to_say_the_date(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="--time-format"):
        check_time_format(pattern, "--time-format")


@pytest.mark.parametrize("value", [10**15, Decimal("1e30"), -(10**20)])
def test_a_count_beyond_all_dates_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="1970 to 9999"):
        parse_moment(value, None, "t", "s")
    assert parse_moment("9999-12-31T23:59:59+00:00", None, "t").year == 9999
    with pytest.raises(InvalidRequest, match="1970 to 9999"):
        parse_moment(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))).isoformat(), None, "t")
