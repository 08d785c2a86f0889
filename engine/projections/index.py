"""Look-ups over the journal: where a pool's history ends, where a version of it lies, where a key was used.

A projection: everything here can be made again from the journal, and a file that is missing, damaged or made for
another journal is thrown away and rebuilt. It is written in batches behind the journal, each with the number of the
last frame it covers in the same transaction, so it never covers half a frame.

A byte that changes on the disk must not make an answer untrue. What is read carries a checksum: the rows of heads and
marks each their own, settings, segments and filters one over all of them. What is *not* found is believed only after
a look at all that could have held it, once per start: see the methods called ``assure``. For keys that is a part of
each segment. Whatever does not fit, the index is made anew.

Keys are filed by hash in *segments*, a small table per batch: inserts there cost a twentieth of what they cost in one
large index. Small segments are merged into larger ones, so that few stay. A hash that is found is
only a hint: the caller compares the whole key in the section it points to.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple, NoReturn, TypeVar
from zlib import crc32

import aiosqlite
import anyio
import anyio.to_thread
import msgspec
from anyio import CapacityLimiter

from solvent.engine.journal.frames import DIGEST_BYTES, CommittedSection, Head, Pointer
from solvent.engine.runtime.machine import MACHINE, Machine
from solvent.engine.runtime.pacing import rest
from solvent.engine.runtime.sqlite import is_passing, remove_database
from solvent.engine.values.errors import JournalError, Unavailable
from solvent.engine.values.pool_id import currency_of, is_stream

from .key_filters import SavedFilter, SeenKeys, are_whole
from .keys import OPENING, hash_key

SCHEMA_VERSION: Final = 8
MARK_EVERY: Final = 256
"""A pool's history is marked about once in this many versions: a page deep inside is at most so many steps away."""
MERGE_FANOUT: Final = 8
SEGMENT_ROWS_MAX: Final = 4_000_000
"""Segments are not merged beyond this: a merge of it takes some seconds in the background."""
ROWS_PER_STATEMENT: Final = 250
"""Rows written before there is a rest: less than a millisecond. A thread that runs for longer is not interrupted by
Linux for up to 3 ms, and where there are few cores the flush of the journal waits for it."""
ROWS_PER_STATEMENT_ALONE: Final = 20_000
"""The same while nothing is served yet."""
STATEMENTS_MAX: Final = 50
"""In which the rows of one table are written, if they are many. There is a rest after each, and on a busy loop that is
as long as a turn: many small ones would let the index fall ever further behind."""
MERGE_STATEMENTS_MAX: Final = 1_000
"""The same for one merge: millions of rows, for which there is more time."""
HEADS_PER_READ: Final = 2_000
HASHES_PER_READ: Final = 10_000
LOG_PAGES: Final = 100
"""Pages in the log of the file at which it is written back. Whatever goes to the disk at once, the next flush of the
journal waits for: measured, 30 ms where a merge left some megabytes. So it goes there little by little."""
FILTER_SAVE_EVERY: Final = 250_000
"""Keys after which all growing filters have been saved, one after the other: what has to be added again after a crash,
about 0.2 s. Those of a large layer are saved once for every sixteenth of it that is new, 0.8 s at most: they take up to
50 MB."""

T = TypeVar("T")

