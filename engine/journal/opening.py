"""Which kind of journal is at a location: the one place that knows, for engines and for readers."""

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
"""Where a journal is kept: a data folder, or ``MEMORY``."""
MEMORY: Final = ":memory:"
"""The location of a journal in memory, as a string: a new one each time. The *path* of this name is a folder."""


class OpenJournal(NamedTuple):
    """A journal that one engine has for itself, and what belongs to it."""

    journal: Journal
    folder: Path
    """Of the files that the engine makes from the journal: index, snapshots, usage. It has them for itself as well."""
    readable_at: Location | None = None
    """Where ``open_reader`` finds the journal from another process; ``None`` if it cannot: then the engine hands the
    frames to the processes that want them."""
    machine: Machine = MACHINE
    """What the caches are kept on."""


OpensJournal: TypeAlias = Callable[[Location], AbstractAsyncContextManager[OpenJournal]]
"""Opens the journal at a location for the length of a block, for one engine and no other. Raises ``JournalError``."""


@asynccontextmanager
async def open_journal(location: Location) -> AsyncIterator[OpenJournal]:
    """Open the journal at ``location``, or begin one there, for the length of a block.

    Of a journal in memory nothing is left after the block: its caches are in a temporary folder until then.

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
    """Open the journal at ``location`` for reading. It may be open in an engine at the same time.

    Raises ``JournalError`` if there is no journal, or one that must not be read.
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
