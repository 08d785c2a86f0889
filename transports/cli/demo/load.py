"""The callers of the demo: many at once, each waiting for its answer. All answers are kept.

The proof may use only what callers know: an event is *acknowledged* once its receipt arrived, *refused* once its
refusal arrived, and *unanswered* if neither came. The gate holds callers back while no service runs.
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
"""The latest answers, from which the screen's percentiles are computed."""


class Load:
    """Sends the events of a workload to ``credits``. One instance per demo, used from one event loop."""

    def __init__(self, credits: Credits, requests: Sequence[DebitRequest]) -> None:
        self.acknowledged: Final[dict[str, Receipt]] = {}
        """The first receipt that arrived for each key."""
        self.unanswered: Final[dict[str, DebitRequest]] = {}
        self.asked: Final[dict[str, DebitRequest]] = {}
        self.refused: Final[Counter[str]] = Counter()
        """The number of events refused for lack of credits, by pool."""
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
        """The number of answers received, refusals included."""
        return len(self.acknowledged) + self.refused.total()

    def latest(self, pool: str) -> Receipt | None:
        """Return the acknowledged receipt with the highest version of a pool. It has the newest known balance."""
        return self._balances.get(pool)

    async def reach(self, part: float) -> None:
        """Wait until ``part`` of all events have been asked and answered from now on, or none are left."""
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
        """Let callers finish their requests, and begin no new ones."""
        self._open = anyio.Event()

    def resume(self) -> None:
        """Let the callers go on."""
        self._open.set()

    def stop(self) -> None:
        """Let the callers finish their requests, and end."""
        self._stopped = True
        self._open.set()

    async def run(self) -> None:
        """Send requests until the events are used up or ``stop`` is called."""
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
        """Ask for one debit and keep the answer. Returns ``None`` if it was refused or stayed unanswered.

        After an overload, which writes nothing, this waits and asks again.
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
        """Ask again for all unanswered events, with the same keys. Returns receipts by key, ``None`` for none."""
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
