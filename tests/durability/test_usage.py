"""Usage is a projection: whatever happens to its file or its process, it says again what the ledger says."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import psutil
import pytest

from solvent import Engine, InsufficientCredits, Usage
from solvent.engine.audit.losses import accept_loss
from solvent.engine.audit.verify import verify_journal
from solvent.engine.runtime.files import REBUILT_NAME, USAGE_NAME
from solvent.engine.values.errors import JournalShorter

SCRIPT = Path(__file__).with_name("debit_until_killed.py")
DEADLINE_S = 20.0


async def fill(engine: Engine, *, turn: int = 0, count: int = 300) -> None:
    await engine.grant("acme", 100_000, key=f"g{turn}")
    await asyncio.gather(
        *(
            engine.debit("acme", number % 7 + 1, key=f"{turn}-{number}", dimensions={"user": f"u{number % 5}"})
            for number in range(count)
        )
    )
    with suppress(InsufficientCredits):
        await engine.debit("acme", 10**9, key="refused", dimensions={"user": "u0"})


async def asked(engine: Engine) -> Usage:
    return await engine.usage("acme", period="today", group_by=["user"], consistent=True)


async def check(engine: Engine, *, refused: int = 1) -> Usage:
    """The usage, after a look at whether it is what the ledger says."""
    usage = await asked(engine)
    assert usage.total.credits == (await engine.balance("acme")).spent > 0
    by_user: dict[object, Decimal] = {}
    cursor: str | None = None
    while True:
        page = await engine.ledger("acme", limit=1_000, cursor=cursor)
        for entry in page.entries:
            if entry.kind == "debit":
                by_user[entry.dimensions["user"]] = by_user.get(entry.dimensions["user"], Decimal(0)) + entry.amount
        cursor = page.next_cursor
        if cursor is None:
            break
    assert {line.group["user"]: line.credits for line in usage.lines} == by_user
    assert usage.total.refused == refused
    return usage


def flip(path: Path, dice: Random) -> None:
    """Change bytes all over the file."""
    content = bytearray(path.read_bytes())
    for _ in range(200):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["lost", "empty", "cut", "garbage", "flipped", "header", "another journal's"])
async def test_a_file_that_is_lost_or_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "journal"
    async with Engine.open(directory) as engine:
        await fill(engine)
        before = await check(engine)
    path = directory / USAGE_NAME
    assert path.exists()
    match damage:
        case "lost":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "garbage":
            path.write_bytes(b"this is no database" * 10_000)
        case "flipped":
            flip(path, Random(1))
        case "header":
            path.write_bytes(b"\0" * 4_096 + path.read_bytes()[4_096:])
        case _:
            async with Engine.open(tmp_path / "other") as other:
                await other.grant("acme", 5, key="g")
                await other.debit("acme", 5, key="d")
                await asked(other)
            shutil.copy(tmp_path / "other" / USAGE_NAME, path)
    async with Engine.open(directory) as engine:
        assert (await engine.debit("acme", 1, key="after", dimensions={"user": "u9"})).amount == 1
        after = await check(engine)
        assert after.total.credits == before.total.credits + 1


@pytest.mark.parametrize("has_headers", [False, True])
async def test_a_file_that_was_only_begun_is_no_problem(tmp_path: Path, has_headers: bool) -> None:
    """As a process leaves it that was ended while it made it: nothing is lost, and nothing is to be mended."""
    async with Engine.open(tmp_path) as engine:
        await fill(engine)
    path = tmp_path / USAGE_NAME
    if has_headers:
        duckdb.connect(str(path)).close()
    else:
        path.touch()
    assert path.exists()
    assert verify_journal(tmp_path).problems == []
    async with Engine.open(tmp_path) as engine:
        await check(engine)
    assert verify_journal(tmp_path).problems == []


async def test_a_file_of_a_journal_that_was_set_back_is_made_again_once_that_is_accepted(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    async with Engine.open(directory) as engine:
        await fill(engine, count=20)
    shutil.copytree(directory, tmp_path / "backup")
    async with Engine.open(directory) as engine:
        await fill(engine, turn=1)
        await check(engine, refused=2)
    # The journal and its indexes come from the backup, the usage file does not.
    for name in ("journal.db", "index.db", "snapshots.db"):
        shutil.copy(tmp_path / "backup" / name, directory / name)
    with pytest.raises(JournalShorter) as refused:
        async with Engine.open(directory):
            pass
    accept_loss(directory, last_frame=refused.value.last)
    async with Engine.open(directory) as engine:
        await check(engine, refused=2)


async def test_when_its_process_is_killed_debits_go_on_and_the_next_answer_is_right(tmp_path: Path) -> None:
    struck = 0
    async with Engine.open(tmp_path) as engine:
        await fill(engine)
        await check(engine)
        for turn in range(8):
            process = engine.usage_pid
            assert process is not None
            question = asyncio.create_task(asked(engine))
            await asyncio.sleep(0.001 * turn)
            os.kill(process, signal.SIGKILL)
            struck += not question.done()
            await engine.debit("acme", 1, key=f"k{turn}", dimensions={"user": "u1"})
            assert (await question).total.refused == 1
            await check(engine)
            assert engine.usage_pid not in (None, process)
    assert struck > 0, "no kill came between a question and its answer"


@pytest.mark.slow
async def test_after_a_kill_of_the_engine_its_process_ends_and_the_next_is_right(tmp_path: Path) -> None:
    for run in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), str(tmp_path), f"run-{run}", "always", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        reading = asyncio.create_task(process.stdout.read())
        await asyncio.sleep(0.6 + 0.3 * run)
        children = psutil.Process(process.pid).children()
        assert children, "there was no usage process to be left alone"
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await reading
        async with Engine.open(tmp_path) as engine:
            usage = await engine.usage(period="today", group_by=["$customer"], consistent=True)
            spent = {pool.pool: pool.spent for pool in (await engine.pools(limit=1_000)).pools}
            assert usage.total.credits == sum(spent.values()) > 0
        async with asyncio.timeout(DEADLINE_S):
            while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
                await asyncio.sleep(0.05)


async def test_it_is_made_again_while_debits_and_questions_go_on(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        for turn in range(20):
            await fill(engine, turn=turn, count=3_000)
        await check(engine, refused=20)
        (tmp_path / REBUILT_NAME).write_bytes(b"left over from another time")
        await engine.rebuild_usage()
        turns = 0
        while (await engine.usage_status()).rebuilt is not None:
            await engine.debit("acme", 1, key=f"r{turns}", dimensions={"user": "u2"})
            await asked(engine)
            turns += 1
        await check(engine, refused=20)
        # A kill in the middle leaves the old file.
        await engine.rebuild_usage()
        assert engine.usage_pid is not None
        os.kill(engine.usage_pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        await check(engine, refused=20)
    assert turns > 0, "it was made before anything else could be done"


def names_with_columns(directory: Path) -> set[str]:
    with duckdb.connect(str(directory / USAGE_NAME), read_only=True) as db:
        columns = {name for (name,) in db.execute("select column_name from duckdb_columns()").fetchall()}
        dimensions = db.execute("select number, name from dimension").fetchall()
    return {name for number, name in dimensions if f"c{number}" in columns}


async def test_made_again_it_has_columns_for_the_dimensions_that_are_used_most(tmp_path: Path) -> None:
    """Those of a trial that came first give way, and every answer stays what it was."""

    async def answers(engine: Engine) -> list[Any]:
        questions = [["late"], ["trial-7", "late"], ["trial-31"]]
        return [
            (await engine.usage("acme", period="2020..2090", group_by=by, consistent=True)).records()
            for by in questions
        ]

    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", 1_000, key="g")
        await engine.debit("acme", 1, key="trial", dimensions={f"trial-{number}": "x" for number in range(32)})
        await answers(engine)
        for number in range(20):
            await engine.debit("acme", 1, key=f"{number}", dimensions={"late": f"u{number % 3}", "trial-7": "y"})
        before = await answers(engine)
    assert [line["late"] for line in before[0]] == ["u0", "u1", "u2", None]
    assert names_with_columns(tmp_path) == {f"trial-{number}" for number in range(32)}
    async with Engine.open(tmp_path) as engine:
        await engine.rebuild_usage()
        async with asyncio.timeout(DEADLINE_S):
            while (await engine.usage_status()).rebuilt is not None:
                await asyncio.sleep(0.05)
        assert await answers(engine) == before
    found = names_with_columns(tmp_path)
    assert len(found) == 32
    assert found > {"late", "trial-7"}


async def test_an_old_journal_is_read_from_its_beginning(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        for turn in range(5):
            await fill(engine, turn=turn)
        assert not (tmp_path / USAGE_NAME).exists(), "nobody asked"
        await check(engine, refused=5)
