"""Opening the journal at a location, for engines and readers. Only this module knows which kind of journal it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, TypeAlias

import anyio

from solvent.engine.journal.lock import exclusive
from solvent.engine.journal.memory import MemoryJournal
from solvent.engine.journal.protocol import Journal
from solvent.engine.journal.reader import JournalReader
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.engine.runtime.machine import MACHINE, Machine
from solvent.engine.values.errors import JournalError

Location: TypeAlias = str | PathLike[str]
"""The place of a journal: a data folder, or ``MEMORY``."""
MEMORY: Final = ":memory:"
"""The location of a journal in memory, a new one each time. Only the string: a *path* of this name is a folder."""


class OpenJournal(NamedTuple):
    """A journal that one engine has to itself, and what belongs to it."""

    journal: Journal
    folder: Path
    """The folder of the files that the engine derives from the journal: index, snapshots, usage. No other engine uses
    it."""
    readable_at: Location | None = None
    """The location for ``open_reader`` in another process. ``None`` if other processes cannot open the journal: the
    engine then sends them its frames."""
    machine: Machine = MACHINE
    """The machine that keeps the caches."""


OpensJournal: TypeAlias = Callable[[Location], AbstractAsyncContextManager[OpenJournal]]
"""A function that opens the journal at a location for the length of a block, for one engine only. Raises
``JournalError``."""


@asynccontextmanager
async def open_journal(location: Location) -> AsyncIterator[OpenJournal]:
    """Open the journal at ``location``, or create one there, for the length of a block.

    Nothing remains of a journal in memory after the block: its caches are in a temporary folder until then.

    Raises ``JournalLocked`` if another engine has it, ``JournalError``.
    """
    if location == MEMORY:
        with TemporaryDirectory(prefix="solvent-") as scratch:
            yield OpenJournal(MemoryJournal(), Path(scratch))
        return
    folder = _folder(location)
    with exclusive(folder):
        journal = await SqliteJournal.open(folder / JOURNAL_NAME)
        try:
            yield OpenJournal(journal, folder, readable_at=folder)
        finally:
            with anyio.CancelScope(shield=True):
                await journal.aclose()


def open_reader(location: Location) -> JournalReader:
    """Open the journal at ``location`` for reading. An engine may have it open at the same time.

    Raises ``JournalError`` if there is no journal, or if it must not be read.
    """
    path = Path(location) / JOURNAL_NAME
    if not path.is_file():
        raise JournalError(f"there is no journal in {location}")
    return SqliteReader(path)


def _folder(location: Location) -> Path:
    path = Path(location)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JournalError(f"{path} cannot be used as a journal directory: {error}") from error
    return path
