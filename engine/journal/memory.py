"""A journal in memory: for tests and experiments. Nothing survives the process."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import anyio

from solvent.engine.values.errors import JournalCorrupt

from .frames import Frame, Head, Pointer, Section
from .protocol import WrongFrame, sections_at, walk_back


class MemoryReader:
    """A ``JournalReader`` of a list of frames, to which the journal keeps appending."""

    def __init__(self, frames: Sequence[Frame], identity: str) -> None:
        self.name: Final = "journal"
        self.identity: Final = identity
        self._frames = frames

    def last_number(self) -> int:
        return len(self._frames)

    def frames(self, after: int, limit: int) -> Sequence[Frame]:
        return self._frames[after : after + limit]

    def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        return walk_back(pool, head, down_to, self._body)

    def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        """Return the sections at ``pointers``. Raises the errors of ``Journal.sections``."""
        return sections_at(pointers, self._frame)

    def damage(self) -> list[str]:
        return []

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _frame(self, number: int, *, pool: str | None = None) -> Frame:
        if not 0 < number <= len(self._frames):
            raise JournalCorrupt("the frame is missing", frame=number, pool=pool)
        return self._frames[number - 1]

    def _body(self, pool: str, pointer: Pointer) -> bytes:
        body = self._frame(pointer.frame, pool=pool).body
        return body[pointer.offset : pointer.offset + pointer.length]


class MemoryJournal:
    """A ``Journal`` kept as a list of frames."""

    def __init__(self, *, identity: str | None = None) -> None:
        """Make an empty journal, with a new ``identity`` unless one is given."""
        self.identity: Final = identity or secrets.token_hex(16)
        self._frames: list[Frame] = []
        self._reader = self.reader()

    def reader(self) -> MemoryReader:
        """Return a reader of this journal, for the same process."""
        return MemoryReader(self._frames, self.identity)

    async def append(self, frame: Frame) -> None:
        if frame.number != len(self._frames) + 1:
            raise WrongFrame(expected=frame.number - 1, found=len(self._frames))
        self._frames.append(frame)

    async def write_back(self) -> None:
        await anyio.sleep_forever()

    async def last_number(self) -> int:
        return len(self._frames)

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        return self._reader.frames(after, limit)

    async def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        return self._reader.history(pool, head, down_to=down_to)

    async def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        return self._reader.sections(pointers)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""
