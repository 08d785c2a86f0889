"""An event loop without a clock, and processes that end as a ``kill -9`` ends them.

Time stands still while anything can run; then it jumps to the next timer. What runs when follows from the program
alone, so a run can be repeated to the last step. Everything that a process began carries its name in its context: when
it dies, none of it runs again, not even what is written behind ``finally``.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

from anyio._backends._asyncio import CancelScope

T = TypeVar("T")

STEPS_MAX = 1_000_000
PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Livelock(Exception):
    """So many steps were run that the simulation will never end."""


class Deadlock(Exception):
    """Nothing can run, and nothing will."""


class Process:
    """What dies together. ``steps`` counts how often any of it had a turn; it dies at ``dies_at``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.steps = 0
        self.dies_at: int | None = None
        self.died: list[Callable[[], None]] = []
        """Called at its death."""

    def kill(self) -> None:
        self.is_dead = True
        for each in self.died:
            each()


_numbers = itertools.count()


class _Task(asyncio.Task[Any]):
    """Sets of tasks are walked in the order in which the tasks were made, rather than by where they lie in memory."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._number = next(_numbers)
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


class _Future(asyncio.Future[Any]):
    """As ``_Task``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._number = next(_numbers)
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


_scopes: dict[int, tuple[Any, int]] = {}
"""The cancel scopes there ever were, kept so that none can take the place of another."""


@contextmanager
def in_the_order_made() -> Iterator[None]:
    """Have sets of anyio's cancel scopes walked in the order in which the scopes were made, for the length of a block.

    It takes no factory for them, unlike asyncio for tasks and futures: so this one class of it is changed.
    """

    def numbered(scope: CancelScope) -> int:
        return _scopes.setdefault(id(scope), (scope, next(_numbers)))[1]

    with mock.patch.object(CancelScope, "__hash__", numbered):
        yield


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one callback at a time, in the order in which they became ready."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0
        self.steps = 0
        self._graveyard: list[Any] = []
        """What belonged to the dead. Collected, it would run its ``finally`` blocks."""
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._moment

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def run_process(self, process: Process, main: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Begin ``main`` as a process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(main(), context=context)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = _Task(coroutine, loop=loop, **options)
        if PROCESS.get() is not None or options.get("context") is not None:
            self._graveyard.append(task)
        return task

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready:
            if not timers:
                raise Deadlock
            self._moment = max(self._moment, timers[0]._when)
        while timers and timers[0]._when <= self._moment:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        handle = ready.popleft()
        if handle._cancelled:
            return
        process = handle._context.get(PROCESS)
        if process is None:
            handle._run()
        elif process.is_dead:
            self._graveyard.append(handle)
        else:
            handle._run()
            process.steps += 1
            if process.dies_at is not None and process.steps >= process.dies_at and not process.is_dead:
                process.kill()
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Livelock

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _process_events(self, event_list: Any) -> None:
        raise NotImplementedError("a simulation has no descriptors")

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError("a simulation has no threads")

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError("a simulation has no threads")
