"""The decisions on holds, captures and releases."""

from __future__ import annotations

from solvent.engine.rules.allowances import NOTHING_COVERED, Covers, cover, slice_covers, sum_covers
from solvent.engine.rules.budgets import NO_CHARGES, charge
from solvent.engine.rules.burning import split, take
from solvent.engine.rules.commands import Capture, Extend, Hold
from solvent.engine.rules.due import lapses_of, sum_lapses
from solvent.engine.rules.events import Captured, Extended, Held, Parts, Released
from solvent.engine.rules.limits import HOLD_AHEAD_MAX_US, HOLD_MAX_US, Limits, check_occurred_at
from solvent.engine.rules.outcomes import (
    Insufficient,
    Outcome,
    OverBudget,
    Prior,
    Unfit,
    UnfitField,
    UnknownEntry,
    lacking,
)
from solvent.engine.rules.pool import Pool
from solvent.engine.values.times import format_time

from .repeats import settled


def decide_hold(pool: Pool, command: Hold, at: int) -> Outcome:
    """Decide a hold."""
    ends = at + command.ttl if command.expires_at is None else command.expires_at
    if not at < ends <= at + HOLD_AHEAD_MAX_US:
        return Unfit("expires_at", "a time after now, at most 24 hours ahead")
    amount, covered = command.amount, NOTHING_COVERED
    if pool.allowances:
        covered = cover(pool.allowances.values(), command.dimensions, at, amount, counted="credits")
        if covered.lack is not None:
            return lacking(covered.lack)
        amount = covered.rest
    if amount > pool.available:
        return Insufficient(command.amount, pool.available, command.amount - amount, covered.reset)
    charged = NO_CHARGES
    if pool.budgets:
        charged = charge(pool.budgets.values(), command.dimensions, at, amount, hold=True)
        if charged.lack is not None:
            return lacking(charged.lack)
        if charged.stop is not None:
            return OverBudget(charged.stop)
    return (
        Held(
            at,
            command.key,
            amount,
            pool.available - amount,
            take(pool, amount) if amount else (),
            ends,
            command.metric,
            command.dimensions,
            charged.charges,
            charged.warned,
            covered.covers,
            command.expires_at is not None,
        ),
    )


def decide_extend(pool: Pool, command: Extend, at: int, ended: Prior | None) -> Outcome:
    """Decide the extension of a hold. ``ended`` is the entry that settled it."""
    hold = pool.holds.get(command.hold)
    if hold is None:
        return UnknownEntry("hold", command.hold) if ended is None else settled(command.hold, *ended)
    field: UnfitField = "ttl_s" if command.expires_at is None else "expires_at"
    ends = at + (command.ttl or 0) if command.expires_at is None else command.expires_at
    last = hold.created_at + HOLD_MAX_US
    if ends <= hold.expires_at:
        return Unfit(field, f"later than {format_time(hold.expires_at)}, when the hold expires anyway")
    if ends > at + HOLD_AHEAD_MAX_US:
        return Unfit(field, "at most 24 hours from now")
    if ends > last:
        return Unfit(field, f"at most 7 days from the start of the hold, {format_time(last)}")
    return (Extended(at, command.key, command.hold, pool.available, ends, command.ttl),)


def decide_capture(pool: Pool, command: Capture, at: int, limits: Limits) -> Outcome:
    """Decide a capture: what it spends of the hold, what beyond it, and what goes back."""
    hold = pool.holds.get(command.hold)
    if hold is None:
        return UnknownEntry("hold", command.hold)
    occurred_at = command.occurred_at
    if occurred_at is not None and (unfit := check_occurred_at(occurred_at, at, limits, False)):
        return unfit
    metric = command.metric or hold.metric
    amount, extra_covers = command.amount, Covers()
    if pool.allowances and command.quantity is not None:
        covered = cover(
            pool.allowances.values(),
            hold.dimensions,
            at,
            amount,
            metric=metric,
            quantity=command.quantity,
            counted="quantity",
        )
        amount, extra_covers = covered.rest, covered.covers
    # The held part is always spent, since it was promised, first from allowances. The part beyond it is decided like a
    # debit.
    kept = sum_covers(hold.covers)
    free = min(amount, kept)
    held = min(amount - free, hold.amount)
    parts, returned = split(hold.parts, held)
    beyond = amount - free - held
    paid, extra, charged = beyond, Parts(), NO_CHARGES
    if beyond:
        more = NOTHING_COVERED
        if pool.allowances:
            more = cover(pool.allowances.values(), hold.dimensions, at, beyond, counted="credits")
            paid = more.rest
        if paid and pool.budgets:
            charged = charge(pool.budgets.values(), hold.dimensions, at, paid)
        if paid <= pool.available and charged.stop is None and charged.lack is None:
            extra = take(pool, paid) if paid else ()
            extra_covers += more.covers
            beyond = 0
        else:
            paid = 0
    balance = pool.available - paid + hold.amount - held
    lapses = lapses_of(pool, returned, balance, at)
    captured = Captured(
        at,
        hold.number,
        held + paid,
        balance,
        parts,
        extra,
        returned,
        beyond,
        sum_lapses(lapses),
        occurred_at,
        metric,
        command.quantity,
        hold.dimensions,
        charged.charges if extra else (),
        charged.warned if extra else (),
        hold.charges,
        slice_covers(hold.covers, 0, free),
        extra_covers,
        slice_covers(hold.covers, free, kept),
        command.card,
    )
    return (captured, *lapses)


def decide_release(pool: Pool, number: int, at: int) -> Outcome:
    """Decide the release of a hold."""
    hold = pool.holds.get(number)
    if hold is None:
        return UnknownEntry("hold", number)
    balance = pool.available + hold.amount
    lapses = lapses_of(pool, hold.parts, balance, at)
    lapsed = sum_lapses(lapses)
    return Released(at, number, hold.amount, balance, hold.parts, lapsed, None, hold.dimensions), *lapses
