"""What the harness computes: quantiles and medians, draws, layers, marks, the picture."""

from __future__ import annotations

import asyncio
import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cells import Cell
from bench.contestants import ECHO, EMBEDDED, FLUSH, NATS, REDIS, REDIS_GATHERED
from bench.journals import write_journal
from bench.layers import NOT_SEEN, OTHER, SQLITE_THREADS, Sample, function_of, layer_of, parse, weigh
from bench.load import Load
from bench.marks import MARKS, Mark
from bench.measures import Figures, median, quantile
from bench.picture import draw
from bench.rounds import Round
from bench.session import AsyncSession, ThreadSession, WrongBooks, expect
from bench.workloads import WORKLOADS, Draws, draw_pools, zipf_weights
from solvent.engine.audit.verify import verify_journal


def made(per_s: float = 1.0, p50_ms: float = 1.0, p99_ms: float = 2.0, per_flush: float | None = None) -> Figures:
    return Figures(per_s=per_s, p50_ms=p50_ms, p99_ms=p99_ms, cpu_us=1.0, per_flush=per_flush)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1, exclude_min=True))
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = quantile(values, share)
    needed = math.ceil(len(values) * share)
    assert found in values
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < needed


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_medians_are_of_each_figure_by_itself_and_of_those_who_know_it() -> None:
    runs = [made(1, p99_ms=9), made(3, p99_ms=1, per_flush=64), made(2, p99_ms=5)]
    runs[1].more["bytes"] = 7
    found = median(runs)
    assert (found.per_s, found.p99_ms, found.per_flush, found.more) == (2, 5, 64, {"bytes": 7})


def test_zipf_gives_each_rank_its_share() -> None:
    weights = zipf_weights(1_000, 1.0)
    assert weights[0] == 1
    assert weights[9] - weights[8] == pytest.approx(1 / 10)
    assert weights[-1] == pytest.approx(math.log(1_000) + 0.5772, abs=0.001)


def test_the_skewed_workload_has_few_pools_that_are_used_most_and_the_even_one_has_none() -> None:
    skewed = Counter(draw_pools(WORKLOADS["W3"]))
    (_, most), *_ = skewed.most_common(1)
    assert most / skewed.total() == pytest.approx(1 / zipf_weights(100_000)[-1], rel=0.1)
    assert most > 100 * skewed.total() / 100_000
    even = Counter(draw_pools(WORKLOADS["W2"]))
    assert len(even) == 1_000
    assert max(even.values()) < 3 * even.total() / 1_000


def test_draws_are_the_same_for_everyone() -> None:
    first, second = Draws(WORKLOADS["W2"]), Draws(WORKLOADS["W2"])
    assert [first.at(3, number) for number in range(100)] == [second.at(3, number) for number in range(100)]
    assert first.at(3, 0) != first.at(4, 0)


def test_a_line_of_a_profile_is_read() -> None:
    line = "thread (12): MainThread;run (asyncio/runners.py:86);debit (solvent/engine/engine.py:284) 7"
    sample = parse(line)
    assert sample == Sample(12, ["run (asyncio/runners.py:86)", "debit (solvent/engine/engine.py:284)"], 7)
    assert sample.frames[-1] == function_of(sample)


@pytest.mark.parametrize(
    ("frames", "layer"),
    [
        (["run (asyncio/runners.py:86)", "debit (solvent/engine/engine.py:284)"], "engine"),
        (["debit (solvent/engine/engine.py:284)", "loads (json/decoder.py:3)"], "engine"),
        (["_receive (solvent/transports/nats/client.py:1)", "ask (solvent/actors/family.py:34)"], "actors"),
        (["parse (nats/protocol/parser.py:85)"], "nats-py"),
        (
            ["_connection_worker_thread (aiosqlite/core.py:48)", "x (solvent/engine/projections/index.py:1)"],
            SQLITE_THREADS,
        ),
        (["main (somewhere.py:1)"], OTHER),
    ],
)
def test_a_sample_is_on_the_account_of_the_innermost_layer(frames: list[str], layer: str) -> None:
    assert layer_of(Sample(1, frames, 1)) == layer


def test_a_thread_has_no_more_on_its_account_than_it_used() -> None:
    samples = [
        Sample(1, ["a (solvent/engine/x.py:1)"], 3),
        Sample(1, ["b (solvent/actors/x.py:1)"], 1),
        Sample(2, ["_connection_worker_thread (aiosqlite/core.py:48)"], 400),
    ]
    found = weigh(samples, {1: 4.0, 2: 0.5, 3: 0.25, 4: 0.0}, layer_of)
    assert found == {"engine": 3.0, "actors": 1.0, SQLITE_THREADS: 0.5, NOT_SEEN: 0.25}
    assert list(found) == ["engine", "actors", SQLITE_THREADS, NOT_SEEN]


def mark(text: str) -> Mark:
    (found,) = [each for each in MARKS if each.text == text]
    return found


