"""The change that each event makes to a pool. Live traffic, recovery and audits share it."""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from solvent.engine.values.matching import counter_of
from solvent.engine.values.times import DAY_US

from .alerts import NO_ALERTS, Alerts, Recharge
from .allowances import Allowance, count_covers, sum_covers
from .budgets import Budget, count
from .events import (
    Activated,
    Alerted,
    AlertsSet,
    AllowanceRemoved,
    AllowanceSet,
    BudgetRemoved,
    BudgetSet,
    Captured,
    Debited,
    Event,
    Expired,
    Extended,
    Granted,
    Held,
    Lapsed,
    MovedIn,
    MovedOut,
    Opened,
    OutboxMoved,
    RatesSet,
    RechargeClosed,
    RechargeRequested,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Trimmed,
    Updated,
    Voided,
)
from .pool import (
    EXPIRED,
    LIVE,
    PENDING,
    VOIDED,
    Block,
    OpenHold,
    Pool,
    clone,
    forget_due,
    leave_burn,
    put_look_on_schedule,
    put_on_schedule,
    put_warning_on_schedule,
)
from .rates import RateBook
from .recurring import Recurring

_MONTH_USED_MAX: Final = 2**64 - 1
"""More than the limit of any month, even after a request that is closed is taken off."""
_MONTH_MAX_US: Final = 32 * DAY_US
"""Longer than any month, even one in which clocks are set back."""


def apply(pool: Pool, event: Event) -> None:
    """Apply ``event`` to ``pool``, which the caller alone owns. This cannot refuse: the event has already happened."""
    pool.version += 1
    pool.clock = event.at
    if isinstance(event, Debited):
        for number, part in event.parts:
            block = pool.blocks[number]
            block.available -= part
            block.spent += part
            if not block.available:
                leave_burn(pool, block)
                if block.expires_at is not None:
                    forget_due(pool)
        pool.available -= event.amount
        pool.spent += event.amount
        if event.charges:
            count(pool.budgets, event.charges, event.amount)
        if event.covers:
            count_covers(pool.allowances, event.covers)
    elif isinstance(event, Granted):
        _apply_granted(pool, event)
    elif isinstance(event, Activated):
        block = pool.blocks[event.grant]
        block.state = LIVE
        block.available = block.amount
        pool.pending -= block.amount
        pool.granted += block.amount
        pool.available += block.amount
        insort(pool.burn, block, key=Block.burn_rank)
        put_warning_on_schedule(pool, block)
        _credits_added(pool)
        forget_due(pool)
    elif isinstance(event, Expired):
        block = pool.blocks[event.grant]
        if block.available:
            leave_burn(pool, block)
        block.state = EXPIRED
        block.available -= event.amount
        block.expired += event.amount
        pool.available -= event.amount
        pool.expired += event.amount
        forget_due(pool)
    elif isinstance(event, Opened):
        pool.scale = event.scale
    else:
        _APPLY[type(event)](pool, event)


def _apply_granted(pool: Pool, event: Granted) -> None:
    starts = event.at if event.effective_at is None else event.effective_at
    live = starts <= event.at
    block = Block(
        number=pool.version,
        state=LIVE if live else PENDING,
        amount=event.amount,
        available=event.amount if live else 0,
        held=0,
        spent=0,
        expired=0,
        voided=0,
        moved_out=0,
        category=event.category,
        priority=event.priority,
        created_at=event.at,
        effective_at=starts,
        expires_at=event.expires_at,
        key=event.key,
        cost_basis=event.cost_basis,
        name=event.name,
        comment=event.comment,
        metadata=event.metadata,
        recurring=event.recurring,
        rolls=bool(event.recurring) and event.expires_at is None,
        period_end=event.period_end,
    )
    pool.blocks[block.number] = block
    if live:
        pool.granted += event.amount
        pool.available += event.amount
        insort(pool.burn, block, key=Block.burn_rank)
        _credits_added(pool)
    else:
        pool.pending += event.amount
    put_on_schedule(pool, block)
    if event.recurring:
        _recur(pool, event, block.number)
    if event.recharge and pool.alerts is not None and pool.alerts.recharge.request == event.recharge:
        recharge = pool.alerts.recharge
        recharge.request = 0
        recharge.month_used = min(_MONTH_USED_MAX, recharge.month_used + event.amount - recharge.amount)
        put_look_on_schedule(pool)
        forget_due(pool)


def _recur(pool: Pool, event: Granted, grant: int) -> None:
    recurring = pool.recurring[event.recurring]
    recurring.last_grant = grant
    if event.next_at is None:
        del pool.recurring[event.recurring]
        if event.period_end is not None:
            pool.ended[recurring.number] = recurring
        return
    recurring.next_at = event.next_at
    heapq.heappush(pool.schedule, (event.next_at, recurring.number))


