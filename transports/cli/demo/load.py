"""The callers of the demo: many at once, each waiting for its answer, and every answer kept.

What a caller knows is all that the proof may use: an event is *acknowledged* once its receipt arrived, *refused* once
the refusal did, and *unanswered* if neither came. The gate holds callers back while there is nobody to ask.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Final

import anyio

from solvent.engine.api.credits import Credits
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import DebitRequest
from solvent.engine.values.errors import InsufficientCredits, Overloaded, Unavailable

CALLERS: Final = 64
LATENCIES_KEPT: Final = 4_096
"""Of the latest answers: what the percentiles on the screen are of."""


class Load:
    """Runs the events of a workload through ``credits``. One instance per demo, used from one event loop."""

    def __init__(self, credits: Credits, requests: Sequence[DebitRequest]) -> None:
        self.acknowledged: Final[dict[str, Receipt]] = {}
        """By key. The receipt of the first answer that arrived."""
        self.unanswered: Final[dict[str, DebitRequest]] = {}
        self.asked: Final[dict[str, DebitRequest]] = {}
        self.refused: Final[Counter[str]] = Counter()
        """Events refused for lack of credits, by pool."""
        self.latencies_s: Final[deque[float]] = deque(maxlen=LATENCIES_KEPT)
        self.in_flight = 0
        self.total: Final = len(requests)
        self._credits = credits
        self._left: Iterator[DebitRequest] = iter(requests)
        self._open = anyio.Event()
        self._idle = anyio.Event()
        self._goal = 0
        self._reached = anyio.Event()
        self._stopped = False
        self._balances: dict[str, Receipt] = {}

    @property
    def answered(self) -> int:
        """Answers received, refusals included."""
        return len(self.acknowledged) + self.refused.total()

    def latest(self, pool: str) -> Receipt | None:
        """The acknowledged receipt of the highest version of a pool: its balance is the newest known."""
        return self._balances.get(pool)

    async def reach(self, part: float) -> None:
        """Wait until ``part`` of all events have been asked and answered from now on, or none is left."""
        self._goal = min(self._finished + int(self.total * part), self.total)
        self._reached = anyio.Event()
        self._notice()
        await self._reached.wait()

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        self._idle = anyio.Event()
        self._notice()
        await self._idle.wait()

    def pause(self) -> None:
        """Let callers finish what they are waiting for, and ask nothing new."""
        self._open = anyio.Event()

    def resume(self) -> None:
        """Let the callers go on."""
        self._open.set()

    def stop(self) -> None:
        """Let the callers finish what they are waiting for, and end."""
        self._stopped = True
        self._open.set()

    async def run(self) -> None:
        """Ask until the events are used up or ``stop`` is called."""
        async with anyio.create_task_group() as callers:
            for _ in range(CALLERS):
                callers.start_soon(self._call)

    async def _call(self) -> None:
        while True:
            await self._open.wait()
            if self._stopped or (request := next(self._left, None)) is None:
                return
            self.asked[request.key] = request
            await self.ask(request)

    async def ask(self, request: DebitRequest) -> Receipt | None:
        """Ask for one debit and keep the answer; ``None`` if it was refused or stayed unanswered.

        Overload is answered by waiting and asking again: nothing was written.
        """
        self.in_flight += 1
        asked_at = time.perf_counter()
        try:
            while True:
                try:
                    receipt = await self._debit(request)
                except Overloaded as busy:
                    await anyio.sleep(busy.retry_after)
                    continue
                except InsufficientCredits:
                    self.refused[str(request.pool)] += 1
                    self.unanswered.pop(request.key, None)
                    return None
                except Unavailable:
                    self.unanswered[request.key] = request
                    return None
                self.latencies_s.append(time.perf_counter() - asked_at)
                self._acknowledge(request, receipt)
                return receipt
        finally:
            self.in_flight -= 1
            self._notice()

    @property
    def _finished(self) -> int:
        return self.answered + len(self.unanswered)

    def _notice(self) -> None:
        if not self.in_flight:
            self._idle.set()
        if self._finished >= self._goal:
            self._reached.set()

    async def ask_again(self) -> dict[str, Receipt | None]:
        """Ask for all that is unanswered again, with the same keys. Returns answers by key, ``None`` for no receipt."""
        answers: dict[str, Receipt | None] = {}

        async def ask(request: DebitRequest) -> None:
            answers[request.key] = await self.ask(request)

        async with anyio.create_task_group() as again:
            for request in list(self.unanswered.values()):
                again.start_soon(ask, request)
        return answers

    def _acknowledge(self, request: DebitRequest, receipt: Receipt) -> None:
        self.unanswered.pop(request.key, None)
        self.acknowledged.setdefault(request.key, receipt)
        pool = str(request.pool)
        if (newest := self._balances.get(pool)) is None or newest.version < receipt.version:
            self._balances[pool] = receipt

    async def _debit(self, request: DebitRequest) -> Receipt:
        return await self._credits.debit(
            request.pool,
            request.amount,
            key=request.key,
            occurred_at=request.occurred_at,
            metric=request.metric,
            quantity=request.quantity,
            dimensions=request.dimensions,
            backfill=request.backfill,
        )
