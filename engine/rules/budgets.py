"""Budgets: spending limits inside a pool, over a dimension value and a window of time.

A budget matches the debits and holds whose dimensions have all of its ``match``; with ``each``, every distinct value of
that dimension has a counter of its own. A debit must fit into every budget that matches and blocks. Windows go by when
an entry is recorded, and what an entry was charged to is part of its event, so that folding a journal needs no
calendar and no matching.

Counters are bounded: when a window ends, all of its counters are dropped with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from solvent.engine.values.dimensions import DimensionValue, decode_dimensions
from solvent.engine.values.matching import Match, encode_value, matches, typed
from solvent.engine.values.terms import BudgetMode
from solvent.engine.values.windows import Period, window_of

BUDGETS_MAX: Final = 100
"""Budgets of one pool: each is looked at on every debit."""


class BudgetTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a budget limits. ``amount`` is in units, per window."""

    name: str
    amount: int
    window: Period
    zone: str = "UTC"
    match: Match = ()
    each: str | None = None
    mode: BudgetMode = "block"
    holds_max: int | None = None
    """How many holds may be open at once."""

    def same_counters(self, other: BudgetTerms) -> bool:
        """Whether what was counted for ``other`` counts for this one too: new limits do not begin a new count."""
        return (self.window, self.zone, typed(self.match), self.each) == (
            other.window,
            other.zone,
            typed(other.match),
            other.each,
        )


class Budget(msgspec.Struct, array_like=True, gc=False):
    """A budget of a pool, and what has been spent in its present window."""

    number: int
    """The version of the pool that first set it."""
    terms: BudgetTerms
    window_start: int = 0
    used: dict[bytes, int] = msgspec.field(default_factory=dict)
    """Units spent or held in the window that began at ``window_start``, by encoded value."""
    open_holds: dict[bytes, int] = msgspec.field(default_factory=dict)
    reached: dict[bytes, int] = msgspec.field(default_factory=dict)
    """The highest percentage of it in this window of which an alert was made, by encoded value."""


class Charge(NamedTuple):
    """What an entry counts for: a budget, the value of its ``each``, and the window in which it was recorded."""

    budget: int
    value: bytes
    window_start: int


class Stop(msgspec.Struct, frozen=True, gc=False):
    """Why an amount does not fit: a budget, and when it would."""

    budget: str
    value: DimensionValue | None
    limit: int
    used: int
    resets_at: int | None
    """When the window ends; ``None`` if waiting does not help."""
    counts: Literal["credits", "holds"] = "credits"


class Charges(NamedTuple):
    """What budgets say of an amount."""

    charges: tuple[Charge, ...]
    warned: tuple[str, ...]
    """Budgets that only warn, and would not have let it pass."""
    stop: Stop | None
    """The first budget that does not let it pass."""
    room: int | None
    """The most that all of them would let pass; ``None`` without a budget that blocks."""


NO_CHARGES: Final = Charges((), (), None, None)


def charge(budgets: Iterable[Budget], dimensions: msgspec.Raw, at: int, amount: int, *, hold: bool = False) -> Charges:
    """Which budgets ``amount`` counts for at ``at``, and whether they let it pass. Changes nothing."""
    values = decode_dimensions(dimensions)
    charges: list[Charge] = []
    warned: list[str] = []
    stop: Stop | None = None
    room: int | None = None
    for budget in budgets:
        terms = budget.terms
        if not matches(terms.match, terms.each, values):
            continue
        start, end = window_of(at, terms.window, terms.zone)
        value = b"" if terms.each is None else encode_value(values[terms.each])
        used = budget.used.get(value, 0) if budget.window_start == start else 0
        charges.append(Charge(budget.number, value, start))
        left = max(0, terms.amount - used)
        shown = None if terms.each is None else values[terms.each]
        over: Stop | None = None
        if amount > left:
            # What is more than a whole window's will not fit into the next one either.
            waits = terms.window != "total" and amount <= terms.amount
            over = Stop(terms.name, shown, terms.amount, used, end if waits else None)
        elif hold and terms.holds_max is not None and (count := budget.open_holds.get(value, 0)) >= terms.holds_max:
            over = Stop(terms.name, shown, terms.holds_max, count, None, "holds")
        if terms.mode == "warn":
            if over is not None:
                warned.append(terms.name)
            continue
        room = left if room is None else min(room, left)
        stop = stop or over
    return Charges(tuple(charges), tuple(warned), stop, room)


def count(budgets: dict[int, Budget], charges: Iterable[Charge], amount: int, *, holds: int = 0) -> None:
    """Count ``amount``, negative to give it back. What belongs to a window that has ended is gone with it."""
    for number, value, start in charges:
        budget = budgets.get(number)
        if budget is None:
            continue
        if start > budget.window_start:
            budget.window_start = start
            budget.used.clear()
            budget.reached.clear()
        if start == budget.window_start and amount:
            _add(budget.used, value, amount)
        if holds:
            _add(budget.open_holds, value, holds)


def clone_budget(budget: Budget) -> Budget:
    """A copy that shares nothing that changes."""
    return Budget(
        budget.number,
        budget.terms,
        budget.window_start,
        budget.used.copy(),
        budget.open_holds.copy(),
        budget.reached.copy(),
    )


def _add(counters: dict[bytes, int], value: bytes, amount: int) -> None:
    """Counters at zero are not kept."""
    counted = counters.get(value, 0) + amount
    if counted > 0:
        counters[value] = counted
    else:
        counters.pop(value, None)
