"""The steps of ``bench.growth``, each to be called in a process of its own."""

from __future__ import annotations

import asyncio
import random
import time
from decimal import Decimal
from pathlib import Path
from typing import Final

from solvent.engine.engine import Engine
from solvent.engine.runtime.collector import tune_collector
from solvent.engine.runtime.files import SNAPSHOTS_NAME
from solvent.engine.runtime.sqlite import remove_database
from solvent.engine.settings import Settings

from .apart import peak_bytes
from .journals import write_journal
from .load import Load
from .loops import run
from .measures import quantile
from .session import AsyncSession, Job, expect
from .usage import Load as SteadyLoad
from .usage import disk_alone
from .workloads import DEBIT, DEBIT_UNITS, GRANT, SEED, draw_dimensions, pool_name

RESIDENT: Final = 10_000
"""The engine's own bound of pools in memory."""
CALLERS: Final = 64
WARM_UP_S: Final = 1.0
AT_ONCE: Final = 500
WAKE_AT_ONCE: Final = 4
PATIENT: Final = Settings(timeout_s=300.0)
"""A pool of a hundred thousand entries is folded from the first on, where it has no snapshot."""
VISITS: Final = 100_000
SAMPLE: Final = 500
STALL_WARM_UP_S: Final = 3.0


def make(directory: Path, entries: int, pools: int) -> int:
    return asyncio.run(write_journal(directory, entries=entries, pools=pools))


def catch_up(directory: Path) -> None:
    """Let the engine make the index."""

    async def opened() -> None:
        async with Engine.open(directory):
            pass

    run(opened())


def wake_all(directory: Path, pools: int) -> None:
    """A debit in every pool: so each has a snapshot."""

    async def debited() -> None:
        async with Engine.open(directory, settings=PATIENT) as engine:
            for first in range(0, pools, WAKE_AT_ONCE):
                numbers = range(first, min(first + WAKE_AT_ONCE, pools))
                await asyncio.gather(*(engine.debit(pool_name(n), DEBIT, key="woken") for n in numbers))

    run(debited())


def remove_snapshots(directory: Path) -> None:
    remove_database(directory / SNAPSHOTS_NAME)


def measure_opening(directory: Path) -> dict[str, float]:
    """How long until the engine is open, and then until a first debit is durable."""

    async def opened() -> dict[str, float]:
        began = time.perf_counter()
        async with Engine.open(directory, settings=PATIENT) as engine:
            open_s = time.perf_counter() - began
            began = time.perf_counter()
            receipt = await engine.debit(pool_name(0), DEBIT, key=f"first-{time.time_ns()}")
            first_ms = (time.perf_counter() - began) * 1e3
            expect("the first debit", receipt.amount, Decimal(DEBIT))
        return {"open_s": open_s, "first_debit_ms": first_ms}

    return run(opened())


class PoolsSession(AsyncSession):
    """Debits at random over pools of a journal that is there."""

    def __init__(self, engine: Engine, pools: int) -> None:
        self._engine = engine
        self._pools = pools
        self._dimensions = draw_dimensions()
        self._prefix = time.time_ns()

    def caller(self, number: int) -> Job:
        caller, engine, pools, prefix = number, self._engine, self._pools, self._prefix
        dice = random.Random(SEED * 1_000 + caller)

        async def job(number: int) -> int:
            pool = pool_name(int(dice.random() * pools))
            dimensions = self._dimensions[number % len(self._dimensions)]
            await engine.debit(pool, DEBIT, key=f"{prefix}-{caller}-{number}", dimensions=dimensions)
            return DEBIT_UNITS

        return job

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        """By the number of events that are durable: to ask a million pools for their balance would take minutes."""
        expect("ledger entries", self._engine.statistics()["events"], debits)
        return {}


def measure_debits(directory: Path, pools: int, seconds: float) -> dict[str, float]:
    """Debits of 64 callers in a closed loop, and of a lone one."""

    async def measured() -> dict[str, float]:
        async with Engine.open(directory) as engine:
            tune_collector()
            session = PoolsSession(engine, pools)
            many, lone = Load(session, CALLERS), Load(PoolsSession(engine, pools), 1)
            warm = await many.run(WARM_UP_S)
            found = await many.run(seconds)
            alone = await lone.run(seconds / 3)
            debits = warm.calls + found.calls + alone.calls
            await session.check(debits=debits, units=debits * DEBIT_UNITS)
        return {
            "debits/s": found.calls / found.seconds,
            "p50 ms": quantile(found.latencies_ms, 0.5),
            "p99 ms": quantile(found.latencies_ms, 0.99),
            "lone p50 ms": quantile(alone.latencies_ms, 0.5),
        }

    return run(measured())


