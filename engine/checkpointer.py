"""Writing back what the log of a SQLite file holds, beside its commits instead of inside one.

SQLite's own checkpoint is made by the commit that fills the log, and whoever waits for that commit waits for megabytes
to be copied and flushed. Here a thread copies them on a connection of its own while commits go on. What was committed
meanwhile, a few pages, the writer copies last, between two commits: then the log is all written back, and the next
commit begins it anew. Should all of this be too slow, a checkpoint of SQLite's own bounds the log (``LOG_PAGES_MAX``).

A crash between any two steps leaves what a crash in any checkpoint leaves: the log has everything.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Final

import aiosqlite
import anyio
import anyio.to_thread

PAGE_BYTES: Final = 4_096
CHECKPOINT_PAGES: Final = 1_000
"""Pages in the log at which it is written back."""
LAST_PAGES: Final = 100
"""What the writer may be left with: less than a millisecond."""
PASSES_MAX: Final = 4
LOG_PAGES_MAX: Final = 16_000
"""64 MB."""
RETRY_INTERVAL_S: Final = 1.0

log = logging.getLogger(__name__)


class Checkpointer:
    """Keeps the log of one file short. ``run`` is its task; whoever commits calls ``wrote``."""

    def __init__(self, path: Path, writer: aiosqlite.Connection) -> None:
        self._path = path
        self._writer = writer
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._turn = Lock()
        self._pages = 0
        self._due = anyio.Event()

    @classmethod
    async def open(cls, path: Path, writer: aiosqlite.Connection) -> Checkpointer:
        """For the file at ``path``, which ``writer`` alone writes. Raises ``sqlite3.Error``."""
        await writer.execute(f"pragma wal_autocheckpoint = {LOG_PAGES_MAX}")
        made = cls(path, writer)
        # As the writer does: macOS answers fsync before the disk has written.
        made._connection.execute("pragma synchronous = full")
        made._connection.execute("pragma checkpoint_fullfsync = on")
        return made

    def wrote(self, size: int) -> None:
        """Hear of a commit of about ``size`` bytes."""
        self._pages += size // PAGE_BYTES + 2
        if self._pages >= CHECKPOINT_PAGES:
            self._due.set()

    async def run(self) -> None:
        """Write back whenever it is due, until cancelled."""
        while True:
            await self._due.wait()
            self._due = anyio.Event()
            try:
                await self._write_back()
            except sqlite3.Error as error:
                # A full disk, usually. The log keeps what it has, and grows meanwhile.
                log.warning("the log of %s could not be written back, trying again: %s", self._path, error)
                await anyio.sleep(RETRY_INTERVAL_S)
                self._due.set()

    async def _write_back(self) -> None:
        for _ in range(PASSES_MAX):
            self._pages = 0
            await anyio.to_thread.run_sync(self._pass)
            # Those that came meanwhile.
            if self._pages <= LAST_PAGES:
                break
        await self._writer.execute_fetchall("pragma wal_checkpoint(passive)")

    def _pass(self) -> None:
        with self._turn:
            self._connection.execute("pragma wal_checkpoint(passive)").fetchone()

    def close(self) -> None:
        """Give back the file, once a pass that is under way has ended: its thread outlives a task that is cancelled."""
        with self._turn:
            self._connection.close()
