"""The contents of a pool: its balance, its grants and its open holds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

from solvent.engine.api.balances import Balance, GrantList, GrantState, GrantView, HoldList, HoldView
from solvent.engine.rules.commands import WHOLE, Page
from solvent.engine.rules.pool import EXPIRED, LIVE, PENDING, VOIDED, Block, Pool
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


def grants_of(pool: Pool, name: str, page: Page = WHOLE, *, now: int = 0) -> GrantList:
    """Return a page of the grants of ``pool``: those that can be burned in burn order, then the rest, newest first.

    Their states are those of ``now``, or of the pool's clock if that is later.
    """
    at = max(pool.clock, now)
    blocks = _blocks(pool, page.after)
    if page.state is not None:
        blocks = (block for block in blocks if _grant_state(block, at) == page.state)
    found = list(islice(blocks, page.limit + 1))
    shown = found[: page.limit]
    following = page.cursor(len(found) > page.limit, _place_of(shown[-1]) if shown else None)
    return GrantList(name, pool.version, tuple([_grant_view(block, pool.scale, at) for block in shown]), following)


GrantPlace: TypeAlias = tuple[int, int, bool, int, int, int] | int
"""The place of a grant in the list: its rank if it can be burned, otherwise its number."""


def _place_of(block: Block) -> GrantPlace:
    return block.burn_rank() if _is_burning(block) else block.number


def _is_burning(block: Block) -> bool:
    return block.state == LIVE and block.available > 0


def _blocks(pool: Pool, after: GrantPlace | None) -> Iterator[Block]:
    if not isinstance(after, int):
        start = 0 if after is None else bisect_right(pool.burn, after, key=Block.burn_rank)
        yield from islice(pool.burn, start, None)
    below = after if isinstance(after, int) else pool.version + 1
    for block in reversed(pool.blocks.values()):
        if block.number < below and not _is_burning(block):
            yield block


def _grant_view(block: Block, scale: int, at: int) -> GrantView:
    return GrantView(
        id=f"g{block.number}",
        state=_grant_state(block, at),
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


def _grant_state(block: Block, at: int) -> GrantState:
    if block.state == PENDING:
        return "pending"
    if block.state == EXPIRED:
        return "expired"
    if block.state == VOIDED:
        return "voided"
    if block.held and block.expires_at is not None and block.expires_at <= at:
        # Nothing was left to expire, and what comes back of the hold lapses.
        return "expired"
    return "active" if block.available or block.held else "depleted"


def holds_of(pool: Pool, name: str, page: Page) -> HoldList:
    """Return a page of the open holds of ``pool``, oldest first."""
    scale, after = pool.scale, page.after or 0
    found = list(islice((hold for hold in pool.holds.values() if hold.number > after), page.limit + 1))
    shown = found[: page.limit]
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
            for hold in shown
        ),
        page.cursor(len(found) > page.limit, shown[-1].number if shown else None),
    )
