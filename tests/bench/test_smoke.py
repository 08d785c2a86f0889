"""Every workload and every contestant for a fraction of a second, each with the check of its own books."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cell import Answer, Order, answer
from bench.cells import Cell, all_cells, usual_cells
from bench.contestants import CONTESTANTS, EMBEDDED, FLUSH, MAILBOX, NATS
from bench.rounds import run_cell
from bench.solvent_sessions import SolventSession
from bench.workloads import WORKLOADS, missing_traces

CALLERS = 4


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that others may enter: Postgres does not run as root, and pytest's folders are for one user."""
    with tempfile.TemporaryDirectory(prefix="solvent-bench-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def order(contestant: str, workload: str, scratch: Path) -> Order:
    return Order(
        contestant=contestant,
        workload=workload,
        callers=CALLERS,
        seconds=0.2,
        warm_up_s=0.05,
        scratch=str(scratch),
    )


def expect_figures(found: Answer) -> None:
    if found.not_here:
        pytest.skip(found.not_here)
    assert not found.wrong
    assert found.figures is not None
    assert found.figures.per_s > 0
    assert 0 < found.figures.p50_ms <= found.figures.p99_ms


@pytest.mark.parametrize("contestant", [EMBEDDED, NATS])
@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "W3"])
def test_every_workload_runs_and_its_books_are_right(contestant: str, workload: str, scratch: Path) -> None:
    if WORKLOADS[workload].kind == "replay" and missing_traces():
        pytest.skip("the traces are not there")
    expect_figures(run_cell(order(contestant, workload, scratch)))


@pytest.mark.slow
def test_a_hundred_thousand_pools_too(scratch: Path) -> None:
    expect_figures(run_cell(order(EMBEDDED, "W3", scratch)))


@pytest.mark.parametrize("contestant", [name for name in (*CONTESTANTS, FLUSH) if name not in (EMBEDDED, NATS)])
def test_every_peer_and_limit_that_is_here_runs_and_its_books_are_right(contestant: str, scratch: Path) -> None:
    expect_figures(run_cell(order(contestant, "W1", scratch)))


def test_books_that_say_something_else_are_noticed(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debits = SolventSession._debits

    def one_more(self: SolventSession, caller: int) -> object:
        job = debits(self, caller)

        async def claims_too_much(number: int) -> int:
            return await job(number) + 1

        return claims_too_much

    monkeypatch.setattr(SolventSession, "_debits", one_more)
    assert "credits spent" in answer(order(EMBEDDED, "W1", scratch)).wrong


def test_the_usual_cells_are_cells_that_exist() -> None:
    assert set(usual_cells()) <= set(all_cells())
    assert Cell("W1", 64, MAILBOX) in set(all_cells())
