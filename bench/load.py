"""Callers in a closed loop: each calls again as soon as it has its answer."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

from .session import AsyncSession, ThreadSession


@dataclass
class Measured:
    calls: int = 0
    units: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)


class Load:
    """The callers of one session. Numbers of calls continue from one ``run`` to the next, so no key is used twice."""

    def __init__(self, session: AsyncSession | ThreadSession, callers: int) -> None:
        self._session = session
        self._next = [0] * callers

    async def run(self, seconds: float) -> Measured:
        """Run all callers for so many seconds, and wait for the calls under way then."""
        if isinstance(self._session, ThreadSession):
            return await asyncio.to_thread(self._run_threads, self._session, seconds)
        return await self._run_tasks(self._session, seconds)

    async def _run_tasks(self, session: AsyncSession, seconds: float) -> Measured:
        measured = Measured()
        latencies = measured.latencies_ms
        clock = time.perf_counter
        jobs = [session.caller(number) for number in range(len(self._next))]
        started = clock()
        until = started + seconds

        async def caller(number: int) -> None:
            job, call, units = jobs[number], self._next[number], 0
            while (began := clock()) < until:
                units += await job(call)
                latencies.append((clock() - began) * 1e3)
                call += 1
            self._next[number] = call
            measured.units += units

        async with asyncio.TaskGroup() as tasks:
            for number in range(len(jobs)):
                tasks.create_task(caller(number))
        measured.seconds = clock() - started
        measured.calls = len(latencies)
        return measured

    def _run_threads(self, session: ThreadSession, seconds: float) -> Measured:
        measured = Measured()
        latencies = measured.latencies_ms
        clock = time.perf_counter
        failures: list[BaseException] = []
        jobs = [session.caller(number) for number in range(len(self._next))]
        lock = threading.Lock()
        started = clock()
        until = started + seconds

        def caller(number: int) -> None:
            job, call, units = jobs[number], self._next[number], 0
            mine: list[float] = []
            try:
                while (began := clock()) < until and not failures:
                    units += job(call)
                    mine.append((clock() - began) * 1e3)
                    call += 1
            except Exception as error:  # noqa: BLE001 - raised below, in the thread that waits
                failures.append(error)
            with lock:
                self._next[number] = call
                measured.units += units
                latencies.extend(mine)

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(len(jobs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        measured.seconds = clock() - started
        measured.calls = len(latencies)
        return measured
