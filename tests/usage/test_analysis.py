"""Analysis of usage, against oracles that count one by one: sums, medians from the textbook, a pool burnt by ticks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from statistics import fmean, median
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.api.usage_table import UsageRow, Value
from solvent.engine.api.usage_words import COMPARE_ORDERS, CompareOrder
from solvent.engine.usage.analysis import (
    Compared,
    Forecast,
    Series,
    Spike,
    compare,
    forecast,
    series_of,
    sparkline,
    spikes,
)

HUGE = 2**200
VALUES: list[Value] = [1, True, "1", 0, False, "", "true", None, -1, 2, 2.5, 2**63, "g10", "g7"]


class Row(NamedTuple):
    """What analysis needs of a row of usage."""

    values: tuple[Value, ...]
    credits: int
    events: int = 0
    other: bool = False
    start: int = 0


def exact(values: tuple[Value, ...]) -> tuple[tuple[str, str], ...]:
    """Tells apart what Python calls equal."""
    return tuple((type(value).__name__, repr(value)) for value in values)


def name_rank(values: tuple[Value, ...]) -> list[Any]:
    """By kind, then by value, then by how it is written."""
    ranks: list[Any] = []
    for value in values:
        kind = 3 if value is None else 0 if isinstance(value, bool) else 2 if isinstance(value, str) else 1
        ranks.append((kind, 0 if value is None else value, repr(value)))
    return ranks


# Two periods


units = st.integers(-3, 3) | st.integers(-HUGE, HUGE)
used = st.builds(
    Row,
    values=st.tuples(st.sampled_from(VALUES), st.sampled_from(VALUES[:4])),
    credits=units,
    events=st.integers(0, 9),
    other=st.sampled_from([False] * 9 + [True]),
)
periods = st.lists(used, max_size=12)


@given(periods, periods, st.sampled_from(COMPARE_ORDERS), st.booleans(), st.none() | st.integers(1, 8))
def test_a_comparison_is_what_counting_says(
    after: list[Row], before: list[Row], order: CompareOrder, descending: bool, top: int | None
) -> None:
    result = compare(after, before, order=order, descending=descending, top=top)

    # Nothing is lost.
    assert sum(each.credits_after for each in result) == sum(row.credits for row in after)
    assert sum(each.credits_before for each in result) == sum(row.credits for row in before)
    assert sum(each.events_after for each in result) == sum(row.events for row in after)
    assert sum(each.events_before for each in result) == sum(row.events for row in before)

    groups = {exact(row.values): row.values for row in (*after, *before) if not row.other}
    named = [each for each in result if not each.other]
    kept = len(groups) if top is None else min(top, len(groups))
    assert len({exact(each.values) for each in named}) == len(named) == kept
    assert [each.other for each in result[kept:]] == [True] * (
        kept < len(groups) or any(row.other for row in (*after, *before))
    )
    assert all(each.values == (None, None) for each in result[kept:])

    def total(rows: list[Row], key: object) -> int:
        return sum(row.credits for row in rows if exact(row.values) == key and not row.other)

    for each in named:
        key = exact(each.values)
        assert key in groups
        assert each.credits_after == total(after, key)
        assert each.credits_before == total(before, key)
        assert each.change == total(after, key) - total(before, key)

    def measure(key: Any) -> int:
        change = total(after, key) - total(before, key)
        return {"change": abs(change), "increase": change, "credits": total(after, key), "name": 0}[order]

    expected = sorted(groups, key=lambda key: name_rank(groups[key]), reverse=order == "name" and descending)
    expected.sort(key=measure, reverse=descending)
    assert [exact(each.values) for each in named] == expected[:kept]


def test_values_are_compared_with_their_type() -> None:
    after = [Row((1,), 1), Row((1.5,), 2), Row((True,), 4), Row(("1",), 8), Row((None,), 16), Row((0,), 32)]
    before = [Row((0,), 64), Row((True,), 100)]

    result = compare(after, before, order="name", descending=False)

    assert [(repr(each.values[0]), each.credits_before, each.credits_after) for each in result] == [
        ("True", 100, 4),
        ("0", 64, 32),
        ("1", 0, 1),
        ("1.5", 0, 2),
        ("'1'", 0, 8),
        ("None", 0, 16),
    ]


def test_a_group_without_the_dimension_is_not_the_others() -> None:
    after = [Row((None,), 1), Row(("a",), 10), Row((None,), 100, 3, other=True)]

    result = compare(after, [Row((None,), 7, 1)], top=1)

    assert result == [
        Compared(("a",), False, 0, 10, 0, 0),
        Compared((None,), True, 7, 101, 1, 3),
    ]


@pytest.mark.parametrize(
    ("before", "after", "relative"),
    [
        (100, 150, Fraction(1, 2)),
        (100, 0, Fraction(-1)),
        (3, 4, Fraction(1, 3)),
        (-100, -50, Fraction(1, 2)),
        (-100, -150, Fraction(-1, 2)),
        (-1, 1, Fraction(2)),
        (0, 5, None),
        (0, 0, None),
        (HUGE, HUGE + 1, Fraction(1, HUGE)),
    ],
)
def test_an_increase_is_above_zero_whatever_there_was(before: int, after: int, relative: Fraction | None) -> None:
    (compared,) = compare([Row((), after)], [Row((), before)])

    assert compared.relative == relative
    assert compared.change == after - before


def test_orders_of_a_comparison() -> None:
    after = [Row(("up",), 15), Row(("down",), 5), Row(("big",), 101)]
    before = [Row(("up",), 10), Row(("down",), 50), Row(("big",), 100)]

    def names(order: CompareOrder, *, descending: bool = True) -> str:
        return " ".join(str(each.values[0]) for each in compare(after, before, order=order, descending=descending))

    assert names("change") == "down up big"
    assert names("change", descending=False) == "big up down"
    assert names("increase") == "up big down"
    assert names("increase", descending=False) == "down big up"
    assert names("credits") == "big up down"
    assert names("name") == "up down big"
    assert names("name", descending=False) == "big down up"
    assert compare([], []) == []


def test_rows_of_answers_are_what_analysis_takes() -> None:
    fields: dict[str, Any] = dict.fromkeys(UsageRow.__struct_fields__, 0)
    fields |= {"start": 60, "values": ("a",), "other": False, "debited": 10, "reversed": 3, "events": 2}
    row = UsageRow(**fields)

    assert compare([row], []) == [Compared(("a",), False, 0, 7, 0, 2)]
    assert series_of([row], [0, 60]) == [Series(("a",), [0, 7])]


# Spikes


def series(*credits: int, name: Value = "a") -> Series:
    return Series((name,), list(credits))


def found(result: list[Spike]) -> list[tuple[Value, int]]:
    return [(spike.values[0], spike.bucket) for spike in result]


def judged(
    every: Sequence[Series],
    *,
    sensitivity: float = 3.5,
    history_min: int = 5,
    history_max: int = 168,
    habit: int = 3,
    least: int = 1,
    both: bool = False,
) -> dict[tuple[Any, int], float]:
    """Each spike with its score: the statement of the method, bucket by bucket, with nothing carried over."""
    scores: dict[tuple[Any, int], float] = {}
    for each in every:
        for bucket, units in enumerate(each.credits):
            first = max(0, bucket - history_max)
            history = list(each.credits[first:bucket])
            if len(history) < history_min:
                continue
            middle = Fraction(median(map(Fraction, history)))
            sign = 1 if units > middle else -1
            if sign < 0 and not both:
                continue
            beyond = sorted((sign * (past - middle) for past in history), reverse=True)
            reached = beyond[min(habit, len(beyond)) - 1]
            excess = sign * (units - middle)
            if excess < least or excess <= reached * Fraction(3, 2):
                continue
            distances = [abs(past - middle) for past in history]
            mad = Fraction(median(distances))
            if mad:
                score = 0.6745 * float(excess / mad)
            else:
                whole = [sum(abs(other.credits[at]) for other in every) for at in range(first, bucket + 1)]
                share = fmean(whole) / max(100, len(every))
                score = float(excess) / max(1.253314 * fmean(distances), share)
            if score >= sensitivity:
                scores[exact(each.values), bucket] = sign * score
    return scores


steady = st.lists(st.integers(95, 105), min_size=24, max_size=24)
sparse = st.lists(st.sampled_from([0, 0, 0, 0, 1, 7, 300]), min_size=24, max_size=24)
wild = st.lists(st.integers(-5, 5) | st.integers(-(10**12), 10**12), min_size=24, max_size=24)


@given(
    st.lists(steady | sparse | wild, min_size=1, max_size=6),
    st.fixed_dictionaries(
        {
            "sensitivity": st.sampled_from([1.0, 2.0, 3.5, 10.0]),
            "history_min": st.integers(1, 7),
            "history_max": st.integers(7, 30),
            "habit": st.integers(1, 40),
            "least": st.sampled_from([1, 2, 10, 1_000]),
            "both": st.booleans(),
        }
    ),
)
@settings(max_examples=300)
def test_spikes_are_what_the_method_says(credits: list[list[int]], options: dict[str, Any]) -> None:
    every = [Series((number,), each) for number, each in enumerate(credits)]

    result = spikes(every, **options)

    expected = judged(every, **options)
    assert {(exact(spike.values), spike.bucket): pytest.approx(spike.score) for spike in result} == expected
    assert len(result) == len(expected)
    for spike in result:
        history = every[int(str(spike.values[0]))].credits[max(0, spike.bucket - options["history_max"]) : spike.bucket]
        assert spike.credits == every[int(str(spike.values[0]))].credits[spike.bucket]
        assert spike.expected == median(map(Fraction, history))
        assert spike.excess == spike.credits - spike.expected
    sizes = [abs(spike.excess) for spike in result]
    assert sizes == sorted(sizes, reverse=True)


@given(st.lists(sparse | wild, min_size=1, max_size=4), st.integers(1, 24), st.integers(1, 10**9))
def test_a_verdict_stands_whatever_comes_later_and_whatever_the_unit(
    credits: list[list[int]], cut: int, factor: int
) -> None:
    def bucket_scores(many: list[list[int]], least: int = 1) -> list[tuple[Value, int, float]]:
        result = spikes([Series((number,), each) for number, each in enumerate(many)], least=least)
        return sorted((str(spike.values[0]), spike.bucket, spike.score) for spike in result)

    whole = bucket_scores(credits)
    assert bucket_scores([each[:cut] for each in credits]) == [each for each in whole if each[1] < cut]
    scaled = bucket_scores([[units * factor for units in each] for each in credits], factor)
    assert [each[:2] for each in scaled] == [each[:2] for each in whole]
    assert [each[2] for each in scaled] == pytest.approx([each[2] for each in whole])


def test_a_score_is_the_one_of_the_textbook() -> None:
    # Median 12, deviations 2 1 0 1 3: their median is 1.
    (spike,) = spikes([series(10, 11, 12, 13, 15, 20)])

    assert spike == Spike(("a",), False, 5, 20, Fraction(12), 0.6745 * 8)

    # Median 10, median deviation 0, mean deviation 3/5.
    (spike,) = spikes([series(10, 10, 10, 10, 13, 20)])

    assert spike.score == pytest.approx(10 / (1.253314 * 0.6))


def test_a_bucket_is_no_part_of_its_own_history() -> None:
    # With the 17 in it the median would be 11.5, the median deviation 1.5 and the score 2.5.
    assert spikes([series(9, 10, 11, 12, 13, 17)], sensitivity=0.6745 * 6) != []
    assert spikes([series(9, 10, 11, 12, 13, 17)], sensitivity=0.6745 * 6 + 0.001) == []
    (spike,) = spikes([series(9, 10, 11, 12, 13, 17)])
    assert spike.expected == 11


def test_the_first_buckets_are_not_judged() -> None:
    assert found(spikes([series(0, 0, 0, 0, 1_000)])) == []
    assert found(spikes([series(0, 0, 0, 0, 0, 1_000)])) == [("a", 5)]
    assert found(spikes([series(0, 0, 1_000)], history_min=2)) == [("a", 2)]
    assert spikes([series()]) == spikes([]) == []


def test_history_is_limited_to_the_last_buckets() -> None:
    credits = [0, 1_000] * 20 + [10, 11, 12, 11, 10, 12, 11, 30]

    assert found(spikes([series(*credits)], history_max=7)) == [("a", 47)]
    assert found(spikes([series(*credits)], history_max=40)) == []


def test_a_script_that_runs_wild_at_three_in_the_morning_comes_first() -> None:
    chance = random.Random(3)
    hours = 14 * 24
    every = []
    for group in range(50):
        day = [200 + 150 * (8 <= hour % 24 < 18) for hour in range(hours)]
        every.append(Series((f"user-{group}",), [chance.randint(units * 8 // 10, units * 12 // 10) for units in day]))
    wild_at = 11 * 24 + 3
    credits = list(every[17].credits)
    credits[wild_at : wild_at + 2] = [9_000, 8_000]
    every[17] = Series(("user-17",), credits)

    result = spikes(every, history_min=24)

    assert found(result) == [("user-17", wild_at), ("user-17", wild_at + 1)]
    assert result[0].credits == 9_000
    assert 180 < result[0].expected < 260
    assert result[0].score > 50
    # With less than a day to go by, the first morning looks like a spike, but not like that one.
    assert found(spikes(every))[:2] == found(result)
    assert all(bucket < 24 for _, bucket in found(spikes(every))[2:])


def test_a_weekly_pattern_is_no_spike() -> None:
    busy_weekdays = [100, 104, 97, 101, 99, 12, 8] * 12
    busy_weekends = [100, 104, 97, 101, 99, 300, 320] * 12

    assert spikes([series(*busy_weekdays)]) == []
    assert {bucket for _, bucket in found(spikes([series(*busy_weekends)]))} <= set(range(14))
    assert max(bucket for _, bucket in found(spikes([series(*busy_weekdays)], both=True))) < 14


def test_a_nightly_job_is_news_only_in_the_first_nights() -> None:
    nights = [1_000 if hour % 24 == 3 else 0 for hour in range(20 * 24)]

    # The first was too early to be judged.
    assert sorted(bucket // 24 for _, bucket in found(spikes([series(*nights)]))) == [1, 2]

    nights[15 * 24 + 3] = 2_000

    assert found(spikes([series(*nights)]))[0] == ("a", 15 * 24 + 3)


def test_a_blip_after_long_silence_counts_by_its_share_of_the_whole() -> None:
    busy = series(*[10_000] * 61, name="busy")

    def blip(units: int, least: int = 1) -> list[tuple[Value, int]]:
        return found(spikes([busy, series(*[0] * 60, units, name="quiet")], least=least))

    # A hundredth of the whole, 3.5 times: 350 and a little, as the blip is part of the whole.
    assert blip(300) == []
    assert blip(400) == [("quiet", 60)]
    assert blip(400, least=400) == [("quiet", 60)]
    assert blip(400, least=401) == []
    # Where nobody else uses anything, whatever comes is news.
    assert found(spikes([series(*[0] * 60, 1)])) == [("a", 60)]


def test_tiny_blips_of_a_sparse_group_are_no_spikes() -> None:
    chance = random.Random(5)
    busy = [Series((f"busy-{number}",), [chance.randint(900, 1_100) for _ in range(300)]) for number in range(20)]
    blips = [chance.choice([0] * 19 + [1, 2, 3]) for _ in range(300)]

    assert sum(blips) > 0
    assert [spike for spike in spikes([*busy, series(*blips)]) if spike.values == ("a",)] == []


def test_a_group_that_is_new_is_a_spike_when_it_matters() -> None:
    busy = [Series((f"busy-{number}",), [1_000] * 40) for number in range(10)]
    new = series(*[0] * 30, *[2_000] * 10, name="new")

    # And a plateau is normal once it has been reached three times.
    assert found(spikes([*busy, new])) == [("new", 30), ("new", 31), ("new", 32)]


def test_with_many_groups_the_average_group_is_the_measure() -> None:
    busy = [Series((number,), [100] * 21) for number in range(999)]

    assert found(spikes([*busy, series(*[0] * 20, 340)])) == []
    assert found(spikes([*busy, series(*[0] * 20, 360)])) == [("a", 20)]


@pytest.mark.parametrize("units", [0, 1, 100, -100, HUGE])
def test_what_is_constant_has_no_spikes(units: int) -> None:
    assert spikes([series(*[units] * 400), series(*[0] * 400, name="b")], both=True) == []


def test_drops_are_told_only_when_asked_for() -> None:
    fallen = series(100, 101, 99, 100, 102, 98, 0)

    assert spikes([fallen]) == []
    (spike,) = spikes([fallen], both=True)
    assert (spike.bucket, spike.credits, spike.expected, spike.score) == (6, 0, 100, -0.6745 * 100)
    # What was reversed long after it was spent.
    (spike,) = spikes([series(0, 0, 0, 0, 0, -50)], both=True)
    assert spike.excess == -50


def test_spikes_keep_credits_exact_at_any_size() -> None:
    history = [HUGE, HUGE + 1, HUGE + 2, HUGE + 3, HUGE + 4, HUGE + 5]

    (spike,) = spikes([series(*history, HUGE + 100)])

    assert (spike.credits, spike.expected) == (HUGE + 100, HUGE + Fraction(5, 2))
    assert spike.score == 0.6745 * 97.5 / 1.5


def test_series_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        spikes([series(1, 2), series(1, name="b")])


def test_series_are_made_of_rows_with_their_gaps_filled() -> None:
    rows = [
        Row((1,), 2, start=10),
        Row((1,), 3, start=10),
        Row((True,), 6, start=10),
        Row((None,), 7, start=20),
        Row((None,), 8, other=True, start=20),
        Row((1,), 9, start=40),
    ]

    assert [(repr(each.values[0]), each.other, list(each.credits)) for each in series_of(rows, [10, 20, 40])] == [
        ("1", False, [5, 0, 9]),
        ("True", False, [6, 0, 0]),
        ("None", False, [0, 7, 0]),
        ("None", True, [0, 8, 0]),
    ]


# When a pool runs dry


def burnt(
    blocks: list[tuple[int, int | None]], rate: Fraction, now: int, horizon_us: int
) -> tuple[int | None, Fraction]:
    """Step by step: in a tick, one of the ``rate.denominator`` parts of a unit burns."""
    ticks, parts = (rate.numerator, rate.denominator) if rate > 0 else (1, 1)
    left = [units * parts for units, _ in blocks]
    lost = 0
    for tick in range(horizon_us * ticks + 1):
        for number, (_, expires_at) in enumerate(blocks):
            if expires_at is not None and expires_at * ticks <= now * ticks + tick:
                lost += left[number]
                left[number] = 0
        burning = next((number for number, each in enumerate(left) if each), None)
        if rate > 0 and burning is None:
            return now + -(-tick // ticks), Fraction(lost, parts)
        if rate > 0 and burning is not None:
            left[burning] -= 1
    return None, Fraction(lost, parts)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(95, 160)), max_size=6),
    st.integers(-2, 6),
    st.integers(1, 6),
    st.integers(0, 60),
)
@example([(10, 105)], 1, 1, 60)
@example([(10, 110)], 1, 1, 60)
@example([(10, None), (5, 110), (5, 111)], 1, 1, 60)
@example([(10, None)], 1, 1, 10)
@example([(11, None)], 1, 1, 10)
@settings(max_examples=500)
def test_a_forecast_is_what_burning_tick_by_tick_comes_to(
    blocks: list[tuple[int, int | None]], spent: int, over_us: int, horizon_us: int
) -> None:
    result = forecast(blocks, spent, over_us=over_us, now=100, horizon_us=horizon_us)

    runs_dry_at, lost = burnt(blocks, Fraction(spent, over_us), 100, horizon_us)
    assert result == Forecast(Fraction(spent, over_us), runs_dry_at, lost.numerator // lost.denominator)


def test_forecasts_by_hand() -> None:
    def ahead(blocks: list[tuple[int, int | None]], spent: int = 1, over_us: int = 1) -> tuple[int | None, int]:
        result = forecast(blocks, spent, over_us=over_us, now=1_000, horizon_us=1_000)
        assert result.rate == Fraction(spent, over_us)
        return result.runs_dry_at, result.expires_unused

    assert ahead([(100, None)]) == (1_100, 0)
    assert ahead([(100, None)], 3, 1) == (1_034, 0), "rounded up: at 1,033 there is still a unit"
    assert ahead([(1_000, None)]) == (2_000, 0)
    assert ahead([(1_001, None)]) == (None, 0)
    assert ahead([(100, 1_040), (10, None)]) == (1_050, 60), "the first block loses what it has left"
    assert ahead([(10, None), (100, 1_010)]) == (1_010, 100), "the second was never begun"
    assert ahead([(100, None), (100, 1_040), (10, None)]) == (1_110, 100), "burn order is kept, not that of expiry"
    assert ahead([(5_000, None), (7, 1_900), (8, 2_000), (9, 2_001)]) == (None, 15), "lost within the horizon"
    assert ahead([(100, 1_001)], 1, 3) == (1_001, 99), "two thirds of a unit are begun"
    assert ahead([]) == (1_000, 0)
    assert ahead([], 0) == (None, 0)
    assert ahead([(5, 1_500), (6, None)], 0) == (None, 5)
    assert ahead([(5, 1_500), (6, None)], -4) == (None, 5)
    assert ahead([(HUGE, None)], HUGE, 7) == (1_007, 0)


# Sparklines


@given(st.lists(st.integers(-5, 50) | st.integers(-HUGE, HUGE), max_size=60), st.integers(-1, 80))
def test_a_sparkline_is_as_wide_as_it_may_be_and_keeps_the_order_of_sizes(values: list[int], width: int) -> None:
    line = sparkline(values, width)

    assert len(line) == max(0, min(len(values), width))
    assert set(line) <= set("▁▂▃▄▅▆▇█")
    if line and width >= len(values):
        assert all((bar > "▁") == (value > 0) for bar, value in zip(line, values, strict=True))
        assert [bar for _, bar in sorted(zip(values, line, strict=True))] == sorted(line)
        assert max(values) <= 0 or line[values.index(max(values))] == "█"


def test_sparklines_by_hand() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 80) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 0], 80) == "▁▁▁"
    assert sparkline([-5, -1, 0], 80) == "▁▁▁"
    assert sparkline([-5, 1, 1_000_000], 80) == "▁▂█"
    assert sparkline([5], 80) == "█"
    assert sparkline([], 80) == sparkline([1, 2], 0) == ""
    assert sparkline([1, 1, 0, 0, 2, 0, 0, 7], 4) == "▃▁▃█"
    assert sparkline([3] * 720, 50) == "█" * 50, "14 or 15 values a bar, and yet no ripple"
    assert sparkline([3] * 3, 2) == "██"
    assert sparkline([7, -7, 7, 0], 2) == "▁█"
