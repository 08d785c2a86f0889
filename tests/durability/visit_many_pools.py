"""Grants to many pools, then debits at random over all of them, with few in memory. Started by the test beside it.

Prints one line of JSON with what it saw. A process of its own, so that its memory is its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time

from solvent.engine.api.requests import DebitRequest, GrantRequest
from solvent.engine.engine import Engine
from solvent.engine.settings import Settings
from solvent.engine.values.errors import SolventError

CHUNK = 500
RESIDENT_MAX = 1_000


def peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


async def main(directory: str, pools: int, debits: int) -> None:
    dice = random.Random(7)
    at_start = peak_mib()
    resident_peak = 0
    async with Engine.open(directory, settings=Settings(resident_max=RESIDENT_MAX)) as engine:
        granting = time.perf_counter()
        for start in range(0, pools, CHUNK):
            requests = [GrantRequest(pool=f"c{number}", amount=10, key="g") for number in range(start, start + CHUNK)]
            answers = await engine.batch(requests)
            assert not [each for each in answers if isinstance(each, SolventError)], answers
            resident_peak = max(resident_peak, engine.statistics()["resident_pools"])
        debiting = time.perf_counter()
        spent: dict[str, int] = {}
        for start in range(0, debits, CHUNK):
            chosen = [f"c{dice.randrange(pools)}" for _ in range(CHUNK)]
            answers = await engine.batch(
                [DebitRequest(pool=pool, amount=1, key=f"d{start + number}") for number, pool in enumerate(chosen)]
            )
            assert not [each for each in answers if isinstance(each, SolventError)], answers
            for pool in chosen:
                spent[pool] = spent.get(pool, 0) + 1
            resident_peak = max(resident_peak, engine.statistics()["resident_pools"])
        done = time.perf_counter()
        peak = peak_mib()
        for pool in dice.sample(sorted(spent), 500):
            assert (await engine.balance(pool)).spent == spent[pool], pool
    opening = time.perf_counter()
    async with Engine.open(directory, settings=Settings(resident_max=RESIDENT_MAX)) as engine:
        opened = time.perf_counter() - opening
        resident_at_start = engine.statistics()["resident_pools"]
        pool = next(iter(spent))
        assert (await engine.balance(pool)).spent == spent[pool]
    print(
        json.dumps(
            {
                "grants_per_s": round(pools / (debiting - granting)),
                "debits_per_s": round(debits / (done - debiting)),
                "peak_mib": round(peak, 1),
                "peak_above_start_mib": round(peak - at_start, 1),
                "resident_peak": resident_peak,
                "resident_at_start": resident_at_start,
                "open_s": round(opened, 3),
            }
        )
    )


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
