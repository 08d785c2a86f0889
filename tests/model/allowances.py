"""The model of allowances. See "Allowances" in docs/credits.md.

An allowance pays for usage that matches it before any grant does, up to its quota in each window; with ``each``, every
value of a dimension has a quota of its own. It counts credits, or the quantity of a metric. Every unit of credit that
it pays is kept, with its share of the quota, until it is given back: what is left is the quota less the shares of the
units that still count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from solvent.engine.rules.allowances import AllowanceTerms

from .budgets import concerns, lacks, same, value_of
from .lines import Dims, Refused
from .times import DAY, HOUR

if TYPE_CHECKING:
    from .pool import ModelPool

ALLOWANCES_MAX = 100
STEPS = 60
"""In so many steps a rolling window moves."""


@dataclass(eq=False)
class Allowance:
    """An allowance, by the entry that set it first."""

    number: int
    terms: AllowanceTerms
    paid: list[Free] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The length of a window, or of a step of a rolling one."""
        window = self.terms.window
        return self.terms.rolling_us // STEPS if window is None else {"hour": HOUR, "day": DAY}[str(window)]

    def start(self, at: int) -> int:
        return at // self.size * self.size

    def ends(self, at: int) -> int:
        """Return when what is used at ``at`` no longer counts: with its window or, if that rolls, a step late."""
        return self.start(at) + self.size + (self.terms.rolling_us if self.terms.window is None else 0)

    def counting(self, at: int) -> list[Free]:
        return [free for free in self.paid if self.ends(free.at) > at]

    def left(self, at: int, value: Any) -> int:
        return max(0, self.terms.amount - sum(free.share for free in self.counting(at) if same(free.value, value)))

    def opens(self, at: int, value: Any) -> int:
        """Return when some of the quota comes back."""
        return min(
            [
                self.ends(at),
                *(self.ends(free.at) for free in self.counting(at) if same(free.value, value) and free.share),
            ]
        )


@dataclass(eq=False)
class Free:
    """A unit of credit that an allowance paid."""

    allowance: Allowance
    value: Any
    at: int
    share: int
    """Of the quota: one unit, or millionths of a quantity."""
    together: int
    """Units with the same number were paid together."""


Covers: TypeAlias = tuple[tuple[int, Any, int, int, int, str], ...]
"""Allowance, value, where it counts, units, share of the quota, name."""


class Allowances:
    """The allowances of a pool, in the order in which they were set first: in this order they pay."""

    def __init__(self) -> None:
        self.all: list[Allowance] = []
        self._groups = 0

    def named(self, name: str) -> Allowance | None:
        return next((allowance for allowance in self.all if allowance.terms.name == name), None)

    def cover(
        self,
        dims: Dims,
        at: int,
        amount: int,
        metric: str | None = None,
        quantity: str | None = None,
        *,
        only: Literal["credits", "quantity"] | None = None,
    ) -> tuple[list[Free], int | None]:
        """Return the units that allowances would pay of ``amount``, and when the first that cannot pay all has room.

        ``quantity`` of ``metric`` is what ``amount`` is the price of; ``only`` leaves out those that count the other.
        """
        units: list[Free] = []
        opens: int | None = None
        for allowance in self.all:
            terms = allowance.terms
            counts = "credits" if terms.metric is None else "quantity"
            if only not in (None, counts) or not concerns(terms, dims):
                continue
            if counts == "quantity" and (terms.metric != metric or not Fraction(quantity or 0)):
                continue
            value = value_of(terms, dims)
            rest, left = amount - len(units), allowance.left(at, value)
            if counts == "credits":
                shares = [1] * min(rest, left)
            else:
                shares = shares_of(rest, amount, Fraction(quantity or 0), left)
            self._groups += 1
            units += [Free(allowance, value, at, share, self._groups) for share in shares]
            if len(units) < amount:
                opens = min(opens or 10**20, allowance.opens(at, value))
        return units, opens if len(units) < amount else None

    def opens_first(self, dims: Dims, at: int, metric: str | None, quantity: str | None) -> str:
        """Return the allowance that has room again first, of those that usage could use."""
        measured = (metric, None) if Fraction(quantity or 0) else (None,)
        usable = [each for each in self.all if each.terms.metric in measured and concerns(each.terms, dims)]
        return min(usable, key=lambda each: each.opens(at, value_of(each.terms, dims))).terms.name

    def check_dims(
        self, dims: Dims, metric: str | None = None, quantity: str | None = None, *, hold: bool = False
    ) -> None:
        """Refuse usage that lacks a dimension which an allowance that it could use asks for."""
        for terms in [allowance.terms for allowance in self.all]:
            measures = terms.metric is not None and terms.metric == metric and Fraction(quantity or 0)
            if lacks(terms, dims) and (terms.metric is None or (measures and not hold)):
                raise Refused("Unfit", "dimensions")

    @staticmethod
    def use(units: Iterable[Free]) -> None:
        for unit in units:
            unit.allowance.paid.append(unit)

    @staticmethod
    def give_back(units: Iterable[Free]) -> None:
        for unit in units:
            unit.allowance.paid.remove(unit)