def _credits_added(pool: Pool) -> None:
    if pool.alerts is not None:
        pool.alerts.credits_added(pool.available)


def _apply_held(pool: Pool, event: Held) -> None:
    hold = OpenHold(
        pool.version,
        event.amount,
        event.parts,
        event.at,
        event.expires_at,
        event.key,
        event.metric,
        event.dimensions,
        event.charges,
        event.covers,
    )
    pool.holds[hold.number] = hold
    count(pool.budgets, event.charges, event.amount, holds=1)
    count_covers(pool.allowances, event.covers)
    for number, part in event.parts:
        block = pool.blocks[number]
        block.available -= part
        block.held += part
        if not block.available:
            leave_burn(pool, block)
    pool.available -= event.amount
    pool.held += event.amount
    heapq.heappush(pool.schedule, (hold.expires_at, hold.number))
    forget_due(pool)


def _apply_extended(pool: Pool, event: Extended) -> None:
    pool.holds[event.hold] = msgspec.structs.replace(pool.holds[event.hold], expires_at=event.expires_at)
    heapq.heappush(pool.schedule, (event.expires_at, event.hold))
    forget_due(pool)


def _apply_captured(pool: Pool, event: Captured) -> None:
    hold = pool.holds.pop(event.hold)
    count(pool.budgets, hold.charges, -sum([part for _, part in event.returned]), holds=-1)
    count(pool.budgets, event.charges, sum([part for _, part in event.extra]))
    count_covers(pool.allowances, event.returned_covers, -1)
    count_covers(pool.allowances, event.extra_covers)
    for number, part in event.parts:
        block = pool.blocks[number]
        block.held -= part
        block.spent += part
        pool.held -= part
        pool.spent += part
    for number, part in event.extra:
        block = pool.blocks[number]
        block.available -= part
        block.spent += part
        pool.available -= part
        pool.spent += part
        if not block.available:
            leave_burn(pool, block)
    for number, part in event.returned:
        pool.blocks[number].held -= part
        pool.held -= part
        _come_back(pool, number, part)
    forget_due(pool)


def _apply_released(pool: Pool, event: Released) -> None:
    hold = pool.holds.pop(event.hold)
    count(pool.budgets, hold.charges, -event.amount, holds=-1)
    count_covers(pool.allowances, hold.covers, -1)
    for number, part in event.parts:
        pool.blocks[number].held -= part
        pool.held -= part
        _come_back(pool, number, part)
    forget_due(pool)


def _apply_reversed(pool: Pool, event: Reversed) -> None:
    undone = event.amount + sum_covers(event.covers)
    pool.reversed[event.debit] = pool.reversed.get(event.debit, 0) + undone
    count(pool.budgets, event.charges, event.beyond_hold - event.amount)
    count(pool.budgets, event.beyond_charges, -event.beyond_hold)
    count_covers(pool.allowances, event.covers, -1)
    for number, part in event.parts:
        pool.blocks[number].spent -= part
        pool.spent -= part
        _come_back(pool, number, part)
    if event.amount > event.lapsed and pool.alerts is not None:
        pool.alerts.credits_added(pool.available - event.lapsed)


def _come_back(pool: Pool, number: int, part: int) -> None:
    """Make credits of a grant available again. If the grant has ended, a ``Lapsed`` follows at once."""
    block = pool.blocks[number]
    was_empty = not block.available
    block.available += part
    pool.available += part
    if was_empty and block.state == LIVE:
        insort(pool.burn, block, key=Block.burn_rank)
        put_on_schedule(pool, block)


def _apply_lapsed(pool: Pool, event: Lapsed) -> None:
    block = pool.blocks[event.grant]
    block.available -= event.amount
    pool.available -= event.amount
    if block.state == VOIDED:
        block.voided += event.amount
        pool.voided += event.amount
    else:
        if block.state == LIVE and not block.available:
            # It was depleted or held at its expiry, so no ``Expired`` event has changed its state.
            leave_burn(pool, block)
            block.state = EXPIRED
        block.expired += event.amount
        pool.expired += event.amount
    forget_due(pool)


def _apply_updated(pool: Pool, event: Updated) -> None:
    block = pool.blocks[event.grant]
    # Leave the sorted list first: the rank of its items must not change.
    if block.available:
        leave_burn(pool, block)
    block.priority = event.priority
    block.expires_at = event.expires_at
    block.metadata = event.metadata
    if block.available:
        insort(pool.burn, block, key=Block.burn_rank)
    put_on_schedule(pool, block)
    forget_due(pool)


