"""Caches are caches, a failed commit is no answer, and a journal has one writer."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import Engine
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.settings import Settings
from solvent.engine.values.errors import (
    InvalidRequest,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    SolventError,
    StateConflict,
    Unavailable,
)

POOLS = 5
DEBITS = 300


async def fill(directory: Path, *, run: str = "a") -> None:
    async with Engine.open(directory) as engine:
        for pool in range(POOLS):
            await engine.grant(f"p{pool}", 1_000, key=f"g-{run}")
        await asyncio.gather(*(engine.debit(f"p{each % POOLS}", 1, key=f"{run}-{each}") for each in range(DEBITS)))


async def check(directory: Path, *, runs: int = 1) -> None:
    async with Engine.open(directory) as engine:
        for pool in range(POOLS):
            assert (await engine.balance(f"p{pool}")).spent == runs * DEBITS // POOLS
        again = await engine.debit("p3", 1, key="a-3")
        assert again.replayed
        page = await engine.ledger("p0", limit=1_000, newest_first=False)
        assert [entry.version for entry in page.entries] == list(range(1, page.version + 1))
    proof = verify_journal(directory)
    assert proof.problems == []
    assert proof.debits == runs * DEBITS


@pytest.mark.parametrize("lost", ["snapshots.db", "index.db", "both"])
async def test_caches_can_be_deleted(tmp_path: Path, lost: str) -> None:
    await fill(tmp_path)
    for name in ("snapshots.db", "index.db") if lost == "both" else (lost,):
        for file in tmp_path.glob(f"{name}*"):
            file.unlink()
    await check(tmp_path)


@pytest.mark.parametrize("old", ["snapshots.db", "index.db"])
async def test_a_cache_from_an_earlier_day_is_caught_up(tmp_path: Path, old: str) -> None:
    await fill(tmp_path)
    kept = tmp_path / "kept"
    shutil.copy(tmp_path / old, kept)
    await fill(tmp_path, run="b")
    shutil.move(kept, tmp_path / old)
    await check(tmp_path, runs=2)


@pytest.mark.parametrize("damaged", ["snapshots.db", "index.db"])
async def test_a_damaged_cache_is_made_anew_with_a_warning(
    tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(tmp_path)
    (tmp_path / damaged).write_bytes(b"this is no database" * 1_000)
    with caplog.at_level(logging.WARNING):
        await check(tmp_path)
    assert "rebuilt" in caplog.text


async def test_caches_of_another_journal_are_not_believed(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    await fill(mine)
    await fill(other)
    await fill(other, run="b")
    for name in ("snapshots.db", "index.db"):
        shutil.copy(other / name, mine / name)
    await check(mine)


async def test_a_full_disk_is_a_typed_error_and_the_engine_comes_back(tmp_path: Path) -> None:
    async with Engine.open(tmp_path, settings=Settings(timeout_s=3.0)) as engine:
        await engine.grant("acme", 1_000_000, key="g")
        journal = engine.live.services.partition.journal
        assert isinstance(journal, SqliteJournal)
        # SQLite's own bound makes its next page fail exactly as a full disk does.
        ((pages,),) = await journal._writer.execute("pragma page_count")
        await journal._writer.execute(f"pragma max_page_count = {pages}")
        outcomes: list[object] = []
        for round_number in range(20):
            outcomes += await asyncio.gather(
                *(
                    engine.debit("acme", 1, key=f"{round_number}-{each}", dimensions={"d": "x" * 900})
                    for each in range(50)
                ),
                return_exceptions=True,
            )
            if any(isinstance(each, Exception) for each in outcomes):
                break
        failed = [each for each in outcomes if isinstance(each, Exception)]
        assert failed
        assert all(isinstance(each, Unavailable) for each in failed), failed
        acknowledged = len(outcomes) - len(failed)

        await journal._writer.execute("pragma max_page_count = 1073741823")
        async with asyncio.timeout(20):
            while True:
                try:
                    balance = await engine.balance("acme")
                    break
                except SolventError:
                    await asyncio.sleep(0.05)
        assert balance.spent >= acknowledged
        retried = await asyncio.gather(
            *(
                engine.debit("acme", 1, key=f"{number // 50}-{number % 50}", dimensions={"d": "x" * 900})
                for number in range(len(outcomes))
            )
        )
        assert len({receipt.id for receipt in retried}) == len(outcomes)
        assert (await engine.balance("acme")).spent == len(outcomes)
    assert verify_journal(tmp_path).problems == []


async def test_the_process_that_writes_is_killed_under_load_and_the_engine_goes_on(tmp_path: Path) -> None:
    """Whoever was told that a debit is done finds it; whoever was not asks again with the same key."""
    callers, kills, failures = 32, 6, 0
    receipts: dict[str, str] = {}
    stopping = asyncio.Event()

    async def call(engine: Engine, caller: int) -> None:
        nonlocal failures
        number = 0
        while True:
            key = f"{caller}-{number}"
            try:
                receipt = await engine.debit("acme", 1, key=key)
            except Unavailable:
                failures += 1
                await asyncio.sleep(0.01)
                continue
            receipts[key] = receipt.id
            number += 1
            if stopping.is_set():
                return

    def writing_process(engine: Engine) -> int:
        journal = engine.live.services.partition.journal
        assert isinstance(journal, SqliteJournal)
        return journal.process_id

    async with Engine.open(tmp_path, settings=Settings(timeout_s=5.0)) as engine:
        await engine.grant("acme", 1_000_000, key="g")
        async with asyncio.TaskGroup() as tasks:
            for caller in range(callers):
                tasks.create_task(call(engine, caller))
            for kill in range(kills):
                done, process = len(receipts), writing_process(engine)
                async with asyncio.timeout(20):
                    while len(receipts) < done + 200:
                        await asyncio.sleep(0.003 * (kill + 1))
                os.kill(process, signal.SIGKILL)
                async with asyncio.timeout(20):
                    while writing_process(engine) == process:
                        await asyncio.sleep(0.005)
            stopping.set()
        assert failures > 0, "no kill met a debit"
        assert (await engine.balance("acme")).spent == len(receipts)
        some = list(receipts)[:: max(1, len(receipts) // 200)]
        for key in some:
            again = await engine.debit("acme", 1, key=key)
            assert (again.id, again.replayed) == (receipts[key], True)
        last = writing_process(engine)
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    proof = await asyncio.to_thread(verify_journal, tmp_path)
    assert proof.problems == []
    assert proof.debits == len(receipts)


async def test_a_journal_directory_is_opened_by_one_process_only(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from solvent.engine.engine import Engine\n"
        "from solvent.engine.values.errors import JournalLocked\n"
        "async def main():\n"
        "    try:\n"
        "        async with Engine.open(sys.argv[1]): print('opened')\n"
        "    except JournalLocked as locked: print(locked.holder_pid, locked)\n"
        "asyncio.run(main())\n"
    )
    async with Engine.open(tmp_path):
        with pytest.raises(JournalLocked):
            async with Engine.open(tmp_path):
                pass
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert "a journal has one writer" in done.stdout
    async with Engine.open(tmp_path):
        pass


async def test_a_damaged_section_stops_its_pool_and_no_other(tmp_path: Path) -> None:
    await fill(tmp_path)
    for file in tmp_path.glob("snapshots.db*"):
        file.unlink()
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    frames = await journal.read(0, 1_000)
    victim = next(frame for frame in frames if b"default@p2:credits" in frame.body)
    place = victim.body.index(b"default@p2:credits")
    changed = victim.body[:place] + b"default@pX:credits" + victim.body[place + 18 :]
    await journal._writer.execute("update frame set body = ? where number = ?", (changed, victim.number))
    await journal.aclose()

    proof = verify_journal(tmp_path)
    assert any(f"frame {victim.number}" in problem for problem in proof.problems)
    async with Engine.open(tmp_path) as engine:
        assert (await engine.balance("p1")).spent == DEBITS // POOLS
        with pytest.raises(JournalCorrupt) as corrupt:
            await engine.balance("p2")
        assert (corrupt.value.frame, corrupt.value.pool) == (victim.number, "default@p2:credits")


async def test_a_currency_cannot_change_its_decimal_places(tmp_path: Path) -> None:
    async with Engine.open(tmp_path, currencies={"tokens": 0}) as engine:
        await engine.grant("acme:tokens", 5, key="g")
    async with Engine.open(tmp_path, currencies={"tokens": 2}) as engine:
        with pytest.raises(StateConflict) as conflict:
            await engine.debit("acme:tokens", "0.25", key="k")
        assert conflict.value.reason == "currency_scale"


@pytest.mark.parametrize("scale", [-1, 10, 1.5, True, "6"])
async def test_a_scale_out_of_range_is_refused(tmp_path: Path, scale: object) -> None:
    with pytest.raises(InvalidRequest):
        async with Engine.open(tmp_path, currencies={"tokens": scale}):  # type: ignore[dict-item]
            pass


async def test_a_directory_that_cannot_be_used_is_a_journal_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError):
        async with Engine.open(tmp_path / "file"):
            pass


async def test_the_clock_of_a_pool_never_runs_backwards(tmp_path: Path) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    moments = [now, now + timedelta(hours=1), now - timedelta(days=1), now]
    clock = iter(moments)
    current = [next(clock)]
    async with Engine.open(tmp_path, now_us=lambda: int(current[0].timestamp() * 1_000_000)) as engine:
        await engine.grant("acme", 10, key="g")
        recorded = []
        for number, moment in enumerate(clock):
            current[0] = moment
            recorded.append((await engine.debit("acme", 1, key=f"k{number}")).recorded_at)
    assert recorded == sorted(recorded)
    assert recorded[0] == recorded[1] == recorded[2] == now + timedelta(hours=1)
    assert verify_journal(tmp_path).problems == []


async def test_a_caller_that_goes_away_finds_its_receipt_by_key(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", 10, key="g")
        asking = asyncio.create_task(engine.debit("acme", 1, key="k"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        receipt = await engine.debit("acme", 1, key="k")
        assert receipt.amount == 1
        assert (await engine.balance("acme")).spent == Decimal(1)


async def test_a_stop_saves_the_filters_in_the_turn_of_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file takes one transaction at a time, and another round may be due when the last one ends."""

    async def leave(*, step: int) -> bool:
        return False

    async with Engine.open(tmp_path) as engine:
        partition = engine.live.services.partition
        with monkeypatch.context() as patch:
            patch.setattr(partition.index.segments, "merge", leave)
            for number in range(16):
                await engine.grant("acme", 1, key=f"g{number}")
                await partition.projector.round(partition.store)
        # Each has eight segments to merge.
        await asyncio.gather(partition.settle(), partition.projector.round(partition.store))
    assert (await asyncio.to_thread(verify_journal, tmp_path)).problems == []
    async with Engine.open(tmp_path) as engine:
        assert [(await engine.grant("acme", 1, key=f"g{number}")).replayed for number in range(16)] == [True] * 16
