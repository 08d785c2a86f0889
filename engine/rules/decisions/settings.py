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
from solvent.engine.rules.due import trim
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
    RecurringEnded,
    RecurringSet,
    Voided,
)
from solvent.engine.rules.outcomes import Conflict, Outcome, Unchanged, Unfit, UnknownPool
from solvent.engine.rules.pool import LIVE, Pool, granted_until
from solvent.engine.rules.rates import RateBook
from solvent.engine.rules.recurring import RECURRING_MAX, Recurring, RecurringTerms, grant_at
from solvent.engine.values.recurrence import Rhythm

CARDS_MAX: Final = 1_000
"""The most rate cards of one currency over its life."""


def decide_setting(pool: Pool, command: SettingCommand, at: int, scale: int) -> Outcome:
    """Decide a setting, as in ``decide``. A setting that gives credits opens a new pool; one that limits does not."""
    opened: tuple[Event, ...] = () if pool.version else (Opened(at, scale),)
    match command:
        case OpenPool():
            return opened or Unchanged()
        case SetRates():
            return _opening(opened, _decide_rates(pool, command, at))
        case MoveOutbox(frame=frame):
            return Unchanged() if frame <= pool.outbox else (*opened, OutboxMoved(at, frame))
        case SetAllowance():
            return _opening(opened, _decide_allowance(pool, command.terms, at))
        case SetRecurring():
            return _opening(opened, _decide_recurring(pool, command.terms, at))
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
                    return _cancel(pool, recurring, at_once, at)
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


def _decide_rates(pool: Pool, command: SetRates, at: int) -> Outcome:
    book = pool.rates or RateBook()
    starts = at if command.effective_at is None else command.effective_at
    if starts < at:
        return Unfit("effective_at", "now or later: what was used before is not repriced")
    present = book.at(starts)
    if present is not None and present.card == command.card and command.effective_at in (None, present.effective_at_us):
        return Unchanged()
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


def _decide_recurring(pool: Pool, terms: RecurringTerms, at: int) -> Outcome:
    gone: tuple[Event, ...] = ()
    for recurring in pool.recurring.values():
        if recurring.terms.name == terms.name:
            if recurring.terms == terms:
                return Unchanged()
            goes_on = terms.ends_at is None or terms.ends_at > recurring.next_at
            # A first grant that is made in part can become 0 by the new terms. Then they start over.
            amount, _ = grant_at(terms, recurring.rhythm, recurring.next_at)
            if recurring.terms.same_rhythm(terms) and goes_on and amount:
                number, anchor, next_at = recurring.number, recurring.anchor, recurring.next_at
                set_ = RecurringSet(at, number, pool.available, terms, anchor, next_at)
                return set_, *trim(pool, number, terms.roll_over, at, at)
            gone = _ended(pool, recurring, at, pool.available)
    balance = gone[-1].balance if gone else pool.available
    starts = at if terms.starts_at is None else terms.starts_at
    if starts < at:
        return Unfit("starts_at", "now or later")
    if terms.ends_at is not None and terms.ends_at <= starts:
        return Unfit("ends_at", "a time after now and after starts_at")
    if not gone and len(pool.recurring) >= RECURRING_MAX:
        return Conflict("too_many_recurring", f"a pool has at most {RECURRING_MAX} recurring grants")
    anchor = starts if terms.anchor is None else terms.anchor
    amount, end = grant_at(terms, Rhythm(anchor, terms.period, terms.every, terms.zone), starts)
    if not amount:
        starts = end
    return *gone, RecurringSet(at, 0, balance, terms, anchor, starts)


def _cancel(pool: Pool, recurring: Recurring, at_once: bool, at: int) -> Outcome:
    block = pool.blocks.get(recurring.last_grant)
    over = block is None or block.state != LIVE or (block.expires_at is not None and block.expires_at <= at)
    if not at_once or block is None or over:
        return _ended(pool, recurring, at, pool.available)
    balance = pool.available - block.available
    return Voided(at, block.number, block.available, balance), *_ended(pool, recurring, at, balance)


def _ended(pool: Pool, recurring: Recurring, at: int, balance: int) -> tuple[Event, ...]:
    """Return the end of a recurring grant, and of what an older version let stand beyond its roll-over."""
    until = granted_until(pool, recurring)
    ended = RecurringEnded(at, recurring.number, balance, recurring.terms.name, until=until)
    return ended, *trim(pool, recurring.number, recurring.terms.roll_over, at, at, balance=balance)


def _decide_alerts(pool: Pool, terms: AlertTerms, at: int) -> Outcome:
    present = NO_ALERTS if pool.alerts is None else pool.alerts.terms
    return Unchanged() if present == terms else (AlertsSet(at, pool.available, terms),)
