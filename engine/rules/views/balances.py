"""The contents of a pool: its balance, its grants and its open holds."""

from __future__ import annotations

from solvent.engine.api.balances import Balance, GrantList, GrantState, GrantView, HoldList, HoldView
from solvent.engine.rules.pool import EXPIRED, PENDING, VOIDED, Block, Pool
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.dimensions import decode_dimensions
from solvent.engine.values.times import to_datetime

from .parts import allocations_of, cost_view


def balance_of(pool: Pool, name: str) -> Balance:
    """Return the balance of ``pool``, whose written form is ``name``."""
    scale = pool.scale
    return Balance(
        pool=name,
        version=pool.version,
        as_of=to_datetime(pool.clock),
        available=to_decimal(pool.available, scale),
        held=to_decimal(pool.held, scale),
        granted=to_decimal(pool.granted, scale),
        spent=to_decimal(pool.spent, scale),
        expired=to_decimal(pool.expired, scale),
        voided=to_decimal(pool.voided, scale),
        moved_out=to_decimal(pool.moved_out, scale),
        pending=to_decimal(pool.pending, scale),
    )


def grants_of(pool: Pool, name: str) -> GrantList:
    """Return all grants of ``pool``: those that can be burned in burn order, then the others, newest first."""
    burning = {block.number for block in pool.burn}
    others = [block for block in reversed(pool.blocks.values()) if block.number not in burning]
    return GrantList(name, pool.version, tuple(_grant_view(block, pool.scale) for block in [*pool.burn, *others]))


def _grant_view(block: Block, scale: int) -> GrantView:
    return GrantView(
        id=f"g{block.number}",
        state=_grant_state(block),
        amount=to_decimal(block.amount, scale),
        available=to_decimal(block.available, scale),
        held=to_decimal(block.held, scale),
        spent=to_decimal(block.spent, scale),
        expired=to_decimal(block.expired, scale),
        voided=to_decimal(block.voided, scale),
        moved_out=to_decimal(block.moved_out, scale),
        category=block.category,
        priority=block.priority,
        created_at=to_datetime(block.created_at),
        effective_at=to_datetime(block.effective_at),
        expires_at=None if block.expires_at is None else to_datetime(block.expires_at),
        cost_basis=cost_view(block.cost_basis),
        name=block.name,
        comment=block.comment,
        metadata=decode_dimensions(block.metadata),
        key=block.key,
    )


def _grant_state(block: Block) -> GrantState:
    if block.state == PENDING:
        return "pending"
    if block.state == EXPIRED:
        return "expired"
    if block.state == VOIDED:
        return "voided"
    return "active" if block.available or block.held else "depleted"


def holds_of(pool: Pool, name: str) -> HoldList:
    """Return the open holds of ``pool``."""
    scale = pool.scale
    return HoldList(
        name,
        pool.version,
        tuple(
            HoldView(
                id=f"h{hold.number}",
                amount=to_decimal(hold.amount, scale),
                allocations=allocations_of(hold.parts, scale),
                created_at=to_datetime(hold.created_at),
                expires_at=to_datetime(hold.expires_at),
                key=hold.key,
                metric=hold.metric,
                dimensions=decode_dimensions(hold.dimensions),
            )
            for hold in pool.holds.values()
        ),
    )
