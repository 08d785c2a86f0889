"""The model of budgets. See "Budgets" in docs/credits.md.

A budget limits what grants pay for usage that matches it, in each of its windows; with ``each``, for every value of a
dimension on its own. Nothing is counted ahead: what a budget has used is added up again from all usage since it was
set. Usage counts in the window in which it was recorded: a hold, and what is captured of it, in that of the hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from solvent.engine.rules.budgets import BudgetTerms

from .lines import Dims, Refused
from .times import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from .pool import ModelPool

BUDGETS_MAX = 100
Charges: TypeAlias = tuple[tuple[int, Any, int], ...]
"""What usage counts for: budget, value of ``each``, beginning of the window."""


def matches(match: Iterable[tuple[str, Any]], each: str | None, dims: Dims) -> bool:
    """Return whether usage has all of ``match``, and the dimension ``each`` if there is one."""
    return all(same(dims.get(name), wanted) for name, wanted in match) and (each is None or each in dims)


def same_scope(terms: BudgetTerms, other: BudgetTerms) -> bool:
    """Return whether both count the same usage in the same windows, so that a count goes on under new limits."""
    scopes = [(each.window, each.zone, each.match, each.each, each.missing) for each in (terms, other)]
    return scopes[0] == scopes[1]


def concerns(terms: Any, dims: Dims) -> bool:
    """Return whether usage matches a budget or an allowance, perhaps together with all that lacks the dimension."""
    return matches(terms.match, None if terms.missing == "count together" else terms.each, dims)


def lacks(terms: Any, dims: Dims) -> bool:
    """Return whether usage would match if it had the dimension that it must have."""
    has_none = terms.each is not None and terms.each not in dims
    return terms.missing == "block" and has_none and matches(terms.match, None, dims)


def value_of(terms: Any, dims: Dims) -> Any:
    """Return the value for which usage is counted on its own; ``None``: all of it together, or all that has none."""
    return None if terms.each is None else dims.get(terms.each)


def same(value: Any, other: Any) -> bool:
    """Return whether two values of a dimension are equal: 1 and 1.0 are; True and "1" are others."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


@dataclass(eq=False)
class Usage:
    """An amount that counts for budgets, recorded by an entry with some dimensions."""

    entry: int
    dims: Dims
    at: int
    amount: int
    is_open_hold: bool = False


@dataclass(eq=False)
class Budget:
    """A budget, by the entry that set it first."""

    number: int
    terms: BudgetTerms

    @property
    def size(self) -> int:
        return {"minute": MINUTE, "hour": HOUR, "day": DAY, "total": 10**20}[self.terms.window]

    def window(self, at: int) -> int:
        return at // self.size * self.size

    def window_end(self, at: int) -> int | None:
        return None if self.terms.window == "total" else self.window(at) + self.size

    def opens(self, at: int, amount: int) -> int | None:
        """Return when ``amount`` would fit if nothing else were spent; ``None``: never."""
        never = self.terms.window == "total" or amount > self.terms.amount
        return None if never else self.window(at) + self.size


