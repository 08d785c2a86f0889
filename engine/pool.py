"""One prepaid pool: what may still be spent, and by which grants it is paid.

``decide`` says what should happen, ``evolve`` what a fact changes; live traffic, recovery and audits share them.
Amounts are units of the pool's currency, times microseconds. Nothing here reads a clock, touches a file or awaits.

Invariant, for every state reached by folding events over an empty pool, and for each grant alone:
``granted == available + held + spent + expired + voided + moved_out``, with no term negative.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable
from copy import copy
from typing import Final, TypeAlias

import msgspec

from .amounts import SCALE_DEFAULT, UNITS_MAX
from .commands import Category, Command, CostBasis, Debit, Grant
from .events import Activated, Debited, Event, Expired, Granted, Keyed, Opened
from .times import DAY_US, MOMENT_MAX_US, SECOND_US

PENDING, LIVE, EXPIRED, VOIDED = range(4)
"""The states a grant is put into by events. A live grant with nothing left is called depleted."""

_NEVER: Final = MOMENT_MAX_US


class Block(msgspec.Struct, array_like=True, gc=False):
    """A grant in a pool: its terms, and where its credits are."""

    number: int
    """The version of the pool that the grant made. Written ``g<number>`` outside."""
    state: int
    amount: int
    available: int
    held: int
    spent: int
    expired: int
    voided: int
    moved_out: int
    category: Category
    priority: int
    created_at: int
    effective_at: int
    expires_at: int | None
    key: str
    cost_basis: CostBasis | None
    name: str | None
    comment: str | None
    metadata: msgspec.Raw

    def burn_rank(self) -> tuple[int, int, bool, int, int, int]:
        """Sorts grants by the order in which they are burned (design section 2)."""
        ends = _NEVER if self.expires_at is None else self.expires_at
        return self.priority, ends, self.category == "paid", self.effective_at, self.created_at, self.number


class Pool(msgspec.Struct, gc=False):
    """The state of one pool. ``apply`` changes it in place, ``evolve`` makes a changed copy."""

    scale: int = SCALE_DEFAULT
    version: int = 0
    """How many events made it. 0: the pool does not exist yet."""
    clock: int = 0
    """The last recorded time. It never runs backwards."""
    granted: int = 0
    available: int = 0
    held: int = 0
    spent: int = 0
    expired: int = 0
    voided: int = 0
    moved_out: int = 0
    pending: int = 0
    """Credits of grants that have not taken effect. Not part of ``granted`` until they do."""
    blocks: dict[int, Block] = msgspec.field(default_factory=dict)
    """All grants by number, in the order of the journal."""
    burn: list[Block] = msgspec.field(default_factory=list)
    """The live grants with credits left, in burn order. Made from ``blocks``, as is ``schedule``."""
    schedule: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """A heap of (time, grant) at which a grant takes effect or expires; may hold some that no longer matter."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """How far a usage event's own time may lie from the pool's clock, in microseconds."""

    occurred_back_max_us: int = 400 * DAY_US
    occurred_ahead_max_us: int = 300 * SECOND_US


LIMITS_DEFAULT: Final = Limits()


class Insufficient(msgspec.Struct, frozen=True, gc=False):
    """Refusal: less is available than was asked for."""

    requested: int
    available: int


class UnknownPool(msgspec.Struct, frozen=True, gc=False):
    """Refusal: nothing was ever granted here."""


class KeyTaken(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the key belongs to another request, entry ``version``."""

    key: str
    version: int


class Unfit(msgspec.Struct, frozen=True, gc=False):
    """Refusal: ``field`` does not fit the pool as it is now."""

    field: str
    expected: str


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """The request was granted before, by the entry ``version``: answer as then, change nothing."""

    event: Keyed
    version: int


Refusal: TypeAlias = Insufficient | UnknownPool | KeyTaken | Unfit
Outcome: TypeAlias = tuple[Event, ...] | Repeat | Refusal
Prior: TypeAlias = tuple[Keyed, int]
"""The event that used a key before, and its version."""


class BrokenInvariant(Exception):
    """The books of a pool do not balance. A bug: nothing of this pool may be served."""


def due(pool: Pool, now: int) -> tuple[Event, ...]:
    """What the passing of time has done to the pool by ``now``: grants that took effect, grants that expired.

    In the order in which it was due. These are facts, not answers: they are journalled before the command that
    found them, even when that is refused.
    """
    if not pool.schedule or pool.schedule[0][0] > now:
        return ()
    at = max(pool.clock, now)
    facts: list[Event] = []
    balance = pool.available
    activated: set[int] = set()
    for moment, number in sorted(entry for entry in pool.schedule if entry[0] <= now):
        block = pool.blocks[number]
        if block.state == PENDING and moment == block.effective_at and number not in activated:
            activated.add(number)
            balance += block.amount
            facts.append(Activated(at, number, block.amount, balance, moment))
        elif moment == block.expires_at:
            left = block.amount if number in activated else block.available
            if left:
                balance -= left
                facts.append(Expired(at, number, left, balance, moment))
    return tuple(facts)


