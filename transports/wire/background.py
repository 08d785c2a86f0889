"""A task that runs next to a block and ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def background(work: Callable[..., Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run ``work`` while the block runs, then cancel it. ``work`` reports its start through ``task_status``.

    An exception of the block is raised unchanged. A task group alone would wrap it, and ``except InsufficientCredits``
    around the block would miss it. If ``work`` fails, the block is cancelled and the failure is raised in a group.
    """
    of_block: Exception | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(work)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below, past the group
            of_block = error
        tasks.cancel_scope.cancel()
    if of_block is not None:
        raise of_block
