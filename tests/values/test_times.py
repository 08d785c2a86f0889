"""Moments are exact to the microsecond, and one without a zone is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.times import EPOCH, MOMENT_MAX_US, format_time, parse_time, to_datetime

moments = st.integers(0, MOMENT_MAX_US - 1)
zones = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments)
@example(0)
@example(MOMENT_MAX_US - 1)
@example(2**53 + 1)
def test_a_moment_survives_the_way_out_and_back(moment: int) -> None:
    assert parse_time(to_datetime(moment), "at") == moment
    assert parse_time(format_time(moment), "at") == moment
    assert parse_time(to_datetime(moment).isoformat(), "at") == moment


@given(moments, moments)
def test_written_moments_sort_as_they_happened(one: int, other: int) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)


@given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1)), zones)
def test_the_zone_is_taken_into_account(local: datetime, zone: timezone) -> None:
    aware = local.replace(tzinfo=zone)
    offset = zone.utcoffset(None)
    whole = local - datetime(1970, 1, 1) - offset
    expected = (whole.days * 86_400 + whole.seconds) * 1_000_000 + whole.microseconds
    assert parse_time(aware, "at") == expected
    assert parse_time(aware.isoformat(), "at") == expected
    assert to_datetime(expected).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-23",
        "2026-11-23T10:00:00",
        "10:00:00Z",
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-23T24:00:01Z",
        "2026-11-23T10:00:00+25:00",
        "2026-11-23T10:00:00\ud800",
        "٢٠٢٦-11-23T10:00:00Z",
        "x" * 100_000,
        datetime(2026, 11, 23),
        date(2026, 11, 23),
        EPOCH - timedelta(microseconds=1),
        datetime(9999, 12, 31, tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=23))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
        1_700_000_000,
        1_700_000_000.5,
        True,
        None,
        b"2026-11-23T10:00:00Z",
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_no_moment_is_refused_by_its_field(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_time(value, "expires_at")
    assert refused.value.field == "expires_at"
    assert len(str(refused.value)) < 200


@given(st.text(max_size=40) | st.text("0123456789-:.TZ+W", max_size=40))
def test_any_text_is_a_moment_in_range_or_refused(text: str) -> None:
    try:
        moment = parse_time(text, "at")
    except InvalidRequest as refusal:
        assert refusal.field == "at"
    else:
        assert 0 <= moment < MOMENT_MAX_US
