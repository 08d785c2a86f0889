"""A journal in memory: for tests and experiments. Nothing survives the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio

from solvent.engine.values.errors import JournalCorrupt

from .frames import Frame, Head, Pointer, Section
from .protocol import HISTORY_SECTIONS_MAX, WrongFrame, follow, sections_at


class MemoryJournal:
    """Fulfils ``Journal`` with a list of frames."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self.identity: Final = "memory"

    async def append(self, frame: Frame) -> None:
        if frame.number != len(self._frames) + 1:
            raise WrongFrame(expected=frame.number - 1, found=len(self._frames))
        self._frames.append(frame)

    async def write_back(self) -> None:
        await anyio.sleep_forever()

    async def last_number(self) -> int:
        return len(self._frames)

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        return self._frames[after : after + limit]

    async def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        sections: list[Section] = []
        while head.version >= max(down_to, 1) and len(sections) < HISTORY_SECTIONS_MAX:
            section, head = follow(pool, head, self._body(head.pointer, pool=pool))
            sections.append(section)
        sections.reverse()
        return sections

    async def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        return sections_at(pointers, self._frame)

    def _frame(self, number: int) -> Frame:
        if not 0 < number <= len(self._frames):
            raise JournalCorrupt("the frame is missing", frame=number)
        return self._frames[number - 1]

    def _body(self, pointer: Pointer, *, pool: str | None) -> bytes:
        if not 0 < pointer.frame <= len(self._frames):
            raise JournalCorrupt("the frame is missing", frame=pointer.frame, pool=pool)
        return self._frames[pointer.frame - 1].body[pointer.offset : pointer.offset + pointer.length]

    async def aclose(self) -> None:
        """Nothing is held."""
