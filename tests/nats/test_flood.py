"""A flood at one pool costs the service a bounded amount of memory, and callers of other pools nearly nothing."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from solvent import connect
from solvent.transports.nats.launcher import nats_server

from .conftest import service_process

DEBITS = 100_000
GROWTH_MIB_MAX = 160
"""Measured: 34 to 84 MiB above 50, and 7 more after four more such floods. Unbounded it would grow with the flood."""
BALANCE_S_MAX = 1.0
"""What was promised."""
SCRIPT = Path(__file__).with_name("flood_one_pool.py")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gathered", "raw"])
async def test_a_flood_at_one_pool_is_answered_in_bounded_memory_and_disturbs_no_other(
    tmp_path: Path, kind: str
) -> None:
    async with (
        nats_server() as url,
        service_process(tmp_path / "journal", url) as service,
        connect(url) as client,
    ):
        await client.grant("flooded", "1000000", key="g")
        await client.grant("calm", "1", key="g")
        process = psutil.Process(service.running.pid)
        before_mib = mib(process)
        flood = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), kind, url, "flooded", str(DEBITS), stdout=asyncio.subprocess.PIPE
        )
        try:
            flooding = asyncio.create_task(flood.communicate())
            waits_s: list[float] = []
            peak_mib = before_mib
            while not flooding.done():
                start = time.perf_counter()
                assert (await client.balance("calm")).available == Decimal(1)
                waits_s.append(time.perf_counter() - start)
                peak_mib = max(peak_mib, mib(process))
                await asyncio.sleep(0.01)
            said, _ = await flooding
        finally:
            if flood.returncode is None:
                flood.kill()
                await flood.wait()
        report: dict[str, Any] = json.loads(said)
        outcomes = report["outcomes"]
        print(
            f"{kind}: {report['seconds']} s, {outcomes}, {peak_mib - before_mib:.0f} MiB more than {before_mib:.0f}, "
            f"{len(waits_s)} balances, the slowest {max(waits_s) * 1000:.0f} ms"
        )
        assert sum(outcomes.values()) == DEBITS, "a request has no answer"
        assert outcomes.keys() <= {"receipt", "overloaded"}
        assert outcomes["receipt"] > 0
        assert outcomes.get("overloaded", 0) > 0, "the mailbox has no bound"
        assert (await client.balance("flooded")).spent == Decimal("0.01") * outcomes["receipt"]
        assert len(waits_s) > 5
        assert max(waits_s) < BALANCE_S_MAX
        assert peak_mib - before_mib < GROWTH_MIB_MAX


def mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / (1 << 20)
