"""Recurring grants: the credits of a subscription, granted again at the beginning of every period.

The event of each grant records when the next one is due, so that folding a journal needs no calendar.
"""

from __future__ import annotations

from typing import Final

import msgspec

from solvent.engine.values.recurrence import RecurrencePeriod, Rhythm, period_at, share_of
from solvent.engine.values.terms import PRIORITY_DEFAULT, Category, CostBasis

RECURRING_MAX: Final = 100
"""The most recurring grants of one pool."""
NO_ROLL_OVER: Final = 0


class RecurringTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is granted, and how often. Amounts are in units. Times are as they were requested."""

    name: str
    amount: int
    period: RecurrencePeriod
    every: int = 1
    anchor: int | None = None
    """The moment from which periods are counted; ``None`` for the start."""
    starts_at: int | None = None
    """The time of the first grant, possibly in the middle of a period; ``None`` for now."""
    ends_at: int | None = None
    """No grant is made at or after this time; ``None`` for never."""
    zone: str = "UTC"
    category: Category = "paid"
    priority: int = PRIORITY_DEFAULT
    cost_basis: CostBasis | None = None
    roll_over: int | None = NO_ROLL_OVER
    """The units of earlier grants that may stay when the next grant is made; ``None`` for all."""
    prorate: bool = False
    """Whether a first period that is not whole is granted in part."""


class Recurring(msgspec.Struct, array_like=True, gc=False):
    """A recurring grant of a pool, and the time of its next grant."""

    number: int
    """The version of the pool that set it."""
    terms: RecurringTerms
    anchor: int
    next_at: int
    last_grant: int = 0
    """The grant of the present period; 0 before the first."""
    since: int = 0
    """The version of the pool that last changed when it grants; 0 if that is ``number``."""

    @property
    def rhythm(self) -> Rhythm:
        return Rhythm(self.anchor, self.terms.period, self.terms.every, self.terms.zone)


def grant_at(terms: RecurringTerms, rhythm: Rhythm, moment: int) -> tuple[int, int]:
    """Return the units granted at ``moment``, which may be in the middle of a period, and the end of that period.

    The units are 0 if the rest of the period is worth less than half a unit.
    """
    start, end = period_at(rhythm, moment)
    return share_of(terms.amount, end - moment, end - start) if terms.prorate else terms.amount, end
