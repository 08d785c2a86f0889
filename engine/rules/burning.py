"""Which grants pay, in burn order. ``Pool.burn`` is sorted by ``Block.burn_rank``."""

from __future__ import annotations

from collections.abc import Iterable

from .events import Parts, parts_of_one
from .pool import Block, Pool


def payers(pool: Pool, amount: int) -> Parts:
    """Return the grants that would pay ``amount``, or what is available if that is less."""
    amount = min(amount, pool.available)
    return take(pool, amount) if amount else ()


def take(pool: Pool, amount: int) -> Parts:
    """Return the grants that pay ``amount``, in burn order. ``amount`` must be available."""
    first = pool.burn[0]
    return parts_of_one(first.number, amount) if first.available >= amount else _spread(pool.burn, amount)


def _spread(burn: Iterable[Block], amount: int) -> Parts:
    parts: list[tuple[int, int]] = []
    for block in burn:
        part = min(block.available, amount)
        parts.append((block.number, part))
        amount -= part
        if not amount:
            break
    return tuple(parts)


def split(parts: Parts, amount: int) -> tuple[Parts, Parts]:
    """Return the first ``amount`` units of ``parts``, and the rest."""
    head: list[tuple[int, int]] = []
    tail: list[tuple[int, int]] = []
    for number, part in parts:
        first = min(part, amount)
        amount -= first
        if first:
            head.append((number, first))
        if part > first:
            tail.append((number, part - first))
    return tuple(head), tuple(tail)
