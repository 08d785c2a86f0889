"""The steps of ``bench.growth`` and the memory table on small journals: they run and their books are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.apart import apart
from bench.growth import SIZES, by_population, by_size, judge_growth, known_pools
from bench.growth_steps import measure_stalls
from bench.memory import memory


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.mark.slow
def test_growth_measures_every_size_and_population(tmp_path: Path) -> None:
    sizes = by_size(tmp_path, [1_000], 0.1, quiet)
    assert list(sizes) == ["1,000"]
    assert all(value > 0 for value in sizes["1,000"].values())
    populations = by_population(tmp_path, [1, 50], 0.1, quiet)
    assert [row["debits/s"] > 0 for row in populations.values()] == [True, True]


@pytest.mark.slow
def test_known_pools_are_visited_and_their_memory_measured(tmp_path: Path) -> None:
    found = known_pools(tmp_path, 200, quiet)
    assert (found["pools"], found["resident pools"]) == (200, 200)
    assert found["peak MB"] > 10


@pytest.mark.slow
def test_stalls_are_measured_with_usage_beside(tmp_path: Path) -> None:
    found = apart(measure_stalls, tmp_path, 1.0)
    assert found["debits/s"] > 0
    assert found["p50 ms"] <= found["p99 ms"] <= found["p99.9 ms"] <= found["longest ms"]


@pytest.mark.slow
def test_the_memory_table_says_bytes_of_pools_and_of_debits(tmp_path: Path) -> None:
    found = memory(tmp_path, pools=2_000, entries=20_000)
    assert found["memory of one resident pool"] > 100
    assert found["disk of a million debits: journal"] > 10e6
    assert all(size >= 0 for size in found.values())


def test_marks_of_growth_are_judged_by_what_was_measured_only() -> None:
    assert judge_growth({}) == []
    results = {
        "known pools": {"pools": 1e6, "resident pools": 1e4, "peak MB": 599.0},
        "by size": {f"{SIZES[-1]:,}": {"open s": 2.1}},
        "stalls": {"seconds": 60.0, "p99.9 ms": 25.0},
    }
    assert [verdict.reached for verdict in judge_growth(results)] == [True, False, True]
    results["by size"] = {"1,000": {"open s": 0.1}}
    assert len(judge_growth(results)) == 2
