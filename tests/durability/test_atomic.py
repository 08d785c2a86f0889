"""A transfer, and an atomic batch, is there with all of its sides or with none, whenever the process dies."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from solvent.engine.api.ledger import LedgerEntry
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import Engine

KILLS = 8
POOLS = ["acme", "acme/a", "acme/b", "acme/c"]
SCRIPT = Path(__file__).with_name("transfer_until_killed.py")


async def run_and_kill(directory: Path, run: str, after_s: float) -> list[list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), str(directory), run, stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    reading = asyncio.create_task(process.stdout.read())
    await asyncio.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    said = (await reading).decode().splitlines()
    assert await process.wait() == -signal.SIGKILL
    return [line.split() for line in said]


async def whole_ledger(engine: Engine, pool: str) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    cursor: str | None = None
    while True:
        page = await engine.ledger(pool, limit=1_000, cursor=cursor)
        entries += page.entries
        if (cursor := page.next_cursor) is None:
            return entries


@pytest.mark.slow
async def test_both_sides_or_none(tmp_path: Path) -> None:
    dice = random.Random(3)
    moved: set[tuple[str, str]] = set()
    both: set[tuple[str, str]] = set()
    struck = 0
    for kill in range(KILLS):
        said = await run_and_kill(tmp_path, f"run{kill}", dice.uniform(0.05, 0.5))
        for line in said:
            if line[0] == "moved":
                moved.add((line[1], line[2]))
            elif line[0] == "both":
                both |= {(line[1], line[2]), (line[1], line[3])}
        answered = {line[1] for line in said if line[0] != "asked"}
        struck += any(line[0] == "asked" and line[1] not in answered for line in said)
        assert verify_journal(tmp_path).problems == []
    assert struck >= KILLS // 2, "the kills struck nothing that was under way"
    assert len(moved) > 50
    assert len(both) > 50

    async with Engine.open(tmp_path) as engine:
        balances = [await engine.balance(pool) for pool in POOLS]
        assert sum(each.available + each.spent for each in balances) == 4_000
        out: dict[str, Decimal] = {}
        debited: dict[str, int] = {}
        for pool in POOLS:
            for entry in await whole_ledger(engine, pool):
                if entry.kind == "transfer_out":
                    assert entry.key is not None
                    out[entry.key] = entry.amount
                    moved.discard((entry.key, pool))
                elif entry.kind == "debit":
                    assert entry.key is not None
                    debited[entry.key] = debited.get(entry.key, 0) + 1
                    both.discard((entry.key, pool))
        assert moved == set(), "an acknowledged transfer is not there"
        assert both == set(), "an acknowledged batch is not there"
        assert set(debited.values()) == {2}, "a batch is there with one side"
        assert sum(out.values()) == sum(each.moved_out for each in balances)
