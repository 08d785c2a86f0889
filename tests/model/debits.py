"""The model of debits: allowances pay first, then grants in burn order.

A debit is paid as a whole or refused; with ``partial`` it is paid as far as there are credits and budgets let it pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from solvent.engine.rules.commands import Debit

from .allowances import Free, covers_of
from .lines import Refused, decoded, passed_on
from .pool import ModelPool, Payment
from .times import DAY, SECOND
from .units import Unit, parts_of

Cut: TypeAlias = tuple[str, str, int | None] | None
"""What stopped a debit of a part: a budget or an allowance, its name, and when it has room again."""
DATED_BACK_MAX, DATED_AHEAD_MAX = 400 * DAY, 300 * SECOND


def debit(pool: ModelPool, command: Debit) -> None:
    """Pay by allowances, then by grants: all, or with ``partial`` as much as there is and budgets let pass."""
    check_date(pool, command.occurred_at, backfill=command.backfill)
    dims, amount, partial = decoded(command.dimensions), command.amount, command.partial
    pool.allowances.check_dims(dims, command.metric, command.quantity)
    free, opens = pool.allowances.cover(dims, pool.at, amount, command.metric, command.quantity)
    pays = rest = amount - len(free)
    cut: Cut = None
    if rest > pool.available:
        if not partial or not (pool.available or free):
            raise Refused("Insufficient", amount, pool.available, len(free), opens)
        pays = pool.available
        if opens is not None:
            cut = "allowance", pool.allowances.opens_first(dims, pool.at, command.metric, command.quantity), opens
            pool.note("a debit of a part because of an allowance")
    pool.budgets.check_dims(dims)
    stop = pool.budgets.stop(dims, pool.at, pays)
    if stop is not None:
        if not partial:
            raise stop
        cut = pool.budgets.tightest(dims, pool.at, pays)
        while pool.budgets.stop(dims, pool.at, pays):
            pays -= 1
        if not (pays or free):
            # A part would fit as soon as the window of the budget that says no is over.
            first = pool.budgets.named(stop.args[2])
            assert first is not None
            raise Refused(*stop.args[:-1], first.window_end(pool.at))
        pool.note("a debit of a part because of a budget")
    charges = pool.budgets.charges(dims, pool.at)
    warned = pool.budgets.warned(dims, pool.at, pays)
    number, units = pool.next, pool.take(pays, "spent")
    pool.allowances.use(free)
    usage = pool.budgets.record(number, dims, pool.at, pays)
    pool.payments[number] = Payment([*free, *units], dims, command.metric, usage, charges)
    pool.write(
        "Debited",
        **passed_on(command, "key", "partial", "occurred_at", "metric", "quantity", "card"),
        amount=pays,
        parts=parts_of(units),
        requested=amount,
        dimensions=dims,
        charges=charges,
        warned=warned,
        covers=covers_of(free),
        cut=cut,
    )
    pool.alerts.cause("Debited", dims)
    note_debit(pool, free, units, amount, warned)


def check_date(pool: ModelPool, occurred_at: int | None, *, backfill: bool = False) -> None:
    if occurred_at is None:
        return
    is_too_old = occurred_at < pool.at - DATED_BACK_MAX and not backfill
    if is_too_old or occurred_at > pool.at + DATED_AHEAD_MAX:
        raise Refused("Unfit", "occurred_at")
    pool.note("a debit dated back")


def note_debit(
    pool: ModelPool, free: Sequence[Free], units: Sequence[Unit], amount: int, warned: Sequence[str]
) -> None:
    pool.note("a debit by both" if free and units else "a debit by allowances" if free else "a debit by grants")
    if len(parts_of(units)) > 1:
        pool.note("a debit by several grants")
    if len(free) + len(units) < amount:
        pool.note("a debit of a part")
    if not amount:
        pool.note("a debit of nothing")
    if warned:
        pool.note("a budget warns")
