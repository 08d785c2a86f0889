"""The model of recurring grants. See "Recurring grants" in docs/credits.md.

A plan grants credits when it starts and at the beginning of every period after that, by one grant for each period,
however late. Periods are of whole days here: what a month is, and a time zone, is tested in tests/values.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from solvent.engine.rules.commands import CancelRecurring, SetRecurring
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
    granted_until: int = 0
    """When the period ends that it has granted last."""
    since: int = 0
    """The entry that last changed when it grants."""

    @property
    def size(self) -> int:
        return self.terms.every * {"day": DAY, "week": 7 * DAY}[str(self.terms.period)]

    def describes(self, other: Plan) -> bool:
        """Return whether another plan begins its periods at the same times."""
        return self.size == other.size and (self.anchor - other.anchor) % self.size == 0

    def grants_alike(self, other: Plan) -> bool:
        """Return whether another plan grants the same, whenever that is."""
        names = ("amount", "ends_at", "category", "priority", "cost_basis", "roll_over", "prorate")
        return all(getattr(self.terms, name) == getattr(other.terms, name) for name in names)

    def period(self, at: int) -> tuple[int, int]:
        """Return the period that ``at`` lies in."""
        start = self.anchor + (at - self.anchor) // self.size * self.size
        return start, start + self.size

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

    def ever(self, name: str) -> Plan | None:
        """Return the plan of this name that has ended, after it had granted something."""
        return next((plan for plan in reversed(self.ended) if plan.terms.name == name), None)

    def lately(self, name: str, at: int) -> Plan | None:
        """Return it if its last period still runs."""
        plan = self.ever(name)
        return plan if plan is not None and plan.granted_until > at else None

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


def set_plan(pool: ModelPool, command: SetRecurring) -> None:
    """Set a plan. What is left out stays. What is granted already is not granted again; a new rhythm waits for its next
    period, unless it is asked to start."""
    given = command.terms
    found = pool.plans.named(given.name)
    before = found or pool.plans.lately(given.name, pool.at)
    terms = given
    if found is not None:
        kept = [*command.left_out, *(name for name in ("anchor", "starts_at") if getattr(given, name) is None)]
        terms = msgspec.structs.replace(given, **{name: getattr(found.terms, name) for name in kept})
    granted_until = 0 if before is None else before.granted_until
    start = given.starts_at
    if found is not None and start == found.terms.starts_at and start is not None and start < pool.at:
        # It is the start that the plan had.
        start = None
    if start is not None and start < pool.at:
        raise Refused("Unfit", "starts_at")
    anchor = given.anchor
    if before is None:
        start = pool.at if start is None else start
    if anchor is None:
        anchor = before.anchor if before is not None else start
    assert anchor is not None
    new = Plan(0, terms, anchor, 0)
    if before is None:
        new.next = start or 0
    else:
        is_same = before.describes(new)
        is_asked = given.prorate and "prorate" not in command.left_out and not is_same and granted_until
        if start is None and (command.start == "now" or is_asked):
            start = pool.at
        if not granted_until:
            new.next = before.next if start is None else start
        elif is_same:
            usual = before.next if found is not None else granted_until
            new.next = usual if start is None else max(start, granted_until)
        else:
            new.next = new.period(pool.at)[1] if start is None else start
    if found is not None and not new.amount(new.next):
        new.next = new.period(new.next)[1]
    if terms.ends_at is not None and terms.ends_at <= new.next:
        if found is None or terms.ends_at <= pool.at:
            raise Refused("Unfit", "ends_at")
        pool.note("a plan ends because it would grant nothing more")
        end_plan(pool, found)
        return
    if found is None and len(pool.plans.all) >= PLANS_MAX:
        raise Refused("Conflict", "too_many_recurring")
    if not new.amount(new.next):
        new.next = new.period(new.next)[1]
    if found is not None and found.describes(new) and found.next == new.next and found.grants_alike(new):
        pool.note("a plan is set in other words" if found.terms != terms else "a plan is set again")
        raise Refused("Unchanged")
    pool.open()
    put_plan(pool, new, found, before)


def put_plan(pool: ModelPool, new: Plan, found: Plan | None, before: Plan | None) -> None:
    """Let a plan go on by new terms, or begin."""
    if found is None:
        ever = before or pool.plans.ever(new.terms.name)
        found = ever or Plan(pool.next, new.terms, new.anchor, 0, since=pool.next)
        if ever is not None:
            pool.plans.ended.remove(ever)
            pool.note("a plan is set again after it has ended" if before is None else "a plan goes on after its end")
            ever.since = pool.next
        pool.plans.all.append(found)
        number = 0 if ever is None else ever.number
    else:
        pool.note("a plan has new terms" if found.describes(new) else "a plan has another rhythm")
        if found.next != new.next:
            found.since = pool.next
        number = found.number
    found.terms, found.anchor, found.next = new.terms, new.anchor, new.next
    line = pool.write("RecurringSet", recurring=number, terms=new.terms, anchor=new.anchor, next_at=new.next)
    if number and found.next > pool.at and pool.plans.excess(pool, number, pool.at):
        pool.note("a plan has a lower roll-over")
    if found.next <= pool.at:
        recur(pool, found)
    elif number:
        trim(pool, number, pool.at)
    facts = pool.log[line:]
    granted = [each for each in facts if each.kind == "Granted"]
    pool.log[line - 1].about.update(
        granted=sum(each.about["amount"] for each in granted),
        lapsed=sum(each.about["amount"] for each in facts if each.kind == "Trimmed"),
        following=found.next if found in pool.plans.all else None,
    )


def end_plan(pool: ModelPool, plan: Plan) -> None:
    pool.plans.all.remove(plan)
    until = pool.blocks[plan.last].period_end if plan.last else None
    if plan.last:
        pool.plans.ended.append(plan)
    pool.write("RecurringEnded", recurring=plan.number, name=plan.terms.name, full=False, until=until)


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
    trim(pool, plan.number, moment)
    is_last = terms.ends_at is not None and end >= terms.ends_at
    if amount > pool.room:
        pool.note("a plan skips a period because the pool is full")
        pool.alerts.write(
            "grant_skipped",
            about=plan.number,
            amount=amount,
            limit=pool.room,
            moment=None if is_last else end,
            recurring=terms.name,
        )
        plan.next = end
        if is_last:
            pool.plans.all.remove(plan)
            pool.plans.ended += [plan] if plan.last else []
        return
    plan.last, plan.next, plan.granted_until = pool.next, end, end
    pool.put_in(
        amount,
        terms.category,
        key=f"\x01recurring:{plan.since}:{moment}",
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
