"""A disk that tears, loses, fails, fills up and dawdles, and what the engine keeps on it.

The journal is a log of bytes, as far as the last flush; what was under way when the power went may be there, in part or
not at all. The caches are real SQLite files in memory, used without a thread, with a simulated delay per call. At a
loss of power they fall back to a moment when they were flushed, or are gone.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from zlib import crc32

from anyio import CapacityLimiter

from solvent.engine.journal.frames import Frame
from solvent.engine.journal.memory import MemoryJournal
from solvent.engine.journal.protocol import WrongFrame
from solvent.engine.runtime.machine import Machine
from solvent.engine.values.errors import JournalError

from .clockwork import PROCESS

T = TypeVar("T")

DELAY_S = 0.002
SLOW_S = 3.0
SLOW_FLUSH_S = 6.0
"""Longer than callers wait."""
CRASH_BEHIND_S = 2 * DELAY_S
"""How soon after a flush: most of what follows from it takes longer."""
IDENTITY = "simulated"
"""Of the journal, which is the same whenever its service starts again."""
CACHES = ("index.db", "snapshots.db")
_HEAD = struct.Struct(">IIqqq")
"""Length and checksum of what follows; number, time and checksum of the frame."""


class Faults:
    """What goes wrong how often, and how often it did."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.struck: Counter[str] = Counter()
        self.is_calm = False
        self.chances: dict[str, float] = {}

    def strikes(self, kind: str) -> bool:
        if self.is_calm or self.dice.random() >= self.chances.get(kind, 0.0):
            return False
        self.struck[kind] += 1
        return True


class Disk:
    """What outlives a process."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.folder = folder
        self.faults = faults
        self.log = bytearray()
        """The flushed bytes of the journal."""
        self.under_way = b""
        self.is_full = False
        self._flushed: dict[str, dict[str, bytes]] = {}
        """The caches as they were when they were last flushed."""
        self._open: list[sqlite3.Connection] = []

    async def delay(self, longest_s: float = DELAY_S) -> None:
        dice = self.faults.dice
        slow = SLOW_S if self.faults.strikes("slow disk") else longest_s
        await asyncio.sleep(dice.random() * slow)

    def frames(self) -> list[Frame]:
        """What a reader finds: all records but a torn one at the end, which is cut off."""
        found: list[Frame] = []
        offset = 0
        while offset + _HEAD.size <= len(self.log):
            length, checksum, number, at, crc = _HEAD.unpack_from(self.log, offset)
            body = bytes(self.log[offset + _HEAD.size : offset + _HEAD.size + length])
            if len(body) != length or crc32(body, crc32(self.log[offset + 8 : offset + _HEAD.size])) != checksum:
                break
            found.append(Frame(number, at, body, crc))
            offset += _HEAD.size + length
        del self.log[offset:]
        return found

    def begin(self, frame: Frame) -> None:
        rest = struct.pack(">qqq", frame.number, frame.at, frame.crc)
        checksum = crc32(frame.body, crc32(rest))
        self.under_way = struct.pack(">II", len(frame.body), checksum) + rest + frame.body

    def flush(self) -> None:
        self.log += self.under_way
        self.under_way = b""

    def lose_power(self) -> None:
        """The process is gone, perhaps with the power: what was under way is written in part, or not, or all of it."""
        dice, struck = self.faults.dice, self.faults.struck
        if self.under_way:
            end = dice.choice((0, dice.randrange(len(self.under_way)), len(self.under_way)))
            struck["torn write" if 0 < end < len(self.under_way) else "write cut off" if not end else "write kept"] += 1
            self.log += self.under_way[:end]
            self.under_way = b""
        for connection in self._open:
            connection.close()
        self._open.clear()
        for name in CACHES:
            if dice.random() < 0.3:
                self._fall_back(name)

    def _fall_back(self, name: str) -> None:
        for old in self.folder.glob(f"{name}*"):
            old.unlink()
        saved = self._flushed.get(name)
        if saved is None or self.faults.dice.random() < 0.3:
            self.faults.struck["cache lost"] += 1
            return
        self.faults.struck["cache fell back"] += 1
        for file, body in saved.items():
            (self.folder / file).write_bytes(body)

    def committed(self, path: Path) -> None:
        """A cache was written: now and then that reaches the disk."""
        if self.faults.dice.random() < 0.3:
            files = (path, path.with_name(path.name + "-wal"))
            self._flushed[path.name] = {each.name: each.read_bytes() for each in files if each.exists()}

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        # In memory and in one process: the synchronising is simulated.
        connection.execute("pragma synchronous = off")
        self._open.append(connection)
        return connection

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class SimulatedJournal(MemoryJournal):
    """The journal on a simulated disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(identity=IDENTITY)
        self._disk = disk
        self._frames += disk.frames()

    async def append(self, frame: Frame) -> None:
        disk, faults = self._disk, self._disk.faults
        if frame.number != len(self._frames) + 1:
            raise WrongFrame(expected=frame.number - 1, found=len(self._frames))
        if disk.is_full:
            await disk.delay()
            faults.struck["full disk"] += 1
            raise JournalError("the disk is full")
        disk.begin(frame)
        process, takes_s = PROCESS.get(), faults.dice.random() * DELAY_S
        fails, crashes = faults.strikes("failed flush"), process is not None and faults.strikes("crash in a flush")
        # What fails often hangs first: long enough for others to hear of what is never written.
        if faults.strikes("slow flush") or ((fails or crashes) and faults.dice.random() < 0.5):
            takes_s *= SLOW_FLUSH_S / DELAY_S
        if process is not None and crashes:
            asyncio.get_running_loop().call_later(faults.dice.random() * takes_s, process.kill)
        await asyncio.sleep(takes_s)
        if fails:
            if faults.dice.random() < 0.5:
                # It is there all the same: who says that it failed does not say that it is gone.
                faults.struck["failed flush, but written"] += 1
                disk.flush()
            disk.under_way = b""
            raise JournalError("the flush failed")
        disk.flush()
        self._frames.append(frame)
        if process is not None and faults.strikes("crash behind a flush"):
            # What is durable may not have been answered, published, indexed yet.
            asyncio.get_running_loop().call_later(faults.dice.random() * CRASH_BEHIND_S, process.kill)

    async def last_number(self) -> int:
        await self._disk.delay()
        self._frames[:] = self._disk.frames()
        return len(self._frames)

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        await self._disk.delay()
        return await super().read(after, limit)


