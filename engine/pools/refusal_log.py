"""What was refused, kept next to the journal in a SQLite file: a statistic, of which a crash may cost the last seconds.

A file of a newer version is left alone: nothing is added to it, and nothing of it is counted. Debits go on.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import msgspec

from solvent.engine.runtime.files import REFUSALS_FORMAT, REFUSALS_NAME
from solvent.engine.runtime.machine import MACHINE, Machine
from solvent.engine.runtime.sqlite import Connection
from solvent.engine.values.dimensions import decode_dimensions
from solvent.engine.values.errors import NewerFormat, SolventError
from solvent.engine.values.pool_id import parse_canonical

from .refusals import Refusals, Refused

WRITE_INTERVAL_S: Final = 1.0

log = logging.getLogger(__name__)

_SCHEMA: Final = """
create table if not exists refused (
    number integer primary key,
    pool text not null,
    at integer not null,
    metric text,
    dimensions blob not null,
    count integer not null
) strict
"""


class RefusalLog:
    """Writes the counts of ``refusals`` to a file in ``directory``, which the first refusal creates."""

    def __init__(self, directory: Path, refusals: Refusals, *, machine: Machine = MACHINE) -> None:
        self._machine = machine
        self._path = directory / REFUSALS_NAME
        self._refusals = refusals
        self._turn = anyio.Lock()
        self.last_number = 0
        """The number of the last row written by this log; 0 before the first."""

    async def run(self) -> None:
        """Write the counts every second, until cancelled."""
        try:
            while True:
                await anyio.sleep(WRITE_INTERVAL_S)
                await self.flush()
        finally:
            with anyio.CancelScope(shield=True):
                await self.flush()

    async def flush(self) -> None:
        """Write the counts so far. Counts that cannot be written are lost, with a warning in the log."""
        async with self._turn:
            refused = self._refusals.take()
            if not refused:
                return
            try:
                self.last_number = await self._machine.in_thread(partial(_append, self._path, refused))
            except (sqlite3.Error, NewerFormat) as error:
                log.warning("%d refusals are missing in the statistic: %s", sum(each.count for each in refused), error)


def read_refused(path: Path, after: int, limit: int) -> list[tuple[int, Refused | None]]:
    """At most ``limit`` of what was refused, with their numbers, all above ``after``; ``None`` for a damaged row.

    Raises ``sqlite3.Error``, ``NewerFormat``.
    """
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, factory=Connection)
    try:
        _check_format(path, connection)
        rows = connection.execute(
            "select number, pool, at, metric, dimensions, count from refused where number > ? order by number limit ?",
            (after, limit),
        )
        return [(number, _refused_in(rest)) for number, *rest in rows]
    finally:
        connection.close()


def _refused_in(values: Sequence[object]) -> Refused | None:
    """Return what was refused, from a row; ``None`` if it is damaged. There are no checksums, but types and names."""
    try:
        refused = msgspec.convert(list(values), Refused, builtin_types=(bytes,))
        decode_dimensions(msgspec.Raw(refused.dimensions))
        parse_canonical(refused.pool)
    except (msgspec.MsgspecError, SolventError, ValueError) as error:
        log.warning("a count of refusals is damaged, and left out: %s", error)
        return None
    return refused


def _append(path: Path, refused: Sequence[Refused]) -> int:
    connection = sqlite3.connect(path, factory=Connection)
    try:
        _check_format(path, connection)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        with connection:
            connection.execute(_SCHEMA)
            connection.execute(f"pragma user_version = {REFUSALS_FORMAT}")
            connection.executemany(
                "insert into refused (pool, at, metric, dimensions, count) values (?, ?, ?, ?, ?)",
                [(each.pool, each.at, each.metric, each.dimensions, each.count) for each in refused],
            )
            (last,) = connection.execute("select max(number) from refused").fetchone()
        return int(last)
    finally:
        connection.close()


def format_of(connection: sqlite3.Connection) -> int:
    """Return the number of the format of a file of refusals. Raises ``sqlite3.Error``."""
    (number,) = connection.execute("pragma user_version").fetchone()
    return int(number)


def _check_format(path: Path, connection: sqlite3.Connection) -> None:
    found = format_of(connection)
    if found > REFUSALS_FORMAT:
        raise NewerFormat(str(path), found=found, known=REFUSALS_FORMAT)
