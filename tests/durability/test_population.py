"""Many pools known, few in memory; and floods that must not fill it."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from solvent.engine.api.requests import DebitRequest
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import Engine
from solvent.engine.pools.asking import outcome_of
from solvent.engine.settings import Settings
from solvent.engine.values.errors import Overloaded, SolventError
from solvent.engine.values.pool_id import parse_pool

SCRIPT = Path(__file__).with_name("visit_many_pools.py")
PEAK_ABOVE_START_MIB_MAX = 200
"""Measured: 75 MiB above what the interpreter takes with everything imported."""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_hundred_thousand_pools_work_with_a_thousand_in_memory(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), str(tmp_path), "100000", "20000", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    seen = json.loads(said)
    print(seen)
    assert seen["resident_peak"] <= 1_000
    assert seen["peak_above_start_mib"] < PEAK_ABOVE_START_MIB_MAX
    assert seen["resident_at_start"] == 0, "the start read pools"
    proof = await asyncio.to_thread(verify_journal, tmp_path)
    assert proof.problems == []
    assert (proof.pools, proof.debits) == (100_000, 20_000)


async def test_a_flood_at_one_pool_is_refused_beyond_its_mailbox_and_others_are_served(tmp_path: Path) -> None:
    flood = 100_000
    async with Engine.open(tmp_path, settings=Settings(mailbox_max=1_000)) as engine:
        await engine.grant("flooded", flood, key="g")
        await engine.grant("calm", 1, key="g")
        pool = parse_pool("flooded")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        waiting: list[asyncio.Future[object]] = []
        refused = 0
        for number in range(flood):
            _, command = engine.live.command_of(DebitRequest(pool="flooded", amount=1, key=f"k{number}"))
            try:
                waiting.append(engine.live.submit(pool, command))
            except Overloaded:
                refused += 1
        async with asyncio.timeout(1.0):
            assert (await engine.balance("calm")).available == 1
        await asyncio.wait(waiting)
        receipts = [outcome_of(each) for each in waiting]
        assert not [each for each in receipts if isinstance(each, SolventError)]
        assert (len(receipts), refused) == (1_000, flood - 1_000)
        assert (await engine.balance("flooded")).spent == Decimal(1_000)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 64 * 1024 * (1024 if sys.platform == "darwin" else 1), f"memory grew by {grown}"


async def test_a_pool_that_left_memory_remembers_its_keys_and_its_balance(tmp_path: Path) -> None:
    async with Engine.open(tmp_path, settings=Settings(resident_max=2)) as engine:
        await engine.grant("a", 10, key="g")
        first = await engine.debit("a", 1, key="k")
        for number in range(50):
            await engine.grant(f"other-{number}", 1, key="g")
        assert engine.statistics()["resident_pools"] <= 2
        again = await engine.debit("a", 1, key="k")
        assert (again.replayed, again.id, again.balance) == (True, first.id, first.balance)
        assert (await engine.balance("a")).available == 9
