"""The journal in a SQLite file: one row per frame, one statement per commit.

WAL with ``synchronous=FULL``: a commit returns after its pages were flushed to the disk. Nothing but the insert
of a frame is ever written, so the file cannot hold half of a commit. A process of its own writes (``sqlite_process``);
it also writes back the WAL, beside the commits (``checkpointer``). Reads use a connection in a thread and stay short:
an open read keeps the WAL from being reused.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio import CapacityLimiter

from solvent.engine.journal.frames import Frame, Head, Pointer, Section
from solvent.engine.journal.protocol import HISTORY_SECTIONS_MAX, WrongFrame, follow, sections_at
from solvent.engine.values.errors import JournalCorrupt, JournalError

from .checkpointer import Checkpointer
from .process import RemoteConnection, SqliteProcess
from .wal import check_log

"""In the folder of an engine."""
APPLICATION_ID: Final = 0x501C3D17
"""Marks the file as a Solvent journal (SQLite's ``application_id``)."""
SCHEMA_VERSION: Final = 1

DIFFERENCES_MAX: Final = 10

_SCHEMA: Final = """
create table if not exists frame (
    number integer primary key,
    at integer not null,
    crc integer not null,
    body blob not null
) strict;
create table if not exists identity (value text not null) strict;
insert into identity select lower(hex(randomblob(16))) where not exists (select 1 from identity);
"""
_FOREIGN_TABLES: Final = "select count(*) from sqlite_master where name not in ('frame', 'identity')"
_LAST: Final = "select coalesce(max(number), 0) from frame"
_INSERT: Final = "insert into frame (number, at, crc, body) values (?, ?, ?, ?)"


class SqliteJournal:
    """Fulfils ``Journal``. Open it with ``SqliteJournal.open``; the caller holds the directory's lock."""

    def __init__(
        self, path: Path, process: SqliteProcess, reader: sqlite3.Connection, *, identity: str, last: int
    ) -> None:
        self.identity: Final = identity
        self._path = path
        self._reader = reader
        self._reader_turn = CapacityLimiter(1)
        self._last = last
        self._use(process)

    def _use(self, process: SqliteProcess) -> None:
        self._process = process
        self._writer, beside = process.connections
        self._checkpointer = Checkpointer(self._path, self._writer, beside)

    @classmethod
    async def open(cls, path: Path) -> SqliteJournal:
        """Open or create the journal at ``path``.

        Raises ``JournalError`` for a file that is no journal, ``JournalCorrupt`` if commits in its log were damaged,
        ``JournalLocked`` if it is being written.
        """
        process = await _start(path)
        reader: sqlite3.Connection | None = None
        try:
            writer = process.connections[0]
            reader = connect_for_reading(path)
            last = await _number(writer, _LAST)
            identity = str(await _scalar(writer, "select value from identity"))
        except BaseException as error:
            if reader is not None:
                reader.close()
            await _stop(process)
            if isinstance(error, sqlite3.Error):
                raise JournalError(f"{path} cannot be opened: {error}") from error
            raise
        return cls(path, process, reader, identity=identity, last=last)

    @property
    def process_id(self) -> int:
        """Of the process that writes."""
        return self._process.pid

    async def append(self, frame: Frame) -> None:
        if frame.number != self._last + 1:
            raise WrongFrame(expected=frame.number - 1, found=self._last)
        try:
            await self._writer.execute(_INSERT, (frame.number, frame.at, frame.crc, frame.body))
        except sqlite3.IntegrityError:
            raise WrongFrame(expected=frame.number - 1, found=await self.last_number()) from None
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: frame {frame.number} could not be written: {error}") from error
        self._last = frame.number
        self._checkpointer.wrote(len(frame.body))

    async def write_back(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._checkpointer.run)
            await self._writer.wait_for_end()
            raise JournalError(f"{self._path}: the process that writes it ended")

    async def last_number(self) -> int:
        if not self._process.is_whole:
            await self._process.aclose()
            self._use(await _start(self._path))
        try:
            self._last = await _number(self._writer, _LAST)
        except sqlite3.Error as error:
            raise JournalError(f"{self._path} cannot be read: {error}") from error
        return self._last

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        return await anyio.to_thread.run_sync(read_frames, self._reader, after, limit, limiter=self._reader_turn)

    async def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        return await anyio.to_thread.run_sync(walk_back, self._reader, pool, head, down_to, limiter=self._reader_turn)

    async def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        return await anyio.to_thread.run_sync(_read_sections, self._reader, pointers, limiter=self._reader_turn)

    async def aclose(self) -> None:
        # The writer is the last that can write back the WAL, and does so if nobody else has the file open.
        self._reader.close()
        await self._process.aclose()


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for use by one thread at a time."""
    # Where nothing can be written, SQLite needs to be told that nobody else writes either, or it wants a log to read.
    log = path.with_name(f"{path.name}-wal")
    sealed = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
    address = f"{path.absolute().as_uri()}?{'immutable=1' if sealed else 'mode=ro'}"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False)
    connection.execute("pragma query_only = on")
    return connection


def differences(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with the structure of a file, beside what our own checksums cover."""
    try:
        rows = connection.execute(f"pragma integrity_check({DIFFERENCES_MAX})").fetchall()
    except sqlite3.Error as error:
        return [str(error)]
    return [] if rows == [("ok",)] else [" ".join(str(row[0]).split()) for row in rows]


def read_frames(connection: sqlite3.Connection, after: int, limit: int) -> Sequence[Frame]:
    """At most ``limit`` frames above ``after``, in order. Raises ``JournalCorrupt`` for a gap."""
    try:
        rows = connection.execute(
            "select number, at, crc, body from frame where number > ? order by number limit ?", (after, limit)
        ).fetchall()
    except sqlite3.Error as error:
        raise JournalCorrupt(f"the journal cannot be read: {error}", frame=after + 1) from error
    frames = [Frame(number, at, body, crc) for number, at, crc, body in rows]
    for expected, frame in enumerate(frames, after + 1):
        if frame.number != expected:
            raise JournalCorrupt("the frame is missing", frame=expected)
    return frames


def walk_back(connection: sqlite3.Connection, pool: str, head: Head, down_to: int) -> Sequence[Section]:
    """``Journal.history`` in the calling thread."""
    sections: list[Section] = []
    while head.version >= max(down_to, 1) and len(sections) < HISTORY_SECTIONS_MAX:
        section, head = follow(pool, head, _read_body(connection, head.pointer, pool=pool))
        sections.append(section)
    sections.reverse()
    return sections


def _read_sections(connection: sqlite3.Connection, pointers: Sequence[Pointer]) -> Sequence[Section]:
    return sections_at(pointers, lambda number: _read_frame(connection, number))


def _read_frame(connection: sqlite3.Connection, number: int) -> Frame:
    frames = read_frames(connection, number - 1, 1)
    if not frames:
        raise JournalCorrupt("the frame is missing", frame=number)
    return frames[0]


def _read_body(connection: sqlite3.Connection, pointer: Pointer, *, pool: str | None) -> bytes:
    try:
        row = connection.execute(
            "select substr(body, ?, ?) from frame where number = ?",
            (pointer.offset + 1, pointer.length, pointer.frame),
        ).fetchone()
    except sqlite3.Error as error:
        raise JournalCorrupt(f"the journal cannot be read: {error}", frame=pointer.frame, pool=pool) from error
    if row is None:
        raise JournalCorrupt("the frame is missing", frame=pointer.frame, pool=pool)
    return bytes(row[0])


async def _start(path: Path) -> SqliteProcess:
    """A process that can write the file at ``path``, which is a journal then. Raises as ``SqliteJournal.open``."""
    process = await SqliteProcess.start(path, connections=2)
    try:
        # Now that nobody writes it.
        await anyio.to_thread.run_sync(check_log, path)
        writer, beside = process.connections
        await _prepare(path, writer)
        await Checkpointer.prepare(writer, beside)
    except BaseException as error:
        await _stop(process)
        if isinstance(error, sqlite3.Error):
            raise JournalError(f"{path} cannot be opened: {error}") from error
        raise
    return process


async def _stop(process: SqliteProcess) -> None:
    with anyio.CancelScope(shield=True):
        await process.aclose()


async def _prepare(path: Path, writer: RemoteConnection) -> None:
    application = await _number(writer, "pragma application_id")
    if application not in (0, APPLICATION_ID):
        raise JournalError(f"{path} is a SQLite file of another application")
    if not application and await _number(writer, _FOREIGN_TABLES):
        # Most applications set no id. Ours alone may be there without one: a creation that was cut short.
        raise JournalError(f"{path} is a SQLite file of another application")
    version = await _number(writer, "pragma user_version")
    if version > SCHEMA_VERSION:
        raise JournalError(f"{path} was written by a newer version of Solvent (schema {version})")
    await writer.execute("pragma journal_mode = wal")
    await writer.execute("pragma synchronous = full")
    # macOS answers fsync before the disk has written; this asks for the real thing there and is free elsewhere.
    await writer.execute("pragma fullfsync = on")
    await writer.execute("pragma checkpoint_fullfsync = on")
    if not version:
        await writer.execute_script(_SCHEMA)
        await writer.execute(f"pragma application_id = {APPLICATION_ID}")
        await writer.execute(f"pragma user_version = {SCHEMA_VERSION}")
        # So that the file itself, whatever becomes of its log, says which journal it is.
        await writer.execute("pragma wal_checkpoint(truncate)")


async def _scalar(connection: RemoteConnection, statement: str) -> object:
    rows = await connection.execute(statement)
    if not rows:
        raise JournalError(f"nothing answers {statement!r}: the file is damaged")
    return rows[0][0]


async def _number(connection: RemoteConnection, statement: str) -> int:
    value = await _scalar(connection, statement)
    if not isinstance(value, int):
        raise JournalError(f"{statement!r} is answered with {value!r}: the file is damaged")
    return value
