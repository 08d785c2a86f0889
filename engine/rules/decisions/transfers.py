"""The decisions on both sides of a transfer."""

from __future__ import annotations

import msgspec

from solvent.engine.rules.burning import take
from solvent.engine.rules.commands import Transfer
from solvent.engine.rules.events import Event, MovedIn, MovedOut, Opened
from solvent.engine.rules.outcomes import Insufficient, Outcome, Unfit, UnknownPool
from solvent.engine.rules.pool import Pool
from solvent.engine.values.amounts import UNITS_MAX


def check_target(target: Pool, command: Transfer) -> UnknownPool | None:
    """Return the refusal of a transfer, asked for the first time, to a pool that does not exist; ``None`` if it may be.

    A mistyped name must not become a pool.
    """
    return None if target.version or command.open_pool else UnknownPool()


def decide_transfer(pool: Pool, command: Transfer, at: int) -> Outcome:
    """Decide a transfer for the source pool."""
    amount = command.amount
    if amount > pool.available:
        return Insufficient(amount, pool.available)
    return (MovedOut(at, command.key, amount, pool.available - amount, take(pool, amount), command.target),)


def opening(outcome: tuple[Event, ...]) -> tuple[Event, ...]:
    """Return the events of a transfer's source where the transfer opens its target."""
    moved, *rest = outcome
    assert isinstance(moved, MovedOut)  # noqa: S101 - narrows the type: what a transfer is decided to be
    return msgspec.structs.replace(moved, opened=True), *rest


def receive(
    pool: Pool, source: Pool, source_name: str, moved: MovedOut, now: int, *, scale: int
) -> tuple[Event, ...] | Unfit:
    """Return the events of the target pool that receives what ``moved`` took from ``source``: a grant for every part.

    ``source`` may be the state before or after ``moved``: only the terms of its grants are used.
    """
    if moved.amount > UNITS_MAX - pool.granted - pool.pending:
        return Unfit("amount", "less: the grants of the pool that gets them stay below 2^63 units together")
    at = max(pool.clock, now)
    events: list[Event] = [] if pool.version else [Opened(at, scale)]
    balance = pool.available
    for number, part in moved.parts:
        block = source.blocks[number]
        balance += part
        events.append(
            MovedIn(
                at,
                source_name,
                number,
                moved.key,
                part,
                balance,
                block.category,
                block.priority,
                block.created_at,
                block.effective_at,
                block.expires_at,
                block.cost_basis,
                block.name,
                block.comment,
                block.metadata,
            )
        )
    return tuple(events)
