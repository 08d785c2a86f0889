"""How a pool and its history look from outside: balances, grants, receipts and ledger entries."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_never

from .amounts import to_decimal
from .answers import Allocation, Balance, GrantList, GrantState, GrantView, LedgerEntry, Receipt
from .commands import decode_dimensions
from .events import Activated, Debited, Event, Expired, Granted, Keyed, Opened
from .pool import EXPIRED, PENDING, VOIDED, Block, Pool
from .times import to_datetime


def balance_of(pool: Pool, name: str) -> Balance:
    """The balance of ``pool``, which is written ``name``."""
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
    """All grants of ``pool``: those that can be burned in burn order, then the others, newest first."""
    burning = {block.number for block in pool.burn}
    others = [block for block in reversed(pool.blocks.values()) if block.number not in burning]
    return GrantList(name, pool.version, tuple(_grant_view(block, pool.scale) for block in [*pool.burn, *others]))


def _grant_view(block: Block, scale: int) -> GrantView:
    cost = block.cost_basis
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
        cost_basis=None if cost is None else {"per_credit": cost.per_credit, "currency": cost.currency},
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


def receipt_of(event: Keyed, version: int, scale: int, *, replayed: bool) -> Receipt:
    """The receipt of a grant or a debit. The event holds all of it, so any later time gives the same one."""
    if isinstance(event, Debited):
        return Receipt(f"d{version}", version, replayed, scale, event.amount, event.balance, event.at, event.parts)
    return Receipt(f"g{version}", version, replayed, scale, event.amount, event.balance, event.at)


def entry_of(event: Event, version: int, scale: int) -> LedgerEntry:
    """The ledger's line for the event that made ``version``."""
    at = to_datetime(event.at)
    if isinstance(event, Debited):
        amount = to_decimal(event.amount, scale)
        return LedgerEntry(
            version=version,
            kind="debit",
            id=f"d{version}",
            amount=amount,
            change=to_decimal(-event.amount, scale),
            balance=to_decimal(event.balance, scale),
            recorded_at=at,
            occurred_at=at if event.occurred_at is None else to_datetime(event.occurred_at),
            key=event.key,
            allocations=tuple(Allocation(f"g{grant}", to_decimal(part, scale)) for grant, part in event.parts),
            metric=event.metric,
            quantity=None if event.quantity is None else Decimal(event.quantity),
            dimensions=decode_dimensions(event.dimensions),
        )
    if isinstance(event, Granted):
        amount = to_decimal(event.amount, scale)
        starts = event.at if event.effective_at is None else event.effective_at
        return LedgerEntry(
            version=version,
            kind="grant",
            id=f"g{version}",
            amount=amount,
            change=amount if starts <= event.at else Decimal(0),
            balance=to_decimal(event.balance, scale),
            recorded_at=at,
            occurred_at=at,
            key=event.key,
            dimensions=decode_dimensions(event.metadata),
        )
    if isinstance(event, (Activated, Expired)):
        amount = to_decimal(event.amount, scale)
        return LedgerEntry(
            version=version,
            kind="activation" if isinstance(event, Activated) else "expiry",
            id=f"g{event.grant}",
            amount=amount,
            change=amount if isinstance(event, Activated) else to_decimal(-event.amount, scale),
            balance=to_decimal(event.balance, scale),
            recorded_at=at,
            occurred_at=to_datetime(event.due_at),
        )
    if isinstance(event, Opened):
        zero = Decimal(0)
        return LedgerEntry(
            version=version,
            kind="opened",
            id=f"o{version}",
            amount=zero,
            change=zero,
            balance=zero,
            recorded_at=at,
            occurred_at=at,
        )
    assert_never(event)
