"""Debits and their reversals."""

from __future__ import annotations

import msgspec

from solvent.engine.rules.allowances import NOTHING_COVERED, cover, slice_covers, sum_covers
from solvent.engine.rules.budgets import Charge, charge
from solvent.engine.rules.burning import split, take
from solvent.engine.rules.commands import Debit, Reverse
from solvent.engine.rules.due import lapses_of, sum_lapses
from solvent.engine.rules.events import Captured, Cut, Debited, Event, Reversed
from solvent.engine.rules.limits import Limits, check_occurred_at
from solvent.engine.rules.outcomes import (
    Conflict,
    Insufficient,
    Outcome,
    OverBudget,
    Unfit,
    UnknownEntry,
    UnknownPool,
    lacking,
)
from solvent.engine.rules.pool import Pool, room_of


def decide_debit(pool: Pool, command: Debit, at: int, limits: Limits) -> Outcome:
    """Decide a debit: what allowances cover of it, which budgets it must fit into, which grants pay."""
    if not pool.version:
        return UnknownPool()
    occurred_at = command.occurred_at
    if occurred_at is not None and (unfit := check_occurred_at(occurred_at, at, limits, command.backfill)):
        return unfit
    amount = command.amount
    cut: Cut | None = None
    covered = NOTHING_COVERED
    if pool.allowances:
        covered = cover(
            pool.allowances.values(),
            command.dimensions,
            at,
            amount,
            metric=command.metric,
            quantity=command.quantity,
        )
        if covered.lack is not None:
            return lacking(covered.lack)
        amount = covered.rest
    if amount > pool.available:
        if not (command.partial and (pool.available or covered.covers)):
            return Insufficient(command.amount, pool.available, command.amount - amount, covered.reset)
        amount = pool.available
        if covered.reset is not None:
            cut = Cut("allowance", covered.reset.allowance, covered.reset.at)
    charges: tuple[Charge, ...] = ()
    warned: tuple[str, ...] = ()
    if pool.budgets:
        charged = charge(pool.budgets.values(), command.dimensions, at, amount)
        if charged.lack is not None:
            return lacking(charged.lack)
        if charged.stop is not None:
            if not command.partial:
                return OverBudget(charged.stop)
            if not (charged.room or covered.covers):
                # A part fits as soon as the window ends, even if the whole amount never does.
                return OverBudget(msgspec.structs.replace(charged.stop, resets_at=charged.stop.ends_at))
            amount = charged.room or 0
            if (tightest := charged.tightest) is not None:
                cut = Cut("budget", tightest.budget, tightest.ends_at)
            charged = charge(pool.budgets.values(), command.dimensions, at, amount)
        charges, warned = charged.charges, charged.warned
    # A priced debit may cost nothing, and is recorded too.
    parts = take(pool, amount) if amount else ()
    # Positional, in the order of the fields: this is the hot path.
    return (
        Debited(
            at,
            command.key,
            amount,
            pool.available - amount,
            parts,
            command.amount,
            command.partial,
            occurred_at,
            command.metric,
            command.quantity,
            command.dimensions,
            charges,
            warned,
            command.card,
            covered.covers,
            cut,
        ),
    )


def decide_reverse(pool: Pool, command: Reverse, at: int) -> Outcome:
    """Decide the reversal of a debit, or of a part of it."""
    if command.paid is None:
        return UnknownEntry("debit", command.debit)
    done = pool.reversed.get(command.debit, 0)
    covered, paid = sum_covers(command.covers), sum(part for _, part in command.paid)
    left = covered + paid - done
    if not left:
        return Conflict("already_reversed", f"nothing is left of debit d{command.debit}: all of it was reversed")
    amount = left if command.amount is None else command.amount
    if amount > left:
        return Unfit("amount", f"at most {{}}, what is left of debit d{command.debit}", left)
    # The units taken last go back first: those that grants paid, then those that allowances paid. Reversing a debit in
    # several parts therefore gives the same result as reversing it at once.
    kept, _ = split(command.paid, max(0, left - covered))
    _, parts = split(kept, max(0, left - amount - covered))
    covers = slice_covers(command.covers, left - amount, left)
    amount -= sum_covers(covers)
    # What was taken beyond the hold was taken last.
    held = paid - command.beyond_hold
    beyond = max(0, left - covered - held) - max(0, left - covered - amount - held)
    balance = pool.available + amount
    lapses = lapses_of(pool, parts, balance, at)
    if amount - sum_lapses(lapses) > (room := room_of(pool)):
        return Unfit("amount", "at most {} now: a pool holds at most 63 bits of the smallest unit", room)
    return (
        Reversed(
            at,
            command.key,
            command.debit,
            amount,
            balance,
            parts,
            sum_lapses(lapses),
            command.amount,
            command.dimensions,
            command.charges,
            covers,
            command.metric,
            command.beyond_charges if beyond else (),
            beyond,
        ),
        *lapses,
    )


def completed(command: Reverse, found: Event | None) -> Reverse:
    """Return ``command`` completed with its debit, as found in the journal."""
    match found:
        case Debited():
            command = msgspec.structs.replace(command, charges=found.charges)
        case Captured():
            beyond = sum(part for _, part in found.extra)
            command = msgspec.structs.replace(
                command, charges=found.held_charges, beyond_charges=found.charges, beyond_hold=beyond
            )
        case _:
            return command
    return msgspec.structs.replace(
        command, paid=found.paid, dimensions=found.dimensions, covers=found.covers, metric=found.metric
    )