_CHECKSUM: Final = (
    "coalesce(sum((hash & 1073741823) + 3 * ((hash >> 30) & 1073741823) + 5 * ((hash >> 60) & 15)"
    " + 7 * frame + 11 * offset + 13 * length), 0)"
)
"""Over rows of a segment, in any order: one bit that changes in one row changes it, and the sums of segments add up."""
_PART_BITS: Final = 56
PARTS: Final = 1 << 64 - _PART_BITS
"""Of all hashes, by their highest bits. A segment has a checksum for each, so that nobody has to read all of it."""
_SUMS: Final = Struct(f"<{PARTS}q")
_SEALED: Final = (
    "select coalesce((select group_concat(name || '=' || quote(value), ';') from"
    " (select name, value from setting where name <> 'seal' order by name)), '') || '|' ||"
    " coalesce((select group_concat(number || ',' || rows || ',' || last_frame || ',' || crc, ';') from"
    " (select number, rows, last_frame, crc from segment order by number)), '') || '|' ||"
    " coalesce((select group_concat(number || ',' || capacity || ',' || count || ',' || crc || ',' || last_frame, ';')"
    " from (select number, capacity, count, crc, last_frame from filter order by number)), ''),"
    " (select value from setting where name = 'seal')"
)
"""The small tables as text, and the checksum over it that was written with them."""
_SIGNED_64: Final = 1 << 63
PLACE: Final = 4
"""Numbers that ``Projection.places`` has for each section."""
_SCHEMA: Final = """
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
_INSERT_KEYS: Final = (
    # Materialized, or a section would be parsed again for each of its keys.
    "with section as materialized (select value ->> 0 as frame, value ->> 1 as offset, value ->> 2 as length,"
    " value -> 3 as hashes from json_each(?))"
    " insert into temp.unwritten select value, frame, offset, length from section, json_each(hashes)"
)
"""Of an array of rows of (frame, offset, length, hashes)."""
_INSERT_HEADS: Final = (
    "insert or replace into {} select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,"
    f" substr(?2, key * {DIGEST_BYTES} + 1, {DIGEST_BYTES}), value ->> 5 from json_each(?1)"
)
"""Of an array of rows without their digests, and all digests one after the other.

