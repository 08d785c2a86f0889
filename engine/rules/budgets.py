"""Budgets: spending limits inside a pool, over a dimension value and a window of time.

A budget matches the debits and holds whose dimensions have all of its ``match``; with ``each``, every distinct value of
that dimension has a counter of its own. A debit must fit into every budget that matches and blocks. The window is that
of the time at which an entry is recorded. The event of an entry records the budgets that it counts for, so that folding
a journal needs no calendar and no matching.

Counters are bounded: when a window ends, all of its counters are dropped with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from solvent.engine.values.dimensions import DimensionValue, decode_dimensions
from solvent.engine.values.matching import Match, counter_of, encode_value, matches, typed
from solvent.engine.values.terms import BudgetMode, Missing
from solvent.engine.values.windows import Period, window_of

BUDGETS_MAX: Final = 100
"""The most budgets of one pool: every debit checks each of them."""


class BudgetTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The terms of a budget. ``amount`` is in units, per window."""

    name: str
    amount: int
    window: Period
    zone: str = "UTC"
    match: Match = ()
    each: str | None = None
    mode: BudgetMode = "block"
    holds_max: int | None = None
    """The most holds that may be open at once; ``None`` for no limit."""
    missing: Missing = "pass"
    """What to do with usage that lacks the dimension ``each``: not count it, refuse it, or count all of it as one."""

    def same_counters(self, other: BudgetTerms) -> bool:
        """Return whether the counters of ``other`` stay valid for these terms. A new limit alone keeps them."""
        return (self.window, self.zone, typed(self.match), self.each, self.missing) == (
            other.window,
            other.zone,
            typed(other.match),
            other.each,
            other.missing,
        )


class Budget(msgspec.Struct, array_like=True, gc=False):
    """A budget of a pool, and its counters in the present window."""

    number: int
    """The version of the pool that first set it."""
    terms: BudgetTerms
    window_start: int = 0
    used: dict[bytes, int] = msgspec.field(default_factory=dict)
    """The units spent or held in the window that began at ``window_start``, by encoded value."""
    open_holds: dict[bytes, int] = msgspec.field(default_factory=dict)
    """The number of open holds, by encoded value."""
    reached: dict[bytes, int] = msgspec.field(default_factory=dict)
    """The highest percentage for which an alert was made in this window, by encoded value."""


class Charge(NamedTuple):
    """The counter that an entry counts in: a budget, the value of its ``each``, and the window of the recording."""

    budget: int
    value: bytes
    window_start: int


class Stop(msgspec.Struct, frozen=True, gc=False):
    """The budget that refuses an amount, and when it resets. Amounts are in units."""

    budget: str
    value: DimensionValue | None
    limit: int
    used: int
    resets_at: int | None
    """The end of the window; ``None`` if waiting does not help."""
    counts: Literal["credits", "holds"] = "credits"
    requested: int = 0
    """What was asked for, in the unit of ``limit``: after what allowances cover."""
    ends_at: int | None = None
    """The end of the window, even if the amount would not fit into the next one; ``None`` for ``total``."""


class Lack(NamedTuple):
    """A dimension that usage must have, and the budget or allowance that says so."""

    dimension: str
    by: str


class Charges(NamedTuple):
    """The result of checking an amount against budgets."""

    charges: tuple[Charge, ...]
    """The counters that the amount counts in."""
    warned: tuple[str, ...]
    """The names of budgets that would be exceeded but only warn."""
    stop: Stop | None
    """The first budget that refuses the amount; ``None`` if no budget does."""
    room: int | None
    """The most units that no budget would refuse; ``None`` if there is no budget that blocks."""
    lack: Lack | None = None
    """The dimension that the usage must have and has not."""
    tightest: Stop | None = None
    """Of the budgets that refuse the amount, the one with the least room; of several, the one that resets last."""


NO_CHARGES: Final = Charges((), (), None, None)


def charge(budgets: Iterable[Budget], dimensions: msgspec.Raw, at: int, amount: int, *, hold: bool = False) -> Charges:
    """Return the budgets that ``amount`` counts for at ``at``, and whether one of them refuses it. Changes nothing."""
    values = decode_dimensions(dimensions)
    charges: list[Charge] = []
    warned: list[str] = []
    stop: Stop | None = None
    room: int | None = None
    lack: Lack | None = None
    tightest: Stop | None = None
    for budget in budgets:
        terms = budget.terms
        each = terms.each
        if terms.missing != "pass" and each is not None and each not in values:
            # All usage without the dimension shares a counter, that of no value.
            each = None
        if not matches(terms.match, each, values):
            continue
        if terms.missing == "block" and each is None:
            if terms.mode == "warn":
                warned.append(terms.name)
            elif lack is None and terms.each is not None:
                lack = Lack(terms.each, f"budget {terms.name}")
            continue
        start, end = window_of(at, terms.window, terms.zone)
        value = b"" if each is None else encode_value(values[each])
        used = budget.used.get(value, 0) if budget.window_start == start else 0
        charges.append(Charge(budget.number, value, start))
        left = max(0, terms.amount - used)
        shown = None if each is None else values[each]
        over: Stop | None = None
        if amount > left:
            # An amount above the limit of a whole window does not fit into the next window either.
            waits = terms.window != "total" and amount <= terms.amount
            ends_at = None if terms.window == "total" else end
            over = Stop(terms.name, shown, terms.amount, used, end if waits else None, "credits", amount, ends_at)
        elif hold and terms.holds_max is not None and (count := budget.open_holds.get(value, 0)) >= terms.holds_max:
            over = Stop(terms.name, shown, terms.holds_max, count, None, "holds", 1)
        if terms.mode == "warn":
            if over is not None:
                warned.append(terms.name)
            continue
        if over is not None and (
            room is None or left < room or (left == room and tightest is not None and _resets_later(over, tightest))
        ):
            tightest = over
        room = left if room is None else min(room, left)
        stop = stop or over
    return Charges(tuple(charges), tuple(warned), stop, room, lack, tightest)


def _resets_later(stop: Stop, other: Stop) -> bool:
    return other.ends_at is not None and (stop.ends_at is None or stop.ends_at > other.ends_at)


def count(budgets: dict[int, Budget], charges: Iterable[Charge], amount: int, *, holds: int = 0) -> None:
    """Count ``amount``; a negative one is given back. Charges to a window that has ended are ignored."""
    for number, value, start in charges:
        budget = budgets.get(number)
        if budget is None:
            continue
        if start > budget.window_start:
            budget.window_start = start
            budget.used.clear()
            budget.reached.clear()
        value = counter_of(value)
        if start == budget.window_start and amount:
            _add(budget.used, value, amount)
        if holds:
            _add(budget.open_holds, value, holds)


def clone_budget(budget: Budget) -> Budget:
    """Return a copy that shares no mutable state."""
    return Budget(
        budget.number,
        budget.terms,
        budget.window_start,
        budget.used.copy(),
        budget.open_holds.copy(),
        budget.reached.copy(),
    )


def _add(counters: dict[bytes, int], value: bytes, amount: int) -> None:
    """Add to a counter, and drop it when it reaches zero."""
    counted = counters.get(value, 0) + amount
    if counted > 0:
        counters[value] = counted
    else:
        counters.pop(value, None)
