"""Look-ups over the journal: where a pool's history ends, where a version of it lies, where a key was used.

A projection: everything here can be made again from the journal, and a file that is missing, damaged or made for
another journal is thrown away and rebuilt. It is written in batches behind the journal, each with the number of the
last frame it covers in the same transaction, so it never covers half a frame.

Keys are filed by hash in *segments*, a small table per batch: inserts there cost a twentieth of what they cost in one
large index. Small segments are merged into larger ones, so that few stay. A hash that is found is
only a hint: the caller compares the whole key in the section it points to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import aiosqlite
import anyio.to_thread
import msgspec
from anyio import CapacityLimiter

from .errors import JournalError
from .frames import Head, Pointer
from .seen import SavedFilter, SeenKeys
from .sqlite_errors import is_passing
from .writer import CommittedSection

SCHEMA_VERSION: Final = 3
MARK_EVERY: Final = 256
"""A pool's history is marked about once in this many versions: a page deep inside is at most so many steps away."""
MERGE_FANOUT: Final = 8
SEGMENT_ROWS_MAX: Final = 4_000_000
"""Segments are not merged beyond this: a merge of it takes about 3 s in the background."""
FILTER_SAVE_EVERY: Final = 250_000
"""Keys after which the growing filter is saved: what has to be added again after a crash, about 0.2 s."""

T = TypeVar("T")

_SIGNED_64: Final = 1 << 63
_SCHEMA: Final = """
create table if not exists setting (name text primary key, value any) strict, without rowid;
create table if not exists head (
    pool text primary key, version integer not null, frame integer not null, offset integer not null,
    length integer not null, digest blob not null
) strict, without rowid;
create table if not exists mark (
    pool text not null, version integer not null, frame integer not null, offset integer not null,
    length integer not null, digest blob not null, primary key (pool, version)
) strict, without rowid;
create table if not exists segment (
    number integer primary key, rows integer not null, last_frame integer not null
) strict;
create table if not exists agenda (pool text primary key, due_at integer not null) strict, without rowid;
create table if not exists notice (frame integer primary key) strict;
create index if not exists agenda_due_at on agenda (due_at);
create table if not exists filter (
    number integer primary key, capacity integer not null, count integer not null, crc integer not null,
    last_frame integer not null, body blob not null
) strict;
"""
_LOOKUP_PARAMETERS_MAX: Final = 500


class IndexDamaged(Exception):
    """The index cannot be used. Rebuild it from the journal."""


class Projection:
    """What one batch adds to the index."""

    __slots__ = ("due", "heads", "keys", "marks", "notices", "through", "woken")

    def __init__(self) -> None:
        self.through = 0
        self.heads: dict[str, Head] = {}
        self.marks: list[tuple[str, Head]] = []
        self.keys: list[tuple[int, int, int, int]] = []
        """Rows of a segment: signed hash, frame, offset, length."""
        self.due: dict[str, int] = {}
        """When time will next do something to a pool."""
        self.notices: list[int] = []
        """Frames in which pools say something by themselves."""
        self.woken: dict[str, tuple[int | None, int]] = {}
        """Pools that were due and have been asked: when they are due next, as of which version."""

    def add(self, number: int, sections: Iterable[CommittedSection]) -> None:
        """Add the sections of frame ``number``, the next."""
        self.through = number
        for section in sections:
            head = section.head
            self.heads[section.pool] = head
            if section.due_at is not None:
                self.due[section.pool] = section.due_at
            if section.has_notices and self.notices[-1:] != [number]:
                self.notices.append(number)
            if head.version // MARK_EVERY != (section.first_version - 1) // MARK_EVERY:
                self.marks.append((section.pool, head))
            pointer = head.pointer
            frame, offset, length = pointer.frame, pointer.offset, pointer.length
            self.keys += [(key_hash - _SIGNED_64, frame, offset, length) for key_hash in section.key_hashes]

    def absorb(self, later: Projection) -> None:
        """Add all of a batch that follows this one."""
        self.through = max(self.through, later.through)
        self.heads.update(later.heads)
        self.marks += later.marks
        self.keys += later.keys
        self.due.update(later.due)
        self.notices += later.notices
        self.woken.update(later.woken)


