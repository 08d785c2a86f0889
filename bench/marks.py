"""The marks that Solvent has to reach, compared with the figures of a run.

If possible, a mark is a ratio of two cells of the same round. The median of the rounds' ratios counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .cells import Cell
from .contestants import ECHO, EMBEDDED, FLUSH, NATS, REDIS, REDIS_GATHERED
from .measures import Figures
from .rounds import Round


class Missing(Exception):
    """A cell that a mark needs was not measured."""


@dataclass(frozen=True)
class Verdict:
    """A mark and its figure, which is ``None`` if it was not measured."""

    text: str
    wanted: str
    figure: float | None
    reached: bool


@dataclass(frozen=True)
class Mark:
    text: str
    bound: float
    figure: Callable[[Round], float]
    """The function that computes the figure. Raises ``Missing``."""
    sense: Literal["at least", "at most"] = "at least"
    unit: str = "×"

    def judge(self, rounds: Sequence[Round]) -> Verdict:
        figures = []
        for each in rounds:
            try:
                figures.append(self.figure(each))
            except Missing:
                continue
        figure = statistics.median(figures) if figures else None
        return judge(self.text, self.bound, figure, sense=self.sense, unit=self.unit)


def judge(
    text: str, bound: float, figure: float | None, *, sense: Literal["at least", "at most"], unit: str
) -> Verdict:
    reached = figure is not None and (figure >= bound if sense == "at least" else figure <= bound)
    return Verdict(text, f"{sense} {bound:,g}{unit}", figure, reached)


def _get(figures: Round, workload: str, callers: int, contestant: str) -> Figures:
    try:
        return figures[Cell(workload, callers, contestant)]
    except KeyError:
        raise Missing(f"{workload} {callers} {contestant}") from None


def _redis(figures: Round, workload: str, callers: int) -> Figures:
    """Return the figures of Redis at its best: with the faster of the two ways to call it."""
    found = [
        figures[cell]
        for cell in (Cell(workload, callers, REDIS), Cell(workload, callers, REDIS_GATHERED))
        if cell in figures
    ]
    if not found:
        raise Missing("redis")
    return max(found, key=lambda each: each.per_s)


def _against_redis(workload: str, callers: int, contestant: str = EMBEDDED) -> Callable[[Round], float]:
    return lambda each: _get(each, workload, callers, contestant).per_s / _redis(each, workload, callers).per_s


def _against_one_redis(callers: int, contestant: str, redis: str) -> Callable[[Round], float]:
    return lambda each: _get(each, "W1", callers, contestant).per_s / _get(each, "W1", callers, redis).per_s


def _p99_against_redis(workload: str) -> Callable[[Round], float]:
    return lambda each: _get(each, workload, 64, EMBEDDED).p99_ms / _redis(each, workload, 64).p99_ms


def _against_echo(callers: int) -> Callable[[Round], float]:
    return lambda each: _get(each, "W1", callers, NATS).per_s / _get(each, "W1", callers, ECHO).per_s


def _lone(each: Round) -> float:
    over_nats, echo, flush = (_get(each, "W1", 1, name).p50_ms for name in (NATS, ECHO, FLUSH))
    return over_nats / (1.6 * echo + flush)


def _batches(contestant: str) -> Callable[[Round], float]:
    """Return the mark's function for batches, with the best number of callers."""

    def figure(each: Round) -> float:
        found = [run.per_s for cell, run in each.items() if (cell.workload, cell.contestant) == ("W6", contestant)]
        if not found:
            raise Missing(f"W6 {contestant}")
        return max(found)

    return figure


def _metered(each: Round) -> float:
    return _get(each, "W5", 64, EMBEDDED).per_s / _get(each, "W2", 64, EMBEDDED).per_s


MARKS: Final = (
    Mark("embedded, W1, 64 callers, of Redis at its best", 3.0, _against_redis("W1", 64)),
    Mark("embedded, W2, 64 callers, of Redis at its best", 3.0, _against_redis("W2", 64)),
    Mark("embedded, W1, 64 callers, p99, of Redis's", 1.0, _p99_against_redis("W1"), "at most"),
    Mark("embedded, W2, 64 callers, p99, of Redis's", 1.0, _p99_against_redis("W2"), "at most"),
    Mark("embedded, W1, 512 callers, of Redis at its best", 6.0, _against_redis("W1", 512)),
    Mark("embedded, W2, 512 callers, of Redis at its best", 6.0, _against_redis("W2", 512)),
    Mark("embedded, W1, 64 callers, of Redis, a connection per caller", 3.0, _against_one_redis(64, EMBEDDED, REDIS)),
    Mark("embedded, W1, 512 callers, of Redis, a connection per caller", 6.0, _against_one_redis(512, EMBEDDED, REDIS)),
    Mark("over NATS, W1, 64 callers, of nats-py's echo", 1.0, _against_echo(64)),
    Mark("over NATS, W1, 512 callers, of nats-py's echo", 1.5, _against_echo(512)),
    Mark("over NATS, W1, 64 callers, of Redis at its best", 2.0, _against_redis("W1", 64, NATS)),
    Mark("over NATS, W1, 512 callers, of Redis at its best", 2.0, _against_redis("W1", 512, NATS)),
    Mark("over NATS, W1, 64 callers, of Redis, a connection per caller", 2.0, _against_one_redis(64, NATS, REDIS)),
    Mark("over NATS, a lone caller's p50, of 1.6 echoes and a flush", 1.0, _lone, "at most"),
    Mark("embedded, W6", 150_000, _batches(EMBEDDED), unit=" debits/s"),
    Mark("over NATS, W6", 100_000, _batches(NATS), unit=" debits/s"),
    Mark("embedded, 64 callers, W5 of W2", 0.5, _metered),
)
