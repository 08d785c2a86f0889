"""The demo in order: credits, load, ``kill -9``, proof, restart, and the rest of the load.

A nats-server and the service run as processes of their own. This process is only their client, and checks only answers
that it received. A check that fails does not stop the demo: it is reported, and the exit code is not 0.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from solvent.engine.api.credits import Credits
from solvent.engine.audit.verify import verify_journal
from solvent.transports.cli.render.cells import amount
from solvent.transports.nats.client import connect

from .load import CALLERS, Load
from .proof import Books, Check, after_asking_again, after_the_kill, at_the_end
from .screen import Screen
from .service import Service, service
from .workload import Workload

KILL_AFTER: Final = 0.55
"""The part of the events, or of the time, after which the service is killed."""
REQUEST_TIMEOUT_S: Final = 2.0
"""Short, because the demo waits for requests that the kill struck. A longer timeout would outlast the restart."""
PROMOTION_PARTS: Final = 10
"""A pool's credits are one part in ten promotional. Those burn first."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of the demo: its load, its length, and its journal."""

    workload: Workload
    seconds: float
    directory: Path
    nats_url: str
    screen: Screen

    async def run(self) -> tuple[list[Check], Books]:
        """Run the demo. Returns every check, passed or not, and the books at the end."""
        async with service(self.directory, self.nats_url, self.directory.parent / "service.log") as server:
            self.screen.step(f"nats-server and solvent serve (process {server.pid}) are up, the journal is empty")
            async with connect(self.nats_url, timeout_s=REQUEST_TIMEOUT_S) as client:
                await self._grant(client)
                checks, books = await self._run_load(server, client)
            checks += await self._stop_and_verify(server, books)
        return checks, books

    async def _grant(self, credits: Credits) -> None:
        """Grant a promotional and a paid block to every pool."""
        expires_at = datetime.now(UTC) + timedelta(days=30)
        for pool, total in self.workload.grants.items():
            promotion = total / PROMOTION_PARTS
            await credits.grant(
                pool, promotion, key="welcome", category="promotional", name="welcome", expires_at=expires_at
            )
            await credits.grant(pool, total - promotion, key="order-1", name="first order")
        total = sum(self.workload.grants.values(), Decimal(0))
        self.screen.step(f"{amount(total)} credits granted to {len(self.workload.grants)} pools of 3 customers")

    async def _run_load(self, server: Service, credits: Credits) -> tuple[list[Check], Books]:
        load = Load(credits, self.workload.requests)
        self.screen.watch(load, self.workload.grants)
        self.screen.step(f"{CALLERS} callers debit, one NATS request each; a receipt means: flushed to the disk")
        checks: list[Check] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.screen.keep_drawing)
            async with anyio.create_task_group() as callers:
                callers.start_soon(load.run)
                load.resume()
                await self._let_run(load, KILL_AFTER)
                checks += await self._kill_and_prove(server, credits, load)
                load.resume()
                await self._let_run(load, 1 - KILL_AFTER)
                load.stop()
            await load.ask_again()
            tasks.cancel_scope.cancel()
        books = await Books.read(credits, self.workload.grants)
        for check in (found := at_the_end(books, load.acknowledged)):
            self.screen.check(check)
        return checks + found, books

    async def _let_run(self, load: Load, part: float) -> None:
        """Wait until ``part`` of the seconds have passed, or of the events have been answered."""
        with anyio.move_on_after(self.seconds * part):
            await load.reach(part)

    async def _kill_and_prove(self, server: Service, credits: Credits, load: Load) -> list[Check]:
        pid = server.pid
        # In one turn of the loop: requests are in flight when the signal is sent, and no more follow.
        load.pause()
        await server.kill()
        # A dead process answers nothing, so the deadlines of the requests end this wait.
        await load.idle()
        left = len(load.unanswered)
        self.screen.step(f"kill -9 {pid}: the service is gone, {left} requests stay without an answer", mark="!")
        down_since = time.monotonic()
        await server.start()
        self.screen.step(f"started again as process {server.pid}, serving after {time.monotonic() - down_since:.1f} s")

        books = await Books.read(credits, self.workload.grants)
        checks = after_the_kill(books, load.acknowledged, load.unanswered)
        unanswered = dict(load.unanswered)
        checks.append(after_asking_again(books, unanswered, await load.ask_again()))
        for check in checks:
            self.screen.check(check)
        return checks

    async def _stop_and_verify(self, server: Service, books: Books) -> list[Check]:
        code = await server.stop()
        stopped = Check(code == 0, f"the service stopped when asked, with exit code {code}")
        found = await anyio.to_thread.run_sync(lambda: verify_journal(self.directory, on_progress=None))
        same = found.debits == len(books.debits())
        says = f"solvent verify: {found.frames:,} frames, {found.entries:,} entries, {found.debits:,} debits recomputed"
        verified = Check(not found.problems and same, says + "".join(f"; {problem}" for problem in found.problems[:3]))
        for check in (stopped, verified):
            self.screen.check(check)
        return [stopped, verified]