class Budgets:
    """The budgets of a pool, in the order in which they were set first, and all usage that may count for them."""

    def __init__(self) -> None:
        self.all: list[Budget] = []
        self.usage: list[Usage] = []

    def named(self, name: str) -> Budget | None:
        return next((budget for budget in self.all if budget.terms.name == name), None)

    def record(self, entry: int, dims: Dims, at: int, amount: int, *, hold: bool = False) -> Usage:
        """Count usage. What is given back of it later is taken off its amount."""
        usage = Usage(entry, dims, at, amount, hold)
        self.usage.append(usage)
        return usage

    def matching(self, dims: Dims) -> list[Budget]:
        return [budget for budget in self.all if concerns(budget.terms, dims)]

    def charges(self, dims: Dims, at: int) -> Charges:
        """Return what usage with ``dims`` counts for."""
        return tuple((budget.number, value_of(budget.terms, dims), budget.window(at)) for budget in self.matching(dims))

    def used(self, budget: Budget, dims: Dims, at: int) -> int:
        """Return what ``budget`` has counted of the window at ``at``, for the value that ``dims`` have."""
        return sum(each.amount for each in self._counted(budget, dims) if budget.window(each.at) == budget.window(at))

    def open_holds(self, budget: Budget, dims: Dims) -> int:
        return sum(each.is_open_hold for each in self._counted(budget, dims))

    def _counted(self, budget: Budget, dims: Dims) -> Iterable[Usage]:
        terms = budget.terms
        return (
            each
            for each in self.usage
            if each.entry > budget.number
            and concerns(terms, each.dims)
            and same(value_of(terms, each.dims), value_of(terms, dims))
        )

    def over(self, budget: Budget, dims: Dims, at: int, amount: int, *, hold: bool = False) -> Refused | None:
        """Return why ``amount``, or one more hold, is too much for ``budget``; ``None`` if it is not."""
        terms, used = budget.terms, self.used(budget, dims, at)
        if amount and used + amount > terms.amount:
            return Refused("OverBudget", "credits", terms.name, used, budget.opens(at, amount))
        if hold and terms.holds_max is not None and (count := self.open_holds(budget, dims)) >= terms.holds_max:
            return Refused("OverBudget", "holds", terms.name, count, None)
        return None

    def stop(self, dims: Dims, at: int, amount: int, *, hold: bool = False) -> Refused | None:
        """Return what the first budget says that blocks and is exceeded; ``None`` if all let it pass."""
        blocking = (budget for budget in self.matching(dims) if budget.terms.mode == "block")
        return next((stop for each in blocking if (stop := self.over(each, dims, at, amount, hold=hold))), None)

    def tightest(self, dims: Dims, at: int, amount: int) -> tuple[str, str, int | None]:
        """Return which budget leaves least of ``amount``, and when it resets: of several, the one that does so last."""
        left = [
            (max(0, each.terms.amount - self.used(each, dims, at)), -(each.window_end(at) or 10**20), place)
            for place, each in enumerate(self.all)
            if each.terms.mode == "block" and concerns(each.terms, dims) and self.over(each, dims, at, amount)
        ]
        budget = self.all[min(left)[2]]
        return "budget", budget.terms.name, budget.window_end(at)

    def check_dims(self, dims: Dims) -> None:
        """Refuse usage that lacks a dimension which a budget that blocks asks for."""
        if self.lacks_any(dims):
            raise Refused("Unfit", "dimensions")

    def lacks_any(self, dims: Dims) -> bool:
        return any(each.terms.mode == "block" and lacks(each.terms, dims) for each in self.all)

    def warned(self, dims: Dims, at: int, amount: int, *, hold: bool = False) -> tuple[str, ...]:
        """Return the budgets that only warn and are exceeded."""
        return tuple(
            budget.terms.name
            for budget in self.all
            if budget.terms.mode == "warn"
            and (
                lacks(budget.terms, dims)
                or (concerns(budget.terms, dims) and self.over(budget, dims, at, amount, hold=hold))
            )
        )

    def is_another_window(self, at: int, charges: Charges, dims: Dims) -> bool:
        """Return whether a window for which something counts is over."""
        starts = {number: start for number, _, start in self.charges(dims, at)}
        return any(starts.get(number, start) != start for number, _, start in charges)


def set_budget(pool: ModelPool, terms: BudgetTerms) -> None:
    found = pool.budgets.named(terms.name)
    if found is not None and found.terms == terms:
        raise Refused("Unchanged")
    if found is not None and same_scope(found.terms, terms):
        found.terms = terms
        pool.write("BudgetSet", budget=found.number, terms=terms)
        pool.note("a budget has new terms")
        return
    if found is not None:
        remove_budget(pool, terms.name)
        pool.note("a budget begins again")
    elif len(pool.budgets.all) >= BUDGETS_MAX:
        raise Refused("Conflict", "too_many_budgets")
    pool.budgets.all.append(Budget(pool.write("BudgetSet", budget=0, terms=terms), terms))


def remove_budget(pool: ModelPool, name: str) -> None:
    budget = pool.budgets.named(name)
    if budget is None:
        raise Refused("Unchanged")
    pool.budgets.all.remove(budget)
    pool.write("BudgetRemoved", budget=budget.number, name=name)
