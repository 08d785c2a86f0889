"""The model of recurring grants. See "Recurring grants" in docs/credits.md.

A plan grants credits when it starts and at the beginning of every period after that, by one grant for each period,
however late. Periods are of whole days here: what a month is, and a time zone, is tested in tests/values.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from solvent.engine.rules.commands import CancelRecurring
from solvent.engine.rules.recurring import RecurringTerms

from .allowances import half_even
from .lines import Refused
from .times import DAY
from .units import Unit, by_block

if TYPE_CHECKING:
    from .pool import ModelPool

PLANS_MAX = 100


@dataclass(eq=False)
class Plan:
    """A recurring grant, by the entry that set it first."""

    number: int
    terms: RecurringTerms
    anchor: int
    next: int
    """When it grants next."""
    last: int = 0
    """The entry of its newest grant."""

    def period(self, at: int) -> tuple[int, int]:
        """Return the period that ``at`` lies in."""
        size = self.terms.every * DAY
        start = self.anchor + (at - self.anchor) // size * size
        return start, start + size

    def amount(self, at: int) -> int:
        """Return what is granted at ``at``: the share of a period that has begun already, if the plan is prorated."""
        if not self.terms.prorate:
            return self.terms.amount
        start, end = self.period(at)
        return half_even(Fraction(self.terms.amount * (end - at), end - start))


class Plans:
    """The plans of a pool that will still grant something."""

    def __init__(self) -> None:
        self.all: list[Plan] = []
        self.ended: list[Plan] = []
        """Those that granted something and grant no more: what they granted still rolls over by their terms."""

    def named(self, name: str) -> Plan | None:
        return next((plan for plan in self.all if plan.terms.name == name), None)

    def standing(self, pool: ModelPool, number: int, at: int) -> list[Unit]:
        """Return what is left of the grants of a plan whose periods have ended, in burn order."""
        return [
            unit
            for block in pool.burn_order()
            if block.plan == number and block.rolls and (block.period_end or 0) <= at and not block.is_over(at)
            for unit in block.those("left")
        ]

    def excess(self, pool: ModelPool, number: int, at: int) -> int:
        """Return how much of that is more than may roll over."""
        most = next((plan.terms.roll_over for plan in (*self.all, *self.ended) if plan.number == number), None)
        return 0 if most is None else max(0, len(self.standing(pool, number, at)) - most)


def same_rhythm(terms: RecurringTerms, other: RecurringTerms) -> bool:
    """Return whether new terms can go on at the next grant of the old ones."""
    return (terms.period, terms.every, terms.anchor, terms.starts_at, terms.zone) == (
        *(other.period, other.every, other.anchor, other.starts_at, other.zone),
    )


def set_plan(pool: ModelPool, terms: RecurringTerms) -> None:
    """Set a plan: new terms go on with the next grant, another rhythm begins again."""
    found = pool.plans.named(terms.name)
    if found is not None and found.terms == terms:
        raise Refused("Unchanged")
    if found is not None and same_rhythm(found.terms, terms) and goes_on(found, terms):
        found.terms = terms
        pool.write("RecurringSet", recurring=found.number, terms=terms, anchor=found.anchor, next_at=found.next)
        pool.note("a plan has new terms")
        if pool.plans.excess(pool, found.number, pool.at):
            pool.note("a plan has a lower roll-over")
            trim(pool, found.number, pool.at)
        return
    starts = pool.at if terms.starts_at is None else terms.starts_at
    if starts < pool.at:
        raise Refused("Unfit", "starts_at")
    if terms.ends_at is not None and terms.ends_at <= starts:
        raise Refused("Unfit", "ends_at")
    if found is None and len(pool.plans.all) >= PLANS_MAX:
        raise Refused("Conflict", "too_many_recurring")
    pool.open()
    if found is not None:
        end_plan(pool, found)
        pool.note("a plan begins again")
    plan = Plan(pool.next, terms, starts if terms.anchor is None else terms.anchor, starts)
    if not plan.amount(starts):
        plan.next = plan.period(starts)[1]
    pool.plans.all.append(plan)
    pool.write("RecurringSet", recurring=0, terms=terms, anchor=plan.anchor, next_at=plan.next)


def goes_on(plan: Plan, terms: RecurringTerms) -> bool:
    """Return whether a plan would still grant something by new terms."""
    is_before_end = terms.ends_at is None or terms.ends_at > plan.next
    return is_before_end and Plan(0, terms, plan.anchor, 0).amount(plan.next) > 0


def end_plan(pool: ModelPool, plan: Plan, *, full: bool = False) -> None:
    pool.plans.all.remove(plan)
    until = pool.blocks[plan.last].period_end if plan.last else None
    if plan.last:
        pool.plans.ended.append(plan)
    pool.write("RecurringEnded", recurring=plan.number, name=plan.terms.name, full=full, until=until)


def cancel_plan(pool: ModelPool, command: CancelRecurring) -> None:
    plan = pool.plans.named(command.name)
    if plan is None:
        raise Refused("Unchanged")
    last = pool.blocks.get(plan.last)
    if command.at_once and last is not None and not last.is_over(pool.at):
        pool.void(last)
        pool.note("a plan is cancelled at once")
    end_plan(pool, plan)


def recur(pool: ModelPool, plan: Plan) -> None:
    """Make the grant of a period. What is left of earlier ones stays, up to a cap if there is one."""
    terms, moment = plan.terms, plan.next
    amount, (_, end) = plan.amount(moment), plan.period(moment)
    if amount > pool.room:
        pool.note("a plan ends because the pool is full")
        end_plan(pool, plan, full=True)
        return
    trim(pool, plan.number, moment)
    is_last = terms.ends_at is not None and end >= terms.ends_at
    plan.last, plan.next = pool.next, end
    pool.put_in(
        amount,
        terms.category,
        key=f"\x01recurring:{plan.number}:{moment}",
        priority=terms.priority,
        effective_at=moment,
        ends=end if terms.roll_over == 0 else None,
        plan=plan.number,
        next_at=None if is_last else end,
        period_end=end,
        cost_basis=terms.cost_basis,
        name=terms.name,
    )
    pool.alerts.cause("Granted")
    if is_last:
        pool.plans.all.remove(plan)
        pool.plans.ended.append(plan)
        pool.note("a plan ends by itself")
    if amount < terms.amount:
        pool.note("a plan grants a part")
    if end <= pool.at:
        pool.note("a plan grants for a period that is over")


def trim(pool: ModelPool, number: int, moment: int) -> None:
    """Let what is left of periods of a plan that have ended, beyond what may roll over, expire in burn order."""
    excess = pool.plans.excess(pool, number, moment)
    for block, units in by_block(pool.plans.standing(pool, number, moment)[:excess]):
        for unit in units:
            unit.place = "expired"
        pool.note("a plan rolls over up to a cap")
        pool.write("Trimmed", grant=block.number, amount=len(units))
        pool.alerts.cause("Trimmed")
