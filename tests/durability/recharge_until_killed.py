"""A process whose pools need credits and get none, until it is killed. Started by the test beside it.

``begin`` makes the pools; ``wait`` asks them nothing. Both print a line of JSON for all that the pools have said so far
about recharges, and say when there is as much of it as was waited for.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from solvent.engine.engine import Engine, system_clock_us

RULE = {"below": "5", "target": "10", "timeout_s": 3_600}


async def begin(engine: Engine) -> None:
    for name in ("forgotten", "refused", "capped"):
        await engine.grant(f"acme/{name}", "10", key="g")
        await engine.set_alerts(f"acme/{name}", recharge=RULE)
        await engine.debit(f"acme/{name}", "10", key="d")
    refused = (await engine.alerts("acme/refused")).open_recharge
    capped = (await engine.alerts("acme/capped")).open_recharge
    assert refused is not None
    assert capped is not None
    await engine.refuse_recharge("acme/refused", refused.id)
    await engine.set_alerts("acme/capped", recharge={**RULE, "monthly_max": "10"})
    await engine.grant_recharge("acme/capped", capped.id)
    await engine.debit("acme/capped", "10", key="e")


async def main(directory: str, part: str, ahead_us: int, count: int) -> None:
    async with Engine.open(directory, now_us=lambda: system_clock_us() + ahead_us) as engine:
        if part == "begin":
            await begin(engine)
        told: list[tuple[str, str]] = []
        while len(told) < count:
            page = await engine.past_events()
            told = [(event.pool, event.kind) for event in page.events if event.kind.startswith("recharge_")]
            await asyncio.sleep(0.01)
        os.write(1, msgspec.json.encode(told) + b"\n")
        await asyncio.sleep(60)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
