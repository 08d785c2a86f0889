"""The process that writes a SQLite file: one connection, and one thread, for each of its channels.

It runs as a program and imports nothing of Solvent, so it starts in a twentieth of a second and takes 12 MB. It does
what ``process`` asks, in order, and ends with it. The answer to a question is the rows of a statement, or its error.

After an engine was killed, its last commit may still be under way here when the next process starts. So the process
that writes the file holds a lock, and does not look at the file before it has it.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO, Final, TypeAlias

LENGTH: Final = struct.Struct("<I")
"""The length in bytes before each question and answer. They are marshalled: both ends are the same interpreter."""
LOCK_POLL_S: Final = 0.005
LOCKED: Final = "locked"
"""The word in place of an error's type if another process writes the file."""

APPEND: Final = "append"
"""The request to execute a statement and, once that is durable and answered, to note it in the file ``NOTES``. The
first two parameters are the place and the bytes of the note."""
NOTES: Final = ".end"
"""The suffix of the file of notes, in place of that of the database."""
EXECUTE: Final = "execute"
SCRIPT: Final = "script"
FLUSH: Final = "flush"
"""The request to flush the file, not its log. SQLite does that only after a checkpoint of the whole log."""
CLOSE: Final = "close"

Question: TypeAlias = tuple[str, str, tuple[Any, ...]]
"""The action, the statement and its parameters."""
Rows: TypeAlias = list[tuple[Any, ...]]
Failure: TypeAlias = tuple[str, str, int]
"""The type of an error, its message, and SQLite's code."""
Answer: TypeAlias = tuple[Rows, Failure | None]


def frame(message: Question | Answer) -> bytes:
    """Return the bytes of a message."""
    body = marshal.dumps(message)
    return LENGTH.pack(len(body)) + body


def acquire(path: str, wait_s: float) -> Failure | None:
    """Take the lock, which the process holds until it ends. Returns the failure if it is not free in time."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        return _failure(error)
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return (LOCKED, "another process writes it", 0)
            time.sleep(LOCK_POLL_S)
        else:
            return None


def serve(channel: socket.socket, path: str) -> None:
    """Answer questions on ``channel`` until it is closed in order. If it ends otherwise, the whole process ends: work
    under way in other threads then gets no answer, as in a crash."""
    try:
        _serve(channel, path)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # The engine has ended.
    except Exception:  # noqa: BLE001 - supervises the process: prints the error and ends, since the engine would wait
        traceback.print_exc()
        os._exit(1)


def _serve(channel: socket.socket, path: str) -> None:
    channel.sendall(frame(([], None)))
    source = channel.makefile("rb")
    connection: sqlite3.Connection | None = None
    descriptor = -1
    notes = _Notes(path)
    todo = ""
    while todo != CLOSE:
        todo, statement, parameters = _receive(source)
        rows: Rows = []
        failure: Failure | None = None
        note: tuple[Any, ...] = ()
        if todo == APPEND:
            todo, note, parameters = EXECUTE, parameters[:2], parameters[2:]
        try:
            connection = connection or sqlite3.connect(path, isolation_level=None)
            if todo == EXECUTE:
                rows = connection.execute(statement, parameters).fetchall()
            elif todo == SCRIPT:
                connection.executescript(statement)
            elif todo == FLUSH:
                if descriptor < 0:
                    # Never close it: that would release all locks of this process on the file, SQLite's too.
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                os.fsync(descriptor)
            else:
                connection.close()
        except Exception as error:  # noqa: BLE001 - every error is passed on to the caller
            failure = _failure(error)
        channel.sendall(frame((rows, failure)))
        if note and failure is None:
            notes.write(*note)


class _Notes:
    """The file of notes. Nothing waits for it, and nothing is flushed. If it cannot be written, it says less."""

    def __init__(self, path: str) -> None:
        self._path = os.path.splitext(path)[0] + NOTES
        self._descriptor = -1
        self._has_warned = False

    def write(self, place: int, note: bytes) -> None:
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.pwrite(self._descriptor, note, place)
        except OSError as error:
            if not self._has_warned:
                print(f"solvent: {self._path} cannot be written: {error}", file=sys.stderr)  # noqa: T201 - a program
            self._has_warned = True


def _receive(source: BinaryIO) -> Question:
    header = source.read(LENGTH.size)
    if len(header) < LENGTH.size:
        raise EOFError
    question: Question = marshal.loads(source.read(LENGTH.unpack(header)[0]))
    return question


def _failure(error: Exception) -> Failure:
    return (type(error).__name__, str(error), getattr(error, "sqlite_errorcode", 0))


def main() -> None:
    """Serve a file. The arguments are its path, the path of the lock, the seconds to wait for the lock, and the
    descriptors of the channels. The first channel is served in the main thread, to the end."""
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # The signal is meant for the engine, which ends this process when it no longer needs it.
        signal.signal(each, signal.SIG_IGN)
    path, lock, wait_s, *descriptors = sys.argv[1:]
    channels = [socket.socket(fileno=int(each)) for each in descriptors]
    if failure := acquire(lock, float(wait_s)):
        for channel in channels:
            channel.sendall(frame(([], failure)))
        return
    for channel in channels[1:]:
        threading.Thread(target=serve, args=(channel, path), daemon=True).start()
    serve(channels[0], path)


if __name__ == "__main__":
    main()