class _Call:
    """What ``aiosqlite`` returns: to be awaited, or entered."""

    def __init__(self, work: Callable[[], Any], delayed: Callable[[Callable[[], Any]], Any]) -> None:
        self._work, self._delayed = work, delayed

    def __await__(self) -> Generator[Any, None, Any]:
        return self._delayed(self._work).__await__()  # type: ignore[no-any-return]

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""


class _Cursor:
    def __init__(self, cursor: sqlite3.Cursor, disk: Disk) -> None:
        self._cursor, self._disk = cursor, disk

    async def fetchone(self) -> Any:
        await self._disk.delay()
        return self._cursor.fetchone()

    async def fetchall(self) -> list[Any]:
        await self._disk.delay()
        return self._cursor.fetchall()

    async def fetchmany(self, size: int) -> list[Any]:
        await self._disk.delay()
        return self._cursor.fetchmany(size)

    def __aiter__(self) -> Any:
        return self._rows()

    async def _rows(self) -> Any:
        for row in await self.fetchall():
            yield row


class SqliteConnection:
    """As ``aiosqlite.Connection``, without a thread."""

    _WRITES = ("insert", "with", "update", "delete", "create", "drop", "commit")

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self._connection = disk.connect(path)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, statement: str, parameters: Iterable[Any] = ()) -> _Call:
        if statement.startswith("pragma synchronous"):
            statement = "pragma synchronous = off"
        return self._call(statement, lambda: _Cursor(self._connection.execute(statement, parameters), self._disk))  # type: ignore[arg-type]

    def executemany(self, statement: str, rows: Iterable[Iterable[Any]]) -> _Call:
        return self._call(statement, lambda: self._connection.executemany(statement, rows))  # type: ignore[arg-type]

    def executescript(self, script: str) -> _Call:
        return self._call("create", lambda: self._connection.executescript(script))

    def _call(self, statement: str, work: Callable[[], Any]) -> _Call:
        async def delayed(work: Callable[[], T]) -> T:
            disk = self._disk
            await disk.delay()
            if statement.startswith(self._WRITES):
                if disk.is_full:
                    disk.faults.struck["full disk, cache"] += 1
                    raise _failure("database or disk is full", sqlite3.SQLITE_FULL)
                if disk.faults.strikes("failed cache write"):
                    raise _failure("disk I/O error", sqlite3.SQLITE_IOERR)
            done = work()
            if statement == "commit":
                disk.committed(self._path)
            return done

        return _Call(work, delayed)

    async def close(self) -> None:
        await self._disk.delay()
        self._connection.close()


def _failure(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


class SimulatedMachine(Machine):
    """A machine without threads, on a simulated disk. What it draws follows from the seed."""

    def __init__(self, disk: Disk, dice: Random) -> None:
        self._disk = disk
        self._dice = dice

    async def connect(self, path: Path) -> Any:
        await self._disk.delay()
        return SqliteConnection(path, self._disk)

    async def in_thread(self, work: Callable[[], T], *, limiter: CapacityLimiter | None = None) -> T:
        await self._disk.delay()
        return work()

    def random_bits(self, count: int) -> int:
        return self._dice.getrandbits(count)
