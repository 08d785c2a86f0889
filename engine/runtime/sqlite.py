"""What an error of SQLite says about the file: that it is damaged, or that it cannot be used now."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

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


def is_passing(error: BaseException) -> bool:
    """Whether ``error`` says nothing against the file: the disk is full or fails, or somebody else has it."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _PASSING


def remove_database(path: Path) -> None:
    """Delete a SQLite file and what belongs to it."""
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        name.unlink(missing_ok=True)
