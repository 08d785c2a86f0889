"""A journal as it is read from outside: by the usage process, an audit, an export. None of them can write it.

``Journal`` is for the engine that owns the journal, and awaits. A reader is for code that follows or proves it, in a
thread or a process of its own: it blocks. ``open_reader`` of ``opening`` makes one from a location, so that only the
stores themselves, and ``salvage``, know how a journal looks as a file. ``ReaderContract`` of ``contract`` holds every
reader to what is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .frames import Frame, Head, Section


class JournalReader(Protocol):
    """A journal that can be read. Blocks; for use by one thread at a time. Every method may raise ``JournalError``."""

    @property
    def name(self) -> str:
        """What findings call it."""
        ...

    @property
    def identity(self) -> str:
        """What tells this journal from every other: that of its ``Journal``."""
        ...

    def last_number(self) -> int:
        """Return the number of the last frame, 0 for an empty journal."""
        ...

    def frames(self, after: int, limit: int) -> Sequence[Frame]:
        """Return at most ``limit`` frames with numbers above ``after``, in order.

        Each is what is stored; whether that is what was written, ``split_frame`` finds out. Raises ``JournalCorrupt``
        for a frame that is missing.
        """
        ...

    def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        """Return sections of ``pool`` from ``head`` back to version ``down_to``, as ``Journal.history`` does."""
        ...

    def damage(self) -> list[str]:
        """Return what is wrong with the store itself, each finding with the name of what it is about.

        For an audit: it may read all of the store. What the checksums of frames and chains cover is not looked at.
        """
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...
