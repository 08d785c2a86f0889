"""The model of a pool: the rules of docs/credits.md a second time, as plainly as they can be written.

Read it next to that page: there is a file for each of its headings.

| rule | where |
|---|---|
| burn order | ``ModelPool.burn_order`` in ``pool`` |
| grants, debits, holds, reversals, transfers | ``grants``, ``debits``, ``holds``, ``reversals``, ``transfers`` |
| budgets, allowances, recurring grants | ``budgets``, ``allowances``, ``plans`` |
| alerts and recharge requests | ``alerts`` |
| what happens by itself, and in which order | ``due`` |
| what a key that was used before answers | ``keys`` |

It shares nothing with the engine but the shape of commands and of their terms. Every unit of credit is an object that
is in one place, so nothing has to add up: what a pool, an allowance, a budget or a month has left is counted again each
time, from everything that ever happened. It is slow, and easy to believe.

A new rule is written here first. Where it takes a branch that is worth a test, name that in ``branches``: then the
random scripts (tests/random_scripts) have to meet it.
"""

from __future__ import annotations

from solvent.engine.rules.commands import (
    CancelRecurring,
    Capture,
    Debit,
    Extend,
    Grant,
    GrantRecharge,
    Hold,
    OpenPool,
    RefuseRecharge,
    Release,
    RemoveAllowance,
    RemoveBudget,
    Reverse,
    SetAlerts,
    SetAllowance,
    SetBudget,
    SetRecurring,
    Transfer,
    UpdateGrant,
    VoidGrant,
)

from .alerts import grant_recharge, refuse_recharge, set_alerts
from .allowances import remove_allowance, set_allowance
from .budgets import remove_budget, set_budget
from .debits import debit
from .grants import grant, update_grant, void_grant
from .holds import capture, extend, hold, release
from .keys import key_of, repeated, request_of
from .lines import Command, Refused
from .plans import cancel_plan, set_plan
from .pool import KeyUse, ModelPool
from .reversals import reverse
from .transfers import transfer


def ask(pool: ModelPool, command: Command) -> None:
    """Do what ``command`` asks for; time has passed. Raises ``Refused`` and changes nothing."""
    key, before = key_of(command), len(pool.log)
    if key is not None and key in pool.keys:
        raise repeated(pool, command, pool.keys[key])
    obey(pool, command)
    pool.alerts.make()
    if key is not None:
        entry = before + 1 + (pool.log[before].kind == "Opened")
        pool.keys.setdefault(key, KeyUse(entry, request_of(command), pool.log[entry - 1].kind))


def obey(pool: ModelPool, command: Command) -> None:
    match command:
        case Grant():
            return grant(pool, command)
        case OpenPool():
            return open_by_name(pool)
        case SetAllowance(terms=terms):
            return set_allowance(pool, terms)
        case SetRecurring():
            return set_plan(pool, command)
    if not pool.log:
        raise Refused("UnknownPool")
    match command:
        case Debit():
            return debit(pool, command)
        case Hold():
            return hold(pool, command)
        case Capture():
            return capture(pool, command)
        case Extend():
            return extend(pool, command)
        case Release():
            return release(pool, command.hold)
        case Reverse():
            return reverse(pool, command)
        case Transfer():
            return transfer(pool, command)
        case UpdateGrant():
            return update_grant(pool, command)
        case VoidGrant():
            return void_grant(pool, command.grant)
        case SetBudget(terms=limits):
            return set_budget(pool, limits)
        case RemoveBudget():
            return remove_budget(pool, command.name)
        case RemoveAllowance():
            return remove_allowance(pool, command.name)
        case CancelRecurring():
            return cancel_plan(pool, command)
        case SetAlerts(terms=alerts):
            return set_alerts(pool, alerts)
        case GrantRecharge():
            return grant_recharge(pool, command)
        case RefuseRecharge():
            return refuse_recharge(pool, command)
    raise AssertionError(command)


def open_by_name(pool: ModelPool) -> None:
    if pool.log:
        raise Refused("Unchanged")
    pool.open()
