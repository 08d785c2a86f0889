"""Proof of a journal: every frame, every chain, every balance recomputed from the first event on.

Reads only, so it can run beside the service that writes the journal. Also compares the caches with what was
recomputed: a snapshot or an index entry that tells another story is reported.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from .amounts import to_decimal
from .core import INDEX_NAME, SNAPSHOTS_NAME
from .errors import JournalCorrupt, JournalError
from .events import KEYED, Captured, Debited, Event, Expired, Held, MovedIn, MovedOut, Opened, Parts
from .evolve import apply
from .frames import NO_HEAD, Head, Pointer, Section, decode_section, digest_of, split_frame
from .pool import BrokenInvariant, Pool, check_books, check_totals
from .pool_id import parse_canonical
from .snapshots import encode_pool
from .sqlite_journal import JOURNAL_NAME, connect_for_reading, read_frames

PROBLEMS_MAX: Final = 100
"""Findings after which a verification ends: more would say nothing new."""
FRAMES_PER_READ: Final = 64


class Verification(msgspec.Struct, kw_only=True):
    """What was recomputed, and what did not fit. No ``problems``: proven."""

    frames: int = 0
    entries: int = 0
    pools: int = 0
    debits: int = 0
    granted: dict[str, Decimal] = {}
    """Credits granted so far, by currency."""
    spent: dict[str, Decimal] = {}
    """Credits spent, by currency."""
    snapshots_compared: int = 0
    index_entries_compared: int = 0
    problems: list[str] = []
    seconds: float = 0.0

    @property
    def proven(self) -> bool:
        return not self.problems


def verify_journal(
    directory: str | PathLike[str], *, on_progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Recompute everything in ``directory``. ``on_progress`` hears (frames done, frames in all).

    Takes the calling thread, about 3 seconds per million entries. Keeps all pools and their keys in memory. Raises
    ``JournalError`` if there is no journal, or none that can be opened; what is wrong inside is reported.
    """
    started = time.perf_counter()
    path = Path(directory)
    if not (path / JOURNAL_NAME).is_file():
        raise JournalError(f"there is no journal in {path}")
    checker = _Checker()
    # Read before the journal: so neither can be ahead of it, even while a service writes all three.
    checker.expect_snapshots(_rows(path / SNAPSHOTS_NAME, "select pool, version, body from snapshot"))
    checker.expect_heads(_rows(path / INDEX_NAME, "select pool, version, frame, offset, length, digest from head"))
    try:
        connection = connect_for_reading(path / JOURNAL_NAME)
    except sqlite3.Error as error:
        raise JournalError(f"{path / JOURNAL_NAME} cannot be opened: {error}") from error
    try:
        _check_frames(connection, checker, on_progress)
    finally:
        connection.close()
    checker.finish()
    checker.result.seconds = time.perf_counter() - started
    return checker.result


def _check_frames(
    connection: sqlite3.Connection, checker: _Checker, on_progress: Callable[[int, int], None] | None
) -> None:
    try:
        last = int(connection.execute("select coalesce(max(number), 0) from frame").fetchone()[0])
    except sqlite3.Error as error:
        checker.report(f"the journal cannot be read: {error}")
        return
    position = 0
    while position < last and len(checker.result.problems) < PROBLEMS_MAX:
        try:
            frames = read_frames(connection, position, min(FRAMES_PER_READ, last - position))
        except JournalCorrupt as error:
            checker.report(str(error))
            return
        for frame in frames:
            try:
                for pointer, body in split_frame(frame):
                    checker.check(pointer, body)
                checker.end_frame(frame.number)
            except JournalCorrupt as error:
                checker.report(str(error))
            checker.result.frames += 1
            position = frame.number
        if on_progress is not None:
            on_progress(position, last)


