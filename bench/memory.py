"""The memory table: bytes of a known pool, of a pool in memory, and of a million debits on disk."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Final

from solvent.engine.engine import Engine
from solvent.engine.runtime.files import INDEX_NAME, JOURNAL_NAME, SNAPSHOTS_NAME, USAGE_NAME
from solvent.engine.settings import Settings

from .apart import apart, resident_bytes
from .journals import write_journal
from .workloads import pool_name

POOLS: Final = 50_000
ENTRIES_PER_POOL: Final = 4
BALANCES_AT_ONCE: Final = 500


def file_bytes(directory: Path, name: str) -> int:
    """Return the bytes of a database and its write-ahead log."""
    return sum(path.stat().st_size for path in directory.glob(f"{name}*"))


async def _catch_up(directory: Path) -> None:
    async with Engine.open(directory):
        pass


async def _measure_pools(directory: Path, pools: int) -> dict[str, float]:
    """Measure the growth of this process for knowing pools, and for having them in memory."""
    empty = directory.with_name("empty")
    async with Engine.open(empty) as engine:
        # Memory taken by the first use of anything belongs to no pool.
        await engine.grant("first", 1, key="g")
    gc.collect()
    before = resident_bytes()
    settings = Settings(resident_max=pools, idle_after_s=3_600)
    async with Engine.open(directory, settings=settings) as engine:
        await engine.balance(pool_name(0))
        gc.collect()
        known = resident_bytes()
        for first in range(0, pools, BALANCES_AT_ONCE):
            await asyncio.gather(*(engine.balance(pool_name(n)) for n in range(first, first + BALANCES_AT_ONCE)))
        gc.collect()
        awake = resident_bytes()
        resident = engine.statistics()["resident_pools"]
        if resident != pools:
            raise SystemExit(f"{resident} pools are in memory, not {pools}")
    return {"idle pool": max(known - before, 0) / pools, "resident pool": (awake - known) / pools}


def measure_pools(directory: Path, pools: int) -> dict[str, float]:
    return asyncio.run(_measure_pools(directory, pools))


async def _wake_all(directory: Path, pools: int) -> None:
    async with Engine.open(directory) as engine:
        for first in range(0, pools, BALANCES_AT_ONCE):
            numbers = range(first, min(first + BALANCES_AT_ONCE, pools))
            await asyncio.gather(*(engine.debit(pool_name(n), "0.25", key="after") for n in numbers))


async def _measure_disk(directory: Path, entries: int, pools: int) -> dict[str, float]:
    debits = await write_journal(directory, entries=entries, pools=pools)
    await _wake_all(directory, pools)
    async with Engine.open(directory) as engine:
        await engine.usage(period="2026", consistent=True)
    million = (debits + pools) / 1e6
    parts = {"journal": JOURNAL_NAME, "index": INDEX_NAME, "snapshots": SNAPSHOTS_NAME, "usage": USAGE_NAME}
    return {title: file_bytes(directory, name) / million for title, name in parts.items()}


def measure_disk(directory: Path, entries: int, pools: int) -> dict[str, float]:
    return asyncio.run(_measure_disk(directory, entries, pools))


def memory(scratch: Path, *, pools: int = POOLS, entries: int = 1_000_000) -> dict[str, float]:
    """Return the rows of the memory table, in bytes."""
    many = scratch / "pools"
    asyncio.run(write_journal(many, entries=pools * ENTRIES_PER_POOL, pools=pools))
    asyncio.run(_catch_up(many))
    found = {f"memory of one {name}": size for name, size in apart(measure_pools, many, pools).items()}
    heads = file_bytes(many, INDEX_NAME) / pools
    found["disk of one known pool with 2 debits: index"] = heads
    for name, size in apart(measure_disk, scratch / "entries", entries, 1_000).items():
        found[f"disk of a million debits: {name}"] = size
    return found
