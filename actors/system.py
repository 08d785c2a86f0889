"""The home of all actors in one event loop: whose turn it is, what time it is, and how everything ends.

``async with ActorSystem()`` owns whatever runs inside; nothing outlives it. All methods are for the loop's thread.
Mail makes its actor ready, one callback per turn of the loop serves all ready actors, and one sweep ends what is past
its deadline, so an idle actor costs no task and an ask no timer. An idle system schedules nothing at all.

However the ``async with`` is left, every ask has ended and every owned task is done afterwards. Left normally, it
drains first. Left by an exception or a cancellation, or because a family escalated, it fails what is pending at once.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import anyio.abc

from .actor import Actor
from .deadletters import DeadLetterOffice, Observer
from .errors import ActorFailed
from .family import Family
from .mailbox import Cell
from .options import Options

__all__ = ["ActorSystem"]

M = TypeVar("M")

# A cancelled task may take this long to clean up; then it is cancelled again, in case it swallowed the first one. One
# that swallows them all is waited for without end: a task left behind would be a task nobody owns.
CLEANUP_S = 1.0


class ActorSystem:
    """An async context manager in which families of actors live.

    ``sweep_interval_s`` is how late a deadline may be noticed. ``stop_timeout_s`` bounds the drain when the block is
    left normally. ``on_dead_letter`` sees lost messages (see ``deadletters``).
    """

    loop: asyncio.AbstractEventLoop
    dead_letters: DeadLetterOffice

    def __init__(
        self,
        *,
        sweep_interval_s: float = 0.05,
        stop_timeout_s: float = 10.0,
        on_dead_letter: Observer | None = None,
    ) -> None:
        if not 0 < sweep_interval_s < inf:
            raise ValueError(f"sweep_interval_s must be positive and finite, got {sweep_interval_s}")
        self.sweep_interval_s = sweep_interval_s
        self.stopping = False
        self.closed = True  # until entered
        self.tasks: set[asyncio.Future[Any]] = set()
        self._stop_timeout_s = stop_timeout_s
        self._on_dead_letter = on_dead_letter
        self._families: dict[str, Family[Any]] = {}
        self._ready: deque[Cell[Any]] = deque()
        self._turn_due = False
        self._failure: ActorFailed | None = None
        self._sweep_at = inf
        self._sweep_handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        # Actors run in this context, not in that of whoever happens to send a message.
        self._context = contextvars.copy_context()
        self.dead_letters = DeadLetterOffice(self.loop, self._on_dead_letter)
        self._drained = anyio.Event()
        self._end: asyncio.Future[None] = self.loop.create_future()
        self._task_group = anyio.create_task_group()
        await self._task_group.__aenter__()
        self._task_group.start_soon(self._keep, name="actors")
        self.closed = False
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        leaving = exc
        if leaving is None:
            try:
                await self.stop()
            except BaseException as error:  # noqa: BLE001 - raised again below, once everything has ended
                leaving = error
        self._close()
        # The group must see a cancellation, which may be its own doing. Another exception goes past it, unwrapped.
        cancelled = leaving if isinstance(leaving, asyncio.CancelledError) else None
        try:
            await self._task_group.__aexit__(
                type(cancelled) if cancelled else None, cancelled, cancelled.__traceback__ if cancelled else None
            )
        except BaseExceptionGroup:
            if self._failure is None:
                raise
            raise self._failure from self._failure.cause
        if leaving is not None and leaving is not exc:
            raise leaving

    def register(self, name: str, factory: Callable[[str], Actor[M]], options: Options | None = None) -> Family[M]:
        """Add a kind of actor. ``factory`` makes the actor of a key, at its first message and after a crash.

        Raises ValueError if the name is taken, RuntimeError outside of the ``async with`` or after ``stop``.
        """
        if self.closed or self.stopping:
            raise RuntimeError("the actor system is not running")
        if name in self._families:
            raise ValueError(f"there is a family called {name!r} already")
        family = self._families[name] = Family(self, name, factory, options or Options())
        return family

    async def stop(self, timeout_s: float | None = None) -> None:
        """Refuse new messages, let what is pending be answered for at most ``timeout_s`` seconds, then end the rest.

        Afterwards no actor is alive, and asks that were not answered have failed with Stopped. May be repeated.
        ``async with`` waits for the owned tasks, cancelled here, to end.
        """
        if self.closed:
            return
        self.stopping = True
        for family in self._families.values():
            family.refuse_mail()
        self._look_whether_drained()
        self.wake_by(self.loop.time())
        with anyio.move_on_after(self._stop_timeout_s if timeout_s is None else timeout_s):
            await self._drained.wait()
        self._close()

    # For families

    def enqueue(self, cell: Cell[Any]) -> None:
        """Have the next turn attend to a cell."""
        self._ready.append(cell)
        if not self._turn_due:
            self._turn_due = True
            self.loop.call_soon(self._turn, context=self._context)

    def wake_by(self, when: float) -> None:
        """Sweep at this loop time at the latest."""
        if when < self._sweep_at and not self.closed:
            if self._sweep_handle is not None:
                self._sweep_handle.cancel()
            self._sweep_at = when
            self._sweep_handle = self.loop.call_at(when, self._sweep, context=self._context)

    def escalate(self, failure: ActorFailed) -> None:
        """End the system with this failure."""
        if not self._end.done():
            self._failure = failure
            self._end.set_exception(failure)

    def _turn(self) -> None:
        self._turn_due = False
        ready = self._ready
        now = self.loop.time()
        try:
            # Not those that become ready meanwhile: callers must get a turn too.
            for _ in range(len(ready)):
                cell = ready.popleft()
                cell.family.attend(cell, now)
        finally:
            # After a KeyboardInterrupt out of an actor the others still have theirs.
            if ready and not self._turn_due:
                self._turn_due = True
                self.loop.call_soon(self._turn, context=self._context)
        if self.stopping:
            self._look_whether_drained()

    def _sweep(self) -> None:
        self._sweep_at = inf
        self._sweep_handle = None
        now = self.loop.time()
        due_at = min([family.sweep(now) for family in self._families.values()], default=inf)
        if self.stopping:
            self._look_whether_drained()
            due_at = min(due_at, now + self.sweep_interval_s)
        if due_at < inf:
            self.wake_by(due_at)

    def _look_whether_drained(self) -> None:
        if all(family.drained for family in self._families.values()):
            self._drained.set()

    def _close(self) -> None:
        if self.closed:
            return
        self.stopping = self.closed = True
        for family in self._families.values():
            family.refuse_mail()
        for family in self._families.values():
            family.close()
        self._ready.clear()
        self._drained.set()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        self.dead_letters.show()
        if not self._end.done():
            self._end.set_result(None)

    async def _keep(self) -> None:
        """Own the actors' tasks: end with the system, and not before the last of them.

        They are plain tasks cancelled and awaited here, because one started in an anyio group costs several times as
        much, and one is started per activation.
        """
        try:
            await self._end
        finally:
            self._close()
            with anyio.CancelScope(shield=True):
                while self.tasks:
                    await asyncio.wait(self.tasks, timeout=CLEANUP_S)
                    for task in self.tasks:
                        task.cancel()
