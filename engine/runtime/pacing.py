"""Pacing for background work on the event loop.

The thread that flushes the journal needs the interpreter several times in each commit. A task that takes turn after
turn, however short, never lets the loop rest. The thread then waits up to 5 ms (``sys.getswitchinterval``) each time it
asks: measured, every round of the projector delayed one flush by 40 ms. So background work is done in slices, and the
loop sleeps in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

REST_S: Final = 0.001
SLICE: Final = 100
"""The smallest number of steps between two rests. A step takes about a microsecond, or three on cold memory."""
RESTS_MAX: Final = 200
"""The most rests in one piece of work, however large. They take about a quarter of a second together."""


def slice_of(steps: int) -> int:
    """Return how many of ``steps`` to do between two rests."""
    return max(SLICE, -(-steps // RESTS_MAX))


async def rest() -> None:
    """Let other tasks and threads run."""
    await asyncio.sleep(REST_S)


async def in_slices(items: Sequence[T]) -> AsyncIterator[T]:
    """Yield ``items``, with a rest after every slice."""
    steps = slice_of(len(items))
    for number, item in enumerate(items, 1):
        yield item
        if number % steps == 0:
            await rest()
