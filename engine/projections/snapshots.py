"""Snapshots: the state of pools at some version, so that loading a pool need not read its whole history.

Of each pool there is the newest one, and of a pool with a long history also some of its past, ``PAST_EVERY`` versions
apart or more: an answer about the past starts from the one before, so that it takes as long in any history. They take
``PAST_BYTES`` for each version of the pool at most.

They are only a cache. A snapshot that is missing, damaged, of another format, or newer than the journal is ignored,
with a warning if it should have been valid. The pool is then folded from the journal.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import aiosqlite
import msgspec
from anyio import CapacityLimiter

from solvent.engine.rules.alerts import Alerts
from solvent.engine.rules.allowances import Allowance
from solvent.engine.rules.budgets import Budget, BudgetTerms
from solvent.engine.rules.pool import Block, BrokenInvariant, OpenHold, Pool, check_books, rebuild_orders
from solvent.engine.rules.rates import RateBook
from solvent.engine.rules.recurring import Recurring
from solvent.engine.runtime.files import SNAPSHOTS_FORMAT
from solvent.engine.runtime.machine import MACHINE, Machine
from solvent.engine.runtime.pacing import in_slices
from solvent.engine.runtime.sqlite import Connection, damage_of_header, is_passing, refuse_newer, remove_database

PAST_EVERY: Final = 8_192
"""The fewest versions between two snapshots of a pool's past. To fold as many takes some 50 ms."""
PAST_BYTES: Final = 4
"""The most bytes of snapshots of the past, for each version of their pool. An event takes some 150."""
_LOOKUP_PARAMETERS_MAX: Final = 500

_SCHEMA: Final = """
create table if not exists setting (name text primary key, value any) strict, without rowid;
create table if not exists snapshot (
    pool text primary key, version integer not null, crc integer not null, body blob not null
) strict, without rowid;
create table if not exists past (
    pool text not null, version integer not null, clock integer not null, crc integer not null, body blob not null,
    primary key (pool, version)
) strict;
"""
_INSERT: Final = (
    "insert or replace into snapshot select value ->> 0, value ->> 1, value ->> 2,"
    " substr(?2, (value ->> 3) + 1, value ->> 4) from json_each(?1)"
)
"""The statement with two parameters: an array of (pool, version, checksum, offset, end), and all bodies joined."""

_INSERT_PAST: Final = "insert or ignore into past (pool, version, clock, crc, body) values (?, ?, ?, ?, ?)"
_NEWEST_PAST: Final = (
    "select version, crc, body from past where pool = ? and version <= ? and clock < ? order by version desc limit 1"
)
_LAST_PAST: Final = "select coalesce(max(version), 0) from past where pool = ? and version <= ?"

log = logging.getLogger(__name__)


class _Budget(msgspec.Struct, array_like=True, gc=False):
    """A ``Budget``. What is used of one that only warns is a sum over the life of its window."""

    number: int
    terms: BudgetTerms
    window_start: int
    used: dict[bytes, str]
    open_holds: dict[bytes, int]
    reached: dict[bytes, int]


class _State(msgspec.Struct, array_like=True, gc=False):
    """A ``Pool`` without the fields that can be derived from the others.

    Sums over the life of a pool are decimal text: MessagePack has no numbers above 64 bits.
    """

    format: int
    scale: int
    version: int
    clock: int
    granted: str
    available: int
    held: int
    spent: str
    expired: str
    voided: str
    moved_out: str
    pending: int
    blocks: list[Block]
    holds: list[OpenHold]
    reversed: dict[int, int]
    budgets: list[_Budget]
    allowances: list[Allowance]
    recurring: list[Recurring]
    ended: list[Recurring]
    alerts: Alerts | None
    rates: RateBook | None
    outbox: int


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_State)


def encode_pool(pool: Pool) -> bytes:
    """Return the pool as bytes."""
    return _encoder.encode(
        _State(
            SNAPSHOTS_FORMAT,
            pool.scale,
            pool.version,
            pool.clock,
            str(pool.granted),
            pool.available,
            pool.held,
            str(pool.spent),
            str(pool.expired),
            str(pool.voided),
            str(pool.moved_out),
            pool.pending,
            list(pool.blocks.values()),
            list(pool.holds.values()),
            pool.reversed,
            [_saved(budget) for budget in pool.budgets.values()],
            list(pool.allowances.values()),
            list(pool.recurring.values()),
            list(pool.ended.values()),
            pool.alerts,
            pool.rates,
            pool.outbox,
        )
    )


def _saved(budget: Budget) -> _Budget:
    used = {value: str(units) for value, units in budget.used.items()}
    return _Budget(budget.number, budget.terms, budget.window_start, used, budget.open_holds, budget.reached)


def _loaded(budget: _Budget) -> Budget:
    used = {value: int(units) for value, units in budget.used.items()}
    return Budget(budget.number, budget.terms, budget.window_start, used, budget.open_holds, budget.reached)


