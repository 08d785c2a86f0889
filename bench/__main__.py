"""``python -m bench``: Solvent, its peers and the raw limits on the same work in one table, and the marks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from .cells import Cell, all_cells, mark_cells, usual_cells
from .marks import MARKS
from .measures import median
from .picture import draw
from .rounds import Failed, Round, Rounds, figures_of
from .table import bench_table, console, machine, marks_table


def parse() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--seconds", type=float, default=2.0, help="length of each run of each cell")
    options.add_argument("--runs", type=int, default=3, help="rounds over all cells; medians are shown")
    options.add_argument(
        "--only", action="append", default=[], help="cells with this word: W1, 64, redis; with several, all of them"
    )
    options.add_argument("--marks", action="store_true", help="only the cells that a mark needs")
    options.add_argument("--full", action="store_true", help="all cells: every workload, callers and contestant")
    options.add_argument("--json", action="store_true", help="figures for programs")
    options.add_argument("--picture", type=Path, help="draw the figures into this SVG file")
    options.add_argument("--asyncio", action="store_true", help="run on asyncio's own loop instead of uvloop")
    options.add_argument("--scratch", default=".", help="a folder on the disk to be measured")
    return options.parse_args()


def chosen_cells(chosen: argparse.Namespace) -> list[Cell]:
    words = [set(each.split(",")) for each in chosen.only]
    cells = all_cells() if chosen.full else mark_cells() if chosen.marks else usual_cells()
    return [cell for cell in cells if all(word & set(map(str, cell)) for word in words)]


def main() -> None:
    chosen = parse()
    cells = chosen_cells(chosen)
    if not cells:
        sys.exit("no cell has all these words; --full has more of them")

    def say(line: str) -> None:
        print(f"  {line}", file=sys.stderr, flush=True)

    rounds = Rounds(seconds=chosen.seconds, uvloop=not chosen.asyncio, scratch=chosen.scratch, say=say)
    results: list[Round] = []
    try:
        for number in range(1, chosen.runs + 1):
            say(f"round {number} of {chosen.runs}")
            results.append(rounds.run(cells))
    except Failed as failure:
        sys.exit(f"not measured: {failure}")
    medians = {cell: median(runs) for cell in cells if (runs := figures_of(results, cell))}
    verdicts = [mark.judge(results) for mark in MARKS]
    if chosen.picture:
        caption = f"Medians of {chosen.runs} runs of {chosen.seconds:g} s. {machine()}"
        chosen.picture.write_text(draw(medians, caption=caption), encoding="utf-8")
    if chosen.json:
        found = {
            "machine": machine(),
            "runs": chosen.runs,
            "seconds": chosen.seconds,
            "cells": [{**cell._asdict(), **msgspec.to_builtins(figures)} for cell, figures in medians.items()],
            "marks": [msgspec.to_builtins(verdict) for verdict in verdicts],
            "skipped": rounds.skipped,
        }
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    out = console()
    out.print(bench_table(medians, runs=chosen.runs, seconds=chosen.seconds))
    measured = [verdict for verdict in verdicts if verdict.figure is not None]
    if measured:
        out.print(marks_table(measured))
    for name, why in rounds.skipped.items():
        out.print(f"left out: {name}: {why}")


if __name__ == "__main__":
    main()
