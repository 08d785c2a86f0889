"""The commands of large batches, handed to the pools a part at a time.

A batch of an allowed size may be larger than the mailbox of the pool that it is about. Its commands wait here instead,
in their order, while those of all large batches that are with the pools fill half of a mailbox at most. So a batch
alone is never refused for its size: ``Overloaded`` is for what others have put into the mailboxes, and for more than
``pending_max`` commands here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeAlias

from solvent.actors import Answers, Place
from solvent.engine.values.errors import Overloaded

from .actor import RETRY_AFTER_S, Message

UNDER_WAY_MAX: Final = 2_048
"""The most commands of large batches that are with the pools at once: they fill a frame."""

SMALL_MAX: Final = 256
"""The most commands of a batch that need not wait here: they are like those of callers who send one each."""

Asks: TypeAlias = Sequence[tuple[str, Message, Place]]


class BatchQueue:
    """The commands of batches that wait for their turn. Use it on the engine's loop."""

    def __init__(
        self, submit: Callable[[Iterable[tuple[str, Message, Place]]], None], *, mailbox_max: int, pending_max: int
    ) -> None:
        self._submit = submit
        # Half of a mailbox is left to others.
        self._under_way_max = max(1, min(UNDER_WAY_MAX, mailbox_max // 2, pending_max // 2))
        self.small_max = min(SMALL_MAX, self._under_way_max)
        """The most commands of a batch that is handed to the pools at once."""
        self._waiting_max = pending_max
        self._waiting: deque[tuple[str, Message, Place]] = deque()
        self._under_way = 0
        """The commands that are with the pools."""

    def submit_all(self, asks: Asks) -> None:
        """Hand commands to their pools, after those that wait already. Each has a place for its answer."""
        if len(self._waiting) + len(asks) > self._waiting_max:
            for _, _, place in asks:
                place.set_exception(Overloaded(retry_after=RETRY_AFTER_S))
            return
        self._waiting.extend(asks)
        self._go_on()

    def _go_on(self) -> None:
        # Half of what may be under way at a time: while it is being flushed, the next commands are decided.
        part_max = -(-self._under_way_max // 2)
        while self._waiting and (room := self._under_way_max - self._under_way):
            part = [self._waiting.popleft() for _ in range(min(part_max, room, len(self._waiting)))]
            self._under_way += len(part)
            answers = Answers(len(part), partial(self._done, [place for _, _, place in part]))
            self._submit(
                (pool, command, place) for (pool, command, _), place in zip(part, answers.places(), strict=True)
            )

    def _done(self, places: Sequence[Place], answers: Answers) -> None:
        self._under_way -= len(places)
        self._go_on()
        for place, answer in zip(places, answers.values, strict=True):
            if isinstance(answer, BaseException):
                place.set_exception(answer)
            else:
                place.set_result(answer)
