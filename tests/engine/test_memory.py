"""An engine in memory: what it answers, what usage says there, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from solvent import DebitRequest, Engine, InsufficientCredits, JournalError, Settings, Unavailable
from solvent.engine.audit.verify import verify
from solvent.engine.usage.worker.worker import FRAMES_PER_READ
from solvent.testing import Frame, Location, MemoryJournal, OpenJournal

START = datetime(2026, 11, 2, 12, tzinfo=UTC)
DEADLINE_S = 20.0


class Clock:
    """Stands still until it is told to go on: the same in every run."""

    def __init__(self) -> None:
        self._now = int(START.timestamp()) * 1_000_000

    def now_us(self) -> int:
        return self._now

    def advance(self) -> None:
        self._now += 1_000_000


@asynccontextmanager
async def on(journal: MemoryJournal, folder: Path, **options: Any) -> AsyncIterator[Engine]:
    """An engine on a journal of the test's own, with its caches in ``folder``."""

    @asynccontextmanager
    async def opened(location: Location) -> AsyncIterator[OpenJournal]:
        yield OpenJournal(journal, Path(location))

    async with Engine.open(folder, journal=opened, **options) as engine:
        yield engine


async def spend(engine: Engine, count: int, *, turn: int = 0) -> None:
    """Spend ``count`` credits of "acme", by three users."""
    await engine.grant("acme", count, key=f"g{turn}")
    for number in range(count):
        await engine.debit("acme", 1, key=f"{turn}-{number}", dimensions={"user": f"u{number % 3}"})


async def by_user(engine: Engine, pool: str = "acme") -> dict[object, Decimal]:
    usage = await engine.usage(pool, period="last 3 days", group_by=["user"], consistent=True)
    return {line.group["user"]: line.credits for line in usage.lines}


