"""One prepaid pool: what may still be spent, and which grants pay for it.

``decide`` returns what should happen, ``evolve`` applies what happened, ``due`` returns what the passing of time did.
Live traffic, recovery and audits share them. Amounts are units of the pool's currency, times microseconds. Nothing here
reads a clock, touches a file or awaits.

Invariant, for every state reached by folding events over an empty pool, and for each grant alone:
``granted == available + held + spent + expired + voided + moved_out``, with no term negative.
"""

from __future__ import annotations

import heapq
from copy import copy
from typing import Final

import msgspec

from solvent.engine.values.amounts import SCALE_DEFAULT, UNITS_MAX
from solvent.engine.values.terms import Category, CostBasis
from solvent.engine.values.times import MOMENT_MAX_US

from .alerts import Alerts, clone_alerts
from .allowances import Allowance, Covers, clone_allowance
from .budgets import Budget, Charge, clone_budget
from .events import Parts
from .rates import RateBook
from .recurring import Recurring

PENDING, LIVE, EXPIRED, VOIDED = range(4)
"""The states of a grant, which only events change. A live grant with nothing left is called depleted."""


LOOK: Final = 0
"""The number on the schedule for a moment at which the pool checks whether to make a recharge request."""
_NEVER: Final = MOMENT_MAX_US


class Block(msgspec.Struct, array_like=True, gc=False):
    """A grant in a pool: its terms, and where its credits are."""

    number: int
    """The version of the pool that the grant made. Answers write it ``g<number>``."""
    state: int
    amount: int
    available: int
    held: int
    spent: int
    expired: int
    voided: int
    moved_out: int
    category: Category
    priority: int
    created_at: int
    effective_at: int
    expires_at: int | None
    key: str
    cost_basis: CostBasis | None
    name: str | None
    comment: str | None
    metadata: msgspec.Raw
    recurring: int = 0
    """The number of the recurring grant that made it; 0 if none did."""
    rolls: bool = False
    """Whether its credits roll over: a recurring grant with a roll-over made it, so that it has no expiry."""
    period_end: int | None = None
    """The end of its period, after which its credits count for what may roll over; ``None`` if no recurring grant made
    it, or an older version did, which did not record it."""
    origin: tuple[str, int] | None = None
    """The pool and the number of the recurring grant that made it, if it was moved here from another pool."""

    def burn_rank(self) -> tuple[int, int, bool, int, int, int]:
        """Return the sort key of burn order: the grant with the lowest key burns first.

        Lower priority first; then sooner expiry, with never last; then promotional before paid; then the grant that
        took effect, was made, and was written earlier.
        ``tests/rules/test_burn_order.py`` has an example of each.
        """
        ends = _NEVER if self.expires_at is None else self.expires_at
        return self.priority, ends, self.category == "paid", self.effective_at, self.created_at, self.number


