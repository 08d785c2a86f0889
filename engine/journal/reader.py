"""Reading a journal from outside the engine: for the usage process, an audit, an export. A reader cannot write.

``Journal`` is asynchronous, for the engine that owns the journal. A reader blocks: it is for code that follows or
verifies the journal in its own thread or process. ``open_reader`` in ``opening`` makes a reader from a location, so
that only the stores themselves, and ``salvage``, know the file format of a journal. ``ReaderContract`` in ``contract``
tests every reader against what is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .frames import Frame, Head, Section


class JournalReader(Protocol):
    """A journal that can be read. Blocks; for use by one thread at a time. Every method may raise ``JournalError``."""

    @property
    def name(self) -> str:
        """The name of the journal in findings."""
        ...

    @property
    def identity(self) -> str:
        """The name that tells this journal from every other: the ``identity`` of its ``Journal``."""
        ...

    def last_number(self) -> int:
        """Return the number of the last frame, 0 for an empty journal."""
        ...

    def frames(self, after: int, limit: int) -> Sequence[Frame]:
        """Return at most ``limit`` frames with numbers above ``after``, in order.

        They are returned as stored, unchecked: ``split_frame`` finds out whether they are intact. Raises
        ``JournalCorrupt`` for a frame that is missing.
        """
        ...

    def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        """Return sections of ``pool`` from ``head`` back to version ``down_to``, as ``Journal.history`` does."""
        ...

    def damage(self) -> list[str]:
        """Return the faults of the store itself, each with the name of the part it is about.

        For an audit: this may read the whole store. What the checksums of frames and chains cover is not checked here.
        """
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
