"""Contexts that fixtures enter in one task and leave in another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def in_one_task(context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave ``context`` in one task, which is what task groups ask for and what fixtures do not do."""
    ready: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    finished = asyncio.Event()

    async def host() -> None:
        try:
            async with context as value:
                ready.set_result(value)
                await finished.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    task = asyncio.create_task(host())
    try:
        yield await ready
    finally:
        finished.set()
        await task