def decide(
    pool: Pool,
    command: Command,
    now: int,
    *,
    prior: Prior | None = None,
    scale: int = SCALE_DEFAULT,
    limits: Limits = LIMITS_DEFAULT,
) -> Outcome:
    """Say what should happen, without making it happen. Whatever was ``due`` by ``now`` must have been applied.

    ``prior`` is what the command's key was used for before, ``scale`` that of the currency if the pool is new.
    """
    if prior is not None:
        event, version = prior
        return Repeat(event, version) if _same_request(event, command) else KeyTaken(command.key, version)
    at = pool.clock if pool.clock > now else now
    if type(command) is Debit:
        return _decide_debit(pool, command, at, limits)
    assert isinstance(command, Grant)  # noqa: S101 - narrows the type; decide has no third command
    return _decide_grant(pool, command, at, scale)


def _decide_debit(pool: Pool, command: Debit, at: int, limits: Limits) -> Outcome:
    if not pool.version:
        return UnknownPool()
    occurred_at = command.occurred_at
    if occurred_at is not None:
        if occurred_at > at + limits.occurred_ahead_max_us:
            return Unfit("occurred_at", f"at most {limits.occurred_ahead_max_us // SECOND_US} seconds ahead of now")
        if occurred_at < at - limits.occurred_back_max_us and not command.backfill:
            return Unfit("occurred_at", f"at most {limits.occurred_back_max_us // DAY_US} days ago")
    amount = command.amount
    if amount > pool.available:
        if not (command.partial and pool.available):
            return Insufficient(amount, pool.available)
        amount = pool.available
    first = pool.burn[0]
    parts = ((first.number, amount),) if first.available >= amount else _spread(pool.burn, amount)
    # Positional, in the order of the fields: this is the hot path.
    return (
        Debited(
            at,
            command.key,
            amount,
            pool.available - amount,
            parts,
            command.amount,
            command.partial,
            occurred_at,
            command.metric,
            command.quantity,
            command.dimensions,
        ),
    )


def _spread(burn: Iterable[Block], amount: int) -> tuple[tuple[int, int], ...]:
    parts: list[tuple[int, int]] = []
    for block in burn:
        part = min(block.available, amount)
        parts.append((block.number, part))
        amount -= part
        if not amount:
            break
    return tuple(parts)


def _decide_grant(pool: Pool, command: Grant, at: int, scale: int) -> Outcome:
    starts = at if command.effective_at is None else command.effective_at
    if command.expires_at is not None and command.expires_at <= max(at, starts):
        return Unfit("expires_at", "a time after now and after effective_at")
    room = UNITS_MAX - pool.granted - pool.pending
    if command.amount > room:
        return Unfit("amount", f"at most {room} smallest units more: a pool's grants stay below 2^63 together")
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
    )
    return (granted,) if pool.version else (Opened(at, scale), granted)


def _same_request(event: Keyed, command: Command) -> bool:
    if isinstance(event, Debited):
        return type(command) is Debit and (
            event.requested == command.amount
            and event.partial == command.partial
            and event.occurred_at == command.occurred_at
            and event.metric == command.metric
            and event.quantity == command.quantity
            and bytes(event.dimensions) == bytes(command.dimensions)
        )
    return type(command) is Grant and (
        event.amount == command.amount
        and event.category == command.category
        and event.priority == command.priority
        and event.effective_at == command.effective_at
        and event.expires_at == command.expires_at
        and event.cost_basis == command.cost_basis
        and event.name == command.name
        and event.comment == command.comment
        and bytes(event.metadata) == bytes(command.metadata)
    )


def apply(pool: Pool, event: Event) -> None:
    """Change ``pool``, which the caller alone owns, by a fact. It has no way to say no."""
    pool.version += 1
    pool.clock = event.at
    if isinstance(event, Debited):
        for number, part in event.parts:
            block = pool.blocks[number]
            block.available -= part
            block.spent += part
            if not block.available:
                _leave_burn(pool, block)
                if block.expires_at is not None:
                    _forget_due(pool)
        pool.available -= event.amount
        pool.spent += event.amount
    elif isinstance(event, Granted):
        _apply_granted(pool, event)
    elif isinstance(event, Activated):
        block = pool.blocks[event.grant]
        block.state = LIVE
        block.available = block.amount
        pool.pending -= block.amount
        pool.granted += block.amount
        pool.available += block.amount
        insort(pool.burn, block, key=Block.burn_rank)
        _forget_due(pool)
    elif isinstance(event, Expired):
        block = pool.blocks[event.grant]
        if block.available:
            _leave_burn(pool, block)
        block.state = EXPIRED
        block.available -= event.amount
        block.expired += event.amount
        pool.available -= event.amount
        pool.expired += event.amount
        _forget_due(pool)
    else:
        pool.scale = event.scale


