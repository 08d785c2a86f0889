"""Examination of the caches next to a journal: whether each is as written, down to the last row.

For ``verify``. The engine looks at what it uses, when it uses it; here everything is looked at. Reads only. A cache
that is missing, or of another journal or an older version, has nothing to be examined: the next start rebuilds it. One
of a newer version is named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from solvent.engine.journal.frames import Head
from solvent.engine.journal.reader import JournalReader
from solvent.engine.journal.sqlite.end import end_of
from solvent.engine.pools.refusal_log import format_of
from solvent.engine.projections.index import damage_of
from solvent.engine.projections.index_file import newer_format_of as newer_index
from solvent.engine.projections.snapshots import crc_of, position_in
from solvent.engine.projections.snapshots import newer_format_of as newer_snapshots
from solvent.engine.runtime.files import (
    END_NAME,
    INDEX_FORMAT,
    INDEX_NAME,
    REFUSALS_FORMAT,
    SNAPSHOTS_FORMAT,
    SNAPSHOTS_NAME,
    USAGE_FORMAT,
)
from solvent.engine.runtime.sqlite import connect_for_reading, differences
from solvent.engine.values.errors import JournalError

_COLUMNS_OF: Final = "select bit_xor(hash(each)) from {} each"
"""The query that reads every block of a table, so that DuckDB compares its checksum."""


class IndexFound(msgspec.Struct):
    """The content of an index, and its faults."""

    position: int = 0
    heads: dict[str, Head] = {}
    notices: set[int] = set()
    problems: list[str] = []
    there: bool = False


def examine_index(path: Path, identity: str) -> IndexFound:
    """Return the content of the index at ``path``, and its faults."""
    if not path.is_file():
        return IndexFound()
    connection: sqlite3.Connection | None = None
    try:
        connection = connect_for_reading(path)
        # Read one state of the file, although a service may write it meanwhile.
        connection.execute("begin")
        if newer := newer_index(connection):
            return IndexFound(problems=[_newer(newer, INDEX_FORMAT)])
        settings: dict[str, Any] = dict(connection.execute("select name, value from setting").fetchall())
        if settings.get("schema") != INDEX_FORMAT or settings.get("journal") != identity:
            return IndexFound()
        problems, heads = damage_of(connection)
        problems += differences(connection)
        notices = {int(row[0]) for row in connection.execute("select frame from notice")}
        return IndexFound(int(settings["position"]), heads, notices, problems, True)
    except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
        return IndexFound(problems=[f"it cannot be read: {error}"])
    finally:
        if connection is not None:
            connection.close()


def _settings_in(path: Path) -> dict[Any, Any]:
    """Return the settings of a cache, as they are stored. Raises ``sqlite3.Error``."""
    connection = connect_for_reading(path)
    try:
        return dict(connection.execute("select name, value from setting").fetchall())
    finally:
        connection.close()


def indexed_position(path: Path, identity: str) -> int:
    """Return the last acknowledged frame of the journal, as far as the index at ``path`` knows."""
    try:
        settings = _settings_in(path)
        # A journal without its first page has no identity to compare.
        return int(settings["position"]) if not identity or settings["journal"] == identity else 0
    except (sqlite3.Error, KeyError, TypeError, ValueError):
        return 0


def snapshots_position(path: Path, identity: str) -> int:
    """Return a frame that was durable when snapshots were last saved at ``path``, as far as they know."""
    try:
        settings = _settings_in(path)
    except (sqlite3.Error, TypeError, ValueError):
        return 0
    is_own = not identity or str(settings.get("journal")).split(" ")[0] == identity
    return position_in(settings.get("position")) if is_own else 0


def acknowledged(folder: Path, identity: str) -> dict[str, int]:
    """Return the newest frame of the journal ``identity`` that each file in ``folder`` knows to have been written.

    Only files that know of one. An empty ``identity`` stands for a journal that cannot say which one it is.
    """
    noted = end_of(folder, identity)
    known = {
        END_NAME: 0 if noted is None else noted.number,
        INDEX_NAME: indexed_position(folder / INDEX_NAME, identity),
        SNAPSHOTS_NAME: snapshots_position(folder / SNAPSHOTS_NAME, identity),
    }
    return {name: number for name, number in known.items() if number}


def identity_of(reader: JournalReader) -> str:
    """Return the identity of a journal; empty if it cannot be read."""
    try:
        return reader.identity
    except JournalError:
        return ""


def examine_snapshots(path: Path, identity: str) -> tuple[dict[str, dict[int, bytes]], list[str]]:
    """Return the snapshots at ``path``, the newest and those of the past, by pool and version, and their faults."""
    if not path.is_file():
        return {}, []
    connection: sqlite3.Connection | None = None
    found: dict[str, dict[int, bytes]] = {}
    try:
        connection = connect_for_reading(path)
        connection.execute("begin")
        if newer := newer_snapshots(connection):
            return {}, [_newer(newer, SNAPSHOTS_FORMAT)]
        settings = dict(connection.execute("select name, value from setting").fetchall())
        if settings.get("journal") != f"{identity} {SNAPSHOTS_FORMAT}":
            return {}, []
        problems = differences(connection)
        for table in ("snapshot", "past"):
            for pool, version, crc, body in connection.execute(f"select pool, version, crc, body from {table}"):
                if crc_of(pool, version, body) == crc:
                    found.setdefault(pool, {})[version] = body
                else:
                    problems.append(f"pool {pool}: the checksum of the snapshot at version {version} does not fit")
        return found, problems
    except (sqlite3.Error, TypeError, ValueError) as error:
        return found, [f"it cannot be read: {error}"]
    finally:
        if connection is not None:
            connection.close()


class UsageFound(msgspec.Struct):
    """The content of a usage file, and its faults."""

    position: int = 0
    spent: dict[str, int] = {}
    """The units debited minus the units reversed, by pool."""
    problems: list[str] = []
    there: bool = False


def examine_usage(path: Path, identity: str) -> UsageFound:
    """Return the content of the usage file at ``path``, and its faults.

    A file that a service has open is not examined, since no other process can open it. Nor is a file without tables, as
    a process leaves it that was stopped while creating it.
    """
    if not path.is_file() or not path.stat().st_size:
        return UsageFound()
    try:
        with duckdb.connect(str(path), read_only=True) as database:
            if database.execute("select count(*) from duckdb_tables()").fetchone() == (0,):
                return UsageFound()
            settings = dict(database.execute("select name, value from setting").fetchall())
            if (found := str(settings.get("schema"))).isdecimal() and int(found) > USAGE_FORMAT:
                return UsageFound(problems=[_newer(int(found), USAGE_FORMAT)])
            if found != str(USAGE_FORMAT) or settings.get("journal") != identity:
                return UsageFound()
            for (table,) in database.execute("select table_name from duckdb_tables()").fetchall():
                database.execute(_COLUMNS_OF.format(table)).fetchall()
            spent: Mapping[str, int] = dict(
                database.execute(
                    "select canonical, sum(debited - reversed) from usage join pool on pool = number group by 1"
                ).fetchall()
            )
            return UsageFound(int(settings["position"]), {pool: int(units) for pool, units in spent.items()}, [], True)
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            return UsageFound()
        return UsageFound(problems=[f"it cannot be read: {_first_line(error)}"])
    except (duckdb.Error, KeyError, ValueError) as error:
        return UsageFound(problems=[f"it cannot be read: {_first_line(error)}"])


def examine_refusals(path: Path) -> list[str]:
    """What is wrong with the format of the refusals at ``path``. They are a statistic, without checksums."""
    if not path.is_file():
        return []
    try:
        connection = connect_for_reading(path)
        try:
            found = format_of(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return []
    return [_newer(found, REFUSALS_FORMAT)] if found > REFUSALS_FORMAT else []


def _newer(found: int, known: int) -> str:
    return (
        f"it was written by a newer Solvent, and not looked at: it has format {found}, and this version knows {known}"
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
