"""A pool that needs credits asks for them at its time, whenever the process is killed and whatever cache is lost."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from solvent.engine.audit.verify import verify_journal

SCRIPT = Path(__file__).with_name("recharge_until_killed.py")
ANSWER_S = 30.0
BEFORE = {"forgotten": ["requested"], "refused": ["requested", "refused"], "capped": ["requested"]}


async def said_until_killed(
    directory: Path, part: str, moment: datetime, count: int, linger_s: float = 0.0
) -> dict[str, list[str]]:
    """What each pool has said about recharges when it is ``count`` things. The process began at ``moment``."""
    ahead_us = (moment - datetime.now(UTC)) // timedelta(microseconds=1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), str(directory), part, str(ahead_us), str(count)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), ANSWER_S)
        await asyncio.sleep(linger_s)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    told: dict[str, list[str]] = {}
    for pool, kind in msgspec.json.decode(line, type=list[tuple[str, str]]):
        told.setdefault(pool.removeprefix("acme/"), []).append(kind.removeprefix("recharge_"))
    return told


@pytest.mark.parametrize(("lost", "linger_s"), [((), 0.0), ((), 1.5), (("index.db", "snapshots.db"), 0.0)])
async def test_pools_with_nothing_left_ask_again_after_kills(
    tmp_path: Path, lost: tuple[str, ...], linger_s: float
) -> None:
    # Nobody asks these pools anything after the first process.
    said = await said_until_killed(tmp_path, "begin", datetime(2030, 4, 28, 12, tzinfo=UTC), 4, linger_s)
    assert said == BEFORE
    for moment, more in (
        (datetime(2030, 4, 28, 14, tzinfo=UTC), {"forgotten": ["timed_out", "requested"], "refused": ["requested"]}),
        (
            datetime(2030, 5, 1, 0, 0, 1, tzinfo=UTC),
            {"forgotten": ["timed_out", "requested"], "refused": ["timed_out", "requested"], "capped": ["requested"]},
        ),
    ):
        for name in lost:
            for path in tmp_path.glob(f"{name}*"):
                path.unlink()
        expected = {pool: [*told, *more.get(pool, ())] for pool, told in said.items()}
        said = await said_until_killed(tmp_path, "wait", moment, sum(map(len, expected.values())), linger_s)
        assert said == expected
    assert verify_journal(tmp_path).problems == []
