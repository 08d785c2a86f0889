"""The counts of refusals, in a SQLite file next to the journal. A crash may lose the last seconds of them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from solvent.engine.runtime.files import REFUSALS_NAME
from solvent.engine.runtime.machine import MACHINE, Machine

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
            except sqlite3.Error as error:
                log.warning(
                    "%d refusals are missing from the statistics: %s", sum(each.count for each in refused), error
                )


def read_refused(path: Path, after: int, limit: int) -> list[tuple[int, Refused]]:
    """Return at most ``limit`` rows with numbers above ``after``, each with its number. Raises ``sqlite3.Error``."""
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
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
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        with connection:
            connection.execute(_SCHEMA)
            connection.executemany(
                "insert into refused (pool, at, metric, dimensions, count) values (?, ?, ?, ?, ?)",
                [(each.pool, each.at, each.metric, each.dimensions, each.count) for each in refused],
            )
            (last,) = connection.execute("select max(number) from refused").fetchone()
        return int(last)
    finally:
        connection.close()
