"""Writing the log of a SQLite file back next to its commits, instead of inside one.

SQLite's own checkpoint runs inside the commit that fills the log, so that commit waits for megabytes to be copied and
flushed. Here, a separate connection copies them while commits continue. The few pages that were committed meanwhile
are copied last, by the writer, between two commits. Then the whole log is written back, and the next commit restarts
it. Commits wait for this last step, which ends with a flush, so it is taken less often. If all of this is too slow,
SQLite's own checkpoint bounds the log (``LOG_PAGES_MAX``).

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
"""The number of new pages in the log that starts a pass. The next commit's flush waits for all the pages that go to the
disk with it: 1 MB, about two milliseconds."""
RENEW_PAGES: Final = 2_000
"""The pages in the log, 8 MB, at which it is restarted. After a crash, the next start reads all of them."""
LAST_PAGES: Final = 100
"""The most pages left for the writer to copy."""
PASSES_MAX: Final = 4
LOG_PAGES_MAX: Final = 16_000
"""The pages in the log, 64 MB, at which SQLite checkpoints by itself."""
RETRY_INTERVAL_S: Final = 1.0
_CHECKPOINT: Final = "pragma wal_checkpoint(passive)"

log = logging.getLogger(__name__)


class Checkpointer:
    """Keeps the log of one file short. ``run`` is its task; call ``wrote`` after each commit."""

    def __init__(self, path: Path, writer: RemoteConnection, beside: RemoteConnection) -> None:
        """Use this for the file at ``path``, which only ``writer`` writes. ``beside`` is for this object alone."""
        self._path = path
        self._writer = writer
        self._beside = beside
        self._new_pages = 0
        """The pages added since the last pass began."""
        self._pages = 0
        self._due = anyio.Event()

    @staticmethod
    async def prepare(writer: RemoteConnection, beside: RemoteConnection) -> None:
        """Set up the two connections. Raises ``sqlite3.Error``."""
        await writer.execute(f"pragma wal_autocheckpoint = {LOG_PAGES_MAX}")
        # As for the writer: macOS returns from fsync before the disk has written.
        await beside.execute("pragma synchronous = full")
        await beside.execute("pragma checkpoint_fullfsync = on")

    def wrote(self, size: int) -> None:
        """Count a commit of about ``size`` bytes."""
        pages = size // PAGE_BYTES + 2
        self._pages += pages
        self._new_pages += pages
        if self._new_pages >= CHECKPOINT_PAGES:
            self._due.set()

    async def run(self) -> None:
        """Write the log back whenever it is due, until cancelled."""
        while True:
            await self._due.wait()
            self._due = anyio.Event()
            try:
                await self._write_back()
            except sqlite3.Error as error:
                # Usually a full disk. The log keeps its content, and grows meanwhile.
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
        # SQLite leaves the flush to the last pass, and commits would wait for all of it.
        await self._beside.flush()
