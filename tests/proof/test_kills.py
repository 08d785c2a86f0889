"""``kill -9`` of the real service over real NATS, under load, aimed at the moments that matter.

The process strikes itself (``struck_service.py``): so each kill finds the phase it is aimed at under way, and says so.
That of a checkpoint is read from SQLite's shared memory, which says that one was begun and not ended. Every reply to
every caller is compared with the journal that the kills left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from solvent import Engine, connect
from solvent.engine.audit.verify import verify_journal
from solvent.engine.runtime.files import INDEX_NAME, JOURNAL_NAME, SNAPSHOTS_NAME
from solvent.engine.runtime.sqlite import remove_database
from solvent.transports.nats.launcher import nats_server
from tests.nats.conftest import DEADLINE_S
from tests.nats.test_kill import Record, compare

SCRIPT = Path(__file__).with_name("struck_service.py")
PHASES = ("snapshot", "index", "usage", "checkpoint", "recovery")
KILLS = 2
"""Of each phase."""
AIMS = 4
"""At one checkpoint: it takes a few milliseconds, and a strike may come too late."""
CALLERS = 24
PAUSE_S = 0.01
STRIKE_WITHIN_S = 15.0
VERIFY_EVERY = 25
TOP_UP, TOP_UP_EVERY_S = "60", 2.0
"""A little less than what is debited: so there are refusals too."""


class Struck:
    """The service under fire."""

    def __init__(self, directory: Path, url: str, report: Path) -> None:
        self._directory, self._url, self._report = directory, url, report
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, phase: str, seed: int) -> None:
        words = ("serve", "--data-dir", str(self._directory), "--nats-url", self._url, "--json")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SOLVENT_")}
        command = (str(SCRIPT), phase, str(seed), str(self._report)) if phase else ("-m", "solvent")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            env=environment,
        )

    async def fall(self) -> bool:
        """Wait for its end. Whether the strike came by itself; it is killed at any rate."""
        assert self.process is not None
        try:
            async with asyncio.timeout(STRIKE_WITHIN_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return False
        assert self.process.returncode == -signal.SIGKILL, "it ended by itself"
        return True

    async def aclose(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def under_fire(directory: Path, url: str, report: Path) -> AsyncIterator[Struck]:
    service = Struck(directory, url, report)
    try:
        yield service
    finally:
        await service.aclose()


def was_checkpointing(directory: Path) -> bool:
    """Whether the last checkpoint of the journal was begun and not ended (SQLite, "WAL-mode File Format", 2.3)."""
    shared = (directory / f"{JOURNAL_NAME}-shm").read_bytes()
    (backfilled,) = struct.unpack_from("=I", shared, 96)
    (attempted,) = struct.unpack_from("=I", shared, 128)
    return bool(attempted > backfilled)


def forget_caches(directory: Path) -> None:
    """So that there is something to recover."""
    for name in (INDEX_NAME, SNAPSHOTS_NAME):
        remove_database(directory / name)


async def fire(service: Struck, directory: Path, report: Path, record: Record, kills: int) -> Counter[str]:
    """Kill the service in each phase so many times. Returns how many strikes found their phase."""
    hits, dice = Counter[str](), Random(20_261_125)
    for number in range(kills):
        turns = [phase for phase in PHASES for _ in range(AIMS if phase == "checkpoint" else 1)]
        for phase in turns:
            if phase == "checkpoint" and hits[phase] > number:
                continue
            if phase == "recovery":
                forget_caches(directory)
            report.write_text("")
            await service.start(phase, dice.randrange(1 << 30))
            struck = await service.fall()
            hits["under load"] += bool(record.under_way)
            if struck:
                hit = was_checkpointing(directory) if phase == "checkpoint" else report.read_text() == f"{phase}\n"
                hits[phase] += hit
            hits["kills"] += 1
            if hits["kills"] % VERIFY_EVERY == 0:
                problems = (await asyncio.to_thread(verify_journal, directory)).problems
                assert problems == [], f"after kill {hits['kills']}, in {phase} of turn {number}"
                print(f"{hits['kills']} kills: {dict(hits)}, {len(record.receipts):,} receipts", flush=True)
    return hits


@pytest.mark.slow
@pytest.mark.timeout(0)
async def test_what_was_acknowledged_survives_kills_in_every_phase(tmp_path: Path, effort: int) -> None:
    journal, report = tmp_path / "journal", tmp_path / "report"
    record, stop, top_ups = Record(), asyncio.Event(), 1
    record.pause_s, record.amount_on_top = PAUSE_S, TOP_UP
    async with (
        nats_server() as url,
        under_fire(journal, url, report) as service,
        connect(url, timeout_s=0.5) as impatient,
        connect(url, timeout_s=DEADLINE_S) as patient,
    ):
        await service.start("", 0)
        await record.top_up(patient, 0)
        await service.aclose()
        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLERS):
                tasks.create_task(record.debit_until(stop, (impatient, patient)[number % 2], number))

            async def top_up() -> None:
                nonlocal top_ups
                while not stop.is_set():
                    await record.top_up(patient, top_ups)
                    top_ups += 1
                    await asyncio.sleep(TOP_UP_EVERY_S)

            tasks.create_task(top_up())
            hits = await fire(service, journal, report, record, KILLS * effort)
            await service.start("", 0)
            stop.set()
    replayed = sum(receipt.replayed for receipt in record.receipts.values())
    print(
        f"{hits['kills']} kills, {hits['under load']} of them with requests under way; struck in: "
        f"{', '.join(f'{phase} {hits[phase]}' for phase in PHASES)}; {len(record.asked):,} debits asked for, "
        f"{len(record.receipts):,} receipts ({replayed:,} replayed), {len(record.refused):,} refused, "
        f"{len(record.unknown):,} unknown at first, errors {dict(record.errors)}"
    )
    for phase in PHASES:
        assert hits[phase] >= KILLS * effort // 2, f"too few kills found the service in {phase}: {dict(hits)}"
    assert hits["under load"] >= hits["kills"] // 2
    assert not record.errors
    assert record.asked.keys() == record.receipts.keys() | record.refused, "a caller has no answer"
    assert (await asyncio.to_thread(verify_journal, journal)).problems == []
    async with Engine.open(journal) as engine:
        spent = await compare(record, engine, top_ups=top_ups)
        usage = await engine.usage(customer="customer", period="last 7 days", consistent=True)
        assert usage.total.credits == spent