def _apply_voided(pool: Pool, event: Voided) -> None:
    block = pool.blocks[event.grant]
    if block.available:
        leave_burn(pool, block)
    if event.pending:
        # A pending grant does not count as granted yet. Once voided, it counts as granted and voided.
        pool.pending -= event.amount
        pool.granted += event.amount
    else:
        block.available -= event.amount
        pool.available -= event.amount
    block.state = VOIDED
    block.voided += event.amount
    pool.voided += event.amount
    forget_due(pool)


def _apply_budget_set(pool: Pool, event: BudgetSet) -> None:
    if event.budget:
        budget = pool.budgets[event.budget]
        budget.terms = event.terms
        budget.reached.clear()
    else:
        pool.budgets[pool.version] = Budget(pool.version, event.terms)


def _apply_moved_out(pool: Pool, event: MovedOut) -> None:
    for number, part in event.parts:
        block = pool.blocks[number]
        block.available -= part
        block.moved_out += part
        if not block.available:
            leave_burn(pool, block)
    pool.available -= event.amount
    pool.moved_out += event.amount
    forget_due(pool)


def _apply_moved_in(pool: Pool, event: MovedIn) -> None:
    block = Block(
        number=pool.version,
        state=LIVE,
        amount=event.amount,
        available=event.amount,
        held=0,
        spent=0,
        expired=0,
        voided=0,
        moved_out=0,
        category=event.category,
        priority=event.priority,
        created_at=event.created_at,
        effective_at=event.effective_at,
        expires_at=event.expires_at,
        key=event.source_key,
        cost_basis=event.cost_basis,
        name=event.name,
        comment=event.comment,
        metadata=event.metadata,
        recurring=event.recurring,
        rolls=bool(event.recurring) or event.origin is not None,
        period_end=event.period_end,
        origin=event.origin,
    )
    pool.blocks[block.number] = block
    pool.granted += event.amount
    pool.available += event.amount
    insort(pool.burn, block, key=Block.burn_rank)
    put_on_schedule(pool, block)
    if pool.alerts is not None and event.amount > event.lapsed:
        pool.alerts.credits_added(pool.available - event.lapsed)


def _apply_rates_set(pool: Pool, event: RatesSet) -> None:
    book = pool.rates or RateBook()
    pool.rates = book.with_version(event.card, effective_at_us=event.effective_at, now_us=event.at)


def _apply_budget_removed(pool: Pool, event: BudgetRemoved) -> None:
    del pool.budgets[event.budget]


def _apply_allowance_set(pool: Pool, event: AllowanceSet) -> None:
    if event.allowance:
        pool.allowances[event.allowance].terms = event.terms
    else:
        pool.allowances[pool.version] = Allowance(pool.version, event.terms)


def _apply_allowance_removed(pool: Pool, event: AllowanceRemoved) -> None:
    del pool.allowances[event.allowance]


def _apply_recurring_set(pool: Pool, event: RecurringSet) -> None:
    if not event.recurring:
        recurring = Recurring(pool.version, event.terms, event.anchor, event.next_at)
        pool.recurring[recurring.number] = recurring
        heapq.heappush(pool.schedule, (recurring.next_at, recurring.number))
        return
    resumed = pool.ended.pop(event.recurring, None)
    if resumed is not None:
        pool.recurring[event.recurring] = resumed
    recurring = pool.recurring[event.recurring]
    if resumed is not None or event.next_at != recurring.next_at:
        if recurring.last_grant and (block := pool.blocks[recurring.last_grant]).period_end is None:
            _end_period(pool, block, recurring.next_at)
        recurring.since = pool.version
        recurring.next_at = event.next_at
        heapq.heappush(pool.schedule, (recurring.next_at, recurring.number))
        forget_due(pool)
    recurring.terms, recurring.anchor = event.terms, event.anchor


def _apply_recurring_ended(pool: Pool, event: RecurringEnded) -> None:
    recurring = pool.recurring.pop(event.recurring)
    if event.until is not None:
        pool.ended[recurring.number] = recurring
        block = pool.blocks[recurring.last_grant]
        if block.period_end is None:
            _end_period(pool, block, event.until)
    forget_due(pool)


def _end_period(pool: Pool, block: Block, period_end: int) -> None:
    """Record the end of the period of a grant that an older version made."""
    block.period_end = period_end
    put_on_schedule(pool, block)


def _apply_trimmed(pool: Pool, event: Trimmed) -> None:
    block = pool.blocks[event.grant]
    block.available -= event.amount
    block.expired += event.amount
    pool.available -= event.amount
    pool.expired += event.amount
    if not block.available:
        leave_burn(pool, block)
        # If it was cut late, nothing is left for an ``Expired`` to say.
        is_over = block.expires_at is not None and block.expires_at <= event.at
        block.state = EXPIRED if is_over else block.state
        forget_due(pool)