class Index:
    """The index file. One projector writes it; look-ups come from anywhere on the loop."""

    def __init__(self, writer: aiosqlite.Connection, reader: sqlite3.Connection, *, seed: int, position: int) -> None:
        self._writer = writer
        self._reader = reader
        self._reader_turn = CapacityLimiter(1)
        self.seed = seed
        self.position = position
        """The last frame that is covered."""
        self._unsaved_keys = 0
        self._saved_filters = 0

    @classmethod
    async def open(cls, path: Path, *, journal_identity: str, seed: int) -> Index:
        """Open or create the index at ``path``. ``seed`` is used if it is new.

        Raises ``IndexDamaged`` if it cannot be read or belongs to another journal, ``sqlite3.Error`` if it cannot be
        used now (a full disk).
        """
        try:
            writer = await aiosqlite.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            if is_passing(error):
                raise
            raise IndexDamaged(str(error)) from error
        try:
            await writer.execute("pragma journal_mode = wal")
            await writer.execute("pragma synchronous = normal")
            await writer.executescript(_SCHEMA)
            await writer.execute(
                "insert or ignore into setting values ('schema', ?), ('journal', ?), ('seed', ?), ('position', 0)",
                (SCHEMA_VERSION, journal_identity, seed),
            )
            async with writer.execute("select name, value from setting") as cursor:
                settings: dict[str, Any] = {row[0]: row[1] for row in await cursor.fetchall()}
            if settings["schema"] != SCHEMA_VERSION or settings["journal"] != journal_identity:
                raise IndexDamaged("it belongs to another journal or version")
            reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except BaseException as error:
            await writer.close()
            if isinstance(error, (sqlite3.Error, KeyError)) and not is_passing(error):
                raise IndexDamaged(str(error)) from error
            raise
        return cls(writer, reader, seed=settings["seed"], position=settings["position"])

    async def aclose(self) -> None:
        await self._writer.close()
        self._reader.close()

    async def project(self, projection: Projection) -> None:
        """Add a batch, in one transaction.

        Raises ``sqlite3.Error`` when it cannot be written now (a full disk): nothing was changed then.
        Raises ``IndexDamaged`` when the file is not what it should be.
        """
        heads = [(pool, *_head_row(head)) for pool, head in projection.heads.items()]
        marks = [(pool, *_head_row(head)) for pool, head in projection.marks]
        try:
            await self._writer.execute("begin immediate")
            await self._writer.executemany("insert or replace into head values (?, ?, ?, ?, ?, ?)", heads)
            await self._writer.executemany("insert or replace into mark values (?, ?, ?, ?, ?, ?)", marks)
            if projection.keys:
                await self._add_segment(projection.keys, projection.through)
            # An answer that is older than what is indexed now may have missed something: the pool is asked again.
            await self._writer.executemany(
                "delete from agenda where pool = ?1 and ?2 >= (select version from head where pool = ?1)",
                [(pool, version) for pool, (_, version) in projection.woken.items()],
            )
            due = {pool: due_at for pool, (due_at, _) in projection.woken.items() if due_at is not None}
            await self._writer.executemany(
                "insert into agenda values (?, ?) on conflict do update set due_at = min(due_at, excluded.due_at)",
                [*due.items(), *projection.due.items()],
            )
            await self._writer.executemany(
                "insert or ignore into notice values (?)", [(number,) for number in projection.notices]
            )
            if projection.through:
                await self._writer.execute(
                    "update setting set value = ? where name = 'position'", (projection.through,)
                )
            await self._writer.execute("commit")
        except sqlite3.Error as error:
            await self._undo(error)
        self.position = projection.through or self.position
        self._unsaved_keys += len(projection.keys)

    async def due(self, now: int, limit: int) -> list[str]:
        """Pools to which time may have done something by ``now``, the longest due first."""

        def read() -> list[str]:
            statement = "select pool from agenda where due_at <= ? order by due_at limit ?"
            return [row[0] for row in self._reader.execute(statement, (now, limit))]

        return await anyio.to_thread.run_sync(read, limiter=self._reader_turn)

    async def _add_segment(self, rows: Sequence[tuple[int, int, int, int]], last_frame: int) -> None:
        number = await self._create_segment()
        # One statement, not one for each row: a step of SQLite gives up the interpreter and has to get it back, and
        # thousands of those hold up the flushes of the journal. Unsorted: a table this small stays in SQLite's cache.
        await self._writer.execute(
            f"insert into keys_{number} select value ->> 0, value ->> 1, value ->> 2, value ->> 3 from json_each(?)",
            (msgspec.json.encode(rows).decode(),),
        )
        await self._writer.execute("insert into segment values (?, ?, ?)", (number, len(rows), last_frame))

    async def _create_segment(self) -> int:
        async with self._writer.execute("select coalesce(max(number), 0) + 1 from segment") as cursor:
            row = await cursor.fetchone()
        number = int(row[0]) if row is not None else 1
        await self._writer.execute(
            f"create table keys_{number} (hash integer, frame integer, offset integer, length integer,"
            " primary key (hash, frame, offset)) strict, without rowid"
        )
        return number

    async def merge(self) -> bool:
        """Merge one group of segments of about the same size, if there is one. True if there may be more to do."""
        async with self._writer.execute("select number, rows, last_frame from segment order by number") as cursor:
            segments = [(int(number), int(rows), int(last)) for number, rows, last in await cursor.fetchall()]
        tiers: dict[int, list[tuple[int, int, int]]] = {}
        for segment in segments:
            tiers.setdefault(segment[1].bit_length() // 3, []).append(segment)
        for group in tiers.values():
            chosen = group[:MERGE_FANOUT]
            rows = sum(segment[1] for segment in chosen)
            if len(chosen) == MERGE_FANOUT and rows <= SEGMENT_ROWS_MAX:
                await self._merge(chosen, rows)
                return True
        return False

    async def _merge(self, chosen: Sequence[tuple[int, int, int]], rows: int) -> None:
        union = " union all ".join(f"select * from keys_{number}" for number, _, _ in chosen)
        try:
            await self._writer.execute("begin immediate")
            target = await self._create_segment()
            await self._writer.execute(f"insert into keys_{target} select * from ({union}) order by 1, 2, 3")
            await self._writer.execute(
                "insert into segment values (?, ?, ?)", (target, rows, max(last for _, _, last in chosen))
            )
            for number, _, _ in chosen:
                await self._writer.execute(f"drop table keys_{number}")
                await self._writer.execute("delete from segment where number = ?", (number,))
            await self._writer.execute("commit")
        except sqlite3.Error as error:
            await self._undo(error)

    async def _undo(self, error: sqlite3.Error) -> NoReturn:
        if self._writer.in_transaction:
            await self._writer.execute("rollback")
        if is_passing(error):
            raise error
        raise IndexDamaged(f"the index cannot be written: {error}") from error

    @staticmethod
    def hashes(projection: Projection) -> Iterable[int]:
        """The hashes of the keys in ``projection``, as they were given."""
        return (row[0] + _SIGNED_64 for row in projection.keys)

    async def load_seen(self) -> SeenKeys:
        """The filters over all indexed keys: as saved, plus what was indexed since."""
        async with self._writer.execute(
            "select capacity, count, body, crc, last_frame from filter order by number"
        ) as cursor:
            saved = [(SavedFilter(*row[:4]), int(row[4])) for row in await cursor.fetchall()]
        if not all(layer.is_intact() for layer, _ in saved):
            saved = []
        covered = saved[-1][1] if saved else 0
        seen = SeenKeys(layer for layer, _ in saved)
        self._saved_filters = max(len(saved) - 1, 0)
        async with self._writer.execute("select number from segment where last_frame > ?", (covered,)) as cursor:
            segments = [int(row[0]) for row in await cursor.fetchall()]
        for number in segments:
            async with self._writer.execute(f"select hash from keys_{number} where frame > ?", (covered,)) as cursor:
                async for (key_hash,) in cursor:
                    seen.add(key_hash + _SIGNED_64)
                    self._unsaved_keys += 1
        return seen

    async def save_seen(self, seen: SeenKeys, *, now: bool = False) -> None:
        """Save the filters if enough has changed, or ``now``. Everything up to ``position`` must be in them."""
        if not self._unsaved_keys or (self._unsaved_keys < FILTER_SAVE_EVERY and not now):
            return
        first = self._saved_filters
        try:
            await self._writer.execute("begin immediate")
            for number in range(first, seen.filters):
                layer = seen.save(number)
                await self._writer.execute(
                    "insert or replace into filter values (?, ?, ?, ?, ?, ?)",
                    (number, layer.capacity, layer.count, layer.crc, self.position, layer.body),
                )
            await self._writer.execute("commit")
        except sqlite3.Error as error:
            await self._undo(error)
        self._saved_filters = seen.filters - 1
        self._unsaved_keys = 0

    async def heads(self, pools: Sequence[str]) -> dict[str, Head]:
        """The newest indexed sections of those ``pools`` that have any."""

        def look_up() -> dict[str, Head]:
            return {
                row[0]: _head(row[1:])
                for row in _in_chunks(
                    self._reader, "select pool, version, frame, offset, length, digest from head where pool in", pools
                )
            }

        return await self._read(look_up)

    async def mark(self, pool: str, version: int) -> Head | None:
        """The first marked section of ``pool`` that ends at ``version`` or later."""

        def look_up() -> Head | None:
            row = self._reader.execute(
                "select version, frame, offset, length, digest from mark"
                " where pool = ? and version >= ? order by version limit 1",
                (pool, version),
            ).fetchone()
            return None if row is None else _head(row)

        return await self._read(look_up)

    async def pools(self, prefix: str, *, after: str, limit: int) -> list[str]:
        """At most ``limit`` pools whose names begin with ``prefix``, above ``after``, in order."""

        def look_up() -> list[str]:
            # The names are UTF-8 text: U+10FFFF is above every character a name may hold after the prefix.
            rows = self._reader.execute(
                "select pool from head where pool > ? and pool >= ? and pool < ? order by pool limit ?",
                (after, prefix, prefix + "\U0010ffff", limit),
            )
            return [row[0] for row in rows.fetchall()]

        return await self._read(look_up)

    async def notice_frames(self, first: int, limit: int) -> list[int]:
        """At most ``limit`` frames from ``first`` on in which pools say something by themselves, in order."""

        def look_up() -> list[int]:
            statement = "select frame from notice where frame >= ? order by frame limit ?"
            return [int(row[0]) for row in self._reader.execute(statement, (first, limit))]

        return await self._read(look_up)

    async def count_pools(self) -> int:
        """How many pools are indexed."""
        return await self._read(lambda: int(self._reader.execute("select count(*) from head").fetchone()[0]))

    async def find_keys(self, key_hashes: Sequence[int]) -> dict[int, list[Pointer]]:
        """The sections in which keys of these hashes may have been used. Hashes that nowhere were are left out."""

        def look_up() -> dict[int, list[Pointer]]:
            found: dict[int, list[Pointer]] = {}
            signed = [key_hash - _SIGNED_64 for key_hash in key_hashes]
            # One transaction, so that a merge cannot take a segment away between the two statements.
            self._reader.execute("begin")
            try:
                numbers = [int(row[0]) for row in self._reader.execute("select number from segment").fetchall()]
                for number in numbers:
                    statement = f"select hash, frame, offset, length from keys_{number} where hash in"
                    for key_hash, frame, offset, length in _in_chunks(self._reader, statement, signed):
                        found.setdefault(key_hash + _SIGNED_64, []).append(Pointer(frame, offset, length))
            finally:
                self._reader.execute("rollback")
            return found

        return await self._read(look_up)

    async def _read(self, look_up: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(look_up, limiter=self._reader_turn)
        except sqlite3.Error as error:
            raise JournalError(f"the index cannot be read: {error}") from error


def _in_chunks(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> Iterable[tuple[Any, ...]]:
    for start in range(0, len(values), _LOOKUP_PARAMETERS_MAX):
        chunk = values[start : start + _LOOKUP_PARAMETERS_MAX]
        yield from connection.execute(f"{statement} ({','.join('?' * len(chunk))})", chunk).fetchall()


def _head_row(head: Head) -> tuple[int, int, int, int, bytes]:
    pointer = head.pointer
    return head.version, pointer.frame, pointer.offset, pointer.length, head.digest


def _head(row: Sequence[Any]) -> Head:
    version, frame, offset, length, digest = row
    return Head(version, Pointer(frame, offset, length), digest)
