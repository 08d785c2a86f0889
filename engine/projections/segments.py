"""Where keys were used: their hashes, stored in *segments*, each a table of the index that is written once.

Inserts into a small table per batch cost a twentieth of inserts into one large index. Small segments are merged into
larger ones, so that only a few remain. A hash that is found is only a hint: the caller compares the whole key in the
section it points to. A segment has a checksum for each part of the hashes. So, if a hash is *not* found, checking a
256th of the segment proves it: see ``Segments.assure``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from struct import Struct
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

from solvent.engine.journal.frames import Pointer
from solvent.engine.runtime.pacing import rest
from solvent.engine.runtime.sqlite import is_passing

from .index_file import SEALED, Difference, IndexDamaged, IndexFile, is_sealed
from .projection import PLACE, Projection
from .statements import ROWS_PER_STATEMENT, in_chunks, spread, step_for

MERGE_FANOUT: Final = 8
SEGMENT_ROWS_MAX: Final = 4_000_000
"""The most rows in a merged segment. A merge of this size takes some seconds in the background."""
MERGE_STATEMENTS_MAX: Final = 1_000
"""The most statements of one merge: it writes millions of rows, and has more time."""
SIGNED_64: Final = 1 << 63
"""The number subtracted from a hash for storage, because SQLite has no unsigned numbers."""

_CHECKSUM: Final = (
    "coalesce(sum((hash & 1073741823) + 3 * ((hash >> 30) & 1073741823) + 5 * ((hash >> 60) & 15)"
    " + 7 * frame + 11 * offset + 13 * length), 0)"
)
"""The checksum over rows of a segment, in any order. Changing one bit in one row changes it, and sums of segments add
up."""
_PART_BITS: Final = 56
PARTS: Final = 1 << 64 - _PART_BITS
"""The number of parts of all hashes, by their highest bits. A segment has a checksum for each part, so that a check
need not read all of it."""
_SUMS: Final = Struct(f"<{PARTS}q")
KEY_COLUMNS: Final = (
    "(hash integer, frame integer, offset integer, length integer, primary key (hash, frame, offset))"
    " strict, without rowid"
)
_INSERT_KEYS: Final = (
    # Materialized, or each section would be parsed again for each of its keys.
    "with section as materialized (select value ->> 0 as frame, value ->> 1 as offset, value ->> 2 as length,"
    " value -> 3 as hashes from json_each(?))"
    " insert into temp.unwritten select value, frame, offset, length from section, json_each(hashes)"
)
"""The statement that inserts an array of rows (frame, offset, length, hashes)."""
INSERT_SEGMENT: Final = "insert into segment values (?, ?, ?, ?, ?)"
SEGMENTS: Final = "select number, rows, last_frame, crc, sums from segment"
_PART: Final = f"(hash >> {_PART_BITS}) + {PARTS // 2}"
"""The part of a stored hash, which is less by ``SIGNED_64``."""


class Segments:
    """The segments of an index file. One projector writes them; any task of the loop may look up."""

    def __init__(self, file: IndexFile) -> None:
        self._file = file
        self._parts_assured = set[int]()

    async def write(self, projection: Projection, step: int) -> Segment:
        """Write the keys into a new table, which no look-up uses yet."""
        writer = self._file.writer
        step = step_for(projection.key_count, step)
        ranges = _hash_ranges(projection.key_count, step)
        # Sort the rows in memory first, so that each page of the file is written once.
        await writer.execute("drop table if exists temp.unwritten")
        await writer.execute(f"create temp table unwritten {KEY_COLUMNS}")
        await spread(writer, _INSERT_KEYS, _key_slices(projection, step))
        number = await self._create()
        await spread(
            writer,
            f"insert into keys_{number} select * from temp.unwritten where hash between ? and ?",
            ranges,
        )
        await writer.execute("drop table temp.unwritten")
        sums = [0] * PARTS
        statement = f"select {_PART}, {_CHECKSUM} from keys_{number} where hash between ? and ? group by 1"
        for first, last in ranges:
            async with writer.execute(statement, (first, last)) as cursor:
                for part, checksum in await cursor.fetchall():
                    sums[part] += checksum
            await rest()
        return Segment(number, projection.key_count, projection.through, sums)

    async def _create(self) -> int:
        writer = self._file.writer
        async with writer.execute("select coalesce(max(number), 0) + 1 from segment") as cursor:
            row = await cursor.fetchone()
        number = int(row[0]) if row is not None else 1
        # A failed merge may have left it.
        await writer.execute(f"drop table if exists keys_{number}")
        await writer.execute(f"create table keys_{number} {KEY_COLUMNS}")
        return number

    async def merge(self, *, step: int = ROWS_PER_STATEMENT) -> bool:
        """Merge one group of segments of about the same size, if there is one. Returns whether there may be more to do.

        Writes about ``step`` rows at a time, or more if there are millions.
        """
        async with self._file.writer.execute("select number, rows from segment order by number") as cursor:
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
        writer = self._file.writer
        parts = [f"select * from keys_{number} where hash between ?1 and ?2" for number in chosen]
        try:
            async with writer.execute(f"{SEGMENTS} where number in ({','.join(map(str, chosen))})") as cursor:
                merged = [segment_of(row) for row in await cursor.fetchall()]
            # In many transactions: until the new table is registered as a segment, no look-up uses it.
            target = await self._create()
            await spread(writer, f"insert into keys_{target} {' union all '.join(parts)} order by 1, 2, 3", ranges)
            # Add up the sums from when the rows were written, so that a row that has changed since is still found.
            sums = [sum(column) for column in zip(*(each.sums for each in merged), strict=True)]
            rows, last_frame = sum(each.rows for each in merged), max(each.last_frame for each in merged)
            await writer.execute("begin immediate")
            await writer.execute(INSERT_SEGMENT, Segment(target, rows, last_frame, sums).row())
            for number in chosen:
                await writer.execute("delete from segment where number = ?", (number,))
            await self._file.seal()
            await writer.execute("commit")
            for number in chosen:
                await writer.execute(f"drop table keys_{number}")
                await rest()
        except Difference as difference:
            self._file.note(str(difference))
            raise IndexDamaged(self._file.damage) from difference
        except sqlite3.Error as error:
            await self._file.undo(error)

    async def find(self, key_hashes: Sequence[int]) -> dict[int, list[Pointer]]:
        """Return, by hash, the sections that may have used its keys. Hashes that were never used are left out."""
        reader = self._file.reader

        def look_up() -> dict[int, list[Pointer]]:
            found: dict[int, list[Pointer]] = {}
            signed = [key_hash - SIGNED_64 for key_hash in key_hashes]
            # One transaction, so that a merge cannot remove a segment between the two statements.
            reader.execute("begin")
            try:
                numbers = [int(row[0]) for row in reader.execute("select number from segment").fetchall()]
                for number in numbers:
                    statement = f"select hash, frame, offset, length from keys_{number} where hash in"
                    for key_hash, frame, offset, length in in_chunks(reader, statement, signed):
                        if not (isinstance(frame, int) and isinstance(offset, int) and isinstance(length, int)):
                            raise Difference(f"segment {number} has other types than were written")
                        found.setdefault(key_hash + SIGNED_64, []).append(Pointer(frame, offset, length))
            finally:
                reader.execute("rollback")
            return found

        return await self._file.read(look_up)

    async def assure(self, key_hashes: Iterable[int]) -> None:
        """Ensure that no row that may have held one of ``key_hashes`` has changed since it was written. This checks all
        rows of the same part, once for each part.

        Call this when a filter knows a key and the segments do not. Nearly always the filter errs, but if a row was
        damaged on the disk, taking the key for new would be a double charge. Raises ``Unavailable`` if one has changed.
        """
        for part in sorted({key_hash >> _PART_BITS for key_hash in key_hashes} - self._parts_assured):
            await self._file.read(partial(self._assure_part, part))
            self._parts_assured.add(part)

    def _assure_part(self, part: int) -> None:
        reader = self._file.reader
        # One transaction, so that a merge cannot remove a segment.
        reader.execute("begin")
        try:
            if not is_sealed(reader.execute(SEALED).fetchone()):
                raise Difference("its settings are not what was written")
            for segment in map(segment_of, reader.execute(SEGMENTS).fetchall()):
                _, found = count_and_sum(reader, segment.number, part)
                if found != segment.sums[part]:
                    raise Difference(f"segment {segment.number} is not what was written")
        finally:
            reader.execute("rollback")


class Segment(NamedTuple):
    """A row of the table of segments."""

    number: int
    rows: int
    last_frame: int
    sums: Sequence[int]
    """The checksum of each part."""

    def row(self) -> tuple[object, ...]:
        """Return the row to store."""
        sums = _SUMS.pack(*self.sums)
        return self.number, self.rows, self.last_frame, crc32(sums), sums


def segment_of(row: Sequence[Any]) -> Segment:
    """Return the segment in a row of ``SEGMENTS``. Raises ``Difference`` if its checksum does not match."""
    number, rows, last_frame, crc, sums = row
    # Damage may change the type as well.
    if not isinstance(sums, bytes) or len(sums) != _SUMS.size or crc32(sums) != crc:
        raise Difference(f"the checksums of segment {number} are not what was written")
    return Segment(number, rows, last_frame, _SUMS.unpack(sums))


def count_and_sum(connection: sqlite3.Connection, number: int, part: int) -> tuple[int, int]:
    """Return the number of rows of a part in a segment, and the checksum over them."""
    first = (part << _PART_BITS) - SIGNED_64
    statement = f"select count(*), {_CHECKSUM} from keys_{number} where hash between ? and ?"
    count, checksum = connection.execute(statement, (first, first + (1 << _PART_BITS) - 1)).fetchone()
    return count, checksum


def difference_in(connection: sqlite3.Connection, number: int) -> str:
    """Return the fault of a segment; empty if it is as written, or was merged into another."""
    # One transaction, so that a merge cannot intervene. The caller may have begun it.
    own = not connection.in_transaction
    if own:
        connection.execute("begin")
    try:
        row = connection.execute(f"{SEGMENTS} where number = ?", (number,)).fetchone()
        if row is None:
            return ""
        segment = segment_of(row)
        found = [count_and_sum(connection, number, part) for part in range(PARTS)]
    except Difference as difference:
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


def _key_slices(projection: Projection, step: int) -> Iterator[tuple[str]]:
    """Yield the parameters of ``_INSERT_KEYS``."""
    places, hashes, taken = projection.places, projection.hashes, 0
    rows: list[object] = []
    filled = 0
    for at in range(0, len(places), PLACE):
        frame, offset, length, keys = places[at : at + PLACE]
        rows.append((frame, offset, length, [key_hash - SIGNED_64 for key_hash in hashes[taken : taken + keys]]))
        taken += keys
        if taken - filled >= step or taken == len(hashes):
            yield (msgspec.json.encode(rows).decode(),)
            rows, filled = [], taken


def _hash_ranges(rows: int, step: int) -> list[tuple[int, int]]:
    """Return ranges (first, last) of all hashes, each with about ``step`` of the ``rows``."""
    parts = min(rows // step + 1, MERGE_STATEMENTS_MAX)
    starts = [(part << 64) // parts - SIGNED_64 for part in range(parts + 1)]
    return [(first, following - 1) for first, following in pairwise(starts)]
