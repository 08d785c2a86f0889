"""The decision on a command: the events that should happen, or a refusal. Pure, and changes nothing.

``decisions`` has the rule of each command.
"""

from __future__ import annotations

from typing import assert_never

from solvent.engine.rules.alerting import with_alerts
from solvent.engine.rules.commands import (
    SETTING_COMMANDS,
    Capture,
    Debit,
    Extend,
    Grant,
    GrantRecharge,
    Hold,
    PoolCommand,
    RefuseRecharge,
    Release,
    Reverse,
    SetAlerts,
    SettingCommand,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from solvent.engine.rules.decisions.debits import decide_debit, decide_reverse
from solvent.engine.rules.decisions.grants import decide_grant, decide_recharge, decide_update, decide_void
from solvent.engine.rules.decisions.holds import decide_capture, decide_extend, decide_hold, decide_release
from solvent.engine.rules.decisions.repeats import repeat
from solvent.engine.rules.decisions.settings import decide_setting
from solvent.engine.rules.decisions.transfers import decide_transfer
from solvent.engine.rules.events import RechargeClosed
from solvent.engine.rules.limits import LIMITS_DEFAULT, Limits
from solvent.engine.rules.outcomes import Outcome, Prior, UnknownEntry, UnknownPool
from solvent.engine.rules.pool import Pool
from solvent.engine.values.amounts import SCALE_DEFAULT


def decide(
    pool: Pool,
    command: PoolCommand | SettingCommand,
    now: int,
    *,
    prior: Prior | None = None,
    ended: Prior | None = None,
    scale: int = SCALE_DEFAULT,
    limits: Limits = LIMITS_DEFAULT,
) -> Outcome:
    """Return what should happen, without applying it. All events that are ``due`` by ``now`` must have been applied.

    ``prior`` is the entry for which the command's key was used before. ``ended`` is the entry that settled the hold
    which ``hold_behind`` names. ``scale`` is the scale of the currency, and matters if the pool is new.
    """
    outcome = _decide(pool, command, now, prior, ended, scale, limits)
    if pool.alerts is None and not isinstance(command, SetAlerts):
        return outcome
    return with_alerts(pool, outcome) if isinstance(outcome, tuple) else outcome


def _decide(
    pool: Pool,
    command: PoolCommand | SettingCommand,
    now: int,
    prior: Prior | None,
    ended: Prior | None,
    scale: int,
    limits: Limits,
) -> Outcome:
    at = pool.clock if pool.clock > now else now
    if isinstance(command, SETTING_COMMANDS):
        return decide_setting(pool, command, at, scale, limits)
    if prior is not None:
        return repeat(pool, command, *prior, ended)
    if isinstance(command, Debit):
        return decide_debit(pool, command, at, limits)
    if isinstance(command, Grant):
        return decide_grant(pool, command, at, scale)
    if not pool.version:
        return UnknownPool()
    match command:
        case Hold():
            return decide_hold(pool, command, at)
        case Capture():
            return decide_capture(pool, command, at, limits)
        case Release(hold=number):
            return decide_release(pool, number, at)
        case Extend():
            return decide_extend(pool, command, at, ended)
        case Reverse():
            return decide_reverse(pool, command, at)
        case Transfer():
            return decide_transfer(pool, command, at)
        case UpdateGrant():
            return decide_update(pool, command, at)
        case VoidGrant(grant=number):
            return decide_void(pool, number, at)
        case GrantRecharge():
            return decide_recharge(pool, command, at)
        case RefuseRecharge(recharge=number):
            if pool.alerts is None or pool.alerts.recharge.request != number:
                return UnknownEntry("recharge", number)
            return (RechargeClosed(at, number, pool.alerts.recharge.amount, pool.available),)
    assert_never(command)
