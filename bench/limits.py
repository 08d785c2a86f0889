"""The raw limits to compare contestants with: an echo over NATS, a flush of the same bytes, an empty ask.

Each is measured by the same load as the contestants, so the cost of the load is in all of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client as Nats

from solvent.actors import Actor, ActorSystem, Mail, Options
from solvent.transports.nats.launcher import nats_server

from .load import Measured
from .processes import START_TIMEOUT_S, stop
from .session import AsyncSession, Job, expect
from .workloads import Workload

PAYLOAD: Final = (
    b'{"amount":"0.25","key":"12-34567","dimensions":{"model":"gpt-4","user":"user-7","feature":"chat","region":"eu"}}'
)
"""A payload as long as the request of a debit."""
RING_BYTES: Final = 4 * 1024 * 1024
"""The bytes of the file that flushes overwrite in turn, as those of a write-ahead log do."""


class EchoSession(AsyncSession):
    """The ``request`` of nats-py, answered by a plain subscription in another process."""

    def __init__(self, connection: Nats) -> None:
        self._connection = connection
        self._answered = 0

    def caller(self, number: int) -> Job:
        request = self._connection.request

        async def job(number: int) -> int:
            reply = await request("echo", PAYLOAD, timeout=30)
            if len(reply.data) != len(PAYLOAD):
                raise RuntimeError("the echo differs from the request")
            self._answered += 1
            return 1

        return job

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        expect("echoes", self._answered, debits)
        return {}


@asynccontextmanager
async def echo(workload: Workload, callers: int, scratch: Path) -> AsyncIterator[EchoSession]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(nats_server())
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.echo", url, stdout=asyncio.subprocess.PIPE
        )
        stack.push_async_callback(stop, process)
        assert process.stdout is not None  # noqa: S101 - narrows the type: it is a pipe
        await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        connection = await nats.connect(url)
        stack.push_async_callback(connection.close)
        yield EchoSession(connection)


class Idle(Actor[None]):
    """An actor that answers and does nothing else."""

    def receive(self, batch: list[Mail[None]]) -> None:
        for mail in batch:
            mail.reply(None)


class MailboxSession(AsyncSession):
    def __init__(self, system: ActorSystem, workload: Workload) -> None:
        self._family = system.register(
            "idle", lambda key: Idle(), Options(mailbox_max=4_096, resident_max=workload.pools)
        )

    def caller(self, number: int) -> Job:
        ask = self._family.ask

        async def job(number: int) -> int:
            await ask("hot", None)
            return 1

        return job

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        expect("asks", units, debits)
        return {}


@asynccontextmanager
async def mailbox(workload: Workload, callers: int, scratch: Path) -> AsyncIterator[MailboxSession]:
    async with ActorSystem() as system:
        yield MailboxSession(system, workload)


def flush_disk(scratch: Path, *, size: int, seconds: float) -> Measured:
    """Write ``size`` bytes and flush them, over and over, as a write-ahead log does."""
    flush = getattr(os, "fdatasync", os.fsync)
    block = os.urandom(size)
    descriptor = os.open(scratch / "raw", os.O_CREAT | os.O_RDWR)
    measured = Measured()
    try:
        os.write(descriptor, bytes(RING_BYTES + size))
        os.fsync(descriptor)
        offset = 0
        started = time.perf_counter()
        until = started + seconds
        while (began := time.perf_counter()) < until:
            os.pwrite(descriptor, block, offset)
            flush(descriptor)
            measured.latencies_ms.append((time.perf_counter() - began) * 1e3)
            offset = (offset + size) % RING_BYTES
        measured.seconds = time.perf_counter() - started
    finally:
        os.close(descriptor)
    measured.calls = len(measured.latencies_ms)
    return measured
