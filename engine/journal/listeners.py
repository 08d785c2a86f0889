"""Notification of what became durable, for readers of the event stream and followers of balances."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

CHANGED_MAX: Final = 1_000_000
"""The most changed pools that wait for one follower. Beyond that, the oldest are forgotten until they change again."""


class Bell:
    """Wakes readers that wait for the next event. It may ring while no one listens."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def listen(self) -> asyncio.Future[None]:
        """Return a future that is done when the bell next rings. Call this before looking, so no ring is missed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter


class Changes:
    """The pools that have changed since they were last taken, each once, in the order of their change."""

    def __init__(self) -> None:
        self._pools: dict[str, None] = {}
        self._bell = Bell()

    def add(self, pools: Iterable[str]) -> None:
        self._pools.update(dict.fromkeys(pools))
        while len(self._pools) > CHANGED_MAX:
            del self._pools[next(iter(self._pools))]
        self._bell.ring()

    async def take(self, limit: int) -> list[str]:
        """Wait until a pool has changed, then return at most ``limit`` changed pools."""
        while not self._pools:
            await self._bell.listen()
        taken = list(islice(self._pools, limit))
        for pool in taken:
            del self._pools[pool]
        return taken


class Listeners:
    """All listeners of an engine. They outlive the partition that notifies them."""

    def __init__(self) -> None:
        self.notices = Bell()
        self.changes: list[Changes] = []
