"""A task beside a block, that ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def background(work: Callable[..., Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run ``work``, which says by its ``task_status`` when it has started, while the block runs; then cancel it.

    An exception of the block leaves it as it is: a task group alone would wrap it, and ``except InsufficientCredits``
    around the block would not see it. If ``work`` fails, the block is cancelled and the failure raised, in a group.
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
