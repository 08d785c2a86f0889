"""Connections to a SQLite file in a separate process, for work that a busy interpreter must not delay.

A thread that commits needs the interpreter again and again, and each time waits until the event loop releases it, for
up to ``sys.getswitchinterval`` of 5 ms. Measured at 20,000 debits a second, that is most of a debit's waiting time. A
process works in parallel with the loop, and its answer is an event of the loop like any other.
"""

from __future__ import annotations

import asyncio
import marshal
import socket
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, cast

import anyio
import anyio.to_thread

from solvent.engine.values.errors import JournalError, JournalLocked

from .worker import APPEND, CLOSE, EXECUTE, FLUSH, LENGTH, LOCKED, SCRIPT, Answer, Failure, Rows, frame

LOCK_WAIT_S: Final = 10.0
"""The seconds to wait for the process of a killed engine to end. It ends after its last commit."""
STOP_TIMEOUT_S: Final = 60.0
_WORKER: Final = Path(__file__).with_name("worker.py")


class ProcessEnded(sqlite3.OperationalError):
    """The process ended without an answer. Whether the statement took effect is unknown."""

    sqlite_errorcode = sqlite3.SQLITE_IOERR

    def __init__(self) -> None:
        super().__init__("the process that writes the file ended")


class RemoteConnection(asyncio.Protocol):
    """A connection in the process. It executes statements in the order in which they were sent."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        """A future that is done when the process has opened the file, or failed to."""
        self._asked: deque[asyncio.Future[Rows]] = deque([self.ready])
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._lost = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def wait_for_end(self) -> None:
        """Wait until the connection cannot be used any more."""
        await self._lost.wait()

    async def execute(self, statement: str, parameters: Sequence[object] = ()) -> Rows:
        """Execute ``statement`` and return its rows. It is executed even if the call is cancelled.

        Raises ``sqlite3.Error`` as a connection in a thread does; also ``ProcessEnded``, which is one.
        """
        return await self._ask(EXECUTE, statement, tuple(parameters))

    async def append(self, statement: str, parameters: Sequence[object], *, place: int, note: bytes) -> Rows:
        """Execute ``statement`` as ``execute`` does. Once it is durable and answered, write ``note`` at ``place`` into
        the file of notes, next to the database (``worker.NOTES``)."""
        return await self._ask(APPEND, statement, (place, note, *parameters))

    async def execute_script(self, script: str) -> None:
        """Execute several statements. Raises the errors of ``execute``."""
        await self._ask(SCRIPT, script)

    async def flush(self) -> None:
        """Flush the file, not its log, to the disk. Raises the errors of ``execute``."""
        await self._ask(FLUSH)

    async def close(self) -> None:
        """Close the file. Raises the errors of ``execute``."""
        await self._ask(CLOSE)

    def drop(self) -> None:
        """Close the channel to the process."""
        if self._transport is not None:
            self._transport.abort()

    async def _ask(self, todo: str, statement: str = "", parameters: tuple[object, ...] = ()) -> Rows:
        if self._transport is None:
            raise ProcessEnded
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._asked.append(future)
        self._transport.write(frame((todo, statement, parameters)))
        return await future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if len(received) < end:
                return
            answer: Answer = marshal.loads(received[LENGTH.size : end])
            del received[:end]
            self._take(*answer)

    def _take(self, rows: Rows, failure: Failure | None) -> None:
        future = self._asked.popleft()
        if future.done():  # Cancelled.
            return
        if failure is None:
            future.set_result(rows)
        else:
            future.set_exception(_error_of(failure))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        for future in self._asked:
            if not future.done():
                future.set_exception(ProcessEnded())
        self._asked.clear()


class SqliteProcess:
    """A process with connections to one file. Make it with ``start``. When it ends, its connections are gone, and it
    does not restart."""

    def __init__(self, process: subprocess.Popen[bytes], connections: Sequence[RemoteConnection]) -> None:
        self._process = process
        self.connections = connections

    @classmethod
    async def start(cls, path: Path, *, connections: int) -> SqliteProcess:
        """Start the only process that writes the file at ``path``, with this number of ``connections``.

        Raises ``JournalLocked`` if another process does not end within ``LOCK_WAIT_S``, ``JournalError`` if the new one
        cannot be started.
        """
        ours: list[socket.socket] = []
        theirs: list[socket.socket] = []
        made: list[RemoteConnection] = []
        process: subprocess.Popen[bytes] | None = None
        try:
            for _ in range(connections):
                for kept, end in zip((ours, theirs), socket.socketpair(), strict=True):
                    kept.append(end)
            with anyio.CancelScope(shield=True):
                process = await anyio.to_thread.run_sync(_popen, path, theirs)
            assert process is not None  # noqa: S101 - narrows the type: an uncancelled scope swallows nothing
            _close(theirs)  # So that the channels end when the process ends.
            loop = asyncio.get_running_loop()
            while ours:
                _, connection = await loop.create_unix_connection(RemoteConnection, sock=ours[0])
                ours.pop(0)  # The connection owns it now.
                made.append(connection)
            await asyncio.gather(*(connection.ready for connection in made))
            started = cls(process, made)
        except BaseException as error:
            for connection in made:
                connection.drop()
            _close(ours)
            if process is not None:
                process.kill()  # It may still wait for the lock, and has no statements to finish.
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(process.wait)
            if isinstance(error, _Locked):
                raise JournalLocked(directory=str(path.parent), holder_pid=None) from None
            if isinstance(error, (OSError, sqlite3.Error)):
                raise JournalError(f"the process that writes {path} does not start: {error}") from error
            raise
        finally:
            _close(theirs)
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_whole(self) -> bool:
        """Return whether all connections can be used."""
        return all(connection.is_open for connection in self.connections)

    async def aclose(self) -> None:
        """Close the connections, the first one last, and wait for the end of the process."""
        for connection in reversed(self.connections):
            if connection.is_open:
                try:
                    with anyio.fail_after(STOP_TIMEOUT_S):
                        await connection.close()
                except (sqlite3.Error, TimeoutError):
                    # It has ended, or it hangs and is killed. Commits stay, whatever else is under way.
                    self._process.kill()
                connection.drop()
        await anyio.to_thread.run_sync(self._process.wait)


class _Locked(sqlite3.OperationalError):
    """Another process writes the file."""


def _close(channels: Iterable[socket.socket]) -> None:
    for channel in channels:
        channel.close()


def _popen(path: Path, channels: Sequence[socket.socket]) -> subprocess.Popen[bytes]:
    descriptors = [channel.fileno() for channel in channels]
    lock = path.with_suffix(".lock")
    # Isolated and without site packages: it needs none, and starts in half the time.
    command = [sys.executable, "-I", "-S", str(_WORKER), str(path), str(lock), str(LOCK_WAIT_S), *map(str, descriptors)]
    return subprocess.Popen[bytes](
        command, pass_fds=descriptors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0
    )


def _error_of(failure: Failure) -> sqlite3.Error:
    name, text, code = failure
    if name == LOCKED:
        return _Locked(text)
    kind = getattr(sqlite3, name, None)
    if not (isinstance(kind, type) and issubclass(kind, sqlite3.Error)):
        return sqlite3.InterfaceError(f"{name}: {text}")
    error = kind(text)
    error.sqlite_errorcode = code
    return error
