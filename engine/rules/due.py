"""Events caused by the passing of time: grants take effect and recur; grants, holds and requests expire."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from .alerting import expiring_soon, recharge_of, with_alerts
from .commands import recurring_key
from .events import (
    Activated,
    Alerted,
    AlertsSet,
    Captured,
    Event,
    Expired,
    Extended,
    Granted,
    Held,
    Lapsed,
    MovedIn,
    Parts,
    RechargeClosed,
    RechargeRequested,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Trimmed,
    Updated,
)
from .evolve import apply
from .pool import (
    LIVE,
    LOOK,
    PENDING,
    OpenHold,
    Pool,
    clone,
    excess_of,
    look_at,
    period_end_of,
    roll_over_of,
    room_of,
    standing,
    warning_at,
)
from .recurring import Recurring, grant_at


def due(pool: Pool, now: int) -> tuple[Event, ...]:
    """Return the events that the passing of time has caused by ``now``, in the order in which they were due.

    If the pool's own clock is ahead of ``now``, the pool's clock counts: later entries are recorded by it.

    These events are facts, not answers: they are journalled before the command that found them, even if that command
    is refused. ``pass_time`` also applies them.
    """
    if not pool.schedule or pool.schedule[0][0] > max(pool.clock, now):
        return ()
    return tuple(pass_time(clone(pool), now))


def pass_time(pool: Pool, now: int) -> list[Event]:
    """Apply the events that are ``due`` to ``pool``, which the caller alone owns, and return them."""
    at = max(pool.clock, now)
    facts: list[Event] = []
    while pool.schedule and pool.schedule[0][0] <= at:
        moment, number = heapq.heappop(pool.schedule)
        happened = _fall_due(pool, moment, number, at)
        for event in with_alerts(pool, happened) if happened else ():
            apply(pool, event)
            facts.append(event)
    return facts


def _fall_due(pool: Pool, moment: int, number: int, at: int) -> tuple[Event, ...]:
    """Return the events of a moment on the schedule; none if it no longer matters."""
    if number == LOOK:
        return recharge_of(pool, at) if moment == look_at(pool) else ()
    hold = pool.holds.get(number)
    if hold is not None:
        # A hold that was extended is on the schedule twice.
        return _end_hold(pool, hold, at) if hold.expires_at == moment else ()
    recurring = pool.recurring.get(number)
    if recurring is not None:
        return recur(pool, recurring, at) if recurring.next_at == moment else ()
    block = pool.blocks.get(number)
    if block is None:
        recharge = None if pool.alerts is None else pool.alerts.recharge
        if recharge is None or recharge.request != number:
            return ()
        return (RechargeClosed(at, number, recharge.amount, pool.available, moment),)
    if block.state == PENDING and moment == block.effective_at:
        return (Activated(at, number, block.amount, pool.available + block.amount, moment),)
    if moment == block.expires_at and block.available:
        return (Expired(at, number, block.available, pool.available - block.available, moment),)
    if block.rolls and moment == block.period_end:
        # Where the recurring grant goes on, the grant of the next period came first and left nothing to do.
        return tuple(trim(pool, block.recurring, roll_over_of(pool, block.recurring), at, moment))
    if moment == warning_at(pool, block):
        return (expiring_soon(pool, block, at),)
    return ()


def _end_hold(pool: Pool, hold: OpenHold, at: int) -> tuple[Event, ...]:
    """Return the release of a hold that has expired."""
    balance = pool.available + hold.amount
    ended = hold.expires_at
    lapses = lapses_of(pool, hold.parts, balance, at, ended)
    lapsed = sum_lapses(lapses)
    return Released(at, hold.number, hold.amount, balance, hold.parts, lapsed, ended, hold.dimensions), *lapses


def recur(pool: Pool, recurring: Recurring, at: int) -> tuple[Event, ...]:
    """Return the grant of a period, after the expiries of earlier credits that do not roll over into it.

    If the pool cannot take the grant, an alert says so, and the recurring grant goes on with the next period.
    """
    terms, moment = recurring.terms, recurring.next_at
    amount, end = grant_at(terms, recurring.rhythm, moment)
    trimmed = trim(pool, recurring.number, terms.roll_over, at, moment)
    balance = trimmed[-1].balance if trimmed else pool.available
    goes_on = terms.ends_at is None or end < terms.ends_at
    room = room_of(pool) + pool.available - balance
    if amount > room:
        skipped = Alerted(
            at,
            "grant_skipped",
            balance,
            about=recurring.number,
            amount=amount,
            limit=room,
            moment=end if goes_on else None,
            recurring=terms.name,
        )
        return *trimmed, skipped
    granted = Granted(
        at,
        recurring_key(recurring.since or recurring.number, moment),
        amount,
        balance + amount,
        terms.category,
        terms.priority,
        moment,
        None if terms.roll_over != 0 else end,
        terms.cost_basis,
        terms.name,
        recurring=recurring.number,
        next_at=end if goes_on else None,
        period_end=end,
    )
    return (*trimmed, granted)


def trim(
    pool: Pool, recurring: int, most: int | None, at: int, moment: int, *, balance: int | None = None
) -> list[Trimmed]:
    """Return the expiries, at ``at``, of credits beyond the ``most`` that may roll over, in burn order.

    Those from the periods that have ended by ``moment`` count.

    ``balance`` is what is available before them, if that is not what is available now.
    """
    excess = excess_of(pool, recurring, most, moment)
    trimmed: list[Trimmed] = []
    balance = pool.available if balance is None else balance
    for block in standing(pool, recurring, moment) if excess else ():
        if excess <= 0:
            break
        part = min(block.available, excess)
        excess -= part
        balance -= part
        trimmed.append(Trimmed(at, block.number, part, balance))
    return trimmed


def lapses_of(
    pool: Pool, returned: Parts, balance: int, at: int, moment: int | None = None
) -> tuple[Lapsed | Trimmed, ...]:
    """Return what cannot stay of credits that come back, in the order of ``returned``.

    Credits of a grant that has ended end as it did. Of those from ended periods of a recurring grant stays what still
    fits into the most that may roll over. If they come back late, ``moment`` is when they should have.
    """
    moment = at if moment is None else moment
    lapses: list[Lapsed | Trimmed] = []
    stands: dict[int, int] = {}
    for number, part in returned:
        block = pool.blocks[number]
        if block.state != LIVE or (block.expires_at is not None and block.expires_at <= at):
            balance -= part
            lapses.append(Lapsed(at, number, part, balance))
        elif block.rolls and (
            excess := beyond_roll_over(pool, block.recurring, period_end_of(pool, block), part, moment, stands)
        ):
            balance -= excess
            lapses.append(Trimmed(at, number, excess, balance))
    return tuple(lapses)


def beyond_roll_over(pool: Pool, recurring: int, period_end: int, part: int, at: int, stands: dict[int, int]) -> int:
    """Return the units of ``part``, of a recurring grant's period, that come back and may not roll over.

    The others are counted in ``stands``: what stands from ended periods, by recurring grant.
    """
    most = roll_over_of(pool, recurring)
    if most is None or period_end > at:
        return 0
    if recurring not in stands:
        stands[recurring] = sum([each.available for each in standing(pool, recurring, at)])
    excess = min(part, max(0, stands[recurring] + part - most))
    stands[recurring] += part - excess
    return excess


def due_after(event: Event) -> int | None:
    """Return a time by which something may be due after ``event``, judged by the event alone. It may be too early.

    Used by code that reads a journal without folding it. Credits that came back may belong to a grant that expires at
    any time.
    """
    match event:
        case Held(expires_at=ends) | Extended(expires_at=ends):
            return ends
        case Granted(expires_at=None, effective_at=None, next_at=None, recharge=0) | Updated(expires_at=None):
            return None
        case MovedIn(expires_at=None, period_end=None):
            return None
        case RecurringEnded(until=until):
            return until
        case Granted() | Updated() | MovedIn() | Activated() | Captured() | Released() | Reversed():
            # Only the pool knows whether an alert is due before a grant expires, or another request.
            return event.at
        case RecurringSet(next_at=next_at):
            return next_at
        case RechargeRequested(until=until):
            return until
        case AlertsSet() | RechargeClosed() | Alerted(kind="grant_skipped"):
            return event.at
    return None


def sum_lapses(lapses: Iterable[Lapsed | Trimmed]) -> int:
    return sum([lapse.amount for lapse in lapses])