def test_a_mark_is_the_median_of_the_ratios_of_each_round() -> None:
    # Between rounds the machine is three times as fast; within one the ratio is what it is.
    rounds: list[Round] = [
        {Cell("W1", 64, NATS): made(slow * ratio), Cell("W1", 64, ECHO): made(slow)}
        for slow, ratio in ((100, 1.1), (300, 0.9), (200, 1.2))
    ]
    verdict = mark("over NATS, W1, 64 callers, of nats-py's echo").judge(rounds)
    assert (verdict.figure, verdict.reached) == (pytest.approx(1.1), True)


def test_redis_is_taken_at_its_best_and_what_was_not_measured_is_not_reached() -> None:
    text = "embedded, W1, 64 callers, of Redis at its best"
    figures: Round = {Cell("W1", 64, EMBEDDED): made(300), Cell("W1", 64, REDIS): made(50)}
    assert mark(text).judge([figures]).figure == 6
    figures[Cell("W1", 64, REDIS_GATHERED)] = made(150)
    verdict = mark(text).judge([figures])
    assert (verdict.figure, verdict.reached, verdict.wanted) == (2, False, "at least 3×")
    nothing = mark(text).judge([{}])
    assert (nothing.figure, nothing.reached) == (None, False)


def test_a_mark_below_a_bound_is_reached_from_below() -> None:
    figures: Round = {
        Cell("W1", 1, NATS): made(p50_ms=0.9),
        Cell("W1", 1, ECHO): made(p50_ms=0.5),
        Cell("W1", 1, FLUSH): made(p50_ms=0.2),
    }
    verdict = mark("over NATS, a lone caller's p50, of 1.6 echoes and a flush").judge([figures])
    assert (verdict.figure, verdict.reached) == (pytest.approx(0.9), True)


def test_the_picture_is_an_svg_with_a_bar_for_each_that_is_drawn_as_long_as_it_is_fast() -> None:
    medians = {
        Cell("W1", 64, EMBEDDED): made(400),
        Cell("W1", 64, REDIS): made(100),
        Cell("W1", 64, ECHO): made(200),
        Cell("W1", 64, FLUSH): made(9_000),
        Cell("W5", 64, EMBEDDED): made(7),
    }
    root = ElementTree.fromstring(draw(medians, caption="2 cores & <more>"))
    name = "{http://www.w3.org/2000/svg}"
    bars = [each for each in root.iter(f"{name}rect") if each.get("class") != "ground"]
    widths = [float(each.get("width", "0")) for each in bars]
    assert [each.get("class") for each in bars] == ["own", "limit", "peer"]
    assert [width / widths[0] for width in widths] == pytest.approx([1, 0.5, 0.25], abs=0.01)
    assert "2 cores & <more>" in [each.text for each in root.iter(f"{name}text")]


class Counting(AsyncSession):
    def __init__(self) -> None:
        self.done: set[tuple[int, int]] = set()

    def caller(self, number: int) -> Callable[[int], Awaitable[int]]:
        caller = number

        async def job(number: int) -> int:
            assert (caller, number) not in self.done
            self.done.add((caller, number))
            await asyncio.sleep(0.001)
            return 3

        return job

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        expect("jobs", len(self.done), debits)
        return {}


class CountingThreads(ThreadSession):
    def __init__(self, failing: bool = False) -> None:
        self.done: set[tuple[int, int]] = set()
        self._failing = failing

    def caller(self, number: int) -> Callable[[int], int]:
        caller = number

        def job(number: int) -> int:
            if self._failing:
                raise ZeroDivisionError
            assert (caller, number) not in self.done
            self.done.add((caller, number))
            return 3

        return job

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        expect("jobs", len(self.done), debits)
        return {}


@pytest.mark.parametrize("session", [Counting(), CountingThreads()])
async def test_callers_call_each_number_once_over_several_runs_and_all_is_counted(
    session: Counting | CountingThreads,
) -> None:
    load = Load(session, 5)
    runs = [await load.run(0.05), await load.run(0.05)]
    calls = sum(run.calls for run in runs)
    assert min(run.calls for run in runs) >= 5
    assert sum(run.units for run in runs) == 3 * calls
    assert [len(run.latencies_ms) for run in runs] == [run.calls for run in runs]
    await session.check(debits=calls, units=3 * calls)
    with pytest.raises(WrongBooks, match=f"jobs: the books say {calls}, acknowledged were {calls + 1}"):
        await session.check(debits=calls + 1, units=0)


async def test_what_a_thread_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await Load(CountingThreads(failing=True), 5).run(0.05)


async def test_a_made_journal_is_proven(tmp_path: Path) -> None:
    debits = await write_journal(tmp_path, entries=2_000, pools=30)
    verification = verify_journal(tmp_path)
    assert verification.problems == []
    assert (verification.pools, verification.debits, verification.entries) == (30, debits, debits + 60)
