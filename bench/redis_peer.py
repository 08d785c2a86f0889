"""A peer on Redis, as a team would write it: one Lua script per debit, on a Redis that syncs its log before it answers.

The script keeps what Solvent keeps of a debit: the idempotency key, the amount, the dimensions, the balance after it.
There are two ways to call it: a connection per caller, as the documentation of the client shows, and a pipeline of the
calls of one turn of the event loop, for teams that need more speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from .processes import accepts, find_program, free_port, running
from .session import AsyncSession, Job, NotHere, expect
from .workloads import BATCH, DEBIT_UNITS, GRANT_UNITS, Draws, Workload, pool_name

SCRIPT: Final = """
local prior = redis.call('HGET', KEYS[2], ARGV[1])
if prior then return {2, prior} end
local left = tonumber(redis.call('GET', KEYS[1]) or '0') - tonumber(ARGV[2])
if left < 0 then return {0, left} end
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[3], '*', 'key', ARGV[1], 'amount', ARGV[2], 'dimensions', ARGV[3], 'balance', left)
return {1, left}
"""
"""The script of a debit. KEYS: balance, idempotency keys, ledger of a pool. ARGV: key, amount, dimensions."""
PIPELINES_MAX: Final = 4
"""The most pipelines under way. More would only make each shorter."""
CHECKED_AT_ONCE: Final = 1_000


class RedisSession(AsyncSession):
    def __init__(self, client: Any, workload: Workload, *, gathers: bool) -> None:
        self._client = client
        self._workload = workload
        self._draws = Draws(workload)
        self._gathers = gathers
        self._digest = ""
        self._waiting: list[tuple[tuple[str, ...], asyncio.Future[Any]]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        self._digest = await self._client.script_load(SCRIPT)
        numbers = range(self._workload.pools)
        for first in range(0, len(numbers), CHECKED_AT_ONCE):
            await self._client.mset(
                {f"b:{pool_name(n)}": GRANT_UNITS for n in numbers[first : first + CHECKED_AT_ONCE]}
            )

    def caller(self, number: int) -> Job:
        caller, at, encode, one = number, self._draws.at, msgspec.json.encode, self._one()

        async def debit(number: int) -> int:
            pool, dimensions = at(caller, number)
            answer = await one(_arguments(pool, f"{caller}-{number}", encode(dimensions)))
            if answer[0] != 1:
                raise RuntimeError(f"a debit was not done: {answer}")
            return DEBIT_UNITS

        async def batch(number: int) -> int:
            pool, _ = at(caller, number)
            pipeline = self._client.pipeline(transaction=False)
            for each in range(BATCH):
                dimensions = encode(self._draws.dimensions[each])
                pipeline.evalsha(self._digest, 3, *_arguments(pool, f"{caller}-{number}-{each}", dimensions))
            for answer in await pipeline.execute():
                if answer[0] != 1:
                    raise RuntimeError(f"a debit was not done: {answer}")
            return BATCH * DEBIT_UNITS

        return batch if self._workload.kind == "batch" else debit

    def _one(self) -> Any:
        if self._gathers:
            return self._gathered
        client, digest = self._client, self._digest
        return lambda arguments: client.evalsha(digest, 3, *arguments)

    def _gathered(self, arguments: tuple[Any, ...]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((arguments, future))
        return future

    def _flush(self) -> None:
        if not self._waiting or len(self._under_way) >= PIPELINES_MAX:
            return
        waiting, self._waiting = self._waiting, []
        task = asyncio.create_task(self._send(waiting))
        self._under_way.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._flush()

    async def _send(self, waiting: Sequence[tuple[tuple[str, ...], asyncio.Future[Any]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for arguments, _ in waiting:
            pipeline.evalsha(self._digest, 3, *arguments)
        try:
            answers: Sequence[Any] = await pipeline.execute()
        except Exception as error:  # noqa: BLE001 - goes to the waiting callers
            answers = [error] * len(waiting)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        spent, entries, keys = 0, 0, 0
        numbers = range(self._workload.pools)
        for first in range(0, len(numbers), CHECKED_AT_ONCE):
            pipeline = self._client.pipeline(transaction=False)
            for number in numbers[first : first + CHECKED_AT_ONCE]:
                pool = pool_name(number)
                pipeline.get(f"b:{pool}").hlen(f"k:{pool}").xlen(f"l:{pool}")
            answers = await pipeline.execute()
            spent += sum(GRANT_UNITS - int(balance) for balance in answers[0::3])
            keys += sum(answers[1::3])
            entries += sum(answers[2::3])
        expect("units spent", spent, units)
        expect("ledger entries", entries, debits)
        expect("idempotency keys", keys, debits)
        return {}


def _arguments(pool: str, key: str, dimensions: bytes) -> tuple[Any, ...]:
    return (f"b:{pool}", f"k:{pool}", f"l:{pool}", key, DEBIT_UNITS, dimensions)


@asynccontextmanager
async def redis_server(scratch: Path) -> AsyncIterator[int]:
    """Run a Redis whose append-only file is synced before every answer. Yields its port."""
    program = find_program("redis-server")
    port = free_port()
    command = [
        *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(scratch), "--save", ""),
        *("--appendonly", "yes", "--appendfsync", "always", "--maxclients", "2000"),
    ]
    async with running(command, log=scratch / "redis.log", is_ready=lambda: accepts(port)):
        yield port


@asynccontextmanager
async def redis(workload: Workload, callers: int, scratch: Path, *, gathers: bool) -> AsyncIterator[RedisSession]:
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
    except ImportError:
        raise NotHere("the package redis is not installed") from None
    async with redis_server(scratch) as port:
        connections = PIPELINES_MAX if gathers else callers
        pool = BlockingConnectionPool(host="127.0.0.1", port=port, max_connections=max(connections, 2), timeout=30)
        async with Redis(connection_pool=pool) as client:
            session = RedisSession(client, workload, gathers=gathers)
            await session.prepare()
            yield session
        await pool.aclose()