One statement, not one for each row: a step of SQLite gives up the interpreter and has to get it back, and thousands of
those hold up the flushes of the journal.
"""
_DELETE_WOKEN: Final = (
    "delete from agenda where pool in (select value ->> 0 from json_each(?) cross join head"
    " where head.pool = value ->> 0 and value ->> 1 >= head.version)"
)
"""An answer that is older than what is indexed now may have missed something: that pool stays, and is asked again."""
_INSERT_DUE: Final = (
    "insert into agenda select value ->> 0, value ->> 1 from json_each(?) where true"
    " on conflict do update set due_at = min(due_at, excluded.due_at)"
)
_INSERT_NOTICES: Final = "insert or ignore into notice select value from json_each(?)"
_KEY_COLUMNS: Final = (
    "(hash integer, frame integer, offset integer, length integer, primary key (hash, frame, offset))"
    " strict, without rowid"
)
_INSERT_SEGMENT: Final = "insert into segment values (?, ?, ?, ?, ?)"
_SEGMENTS: Final = "select number, rows, last_frame, crc, sums from segment"
_PART: Final = f"(hash >> {_PART_BITS}) + {PARTS // 2}"
"""The part that a hash is in, as hashes are stored: less ``_SIGNED_64``."""
_NOTICES: Final = (
    "select count(*), coalesce(sum(frame), 0) from notice union all"
    " select (select value from setting where name = 'notices'),"
    " (select value from setting where name = 'notice_sum')"
)
_LEFT_BEHIND: Final = (
    "select name from sqlite_master where type = 'table' and name glob 'keys_[0-9]*'"
    " and name not in (select 'keys_' || number from segment)"
)
"""Tables of a merge that was cut short, before it was known or after."""
_LOOKUP_PARAMETERS_MAX: Final = 500


class IndexDamaged(Exception):
    """The index cannot be used. Rebuild it from the journal."""


class ForeignIndex(IndexDamaged):
    """The index is of another journal, or of another version."""

    def __init__(self, position: int) -> None:
        super().__init__("it belongs to another journal or version")
        self.position = position


class Projection:
    """What one batch adds to the index."""

    __slots__ = ("due", "hashes", "heads", "marks", "notices", "opened", "places", "scales", "seed", "through", "woken")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.through = 0
        self.opened = 0
        """Pools that began."""
        self.scales: set[tuple[str, int]] = set()
        """Their currencies, each with the decimal places that they keep."""
        self.heads: dict[str, Head] = {}
        self.marks: list[tuple[str, Head]] = []
        self.hashes = array("Q")
        """Of the keys, as they were given. An array, as ``places`` is: tens of thousands of small objects would hold up
        the loop at each collection of garbage."""
        self.places = array("q")
        """Frame, offset, length and number of keys, one section after the other."""
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
            hashes = section.key_hashes
            if section.first_version == 1:
                self.opened += 1
                if section.scale is not None and not is_stream(section.pool):
                    self.scales.add((currency_of(section.pool), section.scale))
                hashes = [*hashes, hash_key(section.pool, OPENING, self.seed)]
            if hashes:
                pointer = head.pointer
                self.places.extend((pointer.frame, pointer.offset, pointer.length, len(hashes)))
                self.hashes.extend(hashes)

    @property
    def key_count(self) -> int:
        """Keys in it, the openings of pools among them."""
        return len(self.hashes)

    def absorb(self, later: Projection) -> None:
        """Add all of a batch that follows this one."""
        self.through = max(self.through, later.through)
        self.opened += later.opened
        self.scales |= later.scales
        self.heads.update(later.heads)
        self.marks += later.marks
        self.hashes += later.hashes
        self.places += later.places
        self.due.update(later.due)
        self.notices += later.notices
        self.woken.update(later.woken)


class Index:
    """The index file. One projector writes it; look-ups come from anywhere on the loop."""

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        reader: sqlite3.Connection,
        settings: dict[str, Any],
        machine: Machine,
    ) -> None:
        self._machine = machine
        self._path = path
        self._writer = writer
        self._reader = reader
        self._reader_turn = CapacityLimiter(1)
        self.seed: int = settings["seed"]
        self.position: int = settings["position"]
        """The last frame that is covered."""
        self._heads: int = settings["heads"]
        """How many pools are known."""
        self.scales = frozenset((currency, scale) for currency, scale in msgspec.json.decode(settings["scales"]))
        """The currencies of all pools, each with the decimal places that its pools keep: several times if they differ.
        """
        self._unsaved_keys = 0
        """That were indexed since the last filter was saved, as far as they count for the next."""
        self._saved_growing = range(0)
        """The filters that were growing when some were saved last: these and all after them may have grown since."""
        self._stale_filters: dict[int, None] = {}
        """Filters that lack keys where they are saved, the one that was saved longest ago first."""
        self._parts_assured = set[int]()
        self._heads_assured = self._notices_assured = False
        self._damage = ""
        """What was found wrong: the index must be made anew."""
        self._damaged = anyio.Event()

    @classmethod
    async def open(cls, path: Path, *, journal_identity: str, seed: int, machine: Machine = MACHINE) -> Index:
        """Open or create the index at ``path``. ``seed`` is used if it is new.

        Raises ``IndexDamaged`` if it cannot be read or belongs to another journal, ``sqlite3.Error`` if it cannot be
        used now (a full disk).
        """
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
            await writer.executescript(_SCHEMA)
            await writer.execute(
                "insert or ignore into setting values ('schema', ?), ('journal', ?), ('seed', ?), ('position', 0),"
                " ('heads', 0), ('notices', 0), ('notice_sum', 0), ('scales', '[]')",
                (SCHEMA_VERSION, journal_identity, seed),
            )
            async with writer.execute("select name, value from setting") as cursor:
                settings: dict[str, Any] = {row[0]: row[1] for row in await cursor.fetchall()}
            if settings["schema"] != SCHEMA_VERSION or settings["journal"] != journal_identity:
                raise ForeignIndex(settings["position"])
            async with writer.execute(_SEALED) as cursor:
                row = await cursor.fetchone()
            if (settings["position"] or "seal" in settings) and not _is_sealed(row):
                raise IndexDamaged("its settings are not what was written")
            async with writer.execute(_LEFT_BEHIND) as cursor:
                tables = [str(row[0]) for row in await cursor.fetchall()]
            for table in tables:
                await writer.execute(f"drop table {table}")
            reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except BaseException as error:
            await writer.close()
            if isinstance(error, (sqlite3.Error, KeyError)) and not is_passing(error):
                raise IndexDamaged(str(error)) from error
            raise
        return cls(path, writer, reader, settings, machine)

    async def aclose(self) -> None:
        """Give back the file. One that was found damaged is deleted: the next open makes it anew."""
        await self._writer.close()
        self._reader.close()
        if self._damage:
            remove_database(self._path)

    @property
    def damage(self) -> str:
        """What was found wrong, if anything was."""
        return self._damage

    async def wait_for_damage(self) -> NoReturn:
        """Raise ``IndexDamaged`` as soon as anything was found wrong."""
        await self._damaged.wait()
        raise IndexDamaged(self._damage)

    def condemn(self, damage: str) -> NoReturn:
        """Say what is wrong with the file. Whoever found it gets no answer now."""
        self._damage = self._damage or damage
        self._damaged.set()
        raise Unavailable(f"the index is damaged and is made anew, ask again with the same key: {damage}")

    async def project(self, projection: Projection, *, step: int = ROWS_PER_STATEMENT) -> None:
        """Add a batch, in one transaction, about ``step`` rows at a time, or more if there are many.

        Raises ``sqlite3.Error`` when it cannot be written now (a full disk): nothing was changed then.
        Raises ``IndexDamaged`` when the file is not what it should be.
        """
        scales = self.scales | projection.scales
        try:
            segment = await self._write_segment(projection, step) if projection.hashes else None
            await self._writer.execute("begin immediate")
            await self._spread(_INSERT_HEADS.format("head"), _packed(list(projection.heads.items()), step))
            await self._spread(_INSERT_HEADS.format("mark"), _packed(projection.marks, step))
            if segment is not None:
                await self._writer.execute(_INSERT_SEGMENT, segment.row())
            woken = [(pool, version) for pool, (_, version) in projection.woken.items()]
            await self._spread(_DELETE_WOKEN, _as_json(woken, step))
            due = {pool: due_at for pool, (due_at, _) in projection.woken.items() if due_at is not None}
            await self._spread(_INSERT_DUE, _as_json([*due.items(), *projection.due.items()], step))
            await self._spread(_INSERT_NOTICES, _as_json(projection.notices, step))
            if projection.through:
                await self._writer.execute(
                    "update setting set value = case name when 'position' then ? when 'heads' then value + ?"
                    " when 'notices' then value + ? else value + ? end"
                    " where name in ('position', 'heads', 'notices', 'notice_sum')",
                    (projection.through, projection.opened, len(projection.notices), sum(projection.notices)),
                )
                if len(scales) > len(self.scales):
                    as_text = msgspec.json.encode(sorted(scales)).decode()
                    await self._writer.execute("update setting set value = ? where name = 'scales'", (as_text,))
                await self._seal()
            await self._writer.execute("commit")
        except sqlite3.Error as error:
            await self._undo(error)
        self.scales = scales
        self.position = projection.through or self.position
        self._heads += projection.opened
        self._unsaved_keys += projection.key_count

    async def due(self, now: int, limit: int) -> list[str]:
        """Pools to which time may have done something by ``now``, the longest due first."""

        def read() -> list[str]:
            statement = "select pool from agenda where due_at <= ? order by due_at limit ?"
            return [row[0] for row in self._reader.execute(statement, (now, limit))]

        return await self._read(read)

    async def _seal(self) -> None:
        async with self._writer.execute(_SEALED) as cursor:
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - narrows the type: an expression has a row
        await self._writer.execute("insert or replace into setting values ('seal', ?)", (crc32(row[0].encode()),))

    async def _spread(self, statement: str, slices: Iterable[tuple[object, ...]]) -> None:
        """Execute ``statement`` with each of ``slices``, and rest in between."""
        for parameters in slices:
            await self._writer.execute(statement, parameters)
            await rest()

    async def _write_segment(self, projection: Projection, step: int) -> _Segment:
        """Write the keys into a table of their own, which nobody looks into yet."""
        step = _step_for(projection.key_count, step)
        ranges = _hash_ranges(projection.key_count, step)
        # In memory first, where they are put in order: so a page of the file is written once.
        await self._writer.execute("drop table if exists temp.unwritten")
        await self._writer.execute(f"create temp table unwritten {_KEY_COLUMNS}")
        await self._spread(_INSERT_KEYS, _key_slices(projection, step))
        number = await self._create_segment()
        await self._spread(f"insert into keys_{number} select * from temp.unwritten where hash between ? and ?", ranges)
        await self._writer.execute("drop table temp.unwritten")
        sums = [0] * PARTS
        statement = f"select {_PART}, {_CHECKSUM} from keys_{number} where hash between ? and ? group by 1"
        for first, last in ranges:
            async with self._writer.execute(statement, (first, last)) as cursor:
                for part, checksum in await cursor.fetchall():
                    sums[part] += checksum
            await rest()
        return _Segment(number, projection.key_count, projection.through, sums)

    async def _create_segment(self) -> int:
        async with self._writer.execute("select coalesce(max(number), 0) + 1 from segment") as cursor:
            row = await cursor.fetchone()
        number = int(row[0]) if row is not None else 1
        # Of a merge that failed.
        await self._writer.execute(f"drop table if exists keys_{number}")
        await self._writer.execute(f"create table keys_{number} {_KEY_COLUMNS}")
        return number

    async def merge(self, *, step: int = ROWS_PER_STATEMENT) -> bool:
        """Merge one group of segments of about the same size, if there is one. True if there may be more to do.

        About ``step`` rows at a time, or more if there are millions.
        """
        async with self._writer.execute("select number, rows from segment order by number") as cursor:
            segments = [(int(number), int(rows)) for number, rows in await cursor.fetchall()]
        tiers: dict[int, list[tuple[int, int]]] = {}
        for segment in segments:
            tiers.setdefault(segment[1].bit_length() // 3, []).append(segment)
        for group in tiers.values():
            chosen = group[:MERGE_FANOUT]
            rows = sum(rows for _, rows in chosen)
            if len(chosen) == MERGE_FANOUT and rows <= SEGMENT_ROWS_MAX:
                await self._merge([number for number, _ in chosen], _hash_ranges(rows, step))
                return True
        return False

    async def _merge(self, chosen: Sequence[int], ranges: Sequence[tuple[int, int]]) -> None:
        parts = [f"select * from keys_{number} where hash between ?1 and ?2" for number in chosen]
        try:
            async with self._writer.execute(f"{_SEGMENTS} where number in ({','.join(map(str, chosen))})") as cursor:
                merged = [_segment(row) for row in await cursor.fetchall()]
            # In many transactions: until it is known as a segment, nobody looks into the new table.
            target = await self._create_segment()
            await self._spread(f"insert into keys_{target} {' union all '.join(parts)} order by 1, 2, 3", ranges)
            # What was written, not what was read now: a row that has changed since is found yet.
            sums = [sum(column) for column in zip(*(each.sums for each in merged), strict=True)]
            rows, last_frame = sum(each.rows for each in merged), max(each.last_frame for each in merged)
            await self._writer.execute("begin immediate")
            await self._writer.execute(_INSERT_SEGMENT, _Segment(target, rows, last_frame, sums).row())
            for number in chosen:
                await self._writer.execute("delete from segment where number = ?", (number,))
            await self._seal()
            await self._writer.execute("commit")
            for number in chosen:
                await self._writer.execute(f"drop table keys_{number}")
                await rest()
        except _Difference as difference:
            self._damage = self._damage or str(difference)
            raise IndexDamaged(self._damage) from difference
        except sqlite3.Error as error:
            await self._undo(error)

    async def _undo(self, error: sqlite3.Error) -> NoReturn:
        if self._writer.in_transaction:
            await self._writer.execute("rollback")
        if is_passing(error):
            raise error
        self._damage = self._damage or f"it cannot be written: {error}"
        raise IndexDamaged(self._damage) from error

    async def load_seen(self) -> SeenKeys:
        """The filters over all indexed keys: as saved, plus what was indexed since. Raises ``IndexDamaged``."""
        async with self._writer.execute(
            "select capacity, count, body, crc, last_frame from filter order by number"
        ) as cursor:
            found = [(SavedFilter(*row[:4]), int(row[4])) for row in await cursor.fetchall()]
        if not are_whole([each for each, _ in found]):
            found = []
        seen = SeenKeys([each for each, _ in found])
        if found:
            self._saved_growing = seen.growing
        newest = max((last for _, last in found), default=0)
        # One that is final has all it will ever have.
        covered = min((last for each, last in found if not each.is_final), default=newest)
        async with self._writer.execute("select number from segment where last_frame > ?", (covered,)) as cursor:
            segments = [int(row[0]) for row in await cursor.fetchall()]
        for number in segments:
            # A key that is misread now would be taken for new later.
            if difference := await self._read(partial(_difference, self._reader, number)):
                self._damage = difference
                raise IndexDamaged(difference)
            async with self._writer.execute(f"select hash from keys_{number} where frame > ?", (covered,)) as cursor:
                while rows := list(await cursor.fetchmany(HASHES_PER_READ)):
                    seen.add([key_hash + _SIGNED_64 for (key_hash,) in rows])
                    self._unsaved_keys += len(rows)
        return seen

    async def save_seen(self, seen: SeenKeys, *, now: bool = False) -> None:
        """Save as many of the filters as keys have been added, or ``now`` all that lack any where they are saved.

        Everything up to ``position`` must be in them. Those of a new layer are saved at once: what a layer has been
        given is told from its filters, so there can be none without all of them.
        """
        if self._unsaved_keys:
            self._stale_filters |= dict.fromkeys(range(self._saved_growing.start, seen.filters))
        enough = max(FILTER_SAVE_EVERY, seen.capacity // 16)
        if now:
            wanted = len(self._stale_filters)
        elif seen.growing != self._saved_growing:
            wanted = len(self._stale_filters) if self._unsaved_keys >= FILTER_SAVE_EVERY else 0
        else:
            wanted = self._unsaved_keys * len(seen.growing) // enough
        chosen = list(self._stale_filters)[:wanted]
        if not chosen:
            return
        # Each by itself if that may be: less goes to the disk at once.
        for together in [chosen] if seen.growing != self._saved_growing else [[number] for number in chosen]:
            await self._save_filters(seen, together)
            for number in together:
                del self._stale_filters[number]
        self._saved_growing = seen.growing
        self._unsaved_keys = 0

    async def _save_filters(self, seen: SeenKeys, numbers: Sequence[int]) -> None:
        try:
            await self._writer.execute("begin immediate")
            for number in numbers:
                # Apart: the checksum takes most of a millisecond.
                layer = await self._machine.in_thread(partial(seen.save, number))
                await self._writer.execute(
                    "insert or replace into filter values (?, ?, ?, ?, ?, ?)",
                    (number, layer.capacity, layer.count, layer.crc, self.position, layer.body),
                )
                await rest()
            await self._seal()
            await self._writer.execute("commit")
        except sqlite3.Error as error:
            await self._undo(error)

    async def heads(self, pools: Sequence[str]) -> dict[str, Head]:
        """The newest indexed sections of those ``pools`` that have any."""

        def look_up() -> dict[str, Head]:
            return {row[0]: _head(row) for row in _in_chunks(self._reader, "select * from head where pool in", pools)}

        return await self._read(look_up)

    async def mark(self, pool: str, version: int) -> Head | None:
        """The first marked section of ``pool`` that ends at ``version`` or later."""

        def look_up() -> Head | None:
            row = self._reader.execute(
                "select * from mark where pool = ? and version >= ? order by version limit 1",
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

        await self._assure_heads()
        return await self._read(look_up)

    async def notice_frames(self, first: int, limit: int) -> list[int]:
        """At most ``limit`` frames from ``first`` on in which pools say something by themselves, in order."""

        def look_up() -> list[int]:
            if not self._notices_assured:
                found, expected = self._reader.execute(_NOTICES).fetchall()
                if found != expected:
                    raise _Difference("the frames with events are not those that were written")
                self._notices_assured = True
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

    async def assure_keys(self, key_hashes: Iterable[int]) -> None:
        """Make sure that no row of the segments that may have held one of ``key_hashes`` has changed since it was
        written: those of the same part, once for each part.

        To be called when a filter knows a key and the segments do not: nearly always the filter errs, but if a row was
        damaged on the disk, taking the key for new would be a double charge. Raises ``Unavailable`` if one has changed.
        """
        for part in sorted({key_hash >> _PART_BITS for key_hash in key_hashes} - self._parts_assured):
            await self._read(partial(self._assure_part, part))
            self._parts_assured.add(part)

    def _assure_part(self, part: int) -> None:
        # One transaction, so that a merge cannot take a segment away.
        self._reader.execute("begin")
        try:
            if not _is_sealed(self._reader.execute(_SEALED).fetchone()):
                raise _Difference("its settings are not what was written")
            for segment in map(_segment, self._reader.execute(_SEGMENTS).fetchall()):
                _, found = _count_and_sum(self._reader, segment.number, part)
                if found != segment.sums[part]:
                    raise _Difference(f"segment {segment.number} is not what was written")
        finally:
            self._reader.execute("rollback")

    async def _assure_heads(self) -> None:
        """Make sure, once, that no pool is missing in the table of heads, as ``assure_keys`` does for keys."""
        if self._heads_assured:
            return
        known, found, last = self._heads, 0, ""

        def read() -> list[str]:
            rows = self._reader.execute(
                "select * from head where pool > ? order by pool limit ?", (last, HEADS_PER_READ)
            ).fetchall()
            for row in rows:
                _head(row)
            return [row[0] for row in rows]

        while names := await self._read(read):
            if names != sorted({last, *names} - {last}):
                self.condemn("the heads are not in order")
            found, last = found + len(names), names[-1]
        if found < known:
            self.condemn(f"it has the heads of {found} pools instead of {known}")
        self._heads_assured = True

    async def _read(self, look_up: Callable[[], T]) -> T:
        try:
            return await self._machine.in_thread(look_up, limiter=self._reader_turn)
        except _Difference as difference:
            self.condemn(str(difference))
        except sqlite3.Error as error:
            if is_passing(error):
                raise JournalError(f"the index cannot be read: {error}") from error
            self.condemn(f"it cannot be read: {error}")


class _Difference(Exception):
    """What was read is not what was written."""


class _Segment(NamedTuple):
    number: int
    rows: int
    last_frame: int
    sums: Sequence[int]
    """The checksum of each part."""

    def row(self) -> tuple[object, ...]:
        """What is written of it."""
        sums = _SUMS.pack(*self.sums)
        return self.number, self.rows, self.last_frame, crc32(sums), sums


def _segment(row: Sequence[Any]) -> _Segment:
    number, rows, last_frame, crc, sums = row
    # Damage may change the type as well.
    if not isinstance(sums, bytes) or len(sums) != _SUMS.size or crc32(sums) != crc:
        raise _Difference(f"the checksums of segment {number} are not what was written")
    return _Segment(number, rows, last_frame, _SUMS.unpack(sums))


def _count_and_sum(connection: sqlite3.Connection, number: int, part: int) -> tuple[int, int]:
    """How many rows of a part are in a segment, and the checksum over them."""
    first = (part << _PART_BITS) - _SIGNED_64
    statement = f"select count(*), {_CHECKSUM} from keys_{number} where hash between ? and ?"
    count, checksum = connection.execute(statement, (first, first + (1 << _PART_BITS) - 1)).fetchone()
    return count, checksum


def _in_chunks(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> Iterable[tuple[Any, ...]]:
    for start in range(0, len(values), _LOOKUP_PARAMETERS_MAX):
        chunk = values[start : start + _LOOKUP_PARAMETERS_MAX]
        yield from connection.execute(f"{statement} ({','.join('?' * len(chunk))})", chunk).fetchall()


def damage_of(connection: sqlite3.Connection) -> tuple[list[str], dict[str, Head]]:
    """What is wrong in an index that is read in one transaction, and its heads."""
    problems: list[str] = []
    (position,) = connection.execute("select value from setting where name = 'position'").fetchone()
    row = connection.execute(_SEALED).fetchone()
    if (position or row[1] is not None) and not _is_sealed(row):
        problems.append("its settings are not what was written")
    for (number,) in connection.execute("select number from segment").fetchall():
        if difference := _difference(connection, number):
            problems.append(difference)
    for number, crc, body in connection.execute("select number, crc, body from filter"):
        if crc32(body) != crc:
            problems.append(f"filter {number} is not what was written")
    heads: dict[str, Head] = {}
    for table in ("head", "mark"):
        for row in connection.execute(f"select * from {table}"):
            try:
                head = _head(row)
            except _Difference as difference:
                problems.append(str(difference))
            else:
                if table == "head":
                    heads[row[0]] = head
    (known,) = connection.execute("select value from setting where name = 'heads'").fetchone()
    if len(heads) != known:
        problems.append(f"it has the heads of {len(heads)} pools instead of {known}")
    found, expected = connection.execute(_NOTICES).fetchall()
    if found != expected:
        problems.append("the frames with events are not those that were written")
    return problems, heads


def _difference(connection: sqlite3.Connection, number: int) -> str:
    """What is wrong with a segment; nothing, if it is as written or was merged into another."""
    # One transaction, so that a merge cannot come in between; the caller may have begun it.
    own = not connection.in_transaction
    if own:
        connection.execute("begin")
    try:
        row = connection.execute(f"{_SEGMENTS} where number = ?", (number,)).fetchone()
        if row is None:
            return ""
        segment = _segment(row)
        found = [_count_and_sum(connection, number, part) for part in range(PARTS)]
    except _Difference as difference:
        return str(difference)
    except sqlite3.Error as error:
        if is_passing(error):
            raise
        return f"segment {number} cannot be read: {error}"
    finally:
        if own:
            connection.execute("rollback")
    is_whole = sum(count for count, _ in found) == segment.rows and [each for _, each in found] == list(segment.sums)
    return "" if is_whole else f"segment {number} is not what was written"


def _is_sealed(row: Any) -> bool:
    """Whether a row of ``_SEALED`` says of itself that it is what was written."""
    return row is not None and isinstance(row[0], str) and crc32(row[0].encode()) == row[1]


def _packed(heads: Sequence[tuple[str, Head]], step: int) -> Iterator[tuple[str, bytes]]:
    """The parameters of ``_INSERT_HEADS``."""
    for some in _slices(heads, step):
        rows = [
            (pool, head.version, head.pointer.frame, head.pointer.offset, head.pointer.length, _crc_of(pool, head))
            for pool, head in some
        ]
        yield msgspec.json.encode(rows).decode(), b"".join([head.digest for _, head in some])


def _key_slices(projection: Projection, step: int) -> Iterator[tuple[str]]:
    """The parameters of ``_INSERT_KEYS``."""
    places, hashes, taken = projection.places, projection.hashes, 0
    rows: list[object] = []
    filled = 0
    for at in range(0, len(places), PLACE):
        frame, offset, length, keys = places[at : at + PLACE]
        rows.append((frame, offset, length, [key_hash - _SIGNED_64 for key_hash in hashes[taken : taken + keys]]))
        taken += keys
        if taken - filled >= step or taken == len(hashes):
            yield (msgspec.json.encode(rows).decode(),)
            rows, filled = [], taken


def _as_json(rows: Sequence[object], step: int) -> Iterator[tuple[str]]:
    """The parameters of a statement that reads ``rows`` with ``json_each``."""
    for some in _slices(rows, step):
        yield (msgspec.json.encode(some).decode(),)


def _slices(rows: Sequence[T], step: int) -> Iterator[Sequence[T]]:
    """``rows`` in parts for one statement each."""
    step = _step_for(len(rows), step)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _step_for(rows: int, step: int) -> int:
    """How many of ``rows`` go into one statement: ``step``, or more if there are many."""
    return max(step, rows // STATEMENTS_MAX)


def _hash_ranges(rows: int, step: int) -> list[tuple[int, int]]:
    """All hashes in ranges, first and last, that have about ``step`` of the ``rows`` each."""
    parts = min(rows // step + 1, MERGE_STATEMENTS_MAX)
    starts = [(part << 64) // parts - _SIGNED_64 for part in range(parts + 1)]
    return [(first, following - 1) for first, following in pairwise(starts)]


def _head(row: Sequence[Any]) -> Head:
    pool, version, frame, offset, length, digest, crc = row
    head = Head(version, Pointer(frame, offset, length), digest)
    if _crc_of(pool, head) != crc:
        raise _Difference(f"a section of pool {pool} is not where it says")
    return head


def _crc_of(pool: str, head: Head) -> int:
    pointer = head.pointer
    place = f"{pool}\0{head.version}\0{pointer.frame}\0{pointer.offset}\0{pointer.length}"
    return crc32(head.digest, crc32(place.encode()))
