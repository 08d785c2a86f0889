"""Messages that reached no actor, and answers that found nobody.

All are counted; an observer may see them. It is called between other work, never inside a sender's or an actor's
stack, and cannot hurt the runtime: what it has not been shown yet is bounded (the rest is only counted), and if it
raises it is logged once and not called again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["DeadLetter", "DeadLetterOffice", "Observer", "Reason"]

Reason: TypeAlias = Literal["expired", "cancelled", "failed", "stopped", "unclaimed"]

# Letters kept for the observer between two turns of the loop. Enough to see what is happening; a flood is better
# told by the counter.
UNSEEN_MAX = 256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One lost message. ``reason`` says how.

    ``expired`` and ``cancelled``: the caller left before delivery. ``failed``: the actor was given up. ``stopped``:
    the system closed first. ``unclaimed``: delivered and answered, but the caller had left.
    """

    family: str
    key: str
    message: object
    reason: Reason


Observer: TypeAlias = Callable[[DeadLetter], object]


class DeadLetterOffice:
    """Shows dead letters to one observer, a bounded number per turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, observer: Observer | None) -> None:
        self._loop = loop
        self._observer = observer
        self._unseen: list[DeadLetter] = []

    def report(self, family: str, key: str, message: object, reason: Reason) -> None:
        """Keep a letter for the observer, if there is one and it has not too many already."""
        if self._observer is None or len(self._unseen) >= UNSEEN_MAX:
            return
        if not self._unseen:
            self._loop.call_soon(self.show)
        self._unseen.append(DeadLetter(family, key, message, reason))

    def show(self) -> None:
        """Hand over what has gathered."""
        letters, self._unseen = self._unseen, []
        for letter in letters:
            if self._observer is None:
                return
            try:
                self._observer(letter)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001 - it must not reach the runtime
                _log.exception("the dead letter observer raised and will not be called again")
                self._observer = None
