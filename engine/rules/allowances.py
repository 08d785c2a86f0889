"""Allowances: free quotas per window, used before any grant.

An allowance covers usage whose dimensions have all of its ``match``; with ``each``, every distinct value of that
dimension has a quota of its own. A quota is counted in credits, or in the quantity of a metric: then it covers the
share of an event's price for which there is quantity left. Allowances cover in the order in which they were first set,
and grants pay the rest. The event records what was covered, so that folding a journal needs no calendar.

A window is one of the calendar, or it rolls: "5 hours" are the last 5 hours at any moment. A rolling window moves in
``ROLLING_STEPS`` steps, and what was used comes back a step late rather than early, so that usage in any stretch of the
window's length never exceeds the quota. Counters are bounded: those of past windows and steps are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from solvent.engine.values.dimensions import DimensionValue, decode_dimensions
from solvent.engine.values.matching import Match, counter_of, encode_value, matches, typed
from solvent.engine.values.quantities import QUANTITY_PLACES
from solvent.engine.values.terms import Missing
from solvent.engine.values.windows import Period, window_of

from .budgets import Lack

ALLOWANCES_MAX: Final = 100
"""The most allowances of one pool: every debit checks each of them."""
QUOTA_PLACES: Final = 6
"""The decimal places of a quota that is counted in a quantity. What is used is rounded up to them."""
ROLLING_STEPS: Final = 60
ROLLING_MIN_S: Final = 60
ROLLING_MAX_S: Final = 31 * 86_400

Counted: TypeAlias = Literal["credits", "quantity"]


class AllowanceTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The terms of an allowance."""

    name: str
    amount: int
    """The quota per window: units of credits or, with ``metric``, millionths of its quantity."""
    window: Period | None = None
    """The fixed window; ``None`` if the window is rolling."""
    rolling_us: int = 0
    zone: str = "UTC"
    match: Match = ()
    each: str | None = None
    metric: str | None = None
    """The metric whose quantity is counted; ``None`` if credits are counted."""
    missing: Missing = "pass"
    """What to do with usage that lacks the dimension ``each``: not cover it, refuse it, or give all of it one quota."""

    def same_counters(self, other: AllowanceTerms) -> bool:
        """Return whether the counters of ``other`` stay valid for these terms."""
        return (self.window, self.rolling_us, self.zone, typed(self.match), self.each, self.metric, self.missing) == (
            other.window,
            other.rolling_us,
            other.zone,
            typed(other.match),
            other.each,
            other.metric,
            other.missing,
        )

    @property
    def step_us(self) -> int:
        """The step by which a rolling window moves, in microseconds."""
        return self.rolling_us // ROLLING_STEPS

    def place_of(self, at: int) -> tuple[int, int]:
        """Return the start of the window or step in which usage at ``at`` is counted, and when its count is dropped."""
        if self.window is not None:
            return window_of(at, self.window, self.zone)
        start = at - at % self.step_us
        return start, self.forgotten_at(start)

    def forgotten_at(self, start: int) -> int:
        """Return when the usage of the rolling window's step that began at ``start`` comes back."""
        return start + self.step_us + self.rolling_us


class Allowance(msgspec.Struct, array_like=True, gc=False):
    """An allowance of a pool, and what is used of it."""

    number: int
    """The version of the pool that first set it."""
    terms: AllowanceTerms
    used: dict[int, dict[bytes, int]] = msgspec.field(default_factory=dict)
    """What is used, by the start of the window or of the step of a rolling window, then by encoded value."""

    def used_at(self, at: int, value: bytes) -> tuple[int, int]:
        """Return what ``value`` has used in the window at ``at``, and when some of that comes back."""
        terms = self.terms
        start, end = terms.place_of(at)
        if terms.window is not None:
            return self.used.get(start, {}).get(value, 0), end
        used, resets_at = 0, end
        for start, counters in self.used.items():
            forgotten_at = terms.forgotten_at(start)
            if forgotten_at > at and (count := counters.get(value, 0)):
                used += count
                resets_at = min(resets_at, forgotten_at)
        return used, resets_at


class Cover(NamedTuple):
    """The part of an entry that one allowance paid."""

    allowance: int
    value: bytes
    """The value of ``each`` for which it is counted, encoded."""
    start: int
    """The start of the window, or of the step of a rolling window, in which it is counted."""
    units: int
    """The credits that were paid, in units."""
    used: int
    """The part of the quota that this used: the same units, or millionths of a quantity."""
    name: str


Covers: TypeAlias = tuple[Cover, ...]


class Reset(NamedTuple):
    """An allowance that could not cover the whole amount, and when it has room again."""

    allowance: str
    dimension: str | None
    """The dimension of which each value has a quota of its own; ``None`` if there is one quota for all."""
    value: DimensionValue | None
    """The value of ``dimension`` whose quota this is."""
    at: int
    """The time at which it has room again."""


