"""The figures of a run, and how several runs become one figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Figures(msgspec.Struct, kw_only=True):
    """The figures of one run of one cell."""

    per_s: float
    """The debits, or what the cell counts instead, that were acknowledged per second."""
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """The processor time per debit of the load process and all processes of the contestant."""
    per_flush: float | None = None
    """The debits per flush to the disk, ``None`` if the contestant cannot count flushes."""
    more: dict[str, float] = {}
    """The figures that only some cells have."""


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of ``values`` that at least ``share`` of them do not exceed; 0 < share <= 1."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure over several runs."""
    flushes = [run.per_flush for run in runs if run.per_flush is not None]
    names = dict.fromkeys(name for run in runs for name in run.more)
    return Figures(
        per_s=statistics.median(run.per_s for run in runs),
        p50_ms=statistics.median(run.p50_ms for run in runs),
        p99_ms=statistics.median(run.p99_ms for run in runs),
        cpu_us=statistics.median(run.cpu_us for run in runs),
        per_flush=statistics.median(flushes) if flushes else None,
        more={name: statistics.median(run.more[name] for run in runs if name in run.more) for name in names},
    )