class _Checker:
    """Folds all pools, side by side with what is said of them."""

    def __init__(self) -> None:
        self.result = Verification()
        self._pools: dict[str, Pool] = {}
        self._heads: dict[str, Head] = {}
        self._keys: dict[str, set[str]] = {}
        self._broken: set[str] = set()
        self._on_the_way: dict[tuple[str, str, str, int], int] = {}
        """Credits that left a pool (above zero) or reached one (below) in this frame, by both, key and grant."""
        self._snapshots: dict[str, tuple[int, bytes]] = {}
        self._indexed: dict[str, Head] = {}

    def report(self, problem: str) -> None:
        self.result.problems.append(problem)

    def expect_snapshots(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._snapshots = {pool: (version, body) for pool, version, body in rows}

    def expect_heads(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._indexed = {row[0]: Head(row[1], Pointer(*row[2:5]), row[5]) for row in rows}

    def check(self, pointer: Pointer, body: bytes) -> None:
        """One section. Raises ``JournalCorrupt``; reports the rest, once per pool."""
        section = decode_section(body, frame=pointer.frame)
        if section.pool in self._broken:
            return
        try:
            self._check_chain(section, pointer)
            for version, event in enumerate(section.events, section.first_version):
                self._check_event(section.pool, version, event)
            head = Head(section.last_version, pointer, digest_of(body))
            self._heads[section.pool] = head
            self._compare(section.pool, head)
        except (BrokenInvariant, KeyError, IndexError) as error:
            self._broken.add(section.pool)
            self.report(f"frame {pointer.frame}, pool {section.pool}: {error}")

    def end_frame(self, number: int) -> None:
        """What left one pool for another in this frame must have arrived there in it."""
        if self._on_the_way:
            self.report(f"frame {number}: a transfer has one side only: {sorted(self._on_the_way)[:3]}")
            self._on_the_way.clear()

    def _note_transfer(self, pool: str, event: MovedOut | MovedIn) -> None:
        if isinstance(event, MovedOut):
            moves = [((pool, event.target, event.key, grant), part) for grant, part in event.parts]
        else:
            moves = [((event.source, pool, event.source_key, event.source_grant), -event.amount)]
        for move, units in moves:
            left = self._on_the_way.pop(move, 0) + units
            if left:
                self._on_the_way[move] = left

    def _check_chain(self, section: Section, pointer: Pointer) -> None:
        head = self._heads.get(section.pool, NO_HEAD)
        if section.first_version != head.version + 1:
            raise BrokenInvariant(f"version {head.version + 1} is missing: a section begins at {section.first_version}")
        if section.previous != head.pointer or section.previous_digest != head.digest:
            raise BrokenInvariant(f"the section at version {section.first_version} is not chained to the one before it")

    def _check_event(self, name: str, version: int, event: Event) -> None:
        pool = self._pools.setdefault(name, Pool())
        keys = self._keys.setdefault(name, set())
        if event.at < pool.clock:
            raise BrokenInvariant(f"entry {version} is dated before entry {version - 1}")
        if isinstance(event, Opened) != (version == 1):
            raise BrokenInvariant(f"entry {version} is {type(event).__name__}: a pool is opened once, first")
        if isinstance(event, KEYED):
            if event.key in keys:
                raise BrokenInvariant(f"entry {version} uses the key {event.key!r} a second time")
            keys.add(event.key)
        if isinstance(event, (Debited, Held, MovedOut)):
            _check_taken(pool, version, event.amount, event.parts)
        elif isinstance(event, Captured):
            _check_taken(pool, version, sum(part for _, part in event.extra), event.extra)
        if isinstance(event, (Debited, Captured)):
            self.result.debits += 1
        if isinstance(event, (MovedOut, MovedIn)):
            self._note_transfer(name, event)
        elif isinstance(event, Expired) and pool.blocks[event.grant].available != event.amount:
            raise BrokenInvariant(
                f"entry {version} expires {event.amount} of grant g{event.grant}, not all that is left"
            )
        apply(pool, event)
        check_totals(pool)
        if not isinstance(event, Opened) and event.balance != pool.available:
            raise BrokenInvariant(f"entry {version} says the balance is {event.balance}, it is {pool.available}")
        self.result.entries += 1
        saved = self._snapshots.get(name)
        if saved is not None and saved[0] == version:
            del self._snapshots[name]
            self.result.snapshots_compared += 1
            if saved[1] != encode_pool(pool):
                self.report(f"pool {name}: the snapshot at version {version} is not what the journal says")

    def _compare(self, name: str, head: Head) -> None:
        indexed = self._indexed.get(name)
        if indexed is not None and indexed.version == head.version:
            del self._indexed[name]
            self.result.index_entries_compared += 1
            if indexed != head:
                self.report(f"pool {name}: the index does not point to the section that ends at {head.version}")

    def finish(self) -> None:
        """The sums, once all was folded."""
        result = self.result
        for name, pool in self._pools.items():
            if name in self._broken:
                continue
            try:
                check_books(pool)
            except BrokenInvariant as error:
                self.report(f"pool {name}: {error}")
            currency = parse_canonical(name).currency
            result.granted[currency] = result.granted.get(currency, Decimal(0)) + to_decimal(pool.granted, pool.scale)
            result.spent[currency] = result.spent.get(currency, Decimal(0)) + to_decimal(pool.spent, pool.scale)
        result.pools = len(self._pools)
        if not result.problems:
            for name, (version, _) in self._snapshots.items():
                self.report(f"pool {name}: a snapshot speaks of version {version}, which the journal does not have")
            for name, head in self._indexed.items():
                self.report(f"pool {name}: the index speaks of a section ending at {head.version}, there is none")


def _check_taken(pool: Pool, version: int, amount: int, parts: Parts) -> None:
    """Whether what was spent, held or moved was there, and was taken from the grants in burn order."""
    if amount > pool.available:
        raise BrokenInvariant(f"entry {version} takes {amount} of {pool.available}: an overdraft")
    left = amount
    expected: list[tuple[int, int]] = []
    for block in pool.burn:
        if not left:
            break
        expected.append((block.number, min(left, block.available)))
        left -= expected[-1][1]
    if list(parts) != expected:
        raise BrokenInvariant(f"entry {version} took {parts}, the burn order says {expected}")


def _rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """What a cache says, or nothing: a cache that is missing or unreadable is made anew at the next start."""
    if not path.is_file():
        return []
    try:
        connection = connect_for_reading(path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []
