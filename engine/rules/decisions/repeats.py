"""The answer to a command whose key was used before."""

from __future__ import annotations

from solvent.engine.rules.allowances import sum_covers
from solvent.engine.rules.commands import (
    Capture,
    Debit,
    Grant,
    GrantRecharge,
    Hold,
    PoolCommand,
    RefuseRecharge,
    Release,
    Reverse,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from solvent.engine.rules.events import (
    Captured,
    Debited,
    Granted,
    Held,
    Keyed,
    MovedOut,
    RechargeClosed,
    Released,
    Reversed,
    Updated,
    Voided,
)
from solvent.engine.rules.outcomes import Conflict, ConflictReason, KeyTaken, Outcome, Repeat
from solvent.engine.values.dimensions import same_dimensions
from solvent.engine.values.terms import KEEP

from .grants import UPDATABLE


def repeat(command: PoolCommand, event: Keyed, version: int) -> Outcome:
    """Return the answer to a command whose key was used before."""
    if _same_request(event, command):
        return Repeat(event, version)
    if isinstance(command, (Capture, Release)) and isinstance(event, (Captured, Released)):
        reason: ConflictReason = "hold_captured"
        if isinstance(event, Released):
            reason = "hold_released" if event.due_at is None else "hold_expired"
        word = reason.removeprefix("hold_")
        return Conflict(reason, f"hold h{command.hold} was {word} before, by entry {version}")
    if isinstance(command, (GrantRecharge, RefuseRecharge)):
        reason = "recharge_granted"
        if isinstance(event, RechargeClosed):
            reason = "recharge_refused" if event.due_at is None else "recharge_timed_out"
        word = reason.removeprefix("recharge_").replace("_", " ")
        about = f"the request q{command.recharge} was {word} before, by entry {version}"
        return Conflict(reason, f"{about}: what was paid for it can be granted by itself")
    return KeyTaken(command.key, version)


def _same_request(event: Keyed, command: PoolCommand) -> bool:
    """Return whether ``command`` is the same request that ``event`` answered."""
    match event, command:
        case Debited(), Debit():
            # A retry may be priced by another card. Compare what was reported, and keep the first price.
            return (
                (event.card > 0 if command.card else event.requested == command.amount and not event.card)
                and event.partial == command.partial
                and event.occurred_at == command.occurred_at
                and event.metric == command.metric
                and event.quantity == command.quantity
                and same_dimensions(event.dimensions, command.dimensions)
            )
        case Granted(), Grant():
            return (
                event.amount == command.amount
                and event.category == command.category
                and event.priority == command.priority
                and event.effective_at == command.effective_at
                and event.expires_at == command.expires_at
                and event.cost_basis == command.cost_basis
                and event.name == command.name
                and event.comment == command.comment
                and same_dimensions(event.metadata, command.metadata)
            )
        case Held(), Hold():
            return (
                event.amount + sum_covers(event.covers) == command.amount
                and event.expires_at - event.at == command.ttl
                and event.metric == command.metric
                and same_dimensions(event.dimensions, command.dimensions)
            )
        case MovedOut(), Transfer():
            return event.amount == command.amount and event.target == command.target
        case Reversed(), Reverse():
            return event.debit == command.debit and event.requested == command.amount
        case Updated(), UpdateGrant():
            return (
                event.grant == command.grant
                and event.changed == tuple(name for name in UPDATABLE if getattr(command, name) is not KEEP)
                and command.priority in (KEEP, event.priority)
                and command.expires_at in (KEEP, event.expires_at)
                and (command.metadata is KEEP or same_dimensions(event.metadata, command.metadata))
            )
        # A hold is settled once and a grant is voided once. A repeat gets the first answer, whatever its amount.
        case (Captured(), Capture()) | (Voided(), VoidGrant()) | (Granted(), GrantRecharge()):
            return True
        case RechargeClosed(due_at=due_at), RefuseRecharge():
            return due_at is None
        case Released(due_at=due_at), Release():
            return due_at is None
    return False
