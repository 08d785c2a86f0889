"""What one writes to have an actor: a subclass of ``Actor``, and the ``Context`` it acts through.

An actor owns its state alone and is handed one batch of mail at a time, on the loop's thread. A crash (an exception
out of any of its methods but ``on_stop``, or out of a task it spawned) throws the instance away: mail it had not
answered fails with ``ActorCrashed``, mail it had not been given waits for the next instance, made by the factory. Two
instances of one key never run at the same time, not even while the old one's tasks are still being cancelled.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from .errors import Stopped
from .timers import Timer

if TYPE_CHECKING:
    from .mailbox import Cell, Mail

__all__ = ["Actor", "Context", "StopReason"]

M = TypeVar("M")

StopReason: TypeAlias = Literal["passivated", "stopped"]


class Actor(ABC, Generic[M]):
    """One key's behaviour and state. Subclass it; ``context`` is there from ``on_start`` on."""

    context: Context[M]

    async def on_start(self) -> None:
        """Get ready, for example by recovering state. Mail waits meanwhile. Raising is a crash.

        Give what it waits for a deadline: an actor that starts for ever keeps its seat for ever.
        """

    @abstractmethod
    def receive(self, batch: list[Mail[M]]) -> Awaitable[None] | None:
        """Take all the mail that waits, oldest first. Raising is a crash.

        A plain method that returns None is the fast way. When it returns an awaitable (``async def``), the actor is
        busy and mail accumulates until that is done. Either way each ask is answered through its mail, at once or
        later; until then it counts against ``mailbox_max`` and keeps the actor from being passivated. The list is
        the actor's to keep. The awaitable is the runtime's: it is cancelled with the actor, so do not return a future
        that others wait for.
        """

    def may_passivate(self) -> bool:
        """Say whether the state may be dropped now. Asked only while nothing is waiting, unanswered or spawned."""
        return True

    def on_stop(self, reason: StopReason) -> None:
        """Say goodbye: passivated, or the system stops. Not called after a crash; what it raises is only logged.

        The context is closed already. With ``stopped``, if the time to drain ran out, mail may have gone unanswered
        and an awaitable ``receive`` may still be under way: its cancellation reaches it after this.
        """


class Context(Generic[M]):
    """An actor's way to the runtime, valid for one incarnation: once that has ended, its methods raise ``Stopped``."""

    __slots__ = ("_cell", "_family_name", "key", "loop", "tasks", "timers")

    def __init__(self, cell: Cell[M], loop: asyncio.AbstractEventLoop) -> None:
        self.key = cell.key
        self.loop = loop
        self._cell: Cell[M] | None = cell
        self._family_name = cell.family.name
        self.tasks: set[asyncio.Future[Any]] = set()
        self.timers: set[Timer[M]] = set()

    def tell_self(self, message: M) -> None:
        """Put a message into the own mailbox, behind what waits. Works while the system drains.

        Raises MailboxFull.
        """
        cell = self._living()
        cell.family.tell_cell(cell, message)

    def timer(self, delay_s: float, message: M, *, repeat: bool = False) -> Timer[M]:
        """Put a message into the own mailbox in ``delay_s`` seconds (positive, or zero without ``repeat``)."""
        self._living()
        if not (delay_s > 0 or (delay_s == 0 and not repeat)):
            raise ValueError(f"delay_s must be positive, got {delay_s}")
        timer = Timer(self, delay_s, message, repeat=repeat)
        self.timers.add(timer)
        return timer

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine beside the mailbox. It is cancelled when the actor ends; its exception crashes the actor.

        While it runs the actor is not passivated.
        """
        try:
            cell = self._living()
        except Stopped:
            work.close()
            raise
        cell.family.own(cell, self, work, None)

    def post(self, message: M) -> Mail[M]:
        """Put a timer's message into the mailbox, past its bound. For timers only."""
        cell = self._living()
        return cell.family.post(cell, message)

    def end(self) -> None:
        """Cancel everything that belongs to this incarnation. For the runtime."""
        self._cell = None
        for timer in tuple(self.timers):
            timer.cancel()
        for task in tuple(self.tasks):
            task.cancel()

    def _living(self) -> Cell[M]:
        if self._cell is None:
            raise Stopped(family=self._family_name, key=self.key)
        return self._cell