class Covered(NamedTuple):
    """What allowances cover of an amount."""

    covers: Covers
    """The part that each allowance pays."""
    rest: int
    """The units that are left for grants to pay."""
    room: int
    """The units that the allowances could cover beyond the amount."""
    reset: Reset | None
    """The first allowance to have room again, of those that could not cover the whole amount; ``None`` without any."""
    lack: Lack | None = None
    """The dimension that the usage must have and has not."""


NOTHING_COVERED: Final = Covered((), 0, 0, None)


def cover(
    allowances: Iterable[Allowance],
    dimensions: msgspec.Raw,
    at: int,
    amount: int,
    *,
    metric: str | None = None,
    quantity: str | None = None,
    counted: Counted | None = None,
) -> Covered:
    """Return what ``allowances`` would pay of ``amount`` at ``at``. Changes nothing.

    ``amount`` is the price of ``quantity`` of ``metric``. With ``counted``, only allowances counted in that way pay.
    """
    values = decode_dimensions(dimensions)
    nanos = 0 if quantity is None else int(Decimal(quantity).scaleb(QUANTITY_PLACES))
    covers: list[Cover] = []
    rest, room = amount, 0
    reset: Reset | None = None
    lack: Lack | None = None
    for allowance in allowances:
        terms = allowance.terms
        by_quantity = terms.metric is not None
        if by_quantity and (terms.metric != metric or not nanos or counted == "credits"):
            continue
        each = terms.each
        if terms.missing != "pass" and each is not None and each not in values:
            each = None
        if (not by_quantity and counted == "quantity") or not matches(terms.match, each, values):
            continue
        if terms.missing == "block" and each is None:
            if lack is None and terms.each is not None:
                lack = Lack(terms.each, f"allowance {terms.name}")
            continue
        value = b"" if each is None else encode_value(values[each])
        used_before, opens_at = allowance.used_at(at, value)
        left = max(0, terms.amount - used_before)
        if by_quantity:
            units, used = _cover_quantity(rest, amount, nanos, left)
        else:
            units = used = min(rest, left)
            room += left - used
        rest -= units
        if units:
            covers.append(Cover(allowance.number, value, terms.place_of(at)[0], units, used, terms.name))
        if rest and (reset is None or opens_at < reset.at):
            shown = None if each is None else values[each]
            reset = Reset(terms.name, each, shown, opens_at)
    return Covered(tuple(covers), rest, room, reset if rest else None, lack)


def _cover_quantity(rest: int, amount: int, nanos: int, left: int) -> tuple[int, int]:
    """Return how many of ``rest`` units a quota with ``left`` covers, and the part of the quota that this uses.

    ``amount`` is the price of all ``nanos``. What is left to pay is rounded once, half-even, to whole units.
    """
    if not rest or not left:
        return 0, 0
    per_quota = 10 ** (QUANTITY_PLACES - QUOTA_PLACES)
    wanted = Fraction(nanos * rest, amount * per_quota)
    if wanted <= left:
        return rest, -(-wanted.numerator // wanted.denominator)
    units = rest - round(rest - Fraction(amount * left * per_quota, nanos))
    return units, left if units else 0


def count_covers(allowances: dict[int, Allowance], covers: Iterable[Cover], sign: int = 1) -> None:
    """Count what was covered; with ``sign`` -1, give it back. Counts of windows that have ended are dropped."""
    for covered in covers:
        allowance = allowances.get(covered.allowance)
        if allowance is None:
            continue
        used = allowance.used
        counters = used.get(covered.start)
        if counters is None:
            if sign < 0:
                continue
            terms = allowance.terms
            for start in list(used):
                if terms.window is not None or terms.forgotten_at(start) <= covered.start:
                    del used[start]
            counters = used[covered.start] = {}
        value = counter_of(covered.value)
        count = counters.get(value, 0) + sign * covered.used
        if count > 0:
            counters[value] = count
        else:
            counters.pop(value, None)


def slice_covers(covers: Covers, start: int, end: int) -> Covers:
    """Return the covers of the units [start, end), counted over all ``covers``. Used quota is divided in proportion.

    Slices that share no unit share no part of a quota, and adjacent slices add up to the whole.
    """
    sliced: list[Cover] = []
    for covered in covers:
        first, last = min(max(start, 0), covered.units), min(max(end, 0), covered.units)
        if last > first:
            used = covered.used * last // covered.units - covered.used * first // covered.units
            sliced.append(covered._replace(units=last - first, used=used))
        start -= covered.units
        end -= covered.units
    return tuple(sliced)


def sum_covers(covers: Iterable[Cover]) -> int:
    """Return the units that were covered."""
    return sum([covered.units for covered in covers])


def clone_allowance(allowance: Allowance) -> Allowance:
    """Return a copy that shares no mutable state."""
    used = {start: counters.copy() for start, counters in allowance.used.items()}
    return Allowance(allowance.number, allowance.terms, used)
