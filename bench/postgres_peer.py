"""A peer on Postgres with asyncpg, as a team would write it: a PL/pgSQL function, or a transaction of four statements.

The cluster is created for the run, on loopback, with the default durability of Postgres: ``fsync`` and
``synchronous_commit`` on.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from .processes import accepts, find_program, free_port, running
from .session import AsyncSession, Job, NotHere, expect
from .workloads import BATCH, DEBIT_UNITS, GRANT_UNITS, Draws, Workload

POOL_MAX: Final = 64
"""The most connections. With two cores, more made it slower."""
USER: Final = "postgres"

SCHEMA: Final = """
create table pool (id text primary key, balance bigint not null check (balance >= 0));
create table debit (
    pool text not null, key text not null, amount bigint not null, dimensions jsonb not null, balance bigint not null,
    recorded_at timestamptz not null default clock_timestamp(), primary key (pool, key)
);
create function spend(the_pool text, the_key text, the_amount bigint, the_dimensions jsonb) returns bigint
language plpgsql as $$
declare
    left_over bigint;
begin
    update pool set balance = balance - the_amount where id = the_pool and balance >= the_amount
        returning balance into left_over;
    if left_over is null then
        return -1;
    end if;
    insert into debit values (the_pool, the_key, the_amount, the_dimensions, left_over);
    return left_over;
exception when unique_violation then
    return (select balance from debit where pool = the_pool and key = the_key);
end $$;
create function spend_many(the_pool text, the_keys text[], the_amount bigint, the_dimensions jsonb[]) returns bigint
language plpgsql as $$
declare
    left_over bigint;
begin
    for i in 1 .. array_length(the_keys, 1) loop
        left_over := spend(the_pool, the_keys[i], the_amount, the_dimensions[i]);
    end loop;
    return left_over;
end $$;
"""


class PostgresSession(AsyncSession):
    def __init__(self, connections: Any, workload: Workload, *, by_function: bool) -> None:
        self._connections = connections
        self._workload = workload
        self._draws = Draws(workload)
        self._by_function = by_function

    async def prepare(self) -> None:
        async with self._connections.acquire() as connection:
            await connection.execute(SCHEMA)
            await connection.execute(
                f"insert into pool select 'customer-' || i, {GRANT_UNITS} from generate_series(0, $1::int - 1) i",
                self._workload.pools,
            )
            await connection.execute("analyze pool")
            await connection.execute("checkpoint")

    def caller(self, number: int) -> Job:
        caller, at, encode, connections = number, self._draws.at, msgspec.json.encode, self._connections

        async def call(number: int) -> int:
            pool, dimensions = at(caller, number)
            async with connections.acquire() as connection:
                left = await connection.fetchval(
                    "select spend($1, $2, $3, $4)",
                    *(pool, f"{caller}-{number}", DEBIT_UNITS, encode(dimensions).decode()),
                )
            if left < 0:
                raise RuntimeError("a debit was not done")
            return DEBIT_UNITS

        async def transaction(number: int) -> int:
            pool, dimensions = at(caller, number)
            key = f"{caller}-{number}"
            async with connections.acquire() as connection, connection.transaction():
                balance = await connection.fetchval("select balance from pool where id = $1 for update", pool)
                prior = await connection.fetchval("select balance from debit where pool = $1 and key = $2", pool, key)
                if balance < DEBIT_UNITS or prior is not None:
                    raise RuntimeError("a debit was not done")
                left = balance - DEBIT_UNITS
                await connection.execute(
                    "insert into debit values ($1, $2, $3, $4, $5)",
                    *(pool, key, DEBIT_UNITS, encode(dimensions).decode(), left),
                )
                await connection.execute("update pool set balance = $2 where id = $1", pool, left)
            return DEBIT_UNITS

        async def batch(number: int) -> int:
            pool, _ = at(caller, number)
            keys = [f"{caller}-{number}-{each}" for each in range(BATCH)]
            dimensions = [encode(self._draws.dimensions[each]).decode() for each in range(BATCH)]
            async with connections.acquire() as connection:
                left = await connection.fetchval(
                    "select spend_many($1, $2, $3, $4)", pool, keys, DEBIT_UNITS, dimensions
                )
            if left < 0:
                raise RuntimeError("a debit was not done")
            return BATCH * DEBIT_UNITS

        if self._workload.kind == "batch":
            return batch
        return call if self._by_function else transaction

    async def flushes(self) -> int:
        async with self._connections.acquire() as connection:
            # Backends report their counts at most once a second. A transaction of its own reads fresh ones.
            await asyncio.sleep(1.1)
            count: int = await connection.fetchval("select wal_sync from pg_stat_wal")
            return count

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        async with self._connections.acquire() as connection:
            spent = await connection.fetchval(f"select sum({GRANT_UNITS} - balance)::bigint from pool")
            entries, amounts = await connection.fetchrow("select count(*), sum(amount)::bigint from debit")
        expect("units spent", spent, units)
        expect("units in the ledger", amounts, units)
        expect("ledger entries", entries, debits)
        return {}


def find_postgres() -> dict[str, str]:
    """Return the programs of a cluster by name. Raises ``NotHere``."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    return {name: find_program(name, *newest_first) for name in ("initdb", "postgres")}


def _as_postgres() -> list[str]:
    """Return the command prefix for root to run Postgres as its own user, because Postgres refuses root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(USER)
    except KeyError:
        raise NotHere(f"Postgres does not run as root, and there is no user {USER}") from None
    return [find_program("setpriv"), f"--reuid={USER}", f"--regid={USER}", "--init-groups"]


def _make_cluster(scratch: Path) -> list[str]:
    """Create a cluster and return the command that runs it. Raises ``NotHere``."""
    programs, prefix = find_postgres(), _as_postgres()
    folder = scratch / "postgres"
    folder.mkdir()
    if prefix:
        scratch.chmod(0o755)
        shutil.chown(folder, USER)
    command = [*prefix, programs["initdb"], "--pgdata", str(folder), "--username", USER, "--auth", "trust"]
    command += ["--encoding", "UTF8", "--no-locale", "--no-sync"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise NotHere(f"initdb: {made.stderr.strip()[-300:]}")
    return [*prefix, programs["postgres"], "-D", str(folder)]


@asynccontextmanager
async def postgres_server(scratch: Path) -> AsyncIterator[int]:
    """Run a new cluster on loopback. Yields its port."""
    command = await asyncio.to_thread(_make_cluster, scratch)
    port = free_port()
    options = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": "512MB",
        "max_wal_size": "4GB",
        "max_connections": "128",
    }
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    async with running(command, log=scratch / "postgres.log", is_ready=lambda: accepts(port)):
        yield port


@asynccontextmanager
async def postgres(
    workload: Workload, callers: int, scratch: Path, *, by_function: bool
) -> AsyncIterator[PostgresSession]:
    try:
        import asyncpg
    except ImportError:
        raise NotHere("the package asyncpg is not installed") from None
    async with postgres_server(scratch) as port:
        size = min(callers, POOL_MAX)
        url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        await _until_it_serves(url)
        async with asyncpg.create_pool(url, min_size=size, max_size=size) as connections:
            session = PostgresSession(connections, workload, by_function=by_function)
            await session.prepare()
            yield session


async def _until_it_serves(url: str) -> None:
    """Wait until the server answers queries, because it listens before that."""
    import asyncpg

    for _ in range(300):
        try:
            connection = await asyncpg.connect(url)
        except asyncpg.CannotConnectNowError:
            await asyncio.sleep(0.1)
        else:
            await connection.close()
            return
    raise NotHere("Postgres listens but does not serve")
