"""The decisions that make, change and void grants."""

from __future__ import annotations

from typing import Final

from solvent.engine.rules.commands import Grant, GrantRecharge, UpdateGrant
from solvent.engine.rules.events import Granted, Opened, Updated, Voided
from solvent.engine.rules.outcomes import Conflict, ConflictReason, Outcome, Unfit, UnknownEntry
from solvent.engine.rules.pool import EXPIRED, PENDING, VOIDED, Block, Pool, room_of
from solvent.engine.values.terms import KEEP, PRIORITY_DEFAULT

GRANTED_MAX: Final = "at most {} more: a pool holds at most 63 bits of the smallest unit"
UPDATABLE: Final = ("priority", "expires_at", "metadata")
"""The names of the terms of a grant that can be changed."""


def decide_grant(pool: Pool, command: Grant, at: int, scale: int) -> Outcome:
    """Decide a grant."""
    starts = at if command.effective_at is None else command.effective_at
    if command.expires_at is not None and command.expires_at <= max(at, starts):
        return Unfit("expires_at", "a time after now and after effective_at")
    room = room_of(pool)
    if command.amount > room:
        return Unfit("amount", GRANTED_MAX, room)
    granted = Granted(
        at,
        command.key,
        command.amount,
        pool.available + (command.amount if starts <= at else 0),
        command.category,
        command.priority,
        command.effective_at,
        command.expires_at,
        command.cost_basis,
        command.name,
        command.comment,
        command.metadata,
        opened=not pool.version,
    )
    return (granted,) if pool.version else (Opened(at, scale), granted)


def decide_update(pool: Pool, command: UpdateGrant, at: int) -> Outcome:
    """Decide a change to the terms of a grant."""
    block = pool.blocks.get(command.grant)
    if block is None:
        return UnknownEntry("grant", command.grant)
    if _is_over(block, at):
        reason: ConflictReason = "grant_voided" if block.state == VOIDED else "grant_expired"
        return Conflict(reason, f"grant g{block.number} was {reason.removeprefix('grant_')}: its terms stand")
    changed = tuple(name for name in UPDATABLE if getattr(command, name) is not KEEP)
    ends = block.expires_at if command.expires_at is KEEP else command.expires_at
    if "expires_at" in changed and ends is not None and ends <= max(at, block.effective_at):
        return Unfit("expires_at", "a time after now and after effective_at")
    return (
        Updated(
            at,
            command.key,
            block.number,
            block.priority if command.priority is KEEP else command.priority,
            ends,
            block.metadata if command.metadata is KEEP else command.metadata,
            pool.available,
            changed,
        ),
    )


def decide_void(pool: Pool, number: int, at: int) -> Outcome:
    """Decide the voiding of what is left of a grant."""
    block = pool.blocks.get(number)
    if block is None:
        return UnknownEntry("grant", number)
    if _is_over(block, at):
        return Conflict("grant_expired", f"grant g{number} has expired")
    if block.state == PENDING:
        return (Voided(at, number, block.amount, pool.available, True),)
    return (Voided(at, number, block.available, pool.available - block.available),)


def decide_recharge(pool: Pool, command: GrantRecharge, at: int) -> Outcome:
    """Decide the grant of a recharge request."""
    recharge = None if pool.alerts is None else pool.alerts.recharge
    if recharge is None or recharge.request != command.recharge:
        return UnknownEntry("recharge", command.recharge)
    rule = pool.alerts.terms.recharge if pool.alerts is not None else None
    amount = recharge.amount if command.amount is None else command.amount
    if command.expires_at is not None and command.expires_at <= at:
        return Unfit("expires_at", "a time after now")
    room = room_of(pool)
    if amount > room:
        return Unfit("amount", GRANTED_MAX, room)
    return (
        Granted(
            at,
            command.key,
            amount,
            pool.available + amount,
            "paid" if rule is None else rule.category,
            PRIORITY_DEFAULT,
            None,
            command.expires_at,
            command.cost_basis or (None if rule is None else rule.cost_basis),
            "recharge",
            command.comment,
            recharge=command.recharge,
        ),
    )


def _is_over(block: Block, at: int) -> bool:
    ended = block.expires_at is not None and block.expires_at <= at
    return ended or block.state in (EXPIRED, VOIDED)
