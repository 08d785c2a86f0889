"""The decisions on settings. Repeating a setting changes nothing."""

from __future__ import annotations

from typing import Final, assert_never

from solvent.engine.rules.alerts import NO_ALERTS, AlertTerms
from solvent.engine.rules.allowances import ALLOWANCES_MAX, AllowanceTerms
from solvent.engine.rules.budgets import BUDGETS_MAX, BudgetTerms
from solvent.engine.rules.commands import (
    CancelRecurring,
    MoveOutbox,
    OpenPool,
    RemoveAllowance,
    RemoveBudget,
    SetAlerts,
    SetAllowance,
    SetBudget,
    SetRates,
    SetRecurring,
    SettingCommand,
)
from solvent.engine.rules.events import (
    AlertsSet,
    AllowanceRemoved,
    AllowanceSet,
    BudgetRemoved,
    BudgetSet,
    Event,
    Opened,
    OutboxMoved,
    RatesSet,
)
from solvent.engine.rules.limits import Limits
from solvent.engine.rules.outcomes import Conflict, Outcome, Unchanged, Unfit, UnknownPool
from solvent.engine.rules.pool import Pool
from solvent.engine.rules.rates import RateBook
from solvent.engine.values.times import DAY_US

from .plans import cancel, decide_recurring

CARDS_MAX: Final = 1_000
"""The most rate cards of one currency over its life."""


def decide_setting(pool: Pool, command: SettingCommand, at: int, scale: int, limits: Limits) -> Outcome:
    """Decide a setting, as in ``decide``. A setting that gives credits opens a new pool; one that limits does not."""
    opened: tuple[Event, ...] = () if pool.version else (Opened(at, scale),)
    match command:
        case OpenPool():
            return opened or Unchanged()
        case SetRates():
            return _opening(opened, _decide_rates(pool, command, at, limits))
        case MoveOutbox(frame=frame):
            return Unchanged() if frame <= pool.outbox else (*opened, OutboxMoved(at, frame))
        case SetAllowance():
            return _opening(opened, _decide_allowance(pool, command.terms, at))
        case SetRecurring():
            return decide_recurring(pool, command, at, opened)
    if opened:
        return UnknownPool()
    match command:
        case SetBudget():
            return _decide_budget(pool, command.terms, at)
        case RemoveBudget(name=name):
            for budget in pool.budgets.values():
                if budget.terms.name == name:
                    return (BudgetRemoved(at, budget.number, pool.available, name),)
            return Unchanged()
        case RemoveAllowance(name=name):
            for allowance in pool.allowances.values():
                if allowance.terms.name == name:
                    return (AllowanceRemoved(at, allowance.number, pool.available, name),)
            return Unchanged()
        case CancelRecurring(name=name, at_once=at_once):
            for recurring in pool.recurring.values():
                if recurring.terms.name == name:
                    return cancel(pool, recurring, at_once, at)
            return Unchanged()
        case SetAlerts():
            return _decide_alerts(pool, command.terms, at)
    assert_never(command)


def _opening(opened: tuple[Event, ...], outcome: Outcome) -> Outcome:
    return (*opened, *outcome) if isinstance(outcome, tuple) else outcome


def _decide_budget(pool: Pool, terms: BudgetTerms, at: int) -> Outcome:
    for budget in pool.budgets.values():
        if budget.terms.name == terms.name:
            if budget.terms == terms and budget.terms.same_counters(terms):
                return Unchanged()
            number = budget.number if budget.terms.same_counters(terms) else 0
            gone = () if number else (BudgetRemoved(at, budget.number, pool.available, terms.name),)
            return *gone, BudgetSet(at, number, pool.available, terms)
    if len(pool.budgets) >= BUDGETS_MAX:
        return Conflict("too_many_budgets", f"a pool has at most {BUDGETS_MAX} budgets")
    return (BudgetSet(at, 0, pool.available, terms),)


def _decide_rates(pool: Pool, command: SetRates, at: int, limits: Limits) -> Outcome:
    book = pool.rates or RateBook()
    starts = at if command.effective_at is None else command.effective_at
    present = book.at(starts)
    if present is not None and present.card == command.card and command.effective_at in (None, present.effective_at_us):
        return Unchanged()
    if starts < at:
        if starts < at - limits.occurred_back_max_us:
            return Unfit("effective_at", f"at most {limits.occurred_back_max_us // DAY_US} days ago, as usage may be")
        metric = book.repriced(command.card, since_us=starts, now_us=at)
        if metric is not None:
            return Unfit("effective_at", f"now or later: {metric} had another price since then, which is not changed")
    if len(book.versions) >= CARDS_MAX:
        return Conflict("too_many_rate_cards", f"a currency has at most {CARDS_MAX} rate cards over its life")
    return (RatesSet(at, starts, 0, command.card),)


def _decide_allowance(pool: Pool, terms: AllowanceTerms, at: int) -> Outcome:
    for allowance in pool.allowances.values():
        if allowance.terms.name == terms.name:
            same = allowance.terms.same_counters(terms)
            if same and allowance.terms == terms:
                return Unchanged()
            number = allowance.number if same else 0
            gone = () if same else (AllowanceRemoved(at, allowance.number, pool.available, terms.name),)
            return *gone, AllowanceSet(at, number, pool.available, terms)
    if len(pool.allowances) >= ALLOWANCES_MAX:
        return Conflict("too_many_allowances", f"a pool has at most {ALLOWANCES_MAX} allowances")
    return (AllowanceSet(at, 0, pool.available, terms),)


def _decide_alerts(pool: Pool, terms: AlertTerms, at: int) -> Outcome:
    present = NO_ALERTS if pool.alerts is None else pool.alerts.terms
    return Unchanged() if present == terms else (AlertsSet(at, pool.available, terms),)
