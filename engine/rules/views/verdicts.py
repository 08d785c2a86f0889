"""The verdict on a debit: whether a pool would allow it, and what stops it."""

from __future__ import annotations

from solvent.engine.api.verdicts import ResetView, StopView, Verdict
from solvent.engine.rules.allowances import NOTHING_COVERED, cover, sum_covers
from solvent.engine.rules.budgets import charge
from solvent.engine.rules.burning import payers
from solvent.engine.rules.commands import Check
from solvent.engine.rules.pool import Pool
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.times import to_datetime

from .parts import allocations_of, coverages


def verdict_of(pool: Pool, name: str, check: Check, at: int) -> Verdict:
    """Return whether ``pool`` would allow ``check`` at ``at``."""
    scale, covered = pool.scale, NOTHING_COVERED
    rest = check.amount
    if pool.allowances:
        covered = cover(
            pool.allowances.values(), check.dimensions, at, rest, metric=check.metric, quantity=check.quantity
        )
        rest = covered.rest
    charged = charge(pool.budgets.values(), check.dimensions, at, rest)
    payable = pool.available if charged.room is None else min(pool.available, charged.room)
    lack = covered.lack or charged.lack
    allowed = rest <= payable and lack is None
    stop, reset = charged.stop, covered.reset
    counted = scale if stop is None or stop.counts == "credits" else 0
    return Verdict(
        pool=name,
        version=pool.version,
        allowed=allowed,
        requested=to_decimal(check.amount, scale),
        available=to_decimal(sum_covers(covered.covers) + covered.room + payable, scale),
        allocations=allocations_of(payers(pool, min(rest, payable)), scale),
        top_up=to_decimal(max(0, rest - pool.available), scale),
        covered=coverages(covered.covers, scale),
        resets_at=None if reset is None else to_datetime(reset.at),
        reset=None
        if reset is None
        else ResetView(
            allowance=reset.allowance, dimension=reset.dimension, value=reset.value, resets_at=to_datetime(reset.at)
        ),
        stopped_by=None
        if stop is None
        else StopView(
            budget=stop.budget,
            value=stop.value,
            limit=to_decimal(stop.limit, counted),
            used=to_decimal(stop.used, counted),
            resets_at=None if stop.resets_at is None else to_datetime(stop.resets_at),
            counts=stop.counts,
        ),
        warnings=charged.warned,
        missing=None if lack is None else lack.dimension,
    )
