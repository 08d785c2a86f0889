"""Who is told what became durable: readers of the event stream, and followers of balances."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

CHANGED_MAX: Final = 1_000_000
"""Pools whose change is not told yet, of one follower. Of more, the oldest are forgotten until they change again."""


class Bell:
    """Wakes who waits for the next event. It can ring when nobody listens."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def listen(self) -> asyncio.Future[None]:
        """Done when the bell rings next. Listen first, look then: so no ring is missed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter


class Changes:
    """The pools that have changed since they were last taken from here, each once, in the order of their change."""

    def __init__(self) -> None:
        self._pools: dict[str, None] = {}
        self._bell = Bell()

    def add(self, pools: Iterable[str]) -> None:
        self._pools.update(dict.fromkeys(pools))
        while len(self._pools) > CHANGED_MAX:
            del self._pools[next(iter(self._pools))]
        self._bell.ring()

    async def take(self, limit: int) -> list[str]:
        """At most ``limit`` of them; waits until there is one."""
        while not self._pools:
            await self._bell.listen()
        taken = list(islice(self._pools, limit))
        for pool in taken:
            del self._pools[pool]
        return taken


class Listeners:
    """All of them. They outlive the partition that tells them."""

    def __init__(self) -> None:
        self.notices = Bell()
        self.changes: list[Changes] = []
