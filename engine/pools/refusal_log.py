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

from solvent.engine.runtime.files import REFUSALS_FORMAT, REFUSALS_NAME
from solvent.engine.runtime.machine import MACHINE, Machine
from solvent.engine.values.errors import NewerFormat

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


def read_refused(path: Path, after: int, limit: int) -> list[tuple[int, Refused]]:
    """At most ``limit`` of what was refused, with their numbers, all above ``after``.

    Raises ``sqlite3.Error``, ``NewerFormat``.
    """
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        _check_format(path, connection)
        rows = connection.execute(
            "select number, pool, at, metric, dimensions, count from refused where number > ? order by number limit ?",
            (after, limit),
        )
        return [(number, Refused(*rest)) for number, *rest in rows]
    finally:
        connection.close()


def _append(path: Path, refused: Sequence[Refused]) -> int:
    connection = sqlite3.connect(path)
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
