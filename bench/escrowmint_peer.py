"""The package ``escrowmint`` on Redis, used as its documentation says: a call per debit, callers in threads.

Redis syncs its log before it answers. The package keeps no ledger, no dimensions, and its keys for a day: less than the
others do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .redis_peer import redis_server
from .session import BlockingJob, NotHere, ThreadSession, expect
from .workloads import DEBIT_UNITS, GRANT_UNITS, HOLD, Draws, Workload, pool_name

HOLD_UNITS = int(HOLD) * 10**6
HOLD_TTL_MS = 3_600_000
AT_ONCE = 16


class EscrowMintSession(ThreadSession):
    def __init__(self, client: Any, workload: Workload) -> None:
        self._client = client
        self._workload = workload
        self._draws = Draws(workload)

    def prepare(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda n: self._client.top_up(pool_name(n), GRANT_UNITS), range(self._workload.pools)))

    def caller(self, number: int) -> BlockingJob:
        caller, at, client = number, self._draws.at, self._client

        def debit(number: int) -> int:
            pool, _ = at(caller, number)
            if not client.try_consume(pool, DEBIT_UNITS, idempotency_key=f"{caller}-{number}").applied:
                raise RuntimeError("a debit was not done")
            return DEBIT_UNITS

        def hold(number: int) -> int:
            """It has no capture of a part: all that was reserved is spent."""
            pool, _ = at(caller, number)
            reserved = client.reserve(pool, HOLD_UNITS, ttl_ms=HOLD_TTL_MS, reservation_id=f"{caller}-{number}")
            client.commit(pool, reserved.reservation_id)
            return HOLD_UNITS

        return hold if self._workload.kind == "hold" else debit

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        await asyncio.to_thread(self._check, debits, units)
        return {}

    def _check(self, debits: int, units: int) -> None:
        left, reserved = 0, 0
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for state in threads.map(lambda n: self._client.get_state(pool_name(n)), range(self._workload.pools)):
                left += state.available
                reserved += state.reserved
        expect("units spent", GRANT_UNITS * self._workload.pools - left, units)
        expect("units reserved", reserved, 0)


@asynccontextmanager
async def escrowmint(workload: Workload, callers: int, scratch: Path) -> AsyncIterator[EscrowMintSession]:
    try:
        from escrowmint import Client
    except ImportError as error:
        raise NotHere(f"the package {error.name} is not installed") from None
    async with redis_server(scratch) as port:
        with Client.from_url(f"redis://127.0.0.1:{port}/0") as client:
            session = EscrowMintSession(client, workload)
            await asyncio.to_thread(session.prepare)
            yield session
