"""``python -m bench.growth``: start-up and debits against the journal's size and the number of pools, and the stalls.

The journals are generated, and every step runs in a process of its own. After the debits of a step, the books are
compared with the acknowledged debits.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from solvent.engine.runtime.files import JOURNAL_NAME

from .apart import apart
from .growth_steps import (
    RESIDENT,
    catch_up,
    make,
    measure_debits,
    measure_known_pools,
    measure_opening,
    measure_stalls,
    remove_snapshots,
    wake_all,
)
from .marks import Verdict, judge
from .memory import file_bytes
from .table import console, machine, marks_table

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
POOLS: Final = 100
"""The pools over which the entries of a journal are spread."""
POPULATIONS: Final = (1, 100, 1_000, 10_000, 100_000, 1_000_000)
ENTRIES_PER_POOL: Final = 4
MIB: Final = 2**20

Rows = dict[str, dict[str, float]]


def by_size(scratch: Path, sizes: list[int], seconds: float, say: Callable[[str], None]) -> Rows:
    """Measure opening, the first debit, and debits under load on journals of these sizes."""
    rows: Rows = {}
    for size in sizes:
        directory = scratch / f"entries-{size}"
        apart(make, directory, size, POOLS)
        row = {"journal MiB": file_bytes(directory, JOURNAL_NAME) / MIB}
        row["open s, no index"] = apart(measure_opening, directory)["open_s"]
        apart(wake_all, directory, POOLS)
        ready = apart(measure_opening, directory)
        row["open s"], row["first debit ms"] = ready["open_s"], ready["first_debit_ms"]
        row |= apart(measure_debits, directory, POOLS, seconds)
        apart(remove_snapshots, directory)
        row["first debit ms, no snapshots"] = apart(measure_opening, directory)["first_debit_ms"]
        rows[f"{size:,}"] = row
        say(f"{size:,} entries: {_short(row)}")
        shutil.rmtree(directory)
    return rows


def by_population(scratch: Path, populations: list[int], seconds: float, say: Callable[[str], None]) -> Rows:
    """Measure debits at random over so many pools, at most 10,000 of them in memory."""
    rows: Rows = {}
    for pools in populations:
        directory = scratch / f"pools-{pools}"
        apart(make, directory, pools * ENTRIES_PER_POOL, pools)
        apart(catch_up, directory)
        row = apart(measure_debits, directory, pools, seconds)
        rows[f"{pools:,}"] = row
        say(f"{pools:,} pools: {_short(row)}")
    return rows


def known_pools(scratch: Path, pools: int, say: Callable[[str], None]) -> dict[str, float]:
    directory = scratch / f"pools-{pools}"
    if not directory.exists():
        apart(make, directory, pools * ENTRIES_PER_POOL, pools)
        apart(catch_up, directory)
    found = apart(measure_known_pools, directory, pools)
    say(f"{pools:,} known pools: {_short(found)}")
    return found


def _short(row: dict[str, float]) -> str:
    return ", ".join(f"{name.strip()} {value:,.3g}" for name, value in row.items())


def _said(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def rows_table(title: str, first: str, rows: Rows) -> Table:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(title=title)
    table.add_column(first, justify="right")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(_said(row[column]) if column in row else "" for column in columns))
    return table


def judge_growth(results: dict[str, Any]) -> list[Verdict]:
    """Return the verdicts on the marks of growth."""
    verdicts = []
    known = results.get("known pools")
    if known is not None:
        text = f"{known['pools']:,.0f} known pools, {known['resident pools']:,.0f} in memory: peak"
        verdicts.append(judge(text, 600, known["peak MB"], sense="at most", unit=" MB"))
    largest = results.get("by size", {}).get(f"{SIZES[-1]:,}")
    if largest is not None:
        text = "start-up with 10,000,000 entries, snapshots and indexes in place"
        verdicts.append(judge(text, 2.0, largest["open s"], sense="at most", unit=" s"))
    stalls = results.get("stalls")
    if stalls is not None:
        text = f"no stall: p99.9 at half of peak over {stalls['seconds']:.0f} s"
        verdicts.append(judge(text, 25.0, stalls["p99.9 ms"], sense="at most", unit=" ms"))
    return verdicts


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    options.add_argument("--only", choices=("size", "population", "known", "stalls"), action="append", default=[])
    options.add_argument("--entries-max", type=int, default=SIZES[-1], help="the largest journal")
    options.add_argument("--pools-max", type=int, default=POPULATIONS[-1], help="the largest population")
    options.add_argument("--seconds", type=float, default=3.0, help="length of each load")
    options.add_argument("--stall-seconds", type=float, default=60.0, help="length of the load of --only stalls")
    options.add_argument("--json", action="store_true", help="figures for programs")
    options.add_argument("--scratch", default=".", help="a folder on the disk to be measured; takes up to 4 GB")
    chosen = options.parse_args()
    wanted = chosen.only or ["size", "population", "known", "stalls"]

    def say(line: str) -> None:
        print(f"  {line}", file=sys.stderr, flush=True)

    results: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="solvent-bench-", dir=chosen.scratch) as folder:
        scratch = Path(folder)
        if "stalls" in wanted:
            results["stalls"] = apart(measure_stalls, scratch / "stalls", chosen.stall_seconds)
            say(f"stalls: {_short(results['stalls'])}")
        if "size" in wanted:
            sizes = [size for size in SIZES if size <= chosen.entries_max]
            results["by size"] = by_size(scratch, sizes, chosen.seconds, say)
        if "population" in wanted:
            populations = [pools for pools in POPULATIONS if pools <= chosen.pools_max]
            results["by population"] = by_population(scratch, populations, chosen.seconds, say)
        if "known" in wanted:
            results["known pools"] = known_pools(scratch, min(POPULATIONS[-1], chosen.pools_max), say)
    verdicts = judge_growth(results)
    if chosen.json:
        results["marks"] = [vars(verdict) for verdict in verdicts]
        print(json.dumps(results, indent=2))
        return
    out = console()
    if "by size" in results:
        out.print(rows_table(f"Against the journal's size ({POOLS} pools)", "entries", results["by size"]))
    if "by population" in results:
        title = f"Against the number of pools (at most {RESIDENT:,} in memory)"
        out.print(rows_table(title, "pools", results["by population"]))
    for name in ("known pools", "stalls"):
        if name in results:
            out.print(rows_table(name.capitalize(), "", {"": results[name]}))
    out.print(marks_table(verdicts))
    out.print(results["machine"])


if __name__ == "__main__":
    main()
