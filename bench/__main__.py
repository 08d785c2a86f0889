"""``python -m bench``: the first speed mark, with medians over several runs that take turns."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .embedded import Figures, flushes_per_second, solvent, sqlite_version, transaction_per_debit

CONTESTANTS: dict[str, Callable[[Path, float], Coroutine[Any, Any, Figures]]] = {
    "one transaction per debit, 64 callers": lambda path, s: transaction_per_debit(path, callers=64, seconds=s),
    "Solvent, one pool, 1 caller": lambda path, s: solvent(path, callers=1, seconds=s, pools=1),
    "Solvent, one pool, 64 callers": lambda path, s: solvent(path, callers=64, seconds=s, pools=1),
    "Solvent, one pool, 512 callers": lambda path, s: solvent(path, callers=512, seconds=s, pools=1),
    "Solvent, 1,000 pools, 64 callers": lambda path, s: solvent(path, callers=64, seconds=s, pools=1_000),
    "Solvent, 1,000 pools, 512 callers": lambda path, s: solvent(path, callers=512, seconds=s, pools=1_000),
}
PEER = "one transaction per debit, 64 callers"


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    options.add_argument("--runs", type=int, default=3, help="runs of each contestant; medians are shown")
    options.add_argument("--only", default="", help="contestants whose name holds this text")
    options.add_argument("--json", action="store_true", help="figures for programs")
    options.add_argument("--uvloop", action="store_true", help="run on uvloop instead of asyncio's own loop")
    chosen = options.parse_args()
    names = [name for name in CONTESTANTS if chosen.only in name]
    results: dict[str, list[Figures]] = {name: [] for name in names}
    flushes: list[float] = []
    for _ in range(chosen.runs):
        with tempfile.TemporaryDirectory(prefix="solvent-bench-", dir=".") as scratch:
            flushes.append(flushes_per_second(Path(scratch), seconds=1.0))
        for name in names:
            with tempfile.TemporaryDirectory(prefix="solvent-bench-", dir=".") as scratch:
                results[name].append(run(CONTESTANTS[name](Path(scratch), chosen.seconds), uvloop=chosen.uvloop))
            print(f"  {name}: {results[name][-1].debits_per_s:,.0f} debits/s", file=sys.stderr)
    medians = {name: median(runs) for name, runs in results.items()}
    if chosen.json:
        print(json.dumps({name: vars(figures) for name, figures in medians.items()}, indent=2))
    else:
        show(medians, statistics.median(flushes), chosen.runs)


def run(contestant: Coroutine[Any, Any, Figures], *, uvloop: bool) -> Figures:
    if not uvloop:
        return asyncio.run(contestant)
    import uvloop as loop

    with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
        return runner.run(contestant)


def median(runs: list[Figures]) -> Figures:
    return Figures(*(statistics.median(values) for values in zip(*(vars(each).values() for each in runs), strict=True)))


def show(medians: dict[str, Figures], flushes: float, runs: int) -> None:
    table = Table(title=f"Durable debits, medians of {runs} runs")
    for column in ("", "debits/s", "ratio", "p50 ms", "p99 ms", "debits/flush", "CPU µs/debit"):
        table.add_column(column, justify="left" if not column else "right")
    peer = medians.get(PEER)
    for name, each in medians.items():
        ratio = f"{each.debits_per_s / peer.debits_per_s:.1f}×" if peer else ""
        table.add_row(
            name,
            f"{each.debits_per_s:,.0f}",
            ratio,
            f"{each.p50_ms:.2f}",
            f"{each.p99_ms:.2f}",
            f"{each.debits_per_flush:.1f}",
            f"{each.cpu_us_per_debit:.1f}",
        )
    # In a pipe or a file nobody's window is there to fit into.
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(
        f"raw: {flushes:,.0f} appends of 8 KiB with fsync a second. {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, SQLite {sqlite_version()}, {platform.system()} {platform.machine()}, "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}."
    )


if __name__ == "__main__":
    main()
