"""The completion of what a cancelled caller had begun.

A cancelled caller loses its answer, and what it had asked for may be done or not. Here it is done, or undone, to the
end: the caller's cancellation goes on only after that, ``FINISH_S`` later at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import anyio

FINISH_S: Final = 5.0
"""The longest that a cancelled caller waits. What is not done by then goes on without it."""

_under_way: Final[set[asyncio.Task[Any]]] = set()
"""What is being done, some of it for callers that have gone: an event loop does not keep its tasks alive."""


async def finish(work: Coroutine[Any, Any, object]) -> None:
    """Do ``work`` to its end, for a caller that was cancelled. Being cancelled again meanwhile changes nothing.

    Raises nothing: the caller raises its cancellation, and nobody is left to take another error.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_end)
    until = loop.time() + FINISH_S
    # The shield is for scopes of anyio, which cancel again at every await. ``asyncio.wait`` does not cancel the task.
    with anyio.CancelScope(shield=True):
        while not task.done() and (left := until - loop.time()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task], timeout=left)


def _end(task: asyncio.Task[Any]) -> None:
    _under_way.discard(task)
    if not task.cancelled():
        # Taken, so that the loop does not report it.
        task.exception()
