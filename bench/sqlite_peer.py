"""A peer without a server, as a team would build it first: an actor per engine, a transaction on aiosqlite per debit.

It has the settings of Solvent's own journal: WAL, and ``synchronous=FULL``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import msgspec

from .session import AsyncSession, Job, expect
from .workloads import DEBIT_UNITS, GRANT_UNITS, Draws, Workload, pool_name

SCHEMA = """
create table pool (id text primary key, balance integer not null);
create table debit (
    pool text not null, key text not null, amount integer not null, dimensions text not null, primary key (pool, key)
);
"""


class SqliteSession(AsyncSession):
    def __init__(self, database: aiosqlite.Connection, workload: Workload) -> None:
        self._database = database
        self._workload = workload
        self._draws = Draws(workload)
        self._mailbox: asyncio.Queue[tuple[str, str, str, asyncio.Future[None]]] = asyncio.Queue()
        self._committed = 0

    async def prepare(self) -> None:
        for pragma in ("journal_mode = wal", "synchronous = full"):
            await self._database.execute(f"pragma {pragma}")
        await self._database.executescript(SCHEMA)
        await self._database.execute("begin")
        await self._database.executemany(
            "insert into pool values (?, ?)", [(pool_name(n), GRANT_UNITS) for n in range(self._workload.pools)]
        )
        await self._database.execute("commit")

    async def run(self) -> None:
        """Do one debit after another, each in a transaction."""
        database = self._database
        while True:
            pool, key, dimensions, answer = await self._mailbox.get()
            await database.execute("begin immediate")
            await database.execute("insert into debit values (?, ?, ?, ?)", (pool, key, DEBIT_UNITS, dimensions))
            cursor = await database.execute(
                "update pool set balance = balance - ? where id = ? and balance >= ?", (DEBIT_UNITS, pool, DEBIT_UNITS)
            )
            if cursor.rowcount != 1:
                raise RuntimeError("a debit was not done")
            await database.execute("commit")
            self._committed += 1
            answer.set_result(None)

    def caller(self, number: int) -> Job:
        caller, at, encode, mailbox = number, self._draws.at, msgspec.json.encode, self._mailbox
        loop = asyncio.get_running_loop()

        async def job(number: int) -> int:
            pool, dimensions = at(caller, number)
            answer: asyncio.Future[None] = loop.create_future()
            mailbox.put_nowait((pool, f"{caller}-{number}", encode(dimensions).decode(), answer))
            await answer
            return DEBIT_UNITS

        return job

    async def flushes(self) -> int:
        return self._committed

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        async with self._database.execute(
            "select (select sum(? - balance) from pool), (select sum(amount) from debit), (select count(*) from debit)",
            (GRANT_UNITS,),
        ) as cursor:
            row = await cursor.fetchone()
        expect(
            "units spent, units and entries of the ledger", None if row is None else tuple(row), (units, units, debits)
        )
        return {}


@asynccontextmanager
async def sqlite(workload: Workload, callers: int, scratch: Path) -> AsyncIterator[SqliteSession]:
    async with aiosqlite.connect(scratch / "peer.db", isolation_level=None) as database:
        session = SqliteSession(database, workload)
        await session.prepare()
        actor = asyncio.create_task(session.run())
        try:
            yield session
        finally:
            actor.cancel()
            await asyncio.gather(actor, return_exceptions=True)
