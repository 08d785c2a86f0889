"""SQLite files: open one read-only, examine it, delete it, and tell what an error means for it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from solvent.engine.values.errors import NewerFormat

DIFFERENCES_MAX: Final = 10
_VERSIONS: Final = slice(18, 20)
_PRIMARY: Final = 0xFF
"""The part of an extended error code that names its kind (SQLite, "Result and Error Codes")."""
_PASSING: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
}


T = TypeVar("T")


class _Cursor(sqlite3.Cursor):
    """A cursor of a ``Connection``."""

    def execute(self, *arguments: Any) -> _Cursor:
        _in_words(super().execute, *arguments)
        return self

    def executemany(self, *arguments: Any) -> _Cursor:
        _in_words(super().executemany, *arguments)
        return self

    def executescript(self, *arguments: Any) -> _Cursor:
        _in_words(super().executescript, *arguments)
        return self

    def fetchone(self) -> Any:
        return _in_words(super().fetchone)

    def fetchmany(self, *arguments: Any) -> list[Any]:
        return _in_words(super().fetchmany, *arguments)

    def fetchall(self) -> list[Any]:
        return _in_words(super().fetchall)

    def __next__(self) -> Any:
        return _in_words(super().__next__)


class Connection(sqlite3.Connection):
    """A connection whose errors are ``sqlite3.Error`` and nothing else.

    SQLite quotes what it finds in a damaged file. If that is not UTF-8, Python fails to make the text of the error.
    """

    def cursor(self, *_: Any) -> _Cursor:  # type: ignore[override]
        return super().cursor(_Cursor)

    def execute(self, *arguments: Any) -> _Cursor:
        return self.cursor().execute(*arguments)

    def executemany(self, *arguments: Any) -> _Cursor:
        return self.cursor().executemany(*arguments)

    def executescript(self, *arguments: Any) -> _Cursor:
        return self.cursor().executescript(*arguments)


def _in_words(call: Callable[..., T], *arguments: Any) -> T:
    try:
        return call(*arguments)
    except UnicodeDecodeError as error:
        quoted = error.object.decode("utf-8", "backslashreplace") if isinstance(error.object, bytes) else str(error)
        unreadable = sqlite3.DatabaseError(quoted)
        unreadable.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise unreadable from error


def is_passing(error: BaseException) -> bool:
    """Return whether ``error`` may pass without the file being damaged: a full or failing disk, or a locked file."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _PASSING


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write, for use by one thread at a time. Raises ``sqlite3.Error``."""
    # On a read-only medium, SQLite must be told that no one else writes either. Otherwise it wants a log to read.
    log = path.with_name(f"{path.name}-wal")
    sealed = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
    address = f"{path.absolute().as_uri()}?{'immutable=1' if sealed else 'mode=ro'}"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False, factory=Connection)
    connection.execute("pragma query_only = on")
    return connection


def damage_of_header(path: Path) -> str:
    """Return what is wrong with the numbers in a file's header that say who may write it; empty if nothing is.

    SQLite takes a file with other numbers for one of its own future, and does not write it (SQLite, "Database File
    Format", section 1.3).
    """
    try:
        with path.open("rb") as file:
            numbers = file.read(_VERSIONS.stop)[_VERSIONS]
    except OSError:
        return ""
    if len(numbers) < 2 or all(number in (1, 2) for number in numbers):
        return ""
    return f"its header says that SQLite's format {max(numbers)} is needed to write it"


def differences(connection: sqlite3.Connection) -> list[str]:
    """Return the faults that SQLite finds in the structure of a file, which no checksum of ours covers."""
    try:
        rows = connection.execute(f"pragma integrity_check({DIFFERENCES_MAX})").fetchall()
    except sqlite3.Error as error:
        return [str(error)]
    return [] if rows == [("ok",)] else [" ".join(str(row[0]).split()) for row in rows]


def refuse_newer(path: Path, newer_format_of: Callable[[sqlite3.Connection], int | None], known: int) -> None:
    """Raise ``NewerFormat`` for a cache of which ``newer_format_of`` finds a number above ``known``. Changes nothing.

    What is wrong with a file otherwise is left to the one that opens it.
    """
    if not path.is_file():
        return
    try:
        connection = connect_for_reading(path)
        try:
            found = newer_format_of(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return
    if found is not None:
        raise NewerFormat(str(path), found=found, known=known, cache=True)


def remove_database(path: Path) -> None:
    """Delete a SQLite file and the files that belong to it."""
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        name.unlink(missing_ok=True)
