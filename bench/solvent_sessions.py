"""Solvent as a contestant: embedded in the load process, and over NATS with the service in a process of its own."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from solvent.engine.api.credits import Credits
from solvent.engine.api.requests import DebitRequest, GrantRequest
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import Engine
from solvent.engine.journal.opening import open_reader
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.engine.values.errors import Overloaded, SolventError
from solvent.transports.nats.client import connect
from solvent.transports.nats.launcher import nats_server

from .processes import START_TIMEOUT_S, stop
from .session import AsyncSession, Job, WrongBooks, expect
from .workloads import (
    BATCH,
    CREDITS_PER_MILLION,
    DEBIT,
    DEBIT_UNITS,
    GRANT,
    HOLD,
    SCALE,
    Draws,
    TraceEvent,
    Workload,
    pool_name,
    read_traces,
)

GRANTS_PER_BATCH: Final = 2_000
BALANCES_MAX: Final = 1_000
"""The most pools whose balances are read after a run. All are recomputed from the journal anyway."""
STREAM_TURNS: Final = 4
"""The turns of the event loop between hold and capture, for which a stream of tokens lasts."""


class SolventSession(AsyncSession):
    """A session on ``Credits``, embedded or over NATS."""

    def __init__(self, credits: Credits, workload: Workload, directory: Path) -> None:
        self._credits = credits
        self._workload = workload
        self._directory = directory
        self._draws = Draws(workload)
        self._setup_entries = 0
        self._turned_away = 0
        self._trace: list[TraceEvent] = list(read_traces()) if workload.kind == "replay" else []
        self._trace_next = 0

    async def count_setup(self) -> None:
        """Remember the number of ledger entries before the load."""
        self._setup_entries = sum([(await self._credits.balance(name)).version for name in self._names()])

    def caller(self, number: int) -> Job:
        kinds: dict[str, Callable[[int], Job]] = {
            "debit": self._debits,
            "hold": self._holds,
            "report": self._reports,
            "batch": self._batches,
            "replay": self._replays,
        }
        return kinds[self._workload.kind](number)

    def _debits(self, caller: int) -> Job:
        debit, at = self._credits.debit, self._draws.at

        async def job(number: int) -> int:
            pool, dimensions = at(caller, number)
            await debit(pool, DEBIT, key=f"{caller}-{number}", dimensions=dimensions)
            return DEBIT_UNITS

        return job

    def _holds(self, caller: int) -> Job:
        credits, at = self._credits, self._draws.at

        async def job(number: int) -> int:
            pool, dimensions = at(caller, number)
            tokens = 1_000 + number % 8_000
            key = f"{caller}-{number}"
            hold = await credits.hold(pool, HOLD, key=key, metric="output_tokens", dimensions=dimensions)
            for _ in range(STREAM_TURNS):
                await asyncio.sleep(0)
            units = tokens * CREDITS_PER_MILLION["output_tokens"]
            await hold.capture(Decimal(units).scaleb(-SCALE), quantity=tokens)
            return units

        return job

    def _reports(self, caller: int) -> Job:
        report, at = self._credits.report, self._draws.at

        async def job(number: int) -> int:
            pool, dimensions = at(caller, number)
            tokens = 1_000 + number % 8_000
            await report(pool, "input_tokens", tokens, key=f"{caller}-{number}", dimensions=dimensions)
            return tokens * CREDITS_PER_MILLION["input_tokens"]

        return job

    def _batches(self, caller: int) -> Job:
        batch, draws = self._credits.batch, self._draws

        async def job(number: int) -> int:
            pool, _ = draws.at(caller, number)
            requests = [
                DebitRequest(
                    pool=pool, amount=DEBIT, key=f"{caller}-{number}-{each}", dimensions=draws.dimensions[each]
                )
                for each in range(BATCH)
            ]
            while requests:
                answers = await batch(requests)
                # Retry commands that were refused as overloaded, with their keys, after the time in the refusal.
                patience_s, again = 0.0, []
                for request, answer in zip(requests, answers, strict=True):
                    if isinstance(answer, Overloaded):
                        patience_s = max(patience_s, answer.retry_after)
                        again.append(request)
                    elif isinstance(answer, SolventError):
                        raise answer
                self._turned_away += len(again)
                requests = again
                if again:
                    await asyncio.sleep(patience_s)
            return BATCH * DEBIT_UNITS

        return job

    def _replays(self, caller: int) -> Job:
        """Return a job that takes the next event of the trace, which all callers share. After its end it begins again.

        No rate card prices events older than itself, so the prices are applied here, as ``solvent replay`` does.
        """
        debit, trace = self._credits.debit, self._trace
        pool = pool_name(0)

        async def job(number: int) -> int:
            lap, place = divmod(self._trace_next, len(trace))
            self._trace_next += 1
            event = trace[place]
            await debit(
                pool,
                Decimal(event.units).scaleb(-SCALE),
                metric=event.metric,
                quantity=event.quantity,
                key=f"{lap}-{event.key}",
                occurred_at=event.occurred_at,
                dimensions={"feature": event.feature},
                backfill=True,
            )
            return event.units

        return job

    async def flushes(self) -> int:
        return await asyncio.to_thread(_last_frame, self._directory)

    def _names(self) -> list[str]:
        return [pool_name(number) for number in range(min(self._workload.pools, BALANCES_MAX))]

    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        turned_away = {"turned_away": float(self._turned_away)}
        if self._workload.pools > BALANCES_MAX:
            return turned_away
        spent, entries = Decimal(0), 0
        for name in self._names():
            balance = await self._credits.balance(name)
            expect(f"{name}, held", balance.held, 0)
            spent += balance.spent
            entries += balance.version
        expect("credits spent", spent, Decimal(units).scaleb(-SCALE))
        per_debit = 2 if self._workload.kind == "hold" else 1
        expect("ledger entries", entries - self._setup_entries, debits * per_debit)
        return turned_away

    def check_ended(self, *, debits: int, units: int) -> dict[str, float]:
        """Recompute the journal from its first event by the rules of ``verify``, a second implementation."""
        verification = verify_journal(self._directory)
        if not verification.proven:
            raise WrongBooks(f"verification failed: {verification.problems[0]}")
        expect("debits in the journal", verification.debits, debits)
        spent = verification.spent.get("credits", Decimal(0))
        expect("credits spent in the journal", spent, Decimal(units).scaleb(-SCALE))
        size = (self._directory / JOURNAL_NAME).stat().st_size
        return {"journal_bytes_per_debit": size / debits, "frame_bytes": _mean_frame(self._directory)}


def _last_frame(directory: Path) -> int:
    with closing(open_reader(directory)) as reader:
        return reader.last_number()


def _mean_frame(directory: Path) -> float:
    """Return the mean bytes of the last thousand frames. The first ones are those of the setup."""
    with closing(open_reader(directory)) as reader:
        frames = reader.frames(max(0, reader.last_number() - 1_000), 1_000)
    return statistics.mean(len(frame.body) for frame in frames)


async def prepare(directory: Path, workload: Workload) -> None:
    """Make grants for every pool, and all else that the workload needs.

    The engine is closed afterwards, so that its remaining work on indexes is not measured.
    """
    async with Engine.open(directory) as engine:
        numbers = iter(range(workload.pools))
        while chunk := list(islice(numbers, GRANTS_PER_BATCH)):
            grants = [GrantRequest(pool=pool_name(number), amount=GRANT, key="grant") for number in chunk]
            for answer in await engine.batch(grants):
                if isinstance(answer, SolventError):
                    raise answer
        if workload.kind == "report":
            rates = [
                {"metric": metric, "credits": str(price), "per": 1_000_000}
                for metric, price in CREDITS_PER_MILLION.items()
            ]
            await engine.set_rates(rates)
            for number in range(workload.pools):
                pool = pool_name(number)
                await asyncio.gather(
                    engine.set_budget(pool, "all", GRANT, window="month"),
                    engine.set_budget(pool, "each user", GRANT, window="hour", each="user"),
                )


@asynccontextmanager
async def embedded(workload: Workload, callers: int, scratch: Path) -> AsyncIterator[SolventSession]:
    """Open the engine in the process of its callers."""
    directory = scratch / "solvent"
    await prepare(directory, workload)
    async with Engine.open(directory) as engine:
        session = SolventSession(engine, workload, directory)
        await session.count_setup()
        yield session


@asynccontextmanager
async def service(directory: Path, nats_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``solvent serve`` in a process of its own, with its default options."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("solvent")), "serve", "--data-dir", str(directory)),
        *("--nats-url", nats_url, "--json"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - narrows the type: it is a pipe
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        msgspec.json.decode(line, type=dict[str, str])["ready"]
        yield process
    finally:
        await stop(process)


@asynccontextmanager
async def over_nats(workload: Workload, callers: int, scratch: Path) -> AsyncIterator[SolventSession]:
    """Open the Python client in the process of the callers; nats-server and service have their own processes."""
    directory = scratch / "solvent"
    await prepare(directory, workload)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(nats_server())
        await stack.enter_async_context(service(directory, url))
        client = await stack.enter_async_context(connect(url))
        session = SolventSession(client, workload, directory)
        await session.count_setup()
        yield session
