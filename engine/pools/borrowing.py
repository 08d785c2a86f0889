"""The limit on pools borrowed from their actors at once.

A caller that borrows several pools holds the first while it waits for the next. Each borrowed pool keeps its place in
memory, so borrowers that together hold all places would wait for one another for ever. Therefore each caller takes all
its places before it begins, first come, first served, and half of the places are never lent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from solvent.engine.values.errors import Overloaded, TooLarge

RETRY_AFTER_S = 0.2


class Loans:
    """The count of borrowed pools in one engine, which holds at most ``resident_max`` pools in memory."""

    def __init__(self, resident_max: int) -> None:
        self._resident_max = resident_max
        self._free = self._size = max(1, resident_max // 2)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def places(self, pools: int, *, timeout_s: float) -> AsyncIterator[None]:
        """Reserve places for this many ``pools``, for the length of a block.

        Raises ``TooLarge`` for more pools than fit in memory, ``Overloaded`` if they are not free within ``timeout_s``.
        """
        if pools > self._resident_max:
            raise TooLarge("requests", f"at most {self._resident_max} pools at once", got=str(pools))
        # A caller that needs more than half of the places borrows alone.
        places = min(pools, self._size)
        await self._take(places, timeout_s)
        try:
            yield
        finally:
            self._give_back(places)

    async def _take(self, places: int, timeout_s: float) -> None:
        if not self._waiting and places <= self._free:
            self._free -= places
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((places, turn))
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give_back(places)
            else:
                self._waiting.remove((places, turn))
                self._next()
            if isinstance(error, TimeoutError):
                raise Overloaded(retry_after=RETRY_AFTER_S) from None
            raise

    def _give_back(self, places: int) -> None:
        self._free += places
        self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            places, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= places
                turn.set_result(None)
