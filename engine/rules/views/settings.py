"""The settings of a pool: budgets, allowances, recurring grants and alerts, with what is used of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypeVar

from solvent.engine.api.settings import (
    AlertsView,
    AllowanceCount,
    AllowanceCounts,
    AllowanceList,
    AllowanceView,
    BudgetCount,
    BudgetCounts,
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
from solvent.engine.rules.commands import Page
from solvent.engine.rules.pool import Pool
from solvent.engine.rules.recurring import Recurring
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.errors import NotFound
from solvent.engine.values.matching import decode_value
from solvent.engine.values.times import SECOND_US, to_datetime
from solvent.engine.values.windows import window_of

from .parts import cost_view

T = TypeVar("T")


def allowances_of(pool: Pool, name: str, at: int, page: Page) -> AllowanceList:
    """Return a page of the allowances of ``pool``, with what is used of them at ``at``."""
    shown, following = _part_of(pool.allowances, page)
    views = tuple([_allowance_view(each, pool.scale, at, page.counts_max) for each in shown])
    return AllowanceList(name, pool.version, views, following)


def _part_of(numbered: Mapping[int, T], page: Page) -> tuple[list[T], str | None]:
    """Return the settings of a page, and the cursor of the next."""
    after = page.after or 0
    found = list(islice((item for item in numbered.items() if item[0] > after), page.limit + 1))
    shown = found[: page.limit]
    following = page.cursor(len(found) > page.limit, shown[-1][0] if shown else None)
    return [each for _, each in shown], following


def _counted(values: Iterable[bytes], page: Page) -> tuple[list[bytes], str | None]:
    """Return the values of a page of counts, and the cursor of the next."""
    after = page.after
    found = sorted([value for value in values if after is None or value > after])
    shown = found[: page.limit]
    return shown, page.cursor(len(found) > page.limit, shown[-1] if shown else None)


def allowance_counts_of(pool: Pool, name: str, at: int, page: Page) -> AllowanceCounts | NotFound:
    """Return a page of what is used of an allowance of ``pool`` at ``at``, by value."""
    for allowance in pool.allowances.values():
        if allowance.terms.name == page.name:
            used = _used_of(allowance, at)
            shown, following = _counted(used, page)
            counts = tuple([_allowance_count(allowance, value, *used[value], pool.scale) for value in shown])
            return AllowanceCounts(name, pool.version, page.name, counts, following)
    return NotFound("allowance", f"{page.name} of {name}")


def _used_of(allowance: Allowance, at: int) -> dict[bytes, tuple[int, int]]:
    """Return what each value has used at ``at``, and when some of it comes back."""
    found = {value: allowance.used_at(at, value) for counters in allowance.used.values() for value in counters}
    return {value: used for value, used in found.items() if used[0]}


def _allowance_count(allowance: Allowance, value: bytes, used: int, resets_at: int, scale: int) -> AllowanceCount:
    terms = allowance.terms
    counted = scale if terms.metric is None else QUOTA_PLACES
    return AllowanceCount(
        value=decode_value(value) if value else None,
        used=to_decimal(used, counted),
        left=to_decimal(max(0, terms.amount - used), counted),
        resets_at=to_datetime(resets_at),
    )


def _allowance_view(allowance: Allowance, scale: int, at: int, counts_max: int) -> AllowanceView:
    terms = allowance.terms
    counted = scale if terms.metric is None else QUOTA_PLACES
    used = sorted([(-count, value, resets_at) for value, (count, resets_at) in _used_of(allowance, at).items()])
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
            [
                _allowance_count(allowance, value, -count, resets_at, scale)
                for count, value, resets_at in used[:counts_max]
            ]
        ),
        counts_cut=len(used) > counts_max,
    )


def recurring_of(pool: Pool, name: str, page: Page) -> RecurringList:
    """Return a page of the recurring grants of ``pool`` that have not ended."""
    shown, following = _part_of(pool.recurring, page)
    return RecurringList(name, pool.version, tuple([_recurring_view(each, pool.scale) for each in shown]), following)


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


def budgets_of(pool: Pool, name: str, at: int, page: Page) -> BudgetList:
    """Return a page of the budgets of ``pool``, with what is used in their windows at ``at``."""
    shown, following = _part_of(pool.budgets, page)
    views = tuple([_budget_view(each, pool.scale, at, page.counts_max) for each in shown])
    return BudgetList(name, pool.version, views, following)


def budget_counts_of(pool: Pool, name: str, at: int, page: Page) -> BudgetCounts | NotFound:
    """Return a page of what is used of a budget of ``pool`` in its window at ``at``, by value."""
    for budget in pool.budgets.values():
        if budget.terms.name == page.name:
            start, _ = window_of(at, budget.terms.window, budget.terms.zone)
            used = budget.used if budget.window_start == start else {}
            shown, following = _counted({*used, *budget.open_holds}, page)
            counts = tuple([_budget_count(budget, value, used.get(value, 0), pool.scale) for value in shown])
            return BudgetCounts(name, pool.version, page.name, counts, following)
    return NotFound("budget", f"{page.name} of {name}")


def _budget_count(budget: Budget, value: bytes, used: int, scale: int) -> BudgetCount:
    return BudgetCount(
        value=decode_value(value) if value else None,
        used=to_decimal(used, scale),
        open_holds=budget.open_holds.get(value, 0),
    )


def _budget_view(budget: Budget, scale: int, at: int, counts_max: int) -> BudgetView:
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
        counts=tuple([_budget_count(budget, value, used.get(value, 0), scale) for value in values[:counts_max]]),
        counts_cut=len(values) > counts_max,
    )
