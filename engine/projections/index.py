"""Look-ups over the journal: where a pool's history ends, where a version lies, where a key was used.

This is a projection: it can be rebuilt from the journal, and a file that is missing, damaged or made for another
journal is replaced. It is written in batches behind the journal. Each transaction also stores the number of the last
frame it covers, so the index never covers half a frame.

A byte that changes on the disk must not make an answer wrong. Everything that is read carries a checksum: each row of
heads and marks has its own; settings, segments and filters share one. If something is *not* found, that is believed
only after checking all the rows that could have held it, once per start: see the methods called ``assure``. For keys,
those rows are one part of each segment. If any checksum does not match, the index is rebuilt.

This file has heads, marks, agenda and notices; ``segments`` has the keys, ``filter_table`` the filters over them,
``index_file`` the tables, their format and the handling of damage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn
from zlib import crc32

import msgspec

from solvent.engine.journal.frames import Head
from solvent.engine.runtime.machine import MACHINE, Machine

from .filter_table import FilterTable
from .heads import INSERT_HEADS, head_of, packed
from .index_file import SEALED, Difference, IndexFile, is_sealed
from .projection import Projection
from .segments import INSERT_SEGMENT, Segments, difference_in
from .statements import ROWS_PER_STATEMENT, as_json, in_chunks, spread

HEADS_PER_READ: Final = 2_000
_DELETE_WOKEN: Final = (
    "delete from agenda where pool in (select value ->> 0 from json_each(?) cross join head"
    " where head.pool = value ->> 0 and value ->> 1 >= head.version)"
)
"""The statement that removes woken pools. If a pool has newer events in the index than its answer, the answer may be
out of date: the pool stays, and is woken again."""
_INSERT_DUE: Final = (
    "insert into agenda select value ->> 0, value ->> 1 from json_each(?) where true"
    " on conflict do update set due_at = min(due_at, excluded.due_at)"
)
_INSERT_NOTICES: Final = "insert or ignore into notice select value from json_each(?)"
_NOTICES: Final = (
    "select count(*), coalesce(sum(frame), 0) from notice union all"
    " select (select value from setting where name = 'notices'),"
    " (select value from setting where name = 'notice_sum')"
)


class Index:
    """The open index. One projector writes it; any task of the loop may look up."""

    def __init__(self, file: IndexFile) -> None:
        settings = file.settings
        self._file = file
        self.segments: Final = Segments(file)
        self.filters: Final = FilterTable(file)
        self.seed: int = settings["seed"]
        self._heads: int = settings["heads"]
        """The number of pools in the index."""
        self.scales = frozenset((currency, scale) for currency, scale in msgspec.json.decode(settings["scales"]))
        """The currencies of all pools, each with the decimal places of its pools; several times if they differ."""
        self._heads_assured = self._notices_assured = False

    @classmethod
    async def open(cls, path: Path, *, journal_identity: str, seed: int, machine: Machine = MACHINE) -> Index:
        """Open or create the index at ``path``. ``seed`` is used if it is new.

        Raises ``IndexDamaged`` if it cannot be read or belongs to another journal, ``sqlite3.Error`` if it cannot be
        used now (a full disk).
        """
        return cls(await IndexFile.open(path, journal_identity=journal_identity, seed=seed, machine=machine))

    async def aclose(self) -> None:
        """Close the file. If damage was found, delete it: the next open makes a new one."""
        await self._file.aclose()

    @property
    def position(self) -> int:
        """The number of the last frame that the index covers."""
        return self._file.position

    @property
    def damage(self) -> str:
        """The damage that was found; empty if there is none."""
        return self._file.damage

    async def wait_for_damage(self) -> NoReturn:
        """Raise ``IndexDamaged`` as soon as damage is found."""
        await self._file.wait_for_damage()

    def condemn(self, damage: str) -> NoReturn:
        """Mark the file as damaged. The caller gets no answer now: raises ``Unavailable``."""
        self._file.condemn(damage)

    async def project(self, projection: Projection, *, step: int = ROWS_PER_STATEMENT) -> None:
        """Add a batch in one transaction, about ``step`` rows at a time, or more if there are many.

        Raises ``sqlite3.Error`` if it cannot be written now (a full disk); nothing is changed then. Raises
        ``IndexDamaged`` if the file is damaged.
        """
        writer = self._file.writer
        scales = self.scales | projection.scales
        try:
            segment = await self.segments.write(projection, step) if projection.hashes else None
            await writer.execute("begin immediate")
            await spread(writer, INSERT_HEADS.format("head"), packed(list(projection.heads.items()), step))
            await spread(writer, INSERT_HEADS.format("mark"), packed(projection.marks, step))
            if segment is not None:
                await writer.execute(INSERT_SEGMENT, segment.row())
            woken = [(pool, version) for pool, (_, version) in projection.woken.items()]
            await spread(writer, _DELETE_WOKEN, as_json(woken, step))
            due = {pool: due_at for pool, (due_at, _) in projection.woken.items() if due_at is not None}
            await spread(writer, _INSERT_DUE, as_json([*due.items(), *projection.due.items()], step))
            await spread(writer, _INSERT_NOTICES, as_json(projection.notices, step))
            if projection.through:
                await writer.execute(
                    "update setting set value = case name when 'position' then ? when 'heads' then value + ?"
                    " when 'notices' then value + ? else value + ? end"
                    " where name in ('position', 'heads', 'notices', 'notice_sum')",
                    (projection.through, projection.opened, len(projection.notices), sum(projection.notices)),
                )
                if len(scales) > len(self.scales):
                    as_text = msgspec.json.encode(sorted(scales)).decode()
                    await writer.execute("update setting set value = ? where name = 'scales'", (as_text,))
                await self._file.seal()
            await writer.execute("commit")
        except sqlite3.Error as error:
            await self._file.undo(error)
        self.scales = scales
        self._file.position = projection.through or self.position
        self._heads += projection.opened
        self.filters.indexed(projection.key_count)

    async def due(self, now: int, limit: int) -> list[str]:
        """Return at most ``limit`` pools that may have a change due by ``now``, the longest due first."""

        def read() -> list[str]:
            statement = "select pool from agenda where due_at <= ? order by due_at limit ?"
            # A name whose type has changed is nobody's. Its pool records what is due when it is next touched.
            return [row[0] for row in self._file.reader.execute(statement, (now, limit)) if isinstance(row[0], str)]

        return await self._file.read(read)

    async def heads(self, pools: Sequence[str]) -> dict[str, Head]:
        """Return the newest indexed section of each of ``pools`` that has one."""

        def look_up() -> dict[str, Head]:
            return {
                row[0]: head_of(row) for row in in_chunks(self._file.reader, "select * from head where pool in", pools)
            }

        return await self._file.read(look_up)

    async def mark(self, pool: str, version: int) -> Head | None:
        """Return the first marked section of ``pool`` that ends at ``version`` or later."""

        def look_up() -> Head | None:
            row = self._file.reader.execute(
                "select * from mark where pool = ? and version >= ? order by version limit 1",
                (pool, version),
            ).fetchone()
            return None if row is None else head_of(row)

        return await self._file.read(look_up)

    async def pools(self, prefix: str, *, after: str, limit: int) -> list[str]:
        """Return at most ``limit`` pools whose names begin with ``prefix``, above ``after``, in order."""

        def look_up() -> list[str]:
            # The names are UTF-8 text: U+10FFFF is above every character a name may hold after the prefix.
            rows = self._file.reader.execute(
                "select pool from head where pool > ? and pool >= ? and pool < ? order by pool limit ?",
                (after, prefix, prefix + "\U0010ffff", limit),
            )
            return [row[0] for row in rows.fetchall()]

        await self._assure_heads()
        return await self._file.read(look_up)

    async def notice_frames(self, first: int, limit: int) -> list[int]:
        """Return at most ``limit`` frames with notices (events to be published) from ``first`` on, in order."""

        def look_up() -> list[int]:
            if not self._notices_assured:
                found, expected = self._file.reader.execute(_NOTICES).fetchall()
                if found != expected:
                    raise Difference("the frames with events are not those that were written")
                self._notices_assured = True
            statement = "select frame from notice where frame >= ? order by frame limit ?"
            return [int(row[0]) for row in self._file.reader.execute(statement, (first, limit))]

        return await self._file.read(look_up)

    async def _assure_heads(self) -> None:
        """Ensure, once, that no pool is missing in the table of heads, as ``Segments.assure`` does for keys."""
        if self._heads_assured:
            return
        known, found, last = self._heads, 0, ""

        def read() -> list[str]:
            rows = self._file.reader.execute(
                "select * from head where pool > ? order by pool limit ?", (last, HEADS_PER_READ)
            ).fetchall()
            for row in rows:
                head_of(row)
            return [row[0] for row in rows]

        while names := await self._file.read(read):
            if names != sorted({last, *names} - {last}):
                self._file.condemn("the heads are not in order")
            found, last = found + len(names), names[-1]
        if found < known:
            self._file.condemn(f"it has the heads of {found} pools instead of {known}")
        self._heads_assured = True


def damage_of(connection: sqlite3.Connection) -> tuple[list[str], dict[str, Head]]:
    """Return the faults of an index that is read in one transaction, and its heads."""
    problems: list[str] = []
    (position,) = connection.execute("select value from setting where name = 'position'").fetchone()
    row = connection.execute(SEALED).fetchone()
    if (position or row[1] is not None) and not is_sealed(row):
        problems.append("its settings are not what was written")
    for (number,) in connection.execute("select number from segment").fetchall():
        if difference := difference_in(connection, number):
            problems.append(difference)
    for number, crc, body in connection.execute("select number, crc, body from filter"):
        if not isinstance(body, bytes) or crc32(body) != crc:
            problems.append(f"filter {number} is not what was written")
    heads: dict[str, Head] = {}
    for table in ("head", "mark"):
        for row in connection.execute(f"select * from {table}"):
            try:
                head = head_of(row)
            except Difference as difference:
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
