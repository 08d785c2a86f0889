"""Writing back what the log of a SQLite file holds, beside its commits instead of inside one.

SQLite's own checkpoint is made by the commit that fills the log, and whoever waits for that commit waits for megabytes
to be copied and flushed. Here they are copied on a connection of its own while commits go on. What was committed
meanwhile, a few pages, the writer copies last, between two commits: then the log is all written back, and the next
commit begins it anew. Commits wait for that last step, which ends with a flush, so it is taken more seldom. Should all
of this be too slow, a checkpoint of SQLite's own bounds the log (``LOG_PAGES_MAX``).

A crash between any two steps leaves what a crash in any checkpoint leaves: the log has everything.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Final

import anyio

from .process import RemoteConnection

PAGE_BYTES: Final = 4_096
CHECKPOINT_PAGES: Final = 250
"""Pages new in the log at which they are written back. The next commit's flush waits for all that goes to the disk with
them: 1 MB, some two milliseconds."""
RENEW_PAGES: Final = 2_000
"""Pages in the log, 8 MB, at which it is begun anew. After a crash all of them are read at the next start."""
LAST_PAGES: Final = 100
"""What the writer may be left with."""
PASSES_MAX: Final = 4
LOG_PAGES_MAX: Final = 16_000
"""64 MB."""
RETRY_INTERVAL_S: Final = 1.0
_CHECKPOINT: Final = "pragma wal_checkpoint(passive)"

log = logging.getLogger(__name__)


class Checkpointer:
    """Keeps the log of one file short. ``run`` is its task; whoever commits calls ``wrote``."""

    def __init__(self, path: Path, writer: RemoteConnection, beside: RemoteConnection) -> None:
        """For the file at ``path``, which ``writer`` alone writes. ``beside`` is at the disposal of this object."""
        self._path = path
        self._writer = writer
        self._beside = beside
        self._new_pages = 0
        """That came since the last pass began."""
        self._pages = 0
        self._due = anyio.Event()

    @staticmethod
    async def prepare(writer: RemoteConnection, beside: RemoteConnection) -> None:
        """Set up the two connections. Raises ``sqlite3.Error``."""
        await writer.execute(f"pragma wal_autocheckpoint = {LOG_PAGES_MAX}")
        # As the writer does: macOS answers fsync before the disk has written.
        await beside.execute("pragma synchronous = full")
        await beside.execute("pragma checkpoint_fullfsync = on")

    def wrote(self, size: int) -> None:
        """Hear of a commit of about ``size`` bytes."""
        pages = size // PAGE_BYTES + 2
        self._pages += pages
        self._new_pages += pages
        if self._new_pages >= CHECKPOINT_PAGES:
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
        await self._pass()
        if self._pages < RENEW_PAGES:
            return
        for _ in range(PASSES_MAX):
            if self._new_pages <= LAST_PAGES:
                break
            await self._pass()
        await self._writer.execute(_CHECKPOINT)
        self._pages = self._new_pages = 0

    async def _pass(self) -> None:
        self._new_pages = 0
        await self._beside.execute(_CHECKPOINT)
        # SQLite leaves that to the last pass, and commits would wait for all of it.
        await self._beside.flush()
