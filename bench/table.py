"""The one table of ``make bench``, and the marks below it."""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from .cells import Cell
from .contestants import EMBEDDED
from .marks import Verdict
from .measures import Figures
from .workloads import WORKLOADS


def console() -> Console:
    # A pipe or a file has no window to fit into.
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    )


def bench_table(medians: Mapping[Cell, Figures], *, runs: int, seconds: float) -> Table:
    """Return a table with one line per cell. Ratios are to Solvent embedded on the same work."""
    table = Table(
        title=f"Durable debits: medians of {runs} runs of {seconds:g} s", caption=machine(), caption_justify="left"
    )
    table.add_column("")
    for column in ("debits/s", "ratio", "p50 ms", "p99 ms", "debits/flush", "CPU µs/debit"):
        table.add_column(column, justify="right", no_wrap=True)
    group: tuple[str, int] | None = None
    for cell, each in medians.items():
        if group != (cell.workload, cell.callers):
            group = (cell.workload, cell.callers)
            table.add_section()
            callers = "1 caller" if cell.callers == 1 else f"{cell.callers} callers"
            table.add_row(f"[bold]{cell.workload}: {WORKLOADS[cell.workload].title}, {callers}")
        own = medians.get(Cell(cell.workload, cell.callers, EMBEDDED))
        table.add_row(
            f"  {cell.title}",
            f"{each.per_s:,.0f}",
            "" if own is None else f"{each.per_s / own.per_s:.2f}",
            f"{each.p50_ms:.2f}",
            f"{each.p99_ms:.2f}",
            "–" if each.per_flush is None or cell.is_limit else f"{each.per_flush:,.1f}",
            f"{each.cpu_us:,.1f}",
            style="dim" if cell.is_limit else "",
        )
    return table


def marks_table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="Marks")
    table.add_column("")
    for column in ("wanted", "measured"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for verdict in verdicts:
        if verdict.figure is None:
            table.add_row(verdict.text, verdict.wanted, "not measured", "", style="dim")
            continue
        figure = f"{verdict.figure:,.0f}" if verdict.figure >= 1_000 else f"{verdict.figure:,.2f}"
        table.add_row(verdict.text, verdict.wanted, figure, "[green]reached" if verdict.reached else "[red]not reached")
    return table
