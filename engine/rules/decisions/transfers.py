"""The decisions on both sides of a transfer."""

from __future__ import annotations

import msgspec

from solvent.engine.rules.alerting import with_alerts
from solvent.engine.rules.burning import take
from solvent.engine.rules.commands import Transfer
from solvent.engine.rules.due import beyond_roll_over
from solvent.engine.rules.events import Event, MovedIn, MovedOut, Opened, Trimmed
from solvent.engine.rules.outcomes import Insufficient, Outcome, Unfit, UnknownPool
from solvent.engine.rules.pool import Block, Pool, period_end_of, room_of


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

    Credits that come home to the pool of their recurring grant are that one's again. If their period has ended, what
    may not roll over expires as they arrive. In other pools they only remember where they came from.

    ``source`` may be the state before or after ``moved``: only the terms of its grants are used.
    """
    room = room_of(pool)
    if moved.amount > room:
        return Unfit("amount", "at most {}: the pool that gets them holds at most 63 bits of the smallest unit", room)
    at = max(pool.clock, now)
    events: list[Event] = [] if pool.version else [Opened(at, scale)]
    balance, stands = pool.available, dict[int, int]()
    for number, part in moved.parts:
        block = source.blocks[number]
        balance += part
        origin, period_end = _origin(source, source_name, block)
        recurring, lapsed = 0, 0
        if origin is not None and origin[0] == moved.target:
            recurring, origin = origin[1], None
            lapsed = beyond_roll_over(pool, recurring, period_end or 0, part, at, stands)
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
                recurring,
                origin,
                period_end,
                lapsed,
            )
        )
        if lapsed:
            balance -= lapsed
            events.append(Trimmed(at, pool.version + len(events), lapsed, balance))
    return with_alerts(pool, tuple(events))


def _origin(source: Pool, source_name: str, block: Block) -> tuple[tuple[str, int] | None, int | None]:
    """Return the pool and number of the recurring grant whose credits roll over in ``block``, and its period's end."""
    if not block.rolls:
        return None, None
    return block.origin or (source_name, block.recurring), period_end_of(source, block)