async def patiently(engine: Engine) -> dict[object, Decimal]:
    """As ``by_user``, while the process that answers is being started."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await by_user(engine)
            except Unavailable:
                continue


async def everything(location: Path | str) -> list[object]:
    """What an engine answers to a script that needs each of its parts."""
    clock = Clock()
    async with Engine.open(location, now_us=clock.now_us) as engine:
        said = await _everything(engine, clock)
    return [msgspec.to_builtins(each) if isinstance(each, msgspec.Struct) else str(each) for each in said]


async def _everything(engine: Engine, clock: Clock) -> list[object]:
    said: list[object] = [
        await engine.grant("acme", "100", key="g", cost_basis=("0.01", "USD"), expires_at=START + timedelta(days=9)),
        await engine.grant("acme/site", 5, key="g"),
        await engine.set_budget("acme", "b", 50, each="user", window="day"),
        await engine.set_alerts("acme", low=["90"]),
    ]
    for number in range(9):
        clock.advance()
        dimensions: dict[str, str | int | float | bool] = {"user": f"u{number % 3}", "big": number > 5}
        said.append(await engine.debit("acme", f"{number}.5", key=f"d{number}", metric="m", dimensions=dimensions))
    said.append(await engine.debit("acme", "0.5", key="d0", metric="m", dimensions={"user": "u0", "big": False}))
    with pytest.raises(InsufficientCredits) as refused:
        await engine.debit("acme/site", 6, key="too much", dimensions={"user": "u0"})
    said.append(refused.value.details())
    async with engine.hold("acme", 10, key="h") as hold:
        said.append(await hold.capture("3.25"))
    said.append(await engine.reverse("acme", "d12", key="r"))
    said.append(await engine.transfer("acme", "acme/site", "1.5", key="t", open_pool=True))
    requests = [DebitRequest(pool="acme", amount=1, key="b0"), DebitRequest(pool="acme/site", amount=2, key="b1")]
    said += await engine.batch(requests, atomic=True)
    usage = await engine.usage(None, customer="acme", period="last 3 days", group_by=["user", "big"], consistent=True)
    said += [
        [(line.group, line.credits, line.events, line.refused, line.quantities) for line in usage.lines],
        (await engine.usage_entries(usage, usage.lines[0])).entries,
        await engine.balance("acme"),
        await engine.balance("acme", as_of=START + timedelta(seconds=4)),
        await engine.grants("acme"),
        await engine.budgets("acme"),
        await engine.ledger("acme", limit=1_000),
        await engine.past_events("acme"),
        await engine.pools("acme"),
        await engine.costs("acme"),
        await engine.forecast("acme", period="last 3 days"),
    ]
    return said


async def test_an_engine_in_memory_answers_as_one_in_a_folder(tmp_path: Path) -> None:
    in_memory, in_a_folder = await everything(":memory:"), await everything(tmp_path / "folder")
    assert len(in_memory) > 25
    for answer, expected in zip(in_memory, in_a_folder, strict=True):
        assert answer == expected


async def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    for each in (here, temporary):
        each.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    async with Engine.open(":memory:") as engine:
        await spend(engine, 30)
        with pytest.raises(InsufficientCredits):
            await engine.debit("acme", 1, key="refused")
        assert sum((await by_user(engine)).values()) == 30
        (folder,) = temporary.iterdir()
        assert {"index.db", "usage.db", "refusals.db"} <= {each.name for each in folder.iterdir()}
        assert not (folder / "journal.db").exists()
    assert list(temporary.iterdir()) == []

    async def fail() -> None:
        async with Engine.open(":memory:", settings=Settings(usage="always")) as engine:
            await spend(engine, 3)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert list(temporary.iterdir()) == list(here.iterdir()) == []
    async with Engine.open(":memory:") as engine:
        assert (await engine.pools()).pools == ()


async def test_two_engines_at_once_know_nothing_of_each_other() -> None:
    async with Engine.open(":memory:") as one, Engine.open(":memory:") as other:
        await asyncio.gather(spend(one, 30), spend(other, 12))
        assert await by_user(one) == {"u0": 10, "u1": 10, "u2": 10}
        assert await by_user(other) == {"u0": 4, "u1": 4, "u2": 4}
        assert one.usage_pid != other.usage_pid
        await spend(other, 3, turn=1)
        assert (await other.balance("acme")).spent == sum((await by_user(other)).values()) == 15
        assert sum((await by_user(one)).values()) == 30


async def test_usage_is_made_again_while_debits_go_on() -> None:
    async with Engine.open(":memory:") as engine:
        await spend(engine, 60)
        before = await by_user(engine)
        assert sum(before.values()) == 60
        assert (await engine.rebuild_usage()).failure is None
        debits = asyncio.create_task(spend(engine, 30, turn=1))
        async with asyncio.timeout(DEADLINE_S):
            while (status := await engine.usage_status()).rebuilt is not None:
                await asyncio.sleep(0.01)
        await debits
        assert status.failure is None
        assert await by_user(engine) == {user: count + 10 for user, count in before.items()}


async def test_a_usage_process_that_is_killed_is_handed_everything_again() -> None:
    async with Engine.open(":memory:") as engine:
        await spend(engine, 30)
        assert sum((await by_user(engine)).values()) == 30
        killed = engine.usage_pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await spend(engine, 3, turn=1)
        assert sum((await by_user(engine)).values()) == 33
        assert engine.usage_pid != killed


async def test_a_folder_may_be_called_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Engine.open(Path(":memory:")) as engine:
        await spend(engine, 3)
    assert (tmp_path / ":memory:" / "journal.db").is_file()


async def test_an_engine_starts_again_on_a_journal_that_a_test_has_kept(tmp_path: Path) -> None:
    journal = MemoryJournal()
    async with on(journal, tmp_path) as engine:
        await spend(engine, 9)
        assert sum((await by_user(engine)).values()) == 9
    for cache in ("index.db", "snapshots.db"):
        (tmp_path / cache).unlink()
    async with on(journal, tmp_path) as engine:
        assert (await engine.debit("acme", 1, key="0-0", dimensions={"user": "u0"})).replayed
        await spend(engine, 6, turn=1)
        assert await by_user(engine) == {"u0": 5, "u1": 5, "u2": 5}
    assert verify(journal.reader(), tmp_path).problems == []
    lost = MemoryJournal(identity=journal.identity)
    await lost.append((await journal.read(0, 1))[0])
    with pytest.raises(JournalError, match="were acknowledged"):
        async with on(lost, tmp_path):
            pass


class WatchedJournal(MemoryJournal):
    """Knows who reads from it, and can be made to fail or to hang."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        """How many frames were asked for, each time."""
        self.reading = self.together = 0
        self.fails = False
        self.hangs = False
        self.hanging = asyncio.Event()

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        self.reads.append(limit)
        self.reading += 1
        self.together = max(self.together, self.reading)
        try:
            if self.fails:
                raise JournalError("the machine that has it is away")
            if self.hangs:
                self.hanging.set()
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return await super().read(after, limit)
        finally:
            self.reading -= 1


async def test_a_few_frames_at_a_time_are_handed_to_the_usage_process(tmp_path: Path) -> None:
    journal = WatchedJournal()
    async with on(journal, tmp_path) as engine:
        await spend(engine, 300)
        assert await journal.last_number() > 30 * FRAMES_PER_READ
        journal.reads.clear()
        assert sum((await by_user(engine)).values()) == 300
        assert len(journal.reads) > 30
        assert max(journal.reads) == FRAMES_PER_READ
        assert journal.together == 1


async def test_usage_waits_for_a_journal_that_cannot_be_read(tmp_path: Path) -> None:
    journal = WatchedJournal()
    async with on(journal, tmp_path, settings=Settings(usage_timeout_s=3.0)) as engine:
        await spend(engine, 9)
        assert sum((await patiently(engine)).values()) == 9
        journal.fails = True
        await spend(engine, 3, turn=1)
        with pytest.raises(Unavailable, match="the machine that has it is away"):
            await by_user(engine)
        journal.fails = False
        assert await patiently(engine) == {"u0": 4, "u1": 4, "u2": 4}


async def test_a_stop_does_not_wait_for_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = WatchedJournal()
    with caplog.at_level(logging.WARNING):
        async with on(journal, tmp_path, settings=Settings(usage="always")) as engine:
            await spend(engine, 3)
            journal.hangs = True
            await asyncio.wait_for(journal.hanging.wait(), DEADLINE_S)
            began = time.monotonic()
        # A process that has to be killed takes STOP_TIMEOUT_S.
        assert time.monotonic() - began < 4.0
    assert not [record for record in caplog.records if "usage" in record.getMessage()]
