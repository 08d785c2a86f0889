"""The alerts and recharge requests that follow from the events of a pool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from solvent.engine.values.amounts import UNITS_MAX
from solvent.engine.values.terms import PRIORITY_DEFAULT
from solvent.engine.values.windows import window_of

from .alerts import NO_ALERTS, Alerts
from .commands import recharge_key
from .events import (
    Activated,
    Alerted,
    AlertsSet,
    Captured,
    Debited,
    Event,
    Expired,
    Granted,
    Held,
    Lapsed,
    MovedIn,
    MovedOut,
    Opened,
    RechargeRequested,
    Released,
    Reversed,
    Trimmed,
    Voided,
)
from .evolve import apply
from .pool import Block, Pool, clone

WRITABLE_MAX: Final = 2**64 - 1
"""The largest number in an entry. What is used of a budget that only warns may be more."""
_MOVE = (
    AlertsSet, Debited, Held, Captured, MovedOut, Expired, Voided, Lapsed, Trimmed, Granted, Activated, MovedIn,
    Reversed,
)  # fmt: skip
"""The events that can bring a balance below a threshold, or a threshold above the balance."""


def with_alerts(pool: Pool, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Return ``events``, which will be applied to ``pool`` in one step, followed by the alerts they cause.

    Only the state after all events counts: a balance that is low only between two of them causes no alert.
    """
    alerts = pool.alerts
    if alerts is None and not isinstance(events[-1], AlertsSet):
        return events
    if alerts is not None and len(events) == 1 and _changes_little(pool, alerts, events[0]):
        return events
    after = clone(pool)
    for event in events:
        apply(after, event)
    told = list(events)
    for event in events:
        for alert in _alerts_of(after, event):
            apply(after, alert)
            told.append(alert)
    told += recharge_of(after, events[-1].at)
    return tuple(told)


def _changes_little(pool: Pool, alerts: Alerts, event: Event) -> bool:
    """Return whether ``event``, which is not applied yet, surely causes no alert. Saves most debits a copy."""
    if not isinstance(event, (Debited, Held)):
        return False
    balance = event.balance
    if (not balance and not alerts.depleted) or len(alerts.passed(balance)) > len(alerts.fired):
        return False
    if _wanted(pool, alerts, balance, event.at):
        return False
    if alerts.terms.budget_percents:
        for number, value, start in event.charges:
            budget = pool.budgets[number]
            same = budget.window_start == start
            used = event.amount + (budget.used.get(value, 0) if same else 0)
            reached = _percent_reached(alerts, used, budget.terms.amount)
            if reached > (budget.reached.get(value, 0) if same else 0):
                return False
    return True


def _percent_reached(alerts: Alerts, used: int, amount: int) -> int:
    """Return the highest alert percentage of a budget that ``used`` reaches; 0 if it reaches none."""
    return max([percent for percent in alerts.terms.budget_percents if used * 100 >= percent * amount], default=0)


def expiring_soon(pool: Pool, block: Block, at: int) -> Alerted:
    """Return the alert that a grant with credits left expires soon."""
    return Alerted(
        at, "expiring_soon", pool.available, about=block.number, amount=block.available, moment=block.expires_at
    )


def _alerts_of(pool: Pool, event: Event) -> Iterable[Event]:
    """Yield the alerts that ``event`` causes, which has just been applied to ``pool``."""
    alerts = pool.alerts
    if alerts is None or alerts.terms == NO_ALERTS or isinstance(event, Opened):
        return
    at, balance = event.at, pool.available
    if isinstance(event, Released) and event.due_at is not None:
        yield Alerted(at, "hold_expired", balance, about=event.hold, amount=event.amount)
    if isinstance(event, (Debited, Held, Captured)):
        yield from _budgets_reached(pool, alerts, event)
    if isinstance(event, _MOVE):
        for place in alerts.passed(balance):
            if place not in alerts.fired:
                low = alerts.terms.low[place]
                yield Alerted(at, "low", balance, place=place, limit=low.limit(alerts.full), percent=low.percent)
        if not balance and not alerts.depleted and pool.granted:
            yield Alerted(at, "depleted", balance)


def _budgets_reached(pool: Pool, alerts: Alerts, event: Debited | Held | Captured) -> Iterable[Alerted]:
    for charge in event.charges:
        budget = pool.budgets[charge.budget]
        used = budget.used.get(charge.value, 0)
        reached = _percent_reached(alerts, used, budget.terms.amount)
        if reached > budget.reached.get(charge.value, 0):
            yield Alerted(
                event.at,
                "budget_reached",
                pool.available,
                about=charge.budget,
                value=charge.value,
                amount=min(used, WRITABLE_MAX),
                limit=budget.terms.amount,
                percent=reached,
                moment=charge.window_start,
                budget=budget.terms.name,
            )


def recharge_of(pool: Pool, at: int) -> tuple[Event, ...]:
    """Return the recharge request to make at ``at``, if any, and its grant if the pool grants it by itself."""
    alerts = pool.alerts
    if alerts is None or alerts.terms.recharge is None:
        return ()
    amount = _wanted(pool, alerts, pool.available, at)
    if not amount:
        return ()
    rule, state = alerts.terms.recharge, alerts.recharge
    # A month that has begun continues to its end: another time zone does not begin a new one.
    begun = at < state.month_end
    start, end = (state.month_start, state.month_end) if begun else window_of(at, "month", rule.zone)
    request = RechargeRequested(at, amount, pool.available, at + rule.timeout_us, start, rule.grants, end)
    if not rule.grants:
        return (request,)
    number = pool.version + 1
    granted = Granted(
        at,
        recharge_key(number),
        amount,
        pool.available + amount,
        rule.category,
        PRIORITY_DEFAULT,
        None,
        None,
        rule.cost_basis,
        "recharge",
        recharge=number,
    )
    return request, granted


def _wanted(pool: Pool, alerts: Alerts, balance: int, at: int) -> int:
    """Return the units to request if ``balance`` is available at ``at``; 0 for no request."""
    rule, state = alerts.terms.recharge, alerts.recharge
    if rule is None or balance >= rule.below or state.request or at < state.not_before:
        return 0
    amount = min(rule.target - balance, UNITS_MAX - balance - pool.held - pool.pending)
    if rule.monthly_max is not None:
        amount = min(amount, rule.monthly_max - (state.month_used if at < state.month_end else 0))
    return max(0, amount)
