"""Rounds over all cells: the contestants take turns, so that a busy neighbour slows all of them alike."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from .cell import PAGE_BYTES, Answer, Order
from .cells import Cell
from .contestants import EMBEDDED, FLUSH
from .measures import Figures
from .workloads import WORKLOADS, missing_traces

CELL_TIMEOUT_S: Final = 300.0
"""The seconds that a cell may take in addition to its load."""

Round = dict[Cell, Figures]


class Failed(Exception):
    """A cell did not end, or its books are wrong."""


class Rounds:
    """A runner of cells, which remembers those that cannot run here."""

    def __init__(self, *, seconds: float, uvloop: bool, scratch: str, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._uvloop = uvloop
        self._scratch = scratch
        self._say = say
        self.skipped: dict[str, str] = {}
        """The contestants and workloads that were left out, and the reasons."""

    def run(self, cells: Iterable[Cell]) -> Round:
        """Run one round. Raises ``Failed``."""
        figures: Round = {}
        for cell in cells:
            if self._is_left_out(cell):
                continue
            answer = self._one(cell, figures)
            if answer.figures is None:
                self.skipped[cell.contestant] = answer.not_here
                self._say(f"{cell}: left out: {answer.not_here}")
                continue
            figures[cell] = answer.figures
            self._say(f"{cell}: {answer.figures.per_s:,.0f}/s, p99 {answer.figures.p99_ms:.2f} ms")
        return figures

    def _is_left_out(self, cell: Cell) -> bool:
        if WORKLOADS[cell.workload].kind == "replay" and (missing := missing_traces()):
            self.skipped[cell.workload] = f"the traces are not there: {', '.join(missing)}"
        return cell.contestant in self.skipped or cell.workload in self.skipped

    def _one(self, cell: Cell, so_far: Mapping[Cell, Figures]) -> Answer:
        same = so_far.get(Cell(cell.workload, cell.callers, EMBEDDED))
        size = PAGE_BYTES
        if cell.contestant == FLUSH and same is not None:
            size = int(same.more.get("frame_bytes", PAGE_BYTES))
        order = Order(
            contestant=cell.contestant,
            workload=cell.workload,
            callers=cell.callers,
            seconds=self._seconds,
            uvloop=self._uvloop,
            scratch=self._scratch,
            flush_bytes=size,
        )
        answer = run_cell(order)
        if answer.wrong:
            raise Failed(f"{cell}: {answer.wrong}")
        return answer


def run_cell(order: Order) -> Answer:
    """Run one cell in a process of its own, and end all that it started. Raises ``Failed``."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.cell"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(msgspec.json.encode(order), timeout=order.seconds + CELL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{order}: it did not end in time") from None
        finally:
            _end_session(process)
    if process.returncode:
        raise Failed(f"{order}: {errors.decode(errors='replace').strip()[-2_000:]}")
    return msgspec.json.decode(output, type=Answer)


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End the processes that a cell has left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def figures_of(rounds: Sequence[Round], cell: Cell) -> list[Figures]:
    return [each[cell] for each in rounds if cell in each]
