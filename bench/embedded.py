"""Durable debits in one process: Solvent beside one transaction per debit, and beside what the machine can do.

Every contestant answers only what is flushed to the disk, and checks its own books after the run.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import aiosqlite

from solvent.engine.engine import Engine

Debit = Callable[[int, int], Awaitable[None]]
"""Debits one credit; takes the caller's number and the number of its call."""


@dataclass(frozen=True)
class Figures:
    """What one run measured."""

    debits_per_s: float
    p50_ms: float
    p99_ms: float
    debits_per_flush: float
    cpu_us_per_debit: float


async def load(debit: Debit, *, callers: int, seconds: float) -> tuple[int, float, list[float], float]:
    """Let ``callers`` debit in a closed loop. Returns (debits, seconds, latencies in ms, CPU seconds)."""
    latencies: list[float] = []
    started = time.perf_counter()
    cpu = time.process_time()
    until = started + seconds

    async def caller(number: int) -> None:
        call = 0
        while (began := time.perf_counter()) < until:
            await debit(number, call)
            latencies.append((time.perf_counter() - began) * 1e3)
            call += 1

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return len(latencies), time.perf_counter() - started, latencies, time.process_time() - cpu


def figures(measured: tuple[int, float, list[float], float], flushes: int) -> Figures:
    debits, seconds, latencies, cpu = measured
    cuts = statistics.quantiles(latencies, n=100)
    return Figures(debits / seconds, cuts[49], cuts[98], debits / max(flushes, 1), cpu / debits * 1e6)


async def solvent(directory: Path, *, callers: int, seconds: float, pools: int) -> Figures:
    """The embedded engine, through its public interface."""
    async with Engine.open(directory) as engine:
        for pool in range(pools):
            await engine.grant(f"customer-{pool}", 1_000_000, key="grant")
        names = [f"customer-{pool}" for pool in range(pools)]
        dimensions = {"model": "gpt-4", "user": "u7", "feature": "chat", "region": "eu"}
        spent = 0

        async def debit(caller: int, call: int) -> None:
            nonlocal spent
            pool = names[(caller * 7_919 + call * 104_729) % pools]
            await engine.debit(pool, "0.25", key=f"{caller}-{call}", dimensions=dimensions)
            spent += 1

        frames = engine.statistics()["frames"]
        measured = await load(debit, callers=callers, seconds=seconds)
        flushes = engine.statistics()["frames"] - frames
        booked = sum([(await engine.balance(name)).spent for name in names], Decimal(0))
    if booked != spent * Decimal("0.25"):
        raise SystemExit(f"{spent} debits were acknowledged, the books say {booked}")
    return figures(measured, flushes)


async def transaction_per_debit(directory: Path, *, callers: int, seconds: float) -> Figures:
    """What a team builds first: an actor per pool, and a SQLite transaction per debit, on the same settings."""
    async with aiosqlite.connect(directory / "peer.db", isolation_level=None) as database:
        await database.execute("pragma journal_mode = wal")
        await database.execute("pragma synchronous = full")
        await database.execute("create table pool (id text primary key, balance integer)")
        await database.execute(
            "create table debit (pool text, key text, amount integer, dimensions text, primary key (pool, key))"
        )
        await database.execute("insert into pool values ('customer', 1000000000000)")
        mailbox: asyncio.Queue[tuple[str, asyncio.Future[None]]] = asyncio.Queue()

        async def actor() -> None:
            while True:
                key, answer = await mailbox.get()
                await database.execute("begin immediate")
                await database.execute(
                    "insert into debit values ('customer', ?, 250000, ?)", (key, '{"model":"gpt-4","user":"u7"}')
                )
                await database.execute("update pool set balance = balance - 250000 where balance >= 250000")
                await database.execute("commit")
                answer.set_result(None)

        async def debit(caller: int, call: int) -> None:
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            mailbox.put_nowait((f"{caller}-{call}", answer))
            await answer

        task = asyncio.create_task(actor())
        measured = await load(debit, callers=callers, seconds=seconds)
        task.cancel()
        async with database.execute("select (select count(*) from debit) * 250000 + balance from pool") as cursor:
            row = await cursor.fetchone()
    if row is None or row[0] != 1_000_000_000_000:
        raise SystemExit("the peer's books do not balance")
    return figures(measured, measured[0])


def flushes_per_second(directory: Path, *, seconds: float, size: int = 8_192) -> float:
    """Appends of ``size`` bytes, each flushed: the raw limit of the disk."""
    descriptor = os.open(directory / "raw", os.O_CREAT | os.O_WRONLY)
    block = os.urandom(size)
    count, until = 0, time.perf_counter() + seconds
    try:
        while time.perf_counter() < until:
            os.write(descriptor, block)
            os.fsync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
    return count / seconds


def sqlite_version() -> str:
    return sqlite3.sqlite_version