def shares_of(rest: int, amount: int, quantity: Fraction, left: int) -> list[int]:
    """Return the share of a quota for each of the ``rest`` units that it pays, in whole millionths of the quantity.

    ``quantity`` is spread evenly over ``amount`` units. A quota that pays for all of ``rest`` is rounded up; if it is
    not enough, what is left to pay is rounded half-even.
    """
    if not rest or not left or not quantity:
        return []
    per_unit = quantity / amount
    wanted = rest * per_unit * 10**6
    if wanted <= left:
        units, used = rest, -int(-wanted // 1)
    else:
        units, used = rest - half_even(rest - Fraction(left, 10**6) / per_unit), left
    return [used * (place + 1) // units - used * place // units for place in range(units)]


def half_even(number: Fraction) -> int:
    """Round to a whole number, a half to the even one."""
    below = number.numerator // number.denominator
    beyond = number - below
    return below + (beyond > Fraction(1, 2) or (beyond == Fraction(1, 2) and below % 2 == 1))


def covers_of(units: Iterable[Free]) -> Covers:
    """Return units that were paid together as one, as the journal has it."""
    groups = [list(each) for _, each in groupby(units, key=lambda unit: (unit.allowance.number, unit.together))]
    return tuple(
        (
            each[0].allowance.number,
            each[0].value,
            each[0].allowance.start(each[0].at),
            len(each),
            sum(unit.share for unit in each),
            each[0].allowance.terms.name,
        )
        for each in groups
    )


def same_scope(terms: AllowanceTerms, other: AllowanceTerms) -> bool:
    """Return whether what was used of one is used of the other too, so that new terms go on with the count."""
    scopes = [(each.window, each.rolling_us, each.zone, each.match, each.each, each.metric) for each in (terms, other)]
    return scopes[0] == scopes[1] and terms.missing == other.missing


def set_allowance(pool: ModelPool, terms: AllowanceTerms) -> None:
    found = pool.allowances.named(terms.name)
    if found is not None and found.terms == terms:
        raise Refused("Unchanged")
    if found is not None and same_scope(found.terms, terms):
        found.terms = terms
        pool.write("AllowanceSet", allowance=found.number, terms=terms)
        pool.note("an allowance has new terms")
        return
    if found is not None:
        remove_allowance(pool, terms.name)
        pool.note("an allowance begins again")
    elif len(pool.allowances.all) >= ALLOWANCES_MAX:
        raise Refused("Conflict", "too_many_allowances")
    pool.open()
    pool.allowances.all.append(Allowance(pool.write("AllowanceSet", allowance=0, terms=terms), terms))


def remove_allowance(pool: ModelPool, name: str) -> None:
    allowance = pool.allowances.named(name)
    if allowance is None:
        raise Refused("Unchanged")
    pool.allowances.all.remove(allowance)
    pool.write("AllowanceRemoved", allowance=allowance.number, name=name)


def give_back(pool: ModelPool, free: Sequence[Free]) -> None:
    pool.allowances.give_back(free)
    for unit in free[:1]:
        is_late = unit.allowance.ends(unit.at) <= pool.at
        pool.note("an allowance gets something back too late" if is_late else "an allowance gets something back")