def measure_known_pools(directory: Path, pools: int, visits: int = VISITS) -> dict[str, float]:
    """The memory of a process that debits at random over all ``pools``."""

    async def measured() -> dict[str, float]:
        dice = random.Random(SEED)
        began = time.perf_counter()
        async with Engine.open(directory, settings=Settings(resident_max=RESIDENT)) as engine:
            open_s = time.perf_counter() - began
            resident = 0
            spent: dict[str, int] = {}
            before: dict[str, Decimal] = {}
            for sample in dice.sample(range(pools), min(SAMPLE, pools)):
                before[pool_name(sample)] = (await engine.balance(pool_name(sample))).spent
            began = time.perf_counter()
            for first in range(0, visits, AT_ONCE):
                chosen = [pool_name(dice.randrange(pools)) for _ in range(AT_ONCE)]
                await asyncio.gather(
                    *(engine.debit(pool, DEBIT, key=f"visit-{first}-{n}") for n, pool in enumerate(chosen))
                )
                for pool in chosen:
                    spent[pool] = spent.get(pool, 0) + 1
                resident = max(resident, engine.statistics()["resident_pools"])
            per_s = visits / (time.perf_counter() - began)
            highest = peak_bytes()
            expect("ledger entries", engine.statistics()["events"], visits)
            for pool, so_far in before.items():
                balance = await engine.balance(pool)
                expect(f"{pool}, spent", balance.spent, so_far + spent.get(pool, 0) * Decimal(DEBIT))
        return {
            "pools": pools,
            "resident pools": resident,
            "open s": open_s,
            "debits/s": per_s,
            "peak MB": highest / 1e6,
        }

    return run(measured())


def measure_stalls(directory: Path, seconds: float) -> dict[str, float]:
    """Debits at half of what the engine can, for so long, with checkpoints, snapshots, index and usage going on."""

    async def measured() -> dict[str, float]:
        settings = Settings(usage="always", pending_max=1_000_000, mailbox_max=1_000_000)
        async with Engine.open(directory, settings=settings) as engine:
            await engine.grant("hot", GRANT, key="grant")
            await engine.usage("hot", consistent=True)
            tune_collector()
            rate = await _peak(engine, STALL_WARM_UP_S) / 2
            disk = await asyncio.to_thread(disk_alone, directory, rate, STALL_WARM_UP_S)
            before = (await engine.balance("hot")).spent
            rounds, load = engine.statistics()["projector_rounds"], SteadyLoad(engine, rate)
            await load.run(seconds)
            spent = (await engine.balance("hot")).spent - before
            expect("credits spent", spent, load.acknowledged * Decimal(DEBIT))
            expect("debits refused", load.behind, 0)
            total = (await engine.balance("hot")).spent
            usage = await engine.usage("hot", consistent=True, period="last 2 days")
            expect("credits of usage", usage.total.credits, total)
            return {
                "seconds": seconds,
                "debits/s": load.acknowledged / seconds,
                "p50 ms": quantile(load.latencies_ms, 0.5),
                "p99 ms": quantile(load.latencies_ms, 0.99),
                "p99.9 ms": quantile(load.latencies_ms, 0.999),
                "longest ms": max(load.latencies_ms),
                "disk alone p99.9 ms": disk["p99.9_ms"],
                "projector rounds": engine.statistics()["projector_rounds"] - rounds,
            }

    return run(measured())


async def _peak(engine: Engine, seconds: float) -> float:
    """Debits per second of ``CALLERS`` in a closed loop."""
    count, until = 0, time.perf_counter() + seconds

    async def caller(number: int) -> None:
        nonlocal count
        call = 0
        while time.perf_counter() < until:
            await engine.debit("hot", "0.25", key=f"peak-{number}-{call}", dimensions={"user": f"user-{call % 5_000}"})
            count += 1
            call += 1

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return count / seconds
