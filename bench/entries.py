"""``python -m bench.entries``: the entries behind a line of usage, and answers about the past, against a ledger page.

All of one large pool, in one run, so that the machine cancels out of the ratios: a page of 1,000 entries of the ledger;
the same number behind a whole answer, which follow each other; and behind the line of one user, which lie a thousand
apart. Then ``as_of`` and ``costs``. Meanwhile a debit of another pool is made every few milliseconds: how long the
slowest of them took beyond a flush says what they felt.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.table import Table

from solvent import Engine

from .journals import write_journal
from .table import console, machine
from .workloads import pool_name

PAGE: Final = 1_000
TURNS: Final = 5
DEBIT_EVERY_S: Final = 0.002
SHAPES: Final = {"single debits": (1, 1), "16 in a section": (16, 64), "batches of 500": (500, 4)}
"""Entries of the pool in a section, and sections in a frame."""


async def debit_on(engine: Engine, waits: list[float]) -> None:
    """Debit another pool again and again, and note how long each debit takes."""
    number = 0
    while True:
        number += 1
        began = time.perf_counter()
        await engine.debit("beside", "0.000001", key=f"beside-{began}-{number}")
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(DEBIT_EVERY_S)


async def measured(engine: Engine, ask: Callable[[], Awaitable[Any]]) -> tuple[float, float, float]:
    """Return the median seconds of some turns, those of the first, and the longest that a debit took meanwhile."""
    seconds: list[float] = []
    waits: list[float] = []
    beside = asyncio.create_task(debit_on(engine, waits))
    try:
        for _ in range(TURNS):
            began = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - began)
    finally:
        beside.cancel()
        with suppress(asyncio.CancelledError):
            await beside
    return median(seconds), seconds[0], max(waits, default=0.0)


async def measure(folder: Path, entries: int, shape: tuple[int, int]) -> dict[str, tuple[float, float, float]]:
    """Return the figures of each question about a pool with ``entries``, by name."""
    in_section, in_frame = shape
    await write_journal(folder, entries=entries, pools=1, in_section=in_section, in_frame=in_frame)
    pool = pool_name(0)
    found: dict[str, tuple[float, float, float]] = {}
    async with Engine.open(folder, currencies={"credits": 6}) as engine:
        await engine.grant("beside", 1_000, key="grant")
        while True:
            status = await engine.usage_status()
            if status.position >= status.journal:
                break
            await asyncio.sleep(0.1)
        usage = await engine.usage(pool, group_by=["user"], period="last 24 hours", top=3)
        (oldest,) = (await engine.ledger(pool, limit=1, newest_first=False)).entries
        middle = oldest.recorded_at + timedelta(microseconds=entries // in_section // in_frame // 2)
        cursor = (await engine.ledger(pool, limit=max(1, min(PAGE, entries // 2)))).next_cursor

        async def nothing() -> None:
            await asyncio.sleep(0.2)

        async def ledger() -> None:
            await engine.ledger(pool, limit=PAGE, cursor=cursor)

        async def in_a_row() -> None:
            await engine.usage_entries(usage, limit=PAGE)

        async def scattered() -> None:
            await engine.usage_entries(usage, usage.lines[0], limit=PAGE)

        async def as_of() -> None:
            await engine.balance(pool, as_of=middle)

        async def costs() -> None:
            await engine.costs(pool, start=middle)

        for name, ask in (
            ("nothing beside", nothing),
            ("ledger page", ledger),
            ("entries in a row", in_a_row),
            ("entries of one user", scattered),
            ("balance as_of", as_of),
            ("costs", costs),
        ):
            found[name] = await measured(engine, ask)
    return found


def main() -> None:
    """Measure, and print a table for each shape of a journal."""
    parser = argparse.ArgumentParser(prog="python -m bench.entries", description=__doc__)
    parser.add_argument("--entries", type=int, default=200_000, help="entries of the pool (default: 200,000)")
    parser.add_argument("--only", choices=list(SHAPES), action="append", help="only this shape of the journal")
    options = parser.parse_args()
    show = console()
    show.print(f"python -m bench.entries --entries {options.entries}, {machine()}")
    for name in options.only or SHAPES:
        with tempfile.TemporaryDirectory(prefix="solvent-entries-") as scratch:
            found = asyncio.run(measure(Path(scratch) / "journal", options.entries, SHAPES[name]))
        page = found["ledger page"][0]
        table = Table(title=f"{options.entries:,} entries, {name}")
        for column in ("", "ms", "first, ms", "of a ledger page", "slowest debit, ms"):
            table.add_column(column, justify="right" if column else "left")
        for question, (seconds, first, wait) in found.items():
            ratio = "" if question == "nothing beside" else f"{seconds / page:.1f}"
            table.add_row(question, f"{seconds * 1e3:.1f}", f"{first * 1e3:.1f}", ratio, f"{wait * 1e3:.1f}")
        show.print(table)


if __name__ == "__main__":
    main()
