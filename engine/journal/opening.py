"""Which kind of journal is at a location: the one place that knows, for engines and for readers."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TypeAlias

from solvent.engine.journal.reader import JournalReader
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.engine.values.errors import JournalError

Location: TypeAlias = str | PathLike[str]
"""Where a journal is kept: a data folder."""


def open_reader(location: Location) -> JournalReader:
    """Open the journal at ``location`` for reading. It may be open in an engine at the same time.

    Raises ``JournalError`` if there is no journal, or one that must not be read.
    """
    path = Path(location) / JOURNAL_NAME
    if not path.is_file():
        raise JournalError(f"there is no journal in {location}")
    return SqliteReader(path)
