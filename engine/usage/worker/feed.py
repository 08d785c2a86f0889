"""A journal that the engine alone can read, such as one in memory: its frames come over the pipes of the process.

The process asks for some frames at a time, when it has room for them, so neither end holds more than a few. The frames
are the journal's own, checksums included: what is lost or changed on the way is found as it is in a file.
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
"""How long the engine's answer is waited for. Beyond it, the journal counts as unreadable for now."""


class FeedEnded(Exception):
    """The engine stops: there are no more frames, and nobody waits for what they would say."""


class FedReader:
    """Fulfils ``JournalReader`` with what the engine answers. One thread reads; another calls ``take`` and ``end``."""

    def __init__(self, ask: Callable[[AskFrames], None]) -> None:
        """``ask`` sends a question to the engine, whose answer is given to ``take``."""
        self.name: Final = "journal"
        self._ask = ask
        self._answers: queue.SimpleQueue[Frames | None] = queue.SimpleQueue()
        self._asked = 0
        self._identity = ""

    def take(self, answer: Frames) -> None:
        """Take an answer of the engine."""
        self._answers.put(answer)

    def end(self) -> None:
        """Have the reading thread end in ``FeedEnded``, at once if it waits for an answer."""
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
        """Nothing is held."""

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
                raise JournalError(f"the engine handed on no frames within {ANSWER_TIMEOUT_S:g} s") from None
            if answer is None:
                self.end()  # For the next one who reads.
                raise FeedEnded
            if answer.id != self._asked:
                continue  # It came too late.
            if answer.failure:
                raise JournalError(answer.failure)
            return answer
