"""``python -m bench.cell``: one run of one cell, in a process of its own: JSON in, JSON out.

So no contestant inherits the memory, garbage or threads of another, and all that it started ends with the process.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from solvent.engine.runtime.collector import tune_collector

from .contestants import CONTESTANTS, FLUSH
from .limits import flush_disk
from .load import Load, Measured
from .loops import run
from .measures import Figures, quantile
from .processes import processor_time_s
from .session import NotHere, WrongBooks
from .workloads import WORKLOADS, Workload

WARM_UP_S: Final = 0.4
PAGE_BYTES: Final = 4_096


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The cell to run, and its settings."""

    contestant: str
    workload: str
    callers: int
    seconds: float
    warm_up_s: float = WARM_UP_S
    uvloop: bool = True
    scratch: str = "."
    flush_bytes: int = PAGE_BYTES


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The figures, or the reason why there are none."""

    figures: Figures | None = None
    not_here: str = ""
    wrong: str = ""


async def measure(order: Order, scratch: Path, on_load: Callable[[], None]) -> Figures:
    """Set up, warm up, measure, and check the books. ``on_load`` is called when the load begins.

    Raises ``NotHere``, ``WrongBooks``.
    """
    workload = WORKLOADS[order.workload]
    each = workload.debits_per_call
    opened = CONTESTANTS[order.contestant].open(workload, order.callers, scratch)
    async with opened as session:
        load = Load(session, order.callers)
        warm = await load.run(order.warm_up_s)
        tune_collector()
        flushes = await session.flushes()
        on_load()
        cpu = processor_time_s()
        measured = await load.run(order.seconds)
        cpu = processor_time_s() - cpu
        flushed = await session.flushes()
        debits = (warm.calls + measured.calls) * each
        units = warm.units + measured.units
        more = await session.check(debits=debits, units=units)
        ending = time.perf_counter()
    more["closed_after_s"] = time.perf_counter() - ending
    more |= await asyncio.to_thread(session.check_ended, debits=debits, units=units)
    per_flush = (
        measured.calls * each / max(flushed - flushes, 1) if flushed is not None and flushes is not None else None
    )
    return figures(measured, workload, cpu, per_flush, more)


def figures(
    measured: Measured, workload: Workload, cpu_s: float, per_flush: float | None, more: dict[str, float]
) -> Figures:
    debits = measured.calls * workload.debits_per_call
    if not debits:
        raise WrongBooks("no request was answered in the whole run")
    more["p999_ms"] = quantile(measured.latencies_ms, 0.999)
    return Figures(
        per_s=debits / measured.seconds,
        p50_ms=quantile(measured.latencies_ms, 0.5),
        p99_ms=quantile(measured.latencies_ms, 0.99),
        cpu_us=cpu_s / debits * 1e6,
        per_flush=per_flush,
        more=more,
    )


def measure_flush(order: Order, scratch: Path) -> Figures:
    """Measure the disk alone, with the bytes of a frame of that many callers, in whole pages."""
    pages = -(-order.flush_bytes // PAGE_BYTES)
    cpu = time.process_time()
    measured = flush_disk(scratch, size=pages * PAGE_BYTES, seconds=order.seconds)
    cpu = time.process_time() - cpu
    return figures(measured, WORKLOADS["W1"], cpu, 1.0, {"bytes": float(pages * PAGE_BYTES)})


def answer(order: Order, on_load: Callable[[], None] = lambda: None) -> Answer:
    with tempfile.TemporaryDirectory(prefix="solvent-bench-", dir=order.scratch, ignore_cleanup_errors=True) as folder:
        try:
            if order.contestant == FLUSH:
                return Answer(figures=measure_flush(order, Path(folder)))
            return Answer(figures=run(measure(order, Path(folder), on_load), uvloop=order.uvloop))
        except NotHere as missing:
            return Answer(not_here=str(missing))
        except WrongBooks as wrong:
            return Answer(wrong=str(wrong))


def say_when() -> None:
    print("load", file=sys.stderr, flush=True)


if __name__ == "__main__":
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    found = answer(order, say_when) if "--say-when" in sys.argv else answer(order)
    sys.stdout.buffer.write(msgspec.json.encode(found))
