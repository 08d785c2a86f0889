"""Recurring grants: the credits of a subscription, granted anew at the beginning of every period.

When the next grant is due is part of the event that made the last one, so that folding a journal needs no calendar.
"""

from __future__ import annotations

from typing import Final

import msgspec

from solvent.engine.values.recurrence import RecurrencePeriod, Rhythm, period_at, share_of
from solvent.engine.values.terms import PRIORITY_DEFAULT, Category, CostBasis

RECURRING_MAX: Final = 100
"""Recurring grants of one pool."""
NO_ROLL_OVER: Final = 0


class RecurringTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is granted, and how often. Times are as they were requested: ``None`` means at the start, now, or never."""

    name: str
    amount: int
    period: RecurrencePeriod
    every: int = 1
    anchor: int | None = None
    """From which the periods are counted."""
    starts_at: int | None = None
    """When the first grant is made, in the middle of a period perhaps."""
    ends_at: int | None = None
    """From when on nothing more is granted."""
    zone: str = "UTC"
    category: Category = "paid"
    priority: int = PRIORITY_DEFAULT
    cost_basis: CostBasis | None = None
    roll_over: int | None = NO_ROLL_OVER
    """How many units of earlier grants may stay when the next is made; ``None``: all."""
    prorate: bool = False
    """Whether a first period that is not whole is granted in part."""

    def same_rhythm(self, other: RecurringTerms) -> bool:
        """Whether these terms can take over from ``other`` at its next grant."""
        return (self.period, self.every, self.anchor, self.starts_at, self.zone) == (
            other.period,
            other.every,
            other.anchor,
            other.starts_at,
            other.zone,
        )


class Recurring(msgspec.Struct, array_like=True, gc=False):
    """A recurring grant of a pool, and when it is due."""

    number: int
    """The version of the pool that set it."""
    terms: RecurringTerms
    anchor: int
    next_at: int
    last_grant: int = 0
    """The grant of the present period; 0 before the first."""

    @property
    def rhythm(self) -> Rhythm:
        return Rhythm(self.anchor, self.terms.period, self.terms.every, self.terms.zone)


def grant_at(terms: RecurringTerms, rhythm: Rhythm, moment: int) -> tuple[int, int]:
    """How many units are granted at ``moment``, which may be in the middle of a period, and when that period ends.

    0 units if what is left of the period is worth less than half a unit.
    """
    start, end = period_at(rhythm, moment)
    return share_of(terms.amount, end - moment, end - start) if terms.prorate else terms.amount, end