def _apply_granted(pool: Pool, event: Granted) -> None:
    starts = event.at if event.effective_at is None else event.effective_at
    live = starts <= event.at
    block = Block(
        number=pool.version,
        state=LIVE if live else PENDING,
        amount=event.amount,
        available=event.amount if live else 0,
        held=0,
        spent=0,
        expired=0,
        voided=0,
        moved_out=0,
        category=event.category,
        priority=event.priority,
        created_at=event.at,
        effective_at=starts,
        expires_at=event.expires_at,
        key=event.key,
        cost_basis=event.cost_basis,
        name=event.name,
        comment=event.comment,
        metadata=event.metadata,
    )
    pool.blocks[block.number] = block
    if live:
        pool.granted += event.amount
        pool.available += event.amount
        insort(pool.burn, block, key=Block.burn_rank)
    else:
        pool.pending += event.amount
    _put_on_schedule(pool, block)


def _leave_burn(pool: Pool, block: Block) -> None:
    # A debit empties grants from the front; only an expiry takes one from further back.
    if pool.burn[0] is block:
        del pool.burn[0]
    else:
        pool.burn.remove(block)


def _put_on_schedule(pool: Pool, block: Block) -> None:
    if block.state == PENDING:
        heapq.heappush(pool.schedule, (block.effective_at, block.number))
    if block.expires_at is not None and (block.state == PENDING or block.available):
        heapq.heappush(pool.schedule, (block.expires_at, block.number))


def _forget_due(pool: Pool) -> None:
    """Drop from the top of the schedule what has happened, and expiries of grants with nothing left.

    Called whenever a grant takes effect, expires or is depleted, so that the top always matters.
    """
    while pool.schedule:
        moment, number = pool.schedule[0]
        block = pool.blocks[number]
        if block.state == PENDING or (block.available and moment == block.expires_at):
            return
        heapq.heappop(pool.schedule)


def evolve(pool: Pool, event: Event) -> Pool:
    """The pool after ``event``; ``pool`` itself is left as it was."""
    changed = clone(pool)
    apply(changed, event)
    return changed


def fold(pool: Pool, events: Iterable[Event]) -> Pool:
    """The pool after ``events``; ``pool`` itself is left as it was."""
    changed = clone(pool)
    for event in events:
        apply(changed, event)
    return changed


def clone(pool: Pool) -> Pool:
    """A copy that shares nothing that changes."""
    changed = copy(pool)
    changed.blocks = {number: copy(block) for number, block in pool.blocks.items()}
    changed.burn = [changed.blocks[block.number] for block in pool.burn]
    changed.schedule = pool.schedule.copy()
    return changed


def rebuild_orders(pool: Pool) -> None:
    """Make ``burn`` and ``schedule`` from ``blocks``: for a pool that was read from a snapshot."""
    pool.burn = sorted(
        (block for block in pool.blocks.values() if block.state == LIVE and block.available), key=Block.burn_rank
    )
    pool.schedule = []
    for block in pool.blocks.values():
        _put_on_schedule(pool, block)


def check_totals(pool: Pool) -> None:
    """Raise ``BrokenInvariant`` unless the pool's own totals balance. Cheap: asked after every command."""
    available, held, spent = pool.available, pool.held, pool.spent
    expired, voided, moved_out = pool.expired, pool.voided, pool.moved_out
    if (
        pool.granted != available + held + spent + expired + voided + moved_out
        or available < 0
        or held < 0
        or spent < 0
        or expired < 0
        or voided < 0
        or moved_out < 0
        or pool.pending < 0
    ):
        raise BrokenInvariant(f"the books do not balance at version {pool.version}: {_terms(pool)}")


def check_books(pool: Pool) -> None:
    """Raise ``BrokenInvariant`` unless every grant balances and the totals are the sums of the grants."""
    check_totals(pool)
    sums = dict.fromkeys(_terms(pool), 0)
    pending = granted = 0
    for block in pool.blocks.values():
        terms = _terms(block)
        if block.state == PENDING:
            pending += block.amount
            if any(terms.values()):
                raise BrokenInvariant(f"grant g{block.number} is pending and has {terms}")
            continue
        granted += block.amount
        if block.amount != sum(terms.values()) or min(terms.values()) < 0:
            raise BrokenInvariant(f"grant g{block.number} of {block.amount} has {terms}")
        for term, value in terms.items():
            sums[term] += value
    if (sums, granted, pending) != (_terms(pool), pool.granted, pool.pending):
        raise BrokenInvariant(f"the grants add up to {sums}, the pool says {_terms(pool)}")
    expected = sorted((block for block in pool.blocks.values() if block.available), key=Block.burn_rank)
    if [block.number for block in expected] != [block.number for block in pool.burn]:
        raise BrokenInvariant(f"the burn order is not that of the grants at version {pool.version}")


def _terms(holder: Pool | Block) -> dict[str, int]:
    return {
        "available": holder.available,
        "held": holder.held,
        "spent": holder.spent,
        "expired": holder.expired,
        "voided": holder.voided,
        "moved_out": holder.moved_out,
    }