def decode_pool(body: bytes) -> Pool:
    """Return the pool that ``encode_pool`` wrote. Raises ``ValueError`` for anything else."""
    try:
        state = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"it cannot be decoded: {error}") from None
    if state.format != SNAPSHOTS_FORMAT:
        raise ValueError(f"it has format {state.format}")
    pool = Pool(
        state.scale,
        state.version,
        state.clock,
        int(state.granted),
        state.available,
        state.held,
        int(state.spent),
        int(state.expired),
        int(state.voided),
        int(state.moved_out),
        state.pending,
        {block.number: block for block in state.blocks},
        {hold.number: hold for hold in state.holds},
        state.reversed,
        {budget.number: _loaded(budget) for budget in state.budgets},
        {allowance.number: allowance for allowance in state.allowances},
        {recurring.number: recurring for recurring in state.recurring},
        {recurring.number: recurring for recurring in state.ended},
        state.alerts,
        state.rates,
        state.outbox,
    )
    rebuild_orders(pool)
    try:
        check_books(pool)
    except BrokenInvariant as error:
        raise ValueError(str(error)) from None
    return pool


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A pool to save, as bytes."""

    pool: str
    version: int
    body: bytes
    clock: int
    """The time of its newest entry."""


class Snapshots:
    """The snapshot file. One projector writes it; loading a pool reads it."""

    def __init__(
        self, writer: aiosqlite.Connection, reader: sqlite3.Connection, machine: Machine, position: int
    ) -> None:
        self.position = position
        """The number of a frame that was durable when snapshots were last saved; 0 if none were."""
        self._machine = machine
        self._writer = writer
        self._reader = reader
        self._reader_turn = CapacityLimiter(1)
        self._past: dict[str, int] = {}
        """The version at which a snapshot of the past was last looked for, of each pool with a long history."""

    @classmethod
    async def open(cls, path: Path, *, journal_identity: str, machine: Machine = MACHINE) -> Snapshots:
        """Open or create the file. A file that is damaged or belongs to another journal is replaced.

        Raises ``NewerFormat``, or ``sqlite3.Error`` if it cannot be used now (a full disk).
        """
        await machine.in_thread(partial(refuse_newer, path, newer_format_of, SNAPSHOTS_FORMAT))
        try:
            if damage := await machine.in_thread(partial(damage_of_header, path)):
                raise ValueError(damage)
            return await cls._open(path, journal_identity, machine)
        except (sqlite3.Error, ValueError) as error:
            if is_passing(error):
                raise
            log.warning("snapshots in %s are ignored and rebuilt: %s", path, error)
            remove_database(path)
            return await cls._open(path, journal_identity, machine)

    @classmethod
    async def _open(cls, path: Path, journal_identity: str, machine: Machine) -> Snapshots:
        writer = await machine.connect(path)
        try:
            await writer.execute("pragma journal_mode = wal")
            await writer.execute("pragma synchronous = normal")
            await writer.executescript(_SCHEMA)
            identity = f"{journal_identity} {SNAPSHOTS_FORMAT}"
            await writer.execute("insert or ignore into setting values ('journal', ?)", (identity,))
            async with writer.execute("select value from setting where name = 'journal'") as cursor:
                row = await cursor.fetchone()
            if row is None or row[0] != identity:
                raise ValueError("they belong to another journal or version")
            async with writer.execute("select value from setting where name = 'position'") as cursor:
                position = position_in((await cursor.fetchone() or (None,))[0])
            reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None, factory=Connection)
        except BaseException:
            await writer.close()
            raise
        return cls(writer, reader, machine, position)

    async def save(self, snapshots: Sequence[Snapshot], *, position: int) -> None:
        """Save ``snapshots``, all of versions that were durable with frame ``position`` or soon after.

        A failure is only logged, since the journal has everything.
        """
        rows: list[tuple[str, int, int, int, int]] = []
        offset = 0
        async for each in in_slices(snapshots):
            length = len(each.body)
            rows.append((each.pool, each.version, crc_of(each.pool, each.version, each.body), offset, length))
            offset += length
        bodies = b"".join([each.body for each in snapshots])
        try:
            await self._writer.execute("begin immediate")
            # One statement, not one for each row: see ``statements``.
            await self._writer.execute(_INSERT, (msgspec.json.encode(rows).decode(), bodies))
            await self._writer.execute(
                "insert or replace into setting values ('position', ?)", (_sealed_position(str(position)),)
            )
            await self._writer.execute("commit")
        except sqlite3.Error as error:
            log.warning("%d snapshots could not be saved: %s", len(rows), error)
            if self._writer.in_transaction:
                await self._writer.execute("rollback")
        for each in snapshots:
            if each.version - self._past.get(each.pool, 0) >= PAST_EVERY:
                self._past[each.pool] = each.version
                await self.keep_past(each)

    async def keep_past(self, snapshot: Snapshot) -> None:
        """Keep a snapshot of a pool's past, unless the one before it is near. A failure is only logged."""
        pool, version, body = snapshot.pool, snapshot.version, snapshot.body
        find = partial(self._reader.execute, _LAST_PAST, (pool, version))
        try:
            found = await self._machine.in_thread(lambda: find().fetchone(), limiter=self._reader_turn)
            if version - int(found[0]) >= past_interval(len(body)):
                crc = crc_of(pool, version, body)
                await self._writer.execute(_INSERT_PAST, (pool, version, snapshot.clock, crc, body))
        except sqlite3.Error as error:
            log.warning("a snapshot of the past of pool %s could not be saved: %s", pool, error)

    async def before(self, pool: str, moment: int, *, version_max: int) -> Pool | None:
        """Return the newest saved state of ``pool`` whose entries are all from before ``moment``; ``None`` without one.

        Its version is ``version_max`` at most.
        """
        newest = (await self.load([pool])).get(pool)
        if newest is not None and newest.clock < moment and newest.version <= version_max:
            return newest
        find = partial(self._find_past, pool, version_max, moment)
        try:
            row = await self._machine.in_thread(find, limiter=self._reader_turn)
        except sqlite3.Error as error:
            log.warning("snapshots cannot be read, reading the journal instead: %s", error)
            return None
        return None if row is None else _pool_in(pool, *row)

    def _find_past(self, pool: str, version_max: int, moment: int) -> tuple[int, int, bytes] | None:
        row: tuple[int, int, bytes] | None = self._reader.execute(_NEWEST_PAST, (pool, version_max, moment)).fetchone()
        return row

    async def load(self, pools: Sequence[str]) -> dict[str, Pool]:
        """Return the saved state of each of ``pools`` that has a valid snapshot."""
        try:
            rows = await self._machine.in_thread(partial(self._rows, pools), limiter=self._reader_turn)
        except sqlite3.Error as error:
            log.warning("snapshots cannot be read, reading the journal instead: %s", error)
            return {}
        found: dict[str, Pool] = {}
        for pool, version, crc, body in rows:
            state = _pool_in(pool, version, crc, body)
            if state is not None:
                found[pool] = state
        return found

    def _rows(self, pools: Sequence[str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(pools), _LOOKUP_PARAMETERS_MAX):
            chunk = pools[start : start + _LOOKUP_PARAMETERS_MAX]
            marks = ",".join("?" * len(chunk))
            rows += self._reader.execute(
                f"select pool, version, crc, body from snapshot where pool in ({marks})", chunk
            ).fetchall()
        return rows

    async def aclose(self) -> None:
        await self._writer.close()
        self._reader.close()


def position_in(value: object) -> int:
    """Return the number of the frame in the setting ``position``; 0 if there is none, or one that was damaged."""
    number, _, checksum = value.partition(" ") if isinstance(value, str) else ("", "", "")
    return int(number) if checksum and _sealed_position(number) == value else 0


def _sealed_position(number: str) -> str:
    """Return the setting for a position: the number, and a checksum, or a changed one would refuse a sound journal."""
    return f"{number} {crc32(number.encode())}"


def past_interval(bytes_: int) -> int:
    """Return how many versions lie between two snapshots of a pool's past that take ``bytes_`` each."""
    return max(PAST_EVERY, bytes_ // PAST_BYTES)


def _pool_in(pool: str, version: int, crc: int, body: bytes) -> Pool | None:
    """Return the pool in a row, ``None`` if the row is not sound."""
    try:
        if crc_of(pool, version, body) != crc:
            raise ValueError("the checksum does not match")
        state = decode_pool(body)
        if state.version != version:
            raise ValueError(f"it holds version {state.version}")
    except ValueError as error:
        log.warning("snapshot of pool %s at version %s is ignored: %s", pool, version, error)
        return None
    return state


def newer_format_of(connection: sqlite3.Connection) -> int | None:
    """Return the number of the format if that is newer than the known one, and not a known one that was damaged.

    Raises ``sqlite3.Error`` for a file that does not say a number.
    """
    (identity,) = connection.execute("select value from setting where name = 'journal'").fetchone() or ("",)
    number = str(identity).rpartition(" ")[2]
    if not (number.isascii() and number.isdecimal()) or int(number) <= SNAPSHOTS_FORMAT:
        return None
    try:
        # The number of the file has no checksum. It is in each snapshot as well, and those have one.
        row = connection.execute("select pool, version, crc, body from snapshot limit 1").fetchone()
    except sqlite3.Error:
        return int(number)  # It has other tables.
    return None if row is not None and _is_known(*row) else int(number)


def _is_known(pool: str, version: int, crc: int, body: bytes) -> bool:
    if crc_of(pool, version, body) != crc:
        return False
    try:
        decode_pool(body)
    except ValueError:
        return False
    return True


def crc_of(pool: str, version: int, body: object) -> int:
    """Return the checksum of a row; -1, which no row has, if its types have changed.

    It covers the name, or a damaged name would give one pool another's credits.
    """
    if not isinstance(body, bytes):
        return -1
    return crc32(body, crc32(f"{pool}\0{version}".encode()))
