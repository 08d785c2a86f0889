"""A journal that only the engine can read, such as one in memory: its frames arrive over the pipes of the process.

The process asks for a few frames at a time, when it has room for them, so neither side holds more. The frames are those
of the journal, checksums included, so a loss or change on the way is found as in a file.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import Final

from solvent.engine.journal.frames import Frame, Head, Pointer, Section
from solvent.engine.journal.protocol import walk_back
from solvent.engine.usage.messages import AskFrames, Frames
from solvent.engine.values.errors import JournalCorrupt, JournalError

ANSWER_TIMEOUT_S: Final = 10.0
"""The seconds to wait for the engine's answer. After that, the journal counts as unreadable for now."""


class FeedEnded(Exception):
    """The engine stops: there are no more frames, and no caller waits for an answer."""


class FedReader:
    """A ``JournalReader`` of the engine's answers. One thread reads; another calls ``take`` and ``end``."""

    def __init__(self, ask: Callable[[AskFrames], None]) -> None:
        """``ask`` sends a question to the engine. Pass its answer to ``take``."""
        self.name: Final = "journal"
        self._ask = ask
        self._answers: queue.SimpleQueue[Frames | None] = queue.SimpleQueue()
        self._asked = 0
        self._identity = ""

    def take(self, answer: Frames) -> None:
        """Take an answer of the engine."""
        self._answers.put(answer)

    def end(self) -> None:
        """Make the reading thread raise ``FeedEnded``, at once if it waits for an answer."""
        self._answers.put(None)

    @property
    def identity(self) -> str:
        if not self._identity:
            self._identity = self._answer(0, 0).identity
        return self._identity

    def last_number(self) -> int:
        return self._answer(0, 0).last

    def frames(self, after: int, limit: int) -> Sequence[Frame]:
        return self._answer(after, limit).frames

    def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        return walk_back(pool, head, down_to, self._body)

    def damage(self) -> list[str]:
        return []

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _body(self, pool: str, pointer: Pointer) -> bytes:
        frames = self.frames(pointer.frame - 1, 1) if pointer.frame > 0 else ()
        if not frames:
            raise JournalCorrupt("the frame is missing", frame=pointer.frame, pool=pool)
        return frames[0].body[pointer.offset : pointer.offset + pointer.length]

    def _answer(self, after: int, limit: int) -> Frames:
        self._asked += 1
        self._ask(AskFrames(self._asked, after, limit))
        while True:
            try:
                answer = self._answers.get(timeout=ANSWER_TIMEOUT_S)
            except queue.Empty:
                raise JournalError(f"the engine sent no frames within {ANSWER_TIMEOUT_S:g} s") from None
            if answer is None:
                self.end()  # For the next read.
                raise FeedEnded
            if answer.id != self._asked:
                continue  # This answer came too late.
            if answer.failure:
                raise JournalError(answer.failure)
            return answer