class OpenHold(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Credits that are set aside until ``expires_at``. ``parts`` are the grants that they come from."""

    number: int
    """The version of the pool that the hold made. Answers write it ``h<number>``."""
    amount: int
    parts: Parts
    created_at: int
    expires_at: int
    key: str
    metric: str | None
    dimensions: msgspec.Raw
    charges: tuple[Charge, ...] = ()
    covers: Covers = ()
    """What allowances reserve for it, in addition to ``amount``."""


class Pool(msgspec.Struct, gc=False):
    """The state of one pool. ``apply`` changes it in place, ``evolve`` makes a changed copy."""

    scale: int = SCALE_DEFAULT
    version: int = 0
    """The number of events of the pool; 0 if the pool does not exist yet."""
    clock: int = 0
    """The last recorded time. It never runs backwards."""
    granted: int = 0
    """This and the other sums over the life of the pool have no bound; what it holds has: see ``room_of``."""
    available: int = 0
    held: int = 0
    spent: int = 0
    expired: int = 0
    voided: int = 0
    moved_out: int = 0
    pending: int = 0
    """Credits of grants that have not taken effect. Not part of ``granted`` until they do."""
    blocks: dict[int, Block] = msgspec.field(default_factory=dict)
    """All grants by number, in the order of the journal."""
    holds: dict[int, OpenHold] = msgspec.field(default_factory=dict)
    """The holds that are not settled yet, by number."""
    reversed: dict[int, int] = msgspec.field(default_factory=dict)
    """The units of each debit, by its number, that were reversed: both what grants and what allowances had paid."""
    budgets: dict[int, Budget] = msgspec.field(default_factory=dict)
    """The budgets by number, in the order in which they were first set."""
    allowances: dict[int, Allowance] = msgspec.field(default_factory=dict)
    """The allowances by number, in the order in which they were first set. They cover in this order."""
    recurring: dict[int, Recurring] = msgspec.field(default_factory=dict)
    """The recurring grants that have not ended, by number."""
    ended: dict[int, Recurring] = msgspec.field(default_factory=dict)
    """The recurring grants that have ended after they granted something, by number: they still say how much rolls over.
    There are no more of them than grants. Those that older versions ended are not here."""
    alerts: Alerts | None = None
    rates: RateBook | None = None
    """The rate cards of a currency. Set only in the stream that records them."""
    outbox: int = 0
    """The last frame whose alerts were published. Set only in the stream that records it."""
    burn: list[Block] = msgspec.field(default_factory=list)
    """The live grants with credits left, in burn order. Made from ``blocks``, as is ``schedule``."""
    schedule: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """A heap of (time, number): when something happens to that grant, hold, recurring grant or recharge request, or
    when there may be a request to make (``LOOK``). Some entries no longer matter."""


class BrokenInvariant(Exception):
    """The books of a pool do not balance. This is a bug, and the pool must not be served."""


def leave_burn(pool: Pool, block: Block) -> None:
    # A debit empties grants from the front. Removing one from further back is rare.
    if pool.burn[0] is block:
        del pool.burn[0]
    else:
        pool.burn.remove(block)


def put_on_schedule(pool: Pool, block: Block, *, since: int = 0) -> None:
    """Put what will happen to a grant on the schedule. The ends of periods before ``since`` have been dealt with."""
    if block.state == PENDING:
        heapq.heappush(pool.schedule, (block.effective_at, block.number))
    if block.expires_at is not None and (block.state == PENDING or block.available):
        heapq.heappush(pool.schedule, (block.expires_at, block.number))
        put_warning_on_schedule(pool, block)
    end = block.period_end
    if end is not None and end >= since and block.rolls and block.recurring and block.available:
        heapq.heappush(pool.schedule, (end, block.number))


def period_end_of(pool: Pool, block: Block) -> int:
    """Return the end of the period of a grant that rolls over; 0 if an older version made it and it is over."""
    if block.period_end is not None:
        return block.period_end
    plan = pool.recurring.get(block.recurring)
    return plan.next_at if plan is not None and plan.last_grant == block.number else 0


def room_of(pool: Pool) -> int:
    """Return the units that the pool can still take: what it holds stays below 2^63, whatever went through it."""
    return UNITS_MAX - pool.available - pool.held - pool.pending


def granted_until(pool: Pool, recurring: Recurring) -> int | None:
    """Return the end of the period that a recurring grant has granted last; ``None`` if it has granted nothing."""
    if not recurring.last_grant:
        return None
    end = pool.blocks[recurring.last_grant].period_end
    return recurring.next_at if end is None else end


def roll_over_of(pool: Pool, recurring: int) -> int | None:
    """Return the most that may stand from ended periods of a recurring grant, by its number; ``None`` for no limit."""
    plan = pool.recurring.get(recurring) or pool.ended.get(recurring)
    return None if plan is None else plan.terms.roll_over


def standing(pool: Pool, recurring: int, at: int) -> list[Block]:
    """Return the grants of a recurring grant whose periods have ended by ``at`` and that have credits left, in burn
    order."""
    return [
        block
        for block in pool.burn
        if block.recurring == recurring
        and block.rolls
        and period_end_of(pool, block) <= at
        and (block.expires_at is None or block.expires_at > at)
    ]


def excess_of(pool: Pool, recurring: int, most: int | None, at: int) -> int:
    """Return the units beyond ``most`` that stand from periods of a recurring grant that have ended by ``at``."""
    return 0 if most is None else max(0, sum([each.available for each in standing(pool, recurring, at)]) - most)


def warning_at(pool: Pool, block: Block) -> int | None:
    """Return when to alert that a grant expires soon; ``None`` if there is nothing to alert, or it was done before."""
    alerts = pool.alerts
    if alerts is None or alerts.terms.expiring_us is None or block.expires_at is None or not block.available:
        return None
    return None if alerts.warned.get(block.number) == block.expires_at else block.expires_at - alerts.terms.expiring_us


def put_warning_on_schedule(pool: Pool, block: Block) -> None:
    moment = warning_at(pool, block)
    if moment is not None:
        heapq.heappush(pool.schedule, (moment, block.number))


def look_at(pool: Pool) -> int | None:
    """Return when to check whether to make a recharge request even if nothing else happens to the pool; ``None`` for
    never.

    Before that time, the pause after a request or the limit of the month forbids a request. Every event of a pool makes
    the same check, so a moment before the last entry needs none.
    """
    if pool.alerts is None:
        return None
    rule, state = pool.alerts.terms.recharge, pool.alerts.recharge
    if rule is None or state.request:
        return None
    moment = state.not_before
    if rule.monthly_max is not None and state.month_used >= rule.monthly_max:
        moment = max(moment, state.month_end)
    return moment if moment and moment >= pool.clock else None


def put_look_on_schedule(pool: Pool) -> None:
    moment = look_at(pool)
    if moment is not None:
        heapq.heappush(pool.schedule, (moment, LOOK))


def _has_excess(pool: Pool, recurring: int, moment: int) -> bool:
    return excess_of(pool, recurring, roll_over_of(pool, recurring), moment) > 0


def forget_due(pool: Pool) -> None:
    """Drop entries from the top of the schedule that have happened, and expiries of grants with nothing left.

    Call this whenever a grant takes effect, expires or is depleted, so that the top entry always matters.
    """
    while pool.schedule:
        moment, number = pool.schedule[0]
        hold = pool.holds.get(number)
        if hold is not None:
            if moment == hold.expires_at:
                return
            # It was extended, and has its new time on the schedule too.
            heapq.heappop(pool.schedule)
            continue
        block = pool.blocks.get(number)
        if block is not None:
            if block.state == PENDING or (block.available and moment == block.expires_at):
                return
            # Once the end of a period has passed, what comes back is judged when it does.
            ends = block.rolls and block.available and moment == block.period_end
            if ends and (moment > pool.clock or _has_excess(pool, block.recurring, moment)):
                return
            if pool.alerts is not None and moment == warning_at(pool, block):
                return
        recurring = pool.recurring.get(number)
        if recurring is not None and recurring.next_at == moment:
            return
        if number == LOOK:
            if moment == look_at(pool):
                return
        elif pool.alerts is not None and pool.alerts.recharge.request == number:
            return
        heapq.heappop(pool.schedule)


def clone(pool: Pool) -> Pool:
    """Return a copy that shares no mutable state."""
    changed = copy(pool)
    changed.blocks = {number: copy(block) for number, block in pool.blocks.items()}
    changed.burn = [changed.blocks[block.number] for block in pool.burn]
    changed.holds = pool.holds.copy()
    changed.reversed = pool.reversed.copy()
    changed.budgets = {number: clone_budget(budget) for number, budget in pool.budgets.items()}
    changed.allowances = {number: clone_allowance(each) for number, each in pool.allowances.items()}
    changed.recurring = {number: copy(each) for number, each in pool.recurring.items()}
    changed.ended = {number: copy(each) for number, each in pool.ended.items()}
    changed.alerts = None if pool.alerts is None else clone_alerts(pool.alerts)
    changed.schedule = pool.schedule.copy()
    return changed


def rebuild_orders(pool: Pool) -> None:
    """Rebuild ``burn`` and ``schedule`` from ``blocks``, for a pool that was read from a snapshot."""
    pool.burn = sorted(
        (block for block in pool.blocks.values() if block.state == LIVE and block.available), key=Block.burn_rank
    )
    pool.schedule = [(hold.expires_at, hold.number) for hold in pool.holds.values()]
    pool.schedule += [(each.next_at, each.number) for each in pool.recurring.values()]
    if pool.alerts is not None and (recharge := pool.alerts.recharge).request:
        pool.schedule.append((recharge.until, recharge.request))
    heapq.heapify(pool.schedule)
    put_look_on_schedule(pool)
    for block in pool.blocks.values():
        put_on_schedule(pool, block, since=pool.clock)
    forget_due(pool)


def check_totals(pool: Pool) -> None:
    """Raise ``BrokenInvariant`` unless the pool's own totals balance. Cheap: called after every command."""
    available, held, spent = pool.available, pool.held, pool.spent
    expired, voided, moved_out = pool.expired, pool.voided, pool.moved_out
    if (
        pool.granted != available + held + spent + expired + voided + moved_out
        or available < 0
        or held < 0
        or spent < 0
        or expired < 0
        or voided < 0
        or moved_out < 0
        or pool.pending < 0
    ):
        raise BrokenInvariant(f"the books do not balance at version {pool.version}: {_terms(pool)}")


def check_books(pool: Pool) -> None:
    """Raise ``BrokenInvariant`` unless every grant balances and the totals are the sums of the grants."""
    check_totals(pool)
    sums = dict.fromkeys(_terms(pool), 0)
    pending = granted = 0
    for block in pool.blocks.values():
        terms = _terms(block)
        if block.state == PENDING:
            pending += block.amount
            if any(terms.values()):
                raise BrokenInvariant(f"grant g{block.number} is pending and has {terms}")
            continue
        granted += block.amount
        if block.amount != sum(terms.values()) or min(terms.values()) < 0:
            raise BrokenInvariant(f"grant g{block.number} of {block.amount} has {terms}")
        for term, value in terms.items():
            sums[term] += value
    if (sums, granted, pending) != (_terms(pool), pool.granted, pool.pending):
        raise BrokenInvariant(f"the grants add up to {sums}, the pool says {_terms(pool)}")
    held: dict[int, int] = dict.fromkeys(pool.blocks, 0)
    for hold in pool.holds.values():
        if sum(part for _, part in hold.parts) != hold.amount:
            raise BrokenInvariant(f"hold h{hold.number} of {hold.amount} has {hold.parts}")
        for number, part in hold.parts:
            held[number] += part
    if held != {number: block.held for number, block in pool.blocks.items()}:
        raise BrokenInvariant(f"the holds add up to {held}, the grants say otherwise")
    expected = sorted((block for block in pool.blocks.values() if block.available), key=Block.burn_rank)
    if [block.number for block in expected] != [block.number for block in pool.burn]:
        raise BrokenInvariant(f"the burn order is not that of the grants at version {pool.version}")


def _terms(holder: Pool | Block) -> dict[str, int]:
    return {
        "available": holder.available,
        "held": holder.held,
        "spent": holder.spent,
        "expired": holder.expired,
        "voided": holder.voided,
        "moved_out": holder.moved_out,
    }
