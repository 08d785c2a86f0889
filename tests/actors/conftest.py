"""Every async test here runs on virtual time: waiting costs nothing, and waiting for what cannot happen is an error.

So is an exception that escapes into the loop, which would only log it, and a task or a timer that nobody ended.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest


class VirtualSelector(selectors.DefaultSelector):
    """Instead of sleeping, moves its loop's clock."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout != 0:
            if timeout is None:
                raise AssertionError("everybody waits, and nothing is going to happen")
            self.now_s += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        self.escaped: list[BaseException] = []
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s

    def due(self) -> list[asyncio.TimerHandle]:
        """Return what is going to happen some day."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return [handle for handle in scheduled if not handle.cancelled()]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "handle" in context:  # out of a callback; "never retrieved" is the affair of whoever asked
            self.escaped.append(context["exception"])
        super().call_exception_handler(context)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualLoop}


@pytest.fixture(scope="session")
def virtual_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    return VirtualLoop


def nothing_is_left(loop: asyncio.AbstractEventLoop, current: asyncio.Task[Any] | None = None) -> None:
    assert asyncio.all_tasks(loop) <= {current}
    if isinstance(loop, VirtualLoop):
        assert not loop.escaped
        assert not loop.due()


@pytest.fixture(scope="session", name="nothing_is_left")
def nothing_is_left_() -> Callable[[asyncio.AbstractEventLoop], None]:
    return nothing_is_left


@pytest.fixture(autouse=True)
async def nothing_is_left_by_any_test() -> AsyncIterator[None]:
    yield
    nothing_is_left(asyncio.get_running_loop(), asyncio.current_task())
