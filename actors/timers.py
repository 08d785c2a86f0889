"""Messages an actor sends itself later.

A timer runs on the loop's clock and belongs to one incarnation of an actor: passivation, stop and crash cancel it.
Its message is always accepted, whatever the mailbox bound, because a timer never has more than one waiting: a
repeating timer whose last message has not been delivered yet skips the tick.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from .actor import Context
    from .mailbox import Mail

__all__ = ["Timer"]

M = TypeVar("M")


class Timer(Generic[M]):
    """A running timer. Made by ``Context.timer``."""

    __slots__ = ("_delay_s", "_handle", "_last", "_life", "_message", "_repeat")

    def __init__(self, life: Context[M], delay_s: float, message: M, *, repeat: bool) -> None:
        self._life = life
        self._delay_s = delay_s
        self._message = message
        self._repeat = repeat
        self._last: Mail[M] | None = None
        loop = life.loop
        self._handle: asyncio.TimerHandle | None = loop.call_at(loop.time() + delay_s, self._fire)

    @property
    def active(self) -> bool:
        """True until it has fired for the last time or was cancelled."""
        return self._handle is not None

    def cancel(self) -> None:
        """Send no further message. One already in the mailbox is still delivered. Harmless when repeated."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._life.timers.discard(self)

    def _fire(self) -> None:
        assert self._handle is not None  # noqa: S101 - narrows the type: a cancelled handle does not fire
        fired_at = self._handle.when()
        if self._repeat:
            # Counted from when it was due, so that it does not drift; ticks the loop was too busy for are skipped.
            loop = self._life.loop
            missed = max(0, int((loop.time() - fired_at) / self._delay_s))
            self._handle = loop.call_at(fired_at + (1 + missed) * self._delay_s, self._fire)
        else:
            self._handle = None
            self._life.timers.discard(self)
        if self._last is None or self._last._cell is None:
            self._last = self._life.post(self._message)
