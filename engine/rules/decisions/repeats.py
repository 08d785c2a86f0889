"""The answer to a command whose key was used before."""

from __future__ import annotations

from solvent.engine.rules.allowances import sum_covers
from solvent.engine.rules.commands import (
    Capture,
    Debit,
    Extend,
    Grant,
    GrantRecharge,
    Hold,
    KeyedCommand,
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
    Extended,
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
from solvent.engine.rules.outcomes import Conflict, ConflictReason, KeyTaken, Outcome, Prior, Repeat
from solvent.engine.rules.pool import BrokenInvariant, Pool
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.dimensions import same_dimensions
from solvent.engine.values.terms import KEEP

from .grants import UPDATABLE


def hold_behind(pool: Pool, command: KeyedCommand, prior: Prior | None) -> int | None:
    """Return the hold whose end ``decide`` has to be told, because the pool forgets settled holds; ``None`` for none.

    It is that of a hold that is asked for again, or that shall be extended.
    """
    if isinstance(command, Hold) and prior is not None and isinstance(prior[0], Held):
        number = prior[1]
    elif isinstance(command, Extend) and prior is None:
        number = command.hold
    else:
        return None
    return None if number in pool.holds else number


def repeat(pool: Pool, command: PoolCommand, event: Keyed, version: int, ended: Prior | None = None) -> Outcome:
    """Return the answer to a command whose key was used before. ``ended`` is the end of a hold asked for again."""
    if _same_request(event, command):
        if isinstance(event, Held):
            hold = pool.holds.get(version)
            if hold is None and ended is None:
                raise BrokenInvariant(f"hold h{version} is neither open nor settled")
            return Repeat(event, version, ended, None if hold is None else hold.expires_at)
        return Repeat(event, version)
    if isinstance(command, Capture) and isinstance(event, Captured):
        before = to_decimal(requested(event), pool.scale)
        return Conflict(
            "hold_captured", f"hold h{command.hold} was captured before, with {before} credits, by entry {version}"
        )
    if isinstance(command, (Capture, Release)) and isinstance(event, (Captured, Released)):
        return settled(command.hold, event, version)
    if isinstance(command, (GrantRecharge, RefuseRecharge)):
        reason: ConflictReason = "recharge_granted"
        if isinstance(event, RechargeClosed):
            reason = "recharge_refused" if event.due_at is None else "recharge_timed_out"
        word = reason.removeprefix("recharge_").replace("_", " ")
        about = f"the request q{command.recharge} was {word} before, by entry {version}"
        return Conflict(reason, f"{about}: what was paid for it can be granted by itself")
    return KeyTaken(command.key, version)


def settled(hold: int, event: Keyed, version: int) -> Conflict:
    """Return the refusal of a command for an open hold: ``event`` has settled it."""
    reason: ConflictReason = "hold_captured"
    if isinstance(event, Released):
        reason = "hold_released" if event.due_at is None else "hold_expired"
    return Conflict(reason, f"hold h{hold} was {reason.removeprefix('hold_')} before, by entry {version}")


def requested(event: Captured) -> int:
    """Return the units that a capture asked for: what was paid in any way, and what did not fit."""
    return event.amount + sum_covers(event.covers) + event.uncovered


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
                # As it was given: a retry comes later, and names the same time or the same span.
                and (event.expires_at if event.by_time else None) == command.expires_at
                and (event.by_time or event.expires_at - event.at == command.ttl)
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
        case Extended(), Extend():
            given = event.expires_at if event.ttl is None else None
            return (event.hold, event.ttl, given) == (command.hold, command.ttl, command.expires_at)
        case Captured(), Capture():
            # What was left out came from the hold or from the rate card, which may have other prices by now.
            return (
                (event.card > 0 if command.card else requested(event) == command.amount and not event.card)
                and command.quantity in (None, event.quantity)
                and command.metric in (None, event.metric)
            )
        # A grant is voided once, and a request is granted once: a repeat gets the first answer.
        case (Voided(), VoidGrant()) | (Granted(), GrantRecharge()):
            return True
        case RechargeClosed(due_at=due_at), RefuseRecharge():
            return due_at is None
        case Released(due_at=due_at), Release():
            return due_at is None
    return False
