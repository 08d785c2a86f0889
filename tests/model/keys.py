"""The model of keys: a request is done once, and answered the same each time.

What can end only once, a hold, a grant or a recharge request, has a key of its own for that.
"""

from __future__ import annotations

from typing import Any

from solvent.engine.rules.commands import (
    Capture,
    Debit,
    Extend,
    Grant,
    GrantRecharge,
    Hold,
    RefuseRecharge,
    Release,
    Reverse,
    Transfer,
    UpdateGrant,
    VoidGrant,
)

from .lines import Command, Refused, passed_on
from .pool import KeyUse, ModelPool


def key_of(command: Command) -> str | None:
    """Return the key under which a command is remembered. What can end only once has a key of its own."""
    match command:
        case Capture(hold=number) | Release(hold=number):
            return f"\x01hold:{number}"
        case VoidGrant(grant=number):
            return f"\x01void:{number}"
        case GrantRecharge(recharge=number) | RefuseRecharge(recharge=number):
            return f"\x01recharge:{number}"
        case Grant(key=key) | Debit(key=key) | Hold(key=key) | Reverse(key=key) | UpdateGrant(key=key):
            return key
        case Transfer(key=key) | Extend(key=key):
            return key
    return None


def request_of(command: Command) -> object:
    """Return what makes two requests with one key the same."""
    values = passed_on(command, *command.__struct_fields__)
    match command:
        case Reverse():
            # The rest is looked up in the journal.
            values = {"debit": command.debit, "amount": command.amount}
        case Transfer():
            values["open_pool"] = None
        case Debit():
            # How far back it may be dated is no part of it; what a rate card priced may have another price by now.
            values["backfill"] = None
            values["amount"], values["card"] = (None, True) if command.card else (command.amount, False)
    return type(command).__name__, values


def repeated(pool: ModelPool, command: Command, use: KeyUse) -> Refused:
    """Return the answer to a key that was used before: the first one if the request is the same."""
    match command:
        case Capture() if use.became == "captured" and not same_capture(command, use.request):
            pool.note("a captured hold is captured otherwise")
            return Refused("Conflict", "hold_captured")
        case Capture() | Release():
            return settled_again("hold", "captured" if isinstance(command, Capture) else "released", use)
        case GrantRecharge() | RefuseRecharge():
            return settled_again("recharge", "granted" if isinstance(command, GrantRecharge) else "refused", use)
    if isinstance(command, Hold) and use.request == request_of(command):
        # What became of it is said with the first answer.
        state = pool.state_of_hold(use.entry)
        pool.note("an open hold is asked for again" if state == "open" else "a settled hold is asked for again")
        return Refused("Repeat", use.entry, state)
    if isinstance(command, VoidGrant) or use.request == request_of(command):
        return Refused("Repeat", use.entry)
    return Refused("KeyTaken", use.entry)


def same_capture(command: Capture, first: Any) -> bool:
    """Return whether a capture is the first one again. What it leaves out is not compared."""
    before, metric = first
    # What a rate card priced may have another price by now.
    same = bool(before.card) if command.card else not before.card and before.amount == command.amount
    return same and command.quantity in (None, before.quantity) and command.metric in (None, metric)


def settled_again(what: str, wanted: str, use: KeyUse) -> Refused:
    """Return the answer where something is settled once: another end than the first is a conflict."""
    return Refused("Repeat", use.entry) if use.became == wanted else Refused("Conflict", f"{what}_{use.became}")
