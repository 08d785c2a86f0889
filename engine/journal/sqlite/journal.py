"""The journal in a SQLite file: one row per frame, one statement per commit.

WAL with ``synchronous=FULL``: a commit returns after its pages were flushed to the disk. Nothing but the insert of a
frame is ever written, so the file cannot hold half of a commit. A separate process writes (``process``). It also writes
back the WAL, next to the commits (``checkpointer``). Reads use a ``SqliteReader`` in a thread and stay short, because
an open read prevents reuse of the WAL.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio import CapacityLimiter

from solvent.engine.journal.frames import Frame, Head, Pointer, Section
from solvent.engine.journal.protocol import WrongFrame
from solvent.engine.runtime.files import END_NAME, JOURNAL_FORMAT
from solvent.engine.runtime.sqlite import is_passing
from solvent.engine.values.errors import JournalCorrupt, JournalError, JournalShorter, NewerFormat

from .checkpointer import Checkpointer
from .end import end_of, line_of, read_ends, write_end
from .process import RemoteConnection, SqliteProcess
from .reader import SqliteReader
from .wal import check_log

APPLICATION_ID: Final = 0x501C3D17
"""Marks the file as a Solvent journal (SQLite's ``application_id``)."""

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
_HEADER_BYTES: Final = 100
_USER_VERSION: Final = slice(60, 64)
_APPLICATION_ID: Final = slice(68, 72)
"""Where SQLite keeps these in the header of a file (SQLite, "Database File Format", section 1.3)."""
_FOREIGN_TABLES: Final = "select count(*) from sqlite_master where name not in ('frame', 'identity')"
_LAST: Final = "select coalesce(max(number), 0) from frame"
_INSERT: Final = "insert into frame (number, at, crc, body) values (?, ?, ?, ?)"

log = logging.getLogger(__name__)


class SqliteJournal:
    """A ``Journal`` in a SQLite file. Open it with ``SqliteJournal.open``, holding the lock of the directory."""

    def __init__(self, path: Path, process: SqliteProcess, reader: SqliteReader, *, identity: str, last: int) -> None:
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

        Raises ``JournalError`` for a file that is no journal, ``NewerFormat`` for one of a newer Solvent,
        ``JournalCorrupt`` if commits in its log were damaged, ``JournalShorter`` if it ends before the last frame that
        was noted next to it, ``JournalLocked`` if it is being written.
        """
        process = await _start(path)
        reader: SqliteReader | None = None
        try:
            writer = process.connections[0]
            reader = SqliteReader(path)
            last = await _number(path, writer, _LAST)
            identity = await _scalar(writer, "select value from identity")
            if not isinstance(identity, str):
                raise _damaged(path, f"its identity is {identity!r}")
            await anyio.to_thread.run_sync(_check_end, path, identity, last, reader)
        except BaseException as error:
            if reader is not None:
                reader.close()
            await _stop(process)
            if isinstance(error, sqlite3.Error):
                raise _unusable(path, error) from error
            raise
        return cls(path, process, reader, identity=identity, last=last)

    @property
    def process_id(self) -> int:
        """The id of the process that writes."""
        return self._process.pid

    async def append(self, frame: Frame) -> None:
        if frame.number != self._last + 1:
            raise WrongFrame(expected=frame.number - 1, found=self._last)
        try:
            place, note = line_of(self.identity, frame.number, frame.at, frame.crc)
            row = (frame.number, frame.at, frame.crc, frame.body)
            await self._writer.append(_INSERT, row, place=place, note=note)
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
            last = await _number(self._path, self._writer, _LAST)
        except sqlite3.Error as error:
            raise JournalError(f"{self._path} cannot be read: {error}") from error
        if last < self._last:
            raise JournalShorter(str(self._path.parent), last=last, acknowledged=self._last, known_by="the engine")
        self._last = last
        return last

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        return await anyio.to_thread.run_sync(self._reader.frames, after, limit, limiter=self._reader_turn)

    async def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        look_up = partial(self._reader.history, pool, head, down_to=down_to)
        return await anyio.to_thread.run_sync(look_up, limiter=self._reader_turn)

    async def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        return await anyio.to_thread.run_sync(self._reader.sections, pointers, limiter=self._reader_turn)

    async def aclose(self) -> None:
        # Close the writer last: it can write back the WAL, and does so if no other process has the file open.
        self._reader.close()
        await self._process.aclose()


async def _start(path: Path) -> SqliteProcess:
    """A process that can write the file at ``path``, which is a journal then. Raises as ``SqliteJournal.open``."""
    _refuse_newer(path)
    _refuse_gone(path)
    process = await SqliteProcess.start(path, connections=2)
    try:
        # Only now does no other process write it.
        await anyio.to_thread.run_sync(check_log, path)
        writer, beside = process.connections
        await _prepare(path, writer)
        await Checkpointer.prepare(writer, beside)
    except BaseException as error:
        await _stop(process)
        if isinstance(error, sqlite3.Error):
            raise _unusable(path, error) from error
        raise
    return process


def _unusable(path: Path, error: sqlite3.Error) -> JournalError:
    """Return the error of a file that SQLite cannot open: for now, or because it is damaged."""
    if is_passing(error):
        return JournalError(f"{path} cannot be opened: {error}")
    return _damaged(path, f"it cannot be opened: {error}")


def _damaged(path: Path, what: str) -> JournalCorrupt:
    return JournalCorrupt(
        f"{path} is damaged, {what}. Restore the journal, or save what can be read: "
        f"solvent accept-loss --data-dir {path.parent}"
    )


async def _stop(process: SqliteProcess) -> None:
    with anyio.CancelScope(shield=True):
        await process.aclose()


def _refuse_newer(path: Path) -> None:
    """Raise ``NewerFormat`` for a journal of a newer Solvent, before SQLite has touched it: by opening and closing it,
    SQLite would write back its log."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return  # There is none yet, or SQLite says better what is wrong with it.
    found = int.from_bytes(header[_USER_VERSION], signed=True)
    if int.from_bytes(header[_APPLICATION_ID]) == APPLICATION_ID and found > JOURNAL_FORMAT:
        raise NewerFormat(str(path), found=found, known=JOURNAL_FORMAT)


def _refuse_gone(path: Path) -> None:
    """Raise ``JournalShorter`` if there is no journal where there was one: to SQLite, it is a new and empty file."""
    if path.is_file() and path.stat().st_size:
        return
    for noted in read_ends(path.parent)[:1]:
        raise JournalShorter(str(path.parent), last=0, acknowledged=noted.number, known_by=END_NAME)


def _check_end(path: Path, identity: str, last: int, reader: SqliteReader) -> None:
    """Compare the last frame with what was noted, and note it if that is older.

    Raises ``JournalShorter`` if frames are missing, ``JournalCorrupt`` if there are others in their place.
    """
    folder = path.parent
    noted = end_of(folder, identity)
    if noted is None and not last:
        # An empty journal of another identity in place of one that had frames: to SQLite, the file was new.
        noted = end_of(folder, "")
    if noted is not None:
        if noted.number > last:
            raise JournalShorter(str(folder), last=last, acknowledged=noted.number, known_by=END_NAME)
        if not all(map(noted.is_of, _frame_of(reader, noted.number))):
            raise JournalCorrupt(
                f"it is not the frame that was acknowledged: another history is in {path}. Restore the journal, or "
                f"accept this one: solvent accept-loss --data-dir {folder} --last-frame {last}",
                frame=noted.number,
            )
    if last and (noted is None or noted.number < last):
        for newest in filter(Frame.is_intact, _frame_of(reader, last)):
            try:
                write_end(folder, identity, newest)
            except OSError as error:
                # Usually a full disk. Nothing depends on it, but a loss may go unnoticed.
                log.warning("%s cannot be written: %s", folder / END_NAME, error)


def _frame_of(reader: SqliteReader, number: int) -> Sequence[Frame]:
    """Return frame ``number``; nothing if it cannot be read. That is found where it matters: for the pools in it."""
    try:
        return reader.frames(number - 1, 1)
    except JournalCorrupt as error:
        log.warning("%s: %s", reader.path, error)
        return ()


async def _prepare(path: Path, writer: RemoteConnection) -> None:
    application = await _number(path, writer, "pragma application_id")
    if application not in (0, APPLICATION_ID):
        raise JournalError(f"{path} is a SQLite file of another application")
    if not application and await _number(path, writer, _FOREIGN_TABLES):
        # Most applications set no id. Without one, only our own tables may exist, from a creation that was cut short.
        raise JournalError(f"{path} is a SQLite file of another application")
    version = await _number(path, writer, "pragma user_version")
    if version > JOURNAL_FORMAT:
        # Its log has the number, its first page does not yet.
        raise NewerFormat(str(path), found=version, known=JOURNAL_FORMAT)
    await writer.execute("pragma journal_mode = wal")
    await writer.execute("pragma synchronous = full")
    # macOS returns from fsync before the disk has written. This requests a real flush there, and is free elsewhere.
    await writer.execute("pragma fullfsync = on")
    await writer.execute("pragma checkpoint_fullfsync = on")
    if version < JOURNAL_FORMAT:
        # A new file, or one of an older version: from now on it may hold what that cannot read.
        await writer.execute_script(_SCHEMA)
        await writer.execute(f"pragma application_id = {APPLICATION_ID}")
        await writer.execute(f"pragma user_version = {JOURNAL_FORMAT}")
        # So that the file itself, whatever becomes of its log, says which journal it is.
        await writer.execute("pragma wal_checkpoint(truncate)")


def write_journal(path: Path, identity: str, frames: Iterable[Frame]) -> None:
    """Write a new journal with ``frames``, as they are, to the file at ``path``, and flush it.

    It gets a new identity if ``identity`` is empty. Raises ``sqlite3.Error``.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("pragma synchronous = full")
        connection.execute("begin")
        for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
            connection.execute(statement)
        if identity:
            connection.execute("update identity set value = ?", (identity,))
        connection.executemany(_INSERT, ((each.number, each.at, each.crc, each.body) for each in frames))
        connection.execute(f"pragma application_id = {APPLICATION_ID}")
        connection.execute(f"pragma user_version = {JOURNAL_FORMAT}")
        connection.execute("commit")
    finally:
        connection.close()


async def _scalar(connection: RemoteConnection, statement: str) -> object:
    """Return the one value of a statement; ``None`` if it has no row."""
    rows = await connection.execute(statement)
    return rows[0][0] if rows else None


async def _number(path: Path, connection: RemoteConnection, statement: str) -> int:
    value = await _scalar(connection, statement)
    if not isinstance(value, int):
        raise _damaged(path, f"{statement!r} returned {value!r}")
    return value
