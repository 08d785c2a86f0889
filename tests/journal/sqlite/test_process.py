"""The process that writes a SQLite file: real processes, real files, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from solvent.engine.journal.sqlite import process as sqlite_process
from solvent.engine.journal.sqlite import worker as sqlite_worker
from solvent.engine.journal.sqlite.process import ProcessEnded, SqliteProcess
from solvent.engine.journal.sqlite.worker import acquire
from solvent.engine.values.errors import JournalError, JournalLocked

OWNER = """
import asyncio, sys
from pathlib import Path
from solvent.engine.journal.sqlite.process import SqliteProcess

async def main():
    process = await SqliteProcess.start(Path(sys.argv[1]), connections=2)
    writer = process.connections[0]
    await writer.execute("pragma journal_mode = wal")
    await writer.execute("create table if not exists t (a)")
    # More statements than can be done before it is killed: none is waited for.
    asks = [asyncio.ensure_future(writer.execute("insert into t values (?)", (n,))) for n in range(30_000)]
    await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
    print("going on", flush=True)
    await asyncio.wait(asks)

asyncio.run(main())
"""


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[SqliteProcess]:
    started = await SqliteProcess.start(tmp_path / "x.db", connections=2)
    yield started
    await started.aclose()


def kill_an_owner(path: Path, *, after_s: float) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "going on\n"
        time.sleep(after_s)
        owner.kill()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_rows_come_back_as_they_went_in(process: SqliteProcess) -> None:
    writer, beside = process.connections
    await writer.execute_script("pragma journal_mode = wal; create table t (a, b, c, d);")
    rows = [
        (-(2**63), "é\0ü", b"\0\xff", None),
        (2**63 - 1, "", b"", 0.5),
        (1, "x" * 3_000_000, os.urandom(5_000_000), 1),
    ]
    for row in rows:
        assert await writer.execute("insert into t values (?, ?, ?, ?)", row) == []
    assert await beside.execute("select * from t order by rowid") == rows
    await beside.flush()


async def test_statements_are_done_in_the_order_in_which_they_were_given(process: SqliteProcess) -> None:
    writer, _ = process.connections
    await writer.execute("create table t (a)")
    asks = [asyncio.ensure_future(writer.execute("insert into t values (?)", (number,))) for number in range(500)]
    await asyncio.sleep(0)
    for ask in asks[100:200]:
        ask.cancel()
    done = await asyncio.gather(*asks, return_exceptions=True)
    assert sum(isinstance(each, asyncio.CancelledError) for each in done) == 100
    # One that is cancelled is done all the same, and the answers of the others are theirs.
    assert await writer.execute("select a from t order by rowid") == [(number,) for number in range(500)]
    assert await writer.execute("select ?", (7,)) == [(7,)]


async def test_errors_are_those_of_sqlite_and_the_next_statement_is_done(process: SqliteProcess) -> None:
    writer, _ = process.connections
    await writer.execute("create table t (a primary key)")
    await writer.execute("insert into t values (1)")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE") as refused:
        await writer.execute("insert into t values (1)")
    assert refused.value.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        await writer.execute("nonsense")
    with pytest.raises(sqlite3.Error, match="OverflowError"):
        await writer.execute("select ?", (2**64,))
    assert await writer.execute("select a from t") == [(1,)]


async def test_a_killed_process_fails_whoever_waits_and_whoever_comes(tmp_path: Path) -> None:
    process = await SqliteProcess.start(tmp_path / "x.db", connections=2)
    writer, beside = process.connections
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    waiting = [asyncio.ensure_future(each.execute(endless)) for each in (writer, writer, beside)]
    await asyncio.sleep(0.05)
    usable = process.is_whole
    assert usable
    os.kill(process.pid, signal.SIGKILL)
    for each in waiting:
        with pytest.raises(ProcessEnded):
            await each
    await asyncio.wait_for(writer.wait_for_end(), 5)
    assert not process.is_whole
    with pytest.raises(ProcessEnded):
        await writer.execute("select 1")
    await process.aclose()
    assert not is_running(process.pid)


async def test_signals_that_are_meant_for_the_engine_do_not_end_it(process: SqliteProcess) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, each)
    assert await process.connections[0].execute("select 1") == [(1,)]
    assert os.getpgid(process.pid) != os.getpgid(0), "a Ctrl-C at the terminal reaches it while it starts"


async def test_only_one_process_writes_a_file_and_the_next_begins_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await SqliteProcess.start(tmp_path / "x.db", connections=1)
    monkeypatch.setattr(sqlite_process, "LOCK_WAIT_S", 0.1)
    with pytest.raises(JournalLocked):
        await SqliteProcess.start(tmp_path / "x.db", connections=2)
    monkeypatch.setattr(sqlite_process, "LOCK_WAIT_S", 20.0)
    second = asyncio.ensure_future(SqliteProcess.start(tmp_path / "x.db", connections=1))
    await asyncio.sleep(0.2)
    assert not second.done()
    await first.aclose()
    await (await second).aclose()


@pytest.mark.parametrize("kills", range(3))
async def test_when_its_owner_is_killed_it_ends_and_the_next_one_has_the_file(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "x.db"
    kill_an_owner(path, after_s=0.02 * kills)
    next_one = await SqliteProcess.start(path, connections=1)
    rows = await next_one.connections[0].execute("select a from t order by rowid")
    assert rows == [(number,) for number in range(len(rows))]
    assert 0 < len(rows) < 30_000
    await next_one.aclose()


async def test_one_that_cannot_start_is_a_journal_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JournalError, match="No such file"):
        await SqliteProcess.start(tmp_path / "missing" / "x.db", connections=2)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(JournalError, match="does not start"):
        await SqliteProcess.start(tmp_path / "x.db", connections=2)
    monkeypatch.undo()
    monkeypatch.setattr(sqlite_process, "_WORKER", tmp_path / "no-worker.py")
    with pytest.raises(JournalError, match="ended"):
        await SqliteProcess.start(tmp_path / "x.db", connections=2)


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    first = await SqliteProcess.start(tmp_path / "x.db", connections=1)
    second = asyncio.ensure_future(SqliteProcess.start(tmp_path / "x.db", connections=2))
    await asyncio.sleep(0.2)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await first.aclose()
    third = await SqliteProcess.start(tmp_path / "x.db", connections=1)
    await third.aclose()


def test_the_lock_is_held_until_the_process_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    holder = (
        f"from solvent.engine.journal.sqlite.worker import acquire; print(acquire({path!r}, 0), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "None\n"
        failure = acquire(path, 0.05)
        assert failure is not None
        assert failure[0] == sqlite_worker.LOCKED
        process.kill()
        process.wait(timeout=10)
        assert acquire(path, 10) is None
