"""The model of grants. See "Grants and burn order" in docs/credits.md; the order itself is ``ModelPool.burn_order``."""

from __future__ import annotations

from solvent.engine.rules.commands import Grant, UpdateGrant
from solvent.engine.values.terms import KEEP

from .lines import Refused, passed_on
from .pool import ModelPool
from .units import Block


def grant(pool: ModelPool, command: Grant) -> None:
    starts = pool.at if command.effective_at is None else command.effective_at
    if command.expires_at is not None and command.expires_at <= max(pool.at, starts):
        raise Refused("Unfit", "expires_at")
    if command.amount > pool.room:
        raise Refused("Unfit", "amount")
    opened = not pool.log
    if opened:
        pool.note("a pool was opened by a grant")
    pool.open()
    pool.put_in(
        command.amount,
        command.category,
        key=command.key,
        priority=command.priority,
        effective_at=command.effective_at,
        ends=command.expires_at,
        opened=opened,
        **passed_on(command, "cost_basis", "name", "comment", "metadata"),
    )
    pool.alerts.cause("Granted")


def find(pool: ModelPool, number: int) -> Block:
    if number not in pool.blocks:
        raise Refused("UnknownEntry", "grant", number)
    return pool.blocks[number]


def update_grant(pool: ModelPool, command: UpdateGrant) -> None:
    block = find(pool, command.grant)
    if block.is_over(pool.at):
        raise Refused("Conflict", "grant_voided" if block.is_voided else "grant_expired")
    if isinstance(command.expires_at, int) and command.expires_at <= max(pool.at, block.starts):
        raise Refused("Unfit", "expires_at")
    changes = {
        name: value
        for name, value in passed_on(command, "priority", "expires_at", "metadata").items()
        if value is not KEEP
    }
    block.priority = changes.get("priority", block.priority)
    block.ends = changes.get("expires_at", block.ends)
    block.label = {**block.label, "metadata": changes.get("metadata", block.label["metadata"])}
    pool.write(
        "Updated",
        key=command.key,
        grant=block.number,
        priority=block.priority,
        expires_at=block.ends,
        metadata=block.label["metadata"],
        changed=tuple(changes),
    )


def void_grant(pool: ModelPool, number: int) -> None:
    block = find(pool, number)
    if block.is_over(pool.at):
        raise Refused("Conflict", "grant_expired")
    pool.void(block)
