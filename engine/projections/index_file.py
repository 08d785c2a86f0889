"""The file of the index: its tables and their format, how to open it, and what happens when it is damaged.

The small tables (settings, segments, filters) share one seal, a checksum that is written in the same transaction as
they are. Any read may find damage. From then on the file answers nothing, and is rebuilt.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from zlib import crc32

import aiosqlite
import anyio
from anyio import CapacityLimiter

from solvent.engine.runtime.files import INDEX_FORMAT
from solvent.engine.runtime.machine import MACHINE, Machine
from solvent.engine.runtime.sqlite import Connection, damage_of_header, is_passing, refuse_newer, remove_database
from solvent.engine.values.errors import JournalError, Unavailable

T = TypeVar("T")

LOG_PAGES: Final = 100
"""The pages in the log of the file at which it is written back. The next flush of the journal waits for everything that
goes to the disk at once: measured, 30 ms where a merge left some megabytes. So the log is written little by little."""
TABLES: Final = """
create table if not exists setting (name text primary key, value any) strict, without rowid;
create table if not exists head (
    pool text primary key, version integer not null, frame integer not null, offset integer not null,
    length integer not null, digest blob not null, crc integer not null
) strict, without rowid;
create table if not exists mark (
    pool text not null, version integer not null, frame integer not null, offset integer not null,
    length integer not null, digest blob not null, crc integer not null, primary key (pool, version)
) strict, without rowid;
create table if not exists segment (
    number integer primary key, rows integer not null, last_frame integer not null, crc integer not null,
    sums blob not null
) strict;
create table if not exists agenda (pool text primary key, due_at integer not null) strict, without rowid;
create table if not exists notice (frame integer primary key) strict;
create index if not exists agenda_due_at on agenda (due_at);
create table if not exists filter (
    number integer primary key, capacity integer not null, count integer not null, crc integer not null,
    last_frame integer not null, body blob not null
) strict;
"""
SEALED: Final = (
    "select coalesce((select group_concat(name || '=' || quote(value), ';') from"
    " (select name, value from setting where name <> 'seal' order by name)), '') || '|' ||"
    " coalesce((select group_concat(number || ',' || rows || ',' || last_frame || ',' || crc, ';') from"
    " (select number, rows, last_frame, crc from segment order by number)), '') || '|' ||"
    " coalesce((select group_concat(number || ',' || capacity || ',' || count || ',' || crc || ',' || last_frame, ';')"
    " from (select number, capacity, count, crc, last_frame from filter order by number)), ''),"
    " (select value from setting where name = 'seal')"
)
"""The small tables as text, and the checksum over it that was written with them."""
_SEALED_AS_KNOWN: Final = SEALED.replace(
    "select name, value from setting",
    f"select name, case name when 'schema' then {INDEX_FORMAT} else value end as value from setting",
)
"""The same, if the number of the format were the one that is known here."""
_LEFT_BEHIND: Final = (
    "select name from sqlite_master where type = 'table' and name glob 'keys_[0-9]*'"
    " and name not in (select 'keys_' || number from segment)"
)
"""The query for tables left by an interrupted merge, new or old."""


class IndexDamaged(Exception):
    """The index cannot be used. Rebuild it from the journal."""


class ForeignIndex(IndexDamaged):
    """The index belongs to another journal, or has another version."""

    def __init__(self, position: int) -> None:
        super().__init__("it belongs to another journal or version")
        self.position = position


class Difference(Exception):
    """The data read differ from the data written."""


class IndexFile:
    """The open index file: a connection that writes, and one that reads in a thread, one look-up at a time."""

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        reader: sqlite3.Connection,
        settings: dict[str, Any],
        machine: Machine,
    ) -> None:
        self.machine: Final = machine
        self.writer: Final = writer
        self.reader: Final = reader
        self.settings: Final = settings
        """The settings when the file was opened."""
        self.position: int = settings["position"]
        """The number of the last frame that the file covers."""
        self._path = path
        self._reader_turn = CapacityLimiter(1)
        self._damage = ""
        self._damaged = anyio.Event()

    @classmethod
    async def open(cls, path: Path, *, journal_identity: str, seed: int, machine: Machine = MACHINE) -> IndexFile:
        """Open or create the file at ``path``. ``seed`` is used if it is new.

        Raises ``IndexDamaged`` if it cannot be read or belongs to another journal, ``NewerFormat`` if it is of a newer
        Solvent, ``sqlite3.Error`` if it cannot be used now (a full disk).
        """
        await machine.in_thread(partial(refuse_newer, path, newer_format_of, INDEX_FORMAT))
        if damage := await machine.in_thread(partial(damage_of_header, path)):
            raise IndexDamaged(damage)
        try:
            writer = await machine.connect(path)
        except sqlite3.Error as error:
            if is_passing(error):
                raise
            raise IndexDamaged(str(error)) from error
        try:
            await writer.execute("pragma journal_mode = wal")
            await writer.execute("pragma synchronous = normal")
            await writer.execute(f"pragma wal_autocheckpoint = {LOG_PAGES}")
            await writer.execute("pragma temp_store = memory")
            await writer.executescript(TABLES)
            await writer.execute(
                "insert or ignore into setting values ('schema', ?), ('journal', ?), ('seed', ?), ('position', 0),"
                " ('heads', 0), ('notices', 0), ('notice_sum', 0), ('scales', '[]')",
                (INDEX_FORMAT, journal_identity, seed),
            )
            async with writer.execute("select name, value from setting") as cursor:
                settings: dict[str, Any] = {row[0]: row[1] for row in await cursor.fetchall()}
            if settings["schema"] != INDEX_FORMAT or settings["journal"] != journal_identity:
                position = settings["position"]
                raise ForeignIndex(position if isinstance(position, int) else 0)
            async with writer.execute(SEALED) as cursor:
                row = await cursor.fetchone()
            if (settings["position"] or "seal" in settings) and not is_sealed(row):
                raise IndexDamaged("its settings are not what was written")
            numbers = ("seed", "position", "heads", "notices", "notice_sum")
            if not all(isinstance(settings[name], int) for name in numbers) or not isinstance(settings["scales"], str):
                raise IndexDamaged("its settings have other types than were written")
            async with writer.execute(_LEFT_BEHIND) as cursor:
                tables = [str(row[0]) for row in await cursor.fetchall()]
            for table in tables:
                await writer.execute(f"drop table {table}")
            reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None, factory=Connection)
        except BaseException as error:
            await writer.close()
            if isinstance(error, (sqlite3.Error, KeyError)) and not is_passing(error):
                raise IndexDamaged(str(error)) from error
            raise
        return cls(path, writer, reader, settings, machine)

    async def aclose(self) -> None:
        """Close the file. If damage was found, delete it: the next open makes a new one."""
        await self.writer.close()
        self.reader.close()
        if self._damage:
            remove_database(self._path)

    @property
    def damage(self) -> str:
        """The damage that was found; empty if there is none."""
        return self._damage

    async def wait_for_damage(self) -> NoReturn:
        """Raise ``IndexDamaged`` as soon as damage is found."""
        await self._damaged.wait()
        raise IndexDamaged(self._damage)

    def condemn(self, damage: str) -> NoReturn:
        """Mark the file as damaged. The caller gets no answer now: raises ``Unavailable``."""
        self._damage = self._damage or damage
        self._damaged.set()
        raise Unavailable(f"the index is damaged and is being rebuilt, retry with the same key: {damage}")

    def note(self, damage: str) -> None:
        """Record ``damage``, if it is the first found."""
        self._damage = self._damage or damage

    async def read(self, look_up: Callable[[], T]) -> T:
        """Run ``look_up`` in a thread. Raises ``Unavailable`` for damage, ``JournalError`` if the disk fails."""
        try:
            return await self.machine.in_thread(look_up, limiter=self._reader_turn)
        except Difference as difference:
            self.condemn(str(difference))
        except sqlite3.Error as error:
            if is_passing(error):
                raise JournalError(f"the index cannot be read: {error}") from error
            self.condemn(f"it cannot be read: {error}")

    async def seal(self) -> None:
        """Write the seal over the small tables, at the end of a transaction that changes them."""
        async with self.writer.execute(SEALED) as cursor:
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - narrows the type: an expression has a row
        await self.writer.execute("insert or replace into setting values ('seal', ?)", (crc32(row[0].encode()),))

    async def undo(self, error: sqlite3.Error) -> NoReturn:
        """Roll a failed transaction back. Raises ``error`` if the disk is full or fails, else ``IndexDamaged``."""
        if self.writer.in_transaction:
            await self.writer.execute("rollback")
        if is_passing(error):
            raise error
        self._damage = self._damage or f"it cannot be written: {error}"
        raise IndexDamaged(self._damage) from error


def newer_format_of(connection: sqlite3.Connection) -> int | None:
    """Return the number of the format if that is newer than the known one, and not a known one that was damaged.

    Raises ``sqlite3.Error`` for a file that does not say a number.
    """
    (found,) = connection.execute("select value from setting where name = 'schema'").fetchone() or (None,)
    if not isinstance(found, int) or found <= INDEX_FORMAT:
        return None
    try:
        as_known = connection.execute(_SEALED_AS_KNOWN).fetchone()
    except sqlite3.Error:
        return found  # It has other tables.
    return None if is_sealed(as_known) else found


def is_sealed(row: Any) -> bool:
    """Return whether the checksum in a row of ``SEALED`` matches its text."""
    return row is not None and isinstance(row[0], str) and crc32(row[0].encode()) == row[1]
