"""What was acknowledged survives ``kill -9`` at any instant, and nothing else is half there."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from solvent.engine.api.ledger import LedgerEntry
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import Engine
from tests.ledgers import whole_ledger

KILLS = 20
POOLS = 20
SCRIPT = Path(__file__).with_name("debit_until_killed.py")


async def run_and_kill(directory: Path, run: str, after_s: float) -> list[dict[str, Any]]:
    """What the process said until it was killed, ``after_s`` seconds after it was ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), str(directory), run, stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    assert process.stdout is not None
    ready = await process.stdout.readline()
    assert msgspec.json.decode(ready) == {"ready": True}
    reading = asyncio.create_task(process.stdout.read())
    await asyncio.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    said = (await reading).decode().splitlines()
    assert await process.wait() == -signal.SIGKILL
    # The last line may have been cut by the kill.
    return [msgspec.json.decode(line) for line in said if line.endswith("}")]


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_every_acknowledged_debit_survives_a_kill_at_any_instant(tmp_path: Path) -> None:
    dice = random.Random(20_261_123)
    asked: dict[str, str] = {}
    acknowledged: dict[str, dict[str, Any]] = {}
    refused: set[str] = set()
    struck = 0
    for kill in range(KILLS):
        said = await run_and_kill(tmp_path, f"run{kill}", dice.uniform(0.0, 0.6))
        for line in said:
            if "asked" in line:
                asked[line["asked"]] = line["pool"]
            elif "acknowledged" in line:
                acknowledged[line["acknowledged"]] = line["receipt"]
            elif "refused" in line:
                refused.add(line["refused"])
        struck += any("asked" in line for line in said)

        proof = await asyncio.to_thread(verify_journal, tmp_path)
        assert proof.problems == []
    assert struck >= KILLS // 2, "the kills came before anything was asked"
    assert len(acknowledged) > 100, "next to nothing was acknowledged before the kills"

    async with Engine.open(tmp_path) as engine:
        found: dict[str, LedgerEntry] = {}
        for pool in range(POOLS):
            entries = await whole_ledger(engine, f"customer/{pool}")
            balance = await engine.balance(f"customer/{pool}")
            assert [entry.version for entry in entries] == list(range(1, balance.version + 1))
            assert sum((entry.change for entry in entries), Decimal(0)) == balance.available >= 0
            for entry in entries:
                if entry.kind == "debit":
                    assert entry.key is not None
                    assert entry.key not in found, "a key is in two debits"
                    assert asked[entry.key] == f"customer/{pool}"
                    assert (entry.amount, entry.dimensions["caller"]) == (Decimal("0.5"), int(entry.key.split("-")[1]))
                    found[entry.key] = entry
        for key, receipt in acknowledged.items():
            entry = found[key]
            assert (entry.id, entry.version, str(entry.balance)) == (
                receipt["id"],
                receipt["version"],
                receipt["balance"],
            )
        assert not refused & set(found), "a refused debit is in the ledger"
        # Asked again with its key, each gives the first receipt: none is applied twice.
        for key in dice.sample(sorted(acknowledged), 100):
            again = await engine.debit(asked[key], "0.5", key=key, dimensions={"caller": int(key.split("-")[1])})
            assert again.replayed
            assert (again.id, str(again.balance)) == (acknowledged[key]["id"], acknowledged[key]["balance"])


async def test_a_key_is_remembered_after_a_kill_of_the_process(tmp_path: Path) -> None:
    said = await run_and_kill(tmp_path, "only", 0.4)
    acknowledged = {line["acknowledged"]: line["receipt"] for line in said if "acknowledged" in line}
    assert acknowledged
    key, receipt = next(iter(acknowledged.items()))
    pool = next(line["pool"] for line in said if line.get("asked") == key)
    async with Engine.open(tmp_path) as engine:
        again = await engine.debit(pool, "0.5", key=key, dimensions={"caller": int(key.split("-")[1])})
    assert (again.replayed, again.id, again.version) == (True, receipt["id"], receipt["version"])
