"""The package ``credit-ledger`` on Postgres, used as its documentation says: a call per debit, callers in threads.

Its ledger has no place for dimensions, so it keeps less of a debit than the others do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from .postgres_peer import POOL_MAX, USER, postgres_server
from .session import BlockingJob, NotHere, ThreadSession, expect
from .workloads import DEBIT, DEBIT_UNITS, GRANT_UNITS, SCALE, Draws, Workload, pool_name

SCHEMA = """
create table credit_balance (
    tenant_id text primary key, credits numeric(18,4) not null default 0 check (credits >= 0),
    updated_at timestamptz not null default now()
);
create table credit_ledger (
    id uuid primary key, tenant_id text not null references credit_balance, delta numeric(18,4) not null,
    reason text not null, idempotency_key text, balance_after numeric(18,4) not null,
    created_at timestamptz not null default now(), unique (tenant_id, idempotency_key)
);
"""
"""What the package's statements need. Its row-level security is left out: it would only cost it time."""


class CreditLedgerSession(ThreadSession):
    def __init__(self, engine: Any, workload: Workload) -> None:
        self._engine = engine
        self._workload = workload
        self._draws = Draws(workload)

    def prepare(self) -> None:
        from sqlalchemy import text

        with self._engine.begin() as connection:
            connection.execute(text(SCHEMA))
            rows = [{"id": pool_name(n), "n": Decimal(GRANT_UNITS).scaleb(-SCALE)} for n in range(self._workload.pools)]
            connection.execute(text("insert into credit_balance values (:id, :n)"), rows)

    def caller(self, number: int) -> BlockingJob:
        from credit_ledger import decrement

        amount: Any = DEBIT  # its documentation wants a text, its types a number

        caller, at, engine = number, self._draws.at, self._engine

        def job(number: int) -> int:
            pool, _ = at(caller, number)
            if not decrement(pool, amount, idempotency_key=f"{caller}-{number}", engine=engine).ok:
                raise RuntimeError("a debit was not done")
            return DEBIT_UNITS

        return job

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        await asyncio.to_thread(self._check, debits, units)
        return {}

    def _check(self, debits: int, units: int) -> None:
        from sqlalchemy import text

        with self._engine.begin() as connection:
            left = connection.execute(text("select sum(credits) from credit_balance")).scalar()
            entries, amounts = connection.execute(text("select count(*), -sum(delta) from credit_ledger")).one()
        granted = Decimal(GRANT_UNITS * self._workload.pools).scaleb(-SCALE)
        spent = Decimal(units).scaleb(-SCALE)
        expect("credits spent", granted - left, spent)
        expect("credits in the ledger", amounts, spent)
        expect("ledger entries", entries, debits)


@asynccontextmanager
async def credit_ledger(workload: Workload, callers: int, scratch: Path) -> AsyncIterator[CreditLedgerSession]:
    try:
        import credit_ledger as _package  # noqa: F401 - only whether it is there
        import psycopg as _driver  # noqa: F401
        from sqlalchemy import create_engine
    except ImportError as error:
        raise NotHere(f"the package {error.name} is not installed") from None
    async with postgres_server(scratch) as port:
        url = f"postgresql+psycopg://{USER}@127.0.0.1:{port}/postgres"
        engine = create_engine(url, pool_size=min(callers, POOL_MAX), max_overflow=0, pool_timeout=60)
        try:
            session = CreditLedgerSession(engine, workload)
            await asyncio.to_thread(session.prepare)
            yield session
        finally:
            await asyncio.to_thread(engine.dispose)
