"""How long work behind the scenes takes its turns on the event loop.

The thread that flushes the journal needs the interpreter several times in each commit. A task that takes turn after
turn, however short, never lets the loop rest, and then that thread waits for up to 5 ms (``sys.getswitchinterval``)
each time it asks: measured, every round of the projector held up one flush by 40 ms. So work of this kind is done in
slices, and the loop sleeps in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

REST_S: Final = 0.001
SLICE: Final = 100
"""Steps of about a microsecond, or three when the memory they touch is cold."""
RESTS_MAX: Final = 200
"""What bounds the time that the rests of one piece of work take, however much it is: about a quarter of a second."""


def slice_of(steps: int) -> int:
    """How many of ``steps`` to do between two rests."""
    return max(SLICE, -(-steps // RESTS_MAX))


async def rest() -> None:
    """Let the other tasks and the threads go on."""
    await asyncio.sleep(REST_S)


async def in_slices(items: Sequence[T]) -> AsyncIterator[T]:
    """``items``, with a rest after every slice of them."""
    steps = slice_of(len(items))
    for number, item in enumerate(items, 1):
        yield item
        if number % steps == 0:
            await rest()