def _apply_alerts_set(pool: Pool, event: AlertsSet) -> None:
    recharge = Recharge() if pool.alerts is None else pool.alerts.recharge
    if event.terms == NO_ALERTS and recharge == Recharge():
        # Otherwise keep the alerts: they have what was requested this month, and the time before the next request.
        pool.alerts = None
        forget_due(pool)
        return
    pool.alerts = Alerts(event.terms, pool.available, recharge=recharge)
    for budget in pool.budgets.values():
        budget.reached.clear()
    for block in pool.burn:
        put_warning_on_schedule(pool, block)
    put_look_on_schedule(pool)
    forget_due(pool)


def _apply_grant_skipped(pool: Pool, event: Alerted) -> None:
    recurring = pool.recurring[event.about]
    if recurring.last_grant and (block := pool.blocks[recurring.last_grant]).period_end is None:
        _end_period(pool, block, recurring.next_at)
    if event.moment is None:
        del pool.recurring[event.about]
        if recurring.last_grant:
            pool.ended[event.about] = recurring
        return
    recurring.next_at = event.moment
    heapq.heappush(pool.schedule, (event.moment, event.about))


def _apply_alerted(pool: Pool, event: Alerted) -> None:
    if event.kind == "grant_skipped":
        _apply_grant_skipped(pool, event)
        return
    alerts = pool.alerts
    if alerts is None:
        return
    match event.kind:
        case "low":
            alerts.fired = (*alerts.fired, event.place)
        case "depleted":
            alerts.depleted = True
        case "expiring_soon" if event.moment is not None:
            # Warnings about grants that have ended need not be kept.
            alerts.warned = {number: at for number, at in alerts.warned.items() if pool.blocks[number].state == LIVE}
            alerts.warned[event.about] = event.moment
            forget_due(pool)
        case "budget_reached":
            reached, value = pool.budgets[event.about].reached, counter_of(event.value)
            reached[value] = max(event.percent, reached.get(value, 0))


def _apply_recharge_requested(pool: Pool, event: RechargeRequested) -> None:
    if pool.alerts is None:
        return
    recharge = pool.alerts.recharge
    if event.month_start != recharge.month_start:
        recharge.month_start, recharge.month_used = event.month_start, 0
    # An old journal lacks the end of the month, and folding it must not need a calendar. Too late is better than early.
    recharge.month_end = event.month_end or event.month_start + _MONTH_MAX_US
    recharge.month_used = min(_MONTH_USED_MAX, recharge.month_used + event.amount)
    recharge.request, recharge.amount, recharge.until = pool.version, event.amount, event.until
    heapq.heappush(pool.schedule, (event.until, pool.version))
    forget_due(pool)


def _apply_recharge_closed(pool: Pool, event: RechargeClosed) -> None:
    alerts = pool.alerts
    if alerts is None:
        return
    recharge = alerts.recharge
    recharge.request = 0
    recharge.month_used = max(0, recharge.month_used - event.amount)
    if alerts.terms.recharge is not None:
        # A request that timed out is repeated at once. If an old journal has not done so, the scheduled check does.
        recharge.not_before = event.at + (alerts.terms.recharge.timeout_us if event.due_at is None else 0)
        put_look_on_schedule(pool)
    forget_due(pool)


def _apply_outbox_moved(pool: Pool, event: OutboxMoved) -> None:
    pool.outbox = event.frame


_APPLY: Final[dict[type[Event], Callable[[Pool, Any], None]]] = {
    Held: _apply_held,
    Extended: _apply_extended,
    Captured: _apply_captured,
    Released: _apply_released,
    Reversed: _apply_reversed,
    Updated: _apply_updated,
    Voided: _apply_voided,
    Lapsed: _apply_lapsed,
    BudgetSet: _apply_budget_set,
    BudgetRemoved: _apply_budget_removed,
    RatesSet: _apply_rates_set,
    MovedOut: _apply_moved_out,
    MovedIn: _apply_moved_in,
    AllowanceSet: _apply_allowance_set,
    AllowanceRemoved: _apply_allowance_removed,
    RecurringSet: _apply_recurring_set,
    RecurringEnded: _apply_recurring_ended,
    Trimmed: _apply_trimmed,
    AlertsSet: _apply_alerts_set,
    Alerted: _apply_alerted,
    RechargeRequested: _apply_recharge_requested,
    RechargeClosed: _apply_recharge_closed,
    OutboxMoved: _apply_outbox_moved,
}


def evolve(pool: Pool, event: Event) -> Pool:
    """Return the pool after ``event``. ``pool`` itself is not changed."""
    changed = clone(pool)
    apply(changed, event)
    return changed


def fold(pool: Pool, events: Iterable[Event]) -> Pool:
    """Return the pool after ``events``. ``pool`` itself is not changed."""
    changed = clone(pool)
    for event in events:
        apply(changed, event)
    return changed
