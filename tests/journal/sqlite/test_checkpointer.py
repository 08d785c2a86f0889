"""The log of the journal is written back beside the commits."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from solvent.engine.journal.frames import Frame
from solvent.engine.journal.sqlite.checkpointer import LOG_PAGES_MAX, PAGE_BYTES
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.runtime.files import JOURNAL_NAME

FRAME_BYTES = 100_000
FRAMES = 400


def _log_size(path: Path) -> int:
    return path.with_name(f"{JOURNAL_NAME}-wal").stat().st_size


async def _append(journal: SqliteJournal, path: Path, first: int, last: int) -> int:
    """Returns the largest size that the log had."""
    largest = 0
    for number in range(first, last + 1):
        await journal.append(Frame.seal(number, number, os.urandom(FRAME_BYTES)))
        largest = max(largest, _log_size(path))
    return largest


async def test_the_log_stays_short_while_commits_go_on(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_NAME
    journal = await SqliteJournal.open(path)
    writing_back = asyncio.create_task(journal.write_back())
    largest = await _append(journal, path, 1, FRAMES)
    assert 2 * largest < FRAMES * FRAME_BYTES, "the log held nearly all: it never began anew"
    assert path.stat().st_size > FRAMES * FRAME_BYTES / 2, "hardly anything was written back"
    writing_back.cancel()
    with suppress(asyncio.CancelledError):
        await writing_back
    await journal.aclose()
    reader = SqliteReader(path)
    frames = reader.frames(0, FRAMES + 1)
    reader.close()
    assert len(frames) == FRAMES
    assert all(frame.is_intact() for frame in frames)


async def test_the_log_is_bounded_when_nobody_writes_it_back(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_NAME
    journal = await SqliteJournal.open(path)
    frames = 2 * LOG_PAGES_MAX * PAGE_BYTES // FRAME_BYTES
    largest = await _append(journal, path, 1, frames)
    assert largest < 1.2 * LOG_PAGES_MAX * PAGE_BYTES
    await journal.aclose()


async def test_a_log_that_cannot_be_written_back_is_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / JOURNAL_NAME
    journal = await SqliteJournal.open(path)
    failing = True

    beside = journal._process.connections[1]
    execute = beside.execute

    async def execute_or_fail(statement: str) -> list[tuple[object, ...]]:
        if failing:
            raise sqlite3.OperationalError("database or disk is full")
        return await execute(statement)

    monkeypatch.setattr(beside, "execute", execute_or_fail)
    monkeypatch.setattr("solvent.engine.journal.sqlite.checkpointer.RETRY_INTERVAL_S", 0.01)
    writing_back = asyncio.create_task(journal.write_back())
    await _append(journal, path, 1, 100)
    size = path.stat().st_size
    assert "could not be written back" in caplog.text
    failing = False
    async with asyncio.timeout(20):
        while path.stat().st_size < size + 50 * FRAME_BYTES:
            await asyncio.sleep(0.01)
    writing_back.cancel()
    with suppress(asyncio.CancelledError):
        await writing_back
    await journal.aclose()
