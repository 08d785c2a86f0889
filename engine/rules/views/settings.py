"""The settings of a pool: budgets, allowances, recurring grants and alerts, with what is used of them."""

from __future__ import annotations

from typing import Final

from solvent.engine.api.settings import (
    AlertsView,
    AllowanceCount,
    AllowanceList,
    AllowanceView,
    BudgetCount,
    BudgetList,
    BudgetView,
    OpenRecharge,
    RechargeRule,
    RecurringList,
    RecurringView,
)
from solvent.engine.rules.alerts import NO_ALERTS
from solvent.engine.rules.allowances import QUOTA_PLACES, Allowance
from solvent.engine.rules.budgets import Budget
from solvent.engine.rules.pool import Pool
from solvent.engine.rules.recurring import Recurring
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.matching import decode_value
from solvent.engine.values.times import SECOND_US, to_datetime
from solvent.engine.values.windows import window_of

from .parts import cost_view

BUDGET_COUNTS_MAX: Final = 1_000


def allowances_of(pool: Pool, name: str, at: int) -> AllowanceList:
    """Return the allowances of ``pool``, with what is used of them at ``at``."""
    views = tuple(_allowance_view(each, pool.scale, at) for each in pool.allowances.values())
    return AllowanceList(name, pool.version, views)


def _allowance_view(allowance: Allowance, scale: int, at: int) -> AllowanceView:
    terms = allowance.terms
    counted = scale if terms.metric is None else QUOTA_PLACES
    found = {value: allowance.used_at(at, value) for counters in allowance.used.values() for value in counters}
    used = sorted((-count, value, resets_at) for value, (count, resets_at) in found.items() if count)
    return AllowanceView(
        name=terms.name,
        amount=to_decimal(terms.amount, counted),
        metric=terms.metric,
        window=terms.window,
        rolling_s=terms.rolling_us // SECOND_US if terms.window is None else None,
        time_zone=terms.zone,
        match=dict(terms.match),
        each=terms.each,
        missing=terms.missing,
        counts=tuple(
            AllowanceCount(
                value=None if not value else decode_value(value),
                used=to_decimal(-count, counted),
                left=to_decimal(max(0, terms.amount + count), counted),
                resets_at=to_datetime(resets_at),
            )
            for count, value, resets_at in used[:BUDGET_COUNTS_MAX]
        ),
    )


def recurring_of(pool: Pool, name: str) -> RecurringList:
    """Return the recurring grants of ``pool`` that have not ended."""
    return RecurringList(
        name, pool.version, tuple(_recurring_view(each, pool.scale) for each in pool.recurring.values())
    )


def _recurring_view(recurring: Recurring, scale: int) -> RecurringView:
    terms = recurring.terms
    most = terms.roll_over
    return RecurringView(
        name=terms.name,
        amount=to_decimal(terms.amount, scale),
        period=terms.period,
        every=terms.every,
        anchor=to_datetime(recurring.anchor),
        next_at=to_datetime(recurring.next_at),
        ends_at=None if terms.ends_at is None else to_datetime(terms.ends_at),
        time_zone=terms.zone,
        category=terms.category,
        priority=terms.priority,
        cost_basis=cost_view(terms.cost_basis),
        roll_over="all" if most is None else str(to_decimal(most, scale)) if most else "none",
        prorate=terms.prorate,
        last_grant=f"g{recurring.last_grant}" if recurring.last_grant else None,
    )


def alerts_of(pool: Pool, name: str) -> AlertsView:
    """Return the alerts of ``pool``."""
    scale = pool.scale
    terms = NO_ALERTS if pool.alerts is None else pool.alerts.terms
    state = None if pool.alerts is None else pool.alerts.recharge
    rule = terms.recharge
    return AlertsView(
        pool=name,
        version=pool.version,
        low=tuple(str(to_decimal(each.units, scale)) if each.units else f"{each.percent}%" for each in terms.low),
        expiring_within_s=None if terms.expiring_us is None else terms.expiring_us // SECOND_US,
        budget_percents=terms.budget_percents,
        recharge=None
        if rule is None
        else RechargeRule(
            below=to_decimal(rule.below, scale),
            target=to_decimal(rule.target, scale),
            monthly_max=None if rule.monthly_max is None else to_decimal(rule.monthly_max, scale),
            time_zone=rule.zone,
            grants=rule.grants,
            timeout_s=rule.timeout_us // SECOND_US,
            category=rule.category,
            cost_basis=cost_view(rule.cost_basis),
        ),
        open_recharge=None
        if state is None or not state.request
        else OpenRecharge(
            id=f"q{state.request}", amount=to_decimal(state.amount, scale), until=to_datetime(state.until)
        ),
    )


def budgets_of(pool: Pool, name: str, at: int) -> BudgetList:
    """Return the budgets of ``pool``, with what is used in their windows at ``at``."""
    return BudgetList(name, pool.version, tuple(_budget_view(each, pool.scale, at) for each in pool.budgets.values()))


def _budget_view(budget: Budget, scale: int, at: int) -> BudgetView:
    terms = budget.terms
    start, end = window_of(at, terms.window, terms.zone)
    used = budget.used if budget.window_start == start else {}
    values = sorted({*used, *budget.open_holds}, key=lambda value: (-used.get(value, 0), value))
    return BudgetView(
        name=terms.name,
        amount=to_decimal(terms.amount, scale),
        window=terms.window,
        time_zone=terms.zone,
        match=dict(terms.match),
        each=terms.each,
        missing=terms.missing,
        mode=terms.mode,
        holds_max=terms.holds_max,
        resets_at=None if terms.window == "total" else to_datetime(end),
        counts=tuple(
            BudgetCount(
                value=None if not value else decode_value(value),
                used=to_decimal(used.get(value, 0), scale),
                open_holds=budget.open_holds.get(value, 0),
            )
            for value in values[:BUDGET_COUNTS_MAX]
        ),
    )
