"""One prepaid pool: what may still be spent, and by which grants it is paid.

``decide`` says what should happen, ``evolve`` what a fact changes; live traffic, recovery and audits share them.
Amounts are units of the pool's currency, times microseconds. Nothing here reads a clock, touches a file or awaits.

Invariant, for every state reached by folding events over an empty pool, and for each grant alone:
``granted == available + held + spent + expired + voided + moved_out``, with no term negative.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any, Final, TypeAlias, assert_never

import msgspec

from .amounts import SCALE_DEFAULT, UNITS_MAX
from .budgets import BUDGETS_MAX, NO_CHARGES, Budget, BudgetTerms, Charge, Stop, charge, clone_budget, count
from .commands import (
    KEEP,
    Capture,
    Category,
    CostBasis,
    Debit,
    Grant,
    Hold,
    PoolCommand,
    Release,
    RemoveBudget,
    Reverse,
    SetBudget,
    SetRates,
    SettingCommand,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from .events import (
    Activated,
    BudgetRemoved,
    BudgetSet,
    Captured,
    Debited,
    Event,
    Expired,
    Granted,
    Held,
    Keyed,
    Lapsed,
    MovedIn,
    MovedOut,
    Opened,
    Parts,
    RatesSet,
    Released,
    Reversed,
    Updated,
    Voided,
)
from .rates import RateBook
from .times import DAY_US, MOMENT_MAX_US, SECOND_US

PENDING, LIVE, EXPIRED, VOIDED = range(4)
"""The states a grant is put into by events. A live grant with nothing left is called depleted."""

UPDATABLE: Final = ("priority", "expires_at", "metadata")
"""The terms of a grant that can be changed."""

CARDS_MAX: Final = 1_000
"""Rate cards of one currency over its life."""

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


class OpenHold(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Credits that are set aside: out of ``parts`` of grants, until ``expires_at``."""

    number: int
    """The version of the pool that the hold made. Written ``h<number>`` outside."""
    amount: int
    parts: Parts
    created_at: int
    expires_at: int
    key: str
    metric: str | None
    dimensions: msgspec.Raw
    charges: tuple[Charge, ...] = ()


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
    holds: dict[int, OpenHold] = msgspec.field(default_factory=dict)
    """The holds that are not settled yet, by number."""
    reversed: dict[int, int] = msgspec.field(default_factory=dict)
    """How much of a debit, by its number, has been undone."""
    budgets: dict[int, Budget] = msgspec.field(default_factory=dict)
    """By number, in the order in which they were set first."""
    rates: RateBook | None = None
    """Only in the stream that keeps the rate cards of a currency."""
    burn: list[Block] = msgspec.field(default_factory=list)
    """The live grants with credits left, in burn order. Made from ``blocks``, as is ``schedule``."""
    schedule: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """A heap of (time, number) at which a grant takes effect, or a grant or hold expires; some no longer matter."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """How far a usage event's own time may lie from the pool's clock, in microseconds."""

    occurred_back_max_us: int = 400 * DAY_US
    occurred_ahead_max_us: int = 300 * SECOND_US


LIMITS_DEFAULT: Final = Limits()


class Insufficient(msgspec.Struct, frozen=True, gc=False):
    """Refusal: less is available than was asked for."""

    requested: int
    available: int


class OverBudget(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the credits are there, but a budget does not let them be spent."""

    stop: Stop


class Unchanged(msgspec.Struct, frozen=True, gc=False):
    """Things are as they were asked to be: nothing to do."""


class UnknownPool(msgspec.Struct, frozen=True, gc=False):
    """Refusal: nothing was ever granted here."""


class KeyTaken(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the key belongs to another request, entry ``version``."""

    key: str
    version: int


class UnknownEntry(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the pool has no such grant, hold or debit."""

    what: str
    number: int


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the pool is not in a state for it. ``reason`` is a stable word."""

    reason: str
    message: str


class Unfit(msgspec.Struct, frozen=True, gc=False):
    """Refusal: ``field`` does not fit the pool as it is now."""

    field: str
    expected: str


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """The request was granted before, by the entry ``version``: answer as then, change nothing."""

    event: Keyed
    version: int


Refusal: TypeAlias = Insufficient | OverBudget | UnknownPool | UnknownEntry | KeyTaken | Conflict | Unfit
Outcome: TypeAlias = tuple[Event, ...] | Repeat | Unchanged | Refusal
Prior: TypeAlias = tuple[Keyed, int]
"""The event that used a key before, and its version."""


class BrokenInvariant(Exception):
    """The books of a pool do not balance. A bug: nothing of this pool may be served."""


def due(pool: Pool, now: int) -> tuple[Event, ...]:
    """What the passing of time has done to the pool by ``now``: grants that took effect, grants and holds that expired.

    In the order in which it was due. These are facts, not answers: they are journalled before the command that
    found them, even when that is refused. ``pass_time`` also applies them.
    """
    if not pool.schedule or pool.schedule[0][0] > now:
        return ()
    return tuple(pass_time(clone(pool), now))


def pass_time(pool: Pool, now: int) -> list[Event]:
    """Apply what is ``due`` to ``pool``, which the caller alone owns, and return it."""
    at = max(pool.clock, now)
    facts: list[Event] = []
    while pool.schedule and pool.schedule[0][0] <= now:
        moment, number = heapq.heappop(pool.schedule)
        for fact in _fall_due(pool, moment, number, at):
            apply(pool, fact)
            facts.append(fact)
    return facts


def _fall_due(pool: Pool, moment: int, number: int, at: int) -> tuple[Event, ...]:
    """What happens to a grant or a hold at a moment of the schedule; nothing, if it no longer matters."""
    hold = pool.holds.get(number)
    if hold is not None:
        balance = pool.available + hold.amount
        lapses = _lapses(pool, hold.parts, balance, at)
        return (
            Released(at, number, hold.amount, balance, hold.parts, _sum(lapses), hold.expires_at, hold.dimensions),
            *lapses,
        )
    block = pool.blocks.get(number)
    if block is None:
        return ()
    if block.state == PENDING and moment == block.effective_at:
        return (Activated(at, number, block.amount, pool.available + block.amount, moment),)
    if moment == block.expires_at and block.available:
        return (Expired(at, number, block.available, pool.available - block.available, moment),)
    return ()


def _lapses(pool: Pool, returned: Parts, balance: int, at: int) -> tuple[Lapsed, ...]:
    """Where credits that come back cannot stay: what belongs to a grant that is over goes the way of that grant."""
    lapses: list[Lapsed] = []
    for number, part in returned:
        block = pool.blocks[number]
        if block.state != LIVE or (block.expires_at is not None and block.expires_at <= at):
            balance -= part
            lapses.append(Lapsed(at, number, part, balance))
    return tuple(lapses)


def due_after(event: Event) -> int | None:
    """A time by which to look at the pool again after ``event``, as far as the event alone can tell: perhaps too early.

    For whoever reads a journal without folding it. Credits that came back may belong to a grant that expires any time.
    """
    match event:
        case Granted(effective_at=starts, expires_at=ends):
            return starts if starts is not None and starts > event.at else ends
        case Held(expires_at=ends) | Updated(expires_at=ends) | MovedIn(expires_at=ends):
            return ends
        case Activated() | Captured() | Released() | Reversed():
            return event.at
    return None


def _sum(lapses: Iterable[Lapsed]) -> int:
    return sum([lapse.amount for lapse in lapses])


def decide(
    pool: Pool,
    command: PoolCommand | SettingCommand,
    now: int,
    *,
    prior: Prior | None = None,
    scale: int = SCALE_DEFAULT,
    limits: Limits = LIMITS_DEFAULT,
) -> Outcome:
    """Say what should happen, without making it happen. Whatever was ``due`` by ``now`` must have been applied.

    ``prior`` is what the command's key was used for before, ``scale`` that of the currency if the pool is new.
    """
    if prior is not None and not isinstance(command, (SetBudget, RemoveBudget, SetRates)):
        return _repeat(command, *prior)
    at = pool.clock if pool.clock > now else now
    if isinstance(command, Debit):
        return _decide_debit(pool, command, at, limits)
    if isinstance(command, Grant):
        return _decide_grant(pool, command, at, scale)
    if isinstance(command, SetRates):
        return _decide_rates(pool, command, at, scale)
    if not pool.version:
        return UnknownPool()
    match command:
        case Hold():
            return _decide_hold(pool, command, at)
        case Capture():
            return _decide_capture(pool, command, at, limits)
        case Release(hold=number):
            hold = pool.holds.get(number)
            if hold is None:
                return UnknownEntry("hold", number)
            balance = pool.available + hold.amount
            lapses = _lapses(pool, hold.parts, balance, at)
            return Released(at, number, hold.amount, balance, hold.parts, _sum(lapses), None, hold.dimensions), *lapses
        case Reverse():
            return _decide_reverse(pool, command, at)
        case Transfer(key=key, amount=amount, target=target):
            if amount > pool.available:
                return Insufficient(amount, pool.available)
            return (MovedOut(at, key, amount, pool.available - amount, _take(pool, amount), target),)
        case UpdateGrant():
            return _decide_update(pool, command, at)
        case SetBudget():
            return _decide_budget(pool, command.terms, at)
        case RemoveBudget(name=name):
            for budget in pool.budgets.values():
                if budget.terms.name == name:
                    return (BudgetRemoved(at, budget.number, pool.available, name),)
            return Unchanged()
        case VoidGrant(grant=number):
            block = pool.blocks.get(number)
            if block is None:
                return UnknownEntry("grant", number)
            if _is_over(block, at):
                return Conflict("grant_expired", f"grant g{number} has expired")
            if block.state == PENDING:
                return (Voided(at, number, block.amount, pool.available, True),)
            return (Voided(at, number, block.available, pool.available - block.available),)
    assert_never(command)


def payers(pool: Pool, amount: int) -> Parts:
    """Which grants would pay ``amount``, or what is there if that is less."""
    amount = min(amount, pool.available)
    return _take(pool, amount) if amount else ()


def _repeat(command: PoolCommand, event: Keyed, version: int) -> Outcome:
    """The answer to a key that was used before."""
    if _same_request(event, command):
        return Repeat(event, version)
    if isinstance(command, (Capture, Release)) and isinstance(event, (Captured, Released)):
        word = "captured" if isinstance(event, Captured) else "released" if event.due_at is None else "expired"
        return Conflict(f"hold_{word}", f"hold h{command.hold} was {word} before, by entry {version}")
    return KeyTaken(command.key, version)


def _check_occurred_at(occurred_at: int, at: int, limits: Limits, backfill: bool) -> Unfit | None:
    if occurred_at > at + limits.occurred_ahead_max_us:
        return Unfit("occurred_at", f"at most {limits.occurred_ahead_max_us // SECOND_US} seconds ahead of now")
    if occurred_at < at - limits.occurred_back_max_us and not backfill:
        return Unfit("occurred_at", f"at most {limits.occurred_back_max_us // DAY_US} days ago")
    return None


def _decide_debit(pool: Pool, command: Debit, at: int, limits: Limits) -> Outcome:
    if not pool.version:
        return UnknownPool()
    occurred_at = command.occurred_at
    if occurred_at is not None and (unfit := _check_occurred_at(occurred_at, at, limits, command.backfill)):
        return unfit
    amount = command.amount
    if amount > pool.available:
        if not (command.partial and pool.available):
            return Insufficient(amount, pool.available)
        amount = pool.available
    charges: tuple[Charge, ...] = ()
    warned: tuple[str, ...] = ()
    if pool.budgets:
        charged = charge(pool.budgets.values(), command.dimensions, at, amount)
        if charged.stop is not None:
            if not (command.partial and charged.room):
                return OverBudget(charged.stop)
            amount = charged.room
            charged = charge(pool.budgets.values(), command.dimensions, at, amount)
        charges, warned = charged.charges, charged.warned
    # What is priced may cost nothing, and is recorded all the same.
    parts = _take(pool, amount) if amount else ()
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
            charges,
            warned,
            command.card,
        ),
    )


def _decide_hold(pool: Pool, command: Hold, at: int) -> Outcome:
    amount = command.amount
    if amount > pool.available:
        return Insufficient(amount, pool.available)
    charged = NO_CHARGES
    if pool.budgets:
        charged = charge(pool.budgets.values(), command.dimensions, at, amount, hold=True)
        if charged.stop is not None:
            return OverBudget(charged.stop)
    return (
        Held(
            at,
            command.key,
            amount,
            pool.available - amount,
            _take(pool, amount),
            at + command.ttl,
            command.metric,
            command.dimensions,
            charged.charges,
            charged.warned,
        ),
    )


def _decide_capture(pool: Pool, command: Capture, at: int, limits: Limits) -> Outcome:
    hold = pool.holds.get(command.hold)
    if hold is None:
        return UnknownEntry("hold", command.hold)
    occurred_at = command.occurred_at
    if occurred_at is not None and (unfit := _check_occurred_at(occurred_at, at, limits, False)):
        return unfit
    held = min(command.amount, hold.amount)
    parts, returned = _split(hold.parts, held)
    beyond = command.amount - held
    # What the hold covers is spent in any case: it was promised. Beyond it, the rules are those of a debit.
    charged = NO_CHARGES
    if beyond and pool.budgets:
        charged = charge(pool.budgets.values(), hold.dimensions, at, beyond)
    extra = _take(pool, beyond) if 0 < beyond <= pool.available and charged.stop is None else ()
    covered = beyond if extra else 0
    balance = pool.available - covered + hold.amount - held
    lapses = _lapses(pool, returned, balance, at)
    captured = Captured(
        at,
        hold.number,
        held + covered,
        balance,
        parts,
        extra,
        returned,
        beyond - covered,
        _sum(lapses),
        occurred_at,
        command.metric or hold.metric,
        command.quantity,
        hold.dimensions,
        charged.charges if extra else (),
        charged.warned if extra else (),
        hold.charges,
    )
    return (captured, *lapses)


def _decide_reverse(pool: Pool, command: Reverse, at: int) -> Outcome:
    if command.paid is None:
        return UnknownEntry("debit", command.debit)
    done = pool.reversed.get(command.debit, 0)
    left = sum(part for _, part in command.paid) - done
    if not left:
        return Conflict("already_reversed", f"nothing is left of debit d{command.debit}: all of it was reversed")
    amount = left if command.amount is None else command.amount
    if amount > left:
        return Unfit("amount", f"at most {left} smallest units, what is left of debit d{command.debit}")
    # The last units that were taken go back first, so that the split of a debit into parts changes nothing.
    kept, _ = _split(command.paid, left)
    _, parts = _split(kept, left - amount)
    balance = pool.available + amount
    lapses = _lapses(pool, parts, balance, at)
    return (
        Reversed(
            at,
            command.key,
            command.debit,
            amount,
            balance,
            parts,
            _sum(lapses),
            command.amount,
            command.dimensions,
            command.charges,
        ),
        *lapses,
    )


def _decide_update(pool: Pool, command: UpdateGrant, at: int) -> Outcome:
    block = pool.blocks.get(command.grant)
    if block is None:
        return UnknownEntry("grant", command.grant)
    if _is_over(block, at):
        word = "voided" if block.state == VOIDED else "expired"
        return Conflict(f"grant_{word}", f"grant g{block.number} was {word}: its terms stand")
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


def _decide_budget(pool: Pool, terms: BudgetTerms, at: int) -> Outcome:
    for budget in pool.budgets.values():
        if budget.terms.name == terms.name:
            if budget.terms == terms and budget.terms.same_counters(terms):
                return Unchanged()
            number = budget.number if budget.terms.same_counters(terms) else 0
            gone = () if number else (BudgetRemoved(at, budget.number, pool.available, terms.name),)
            return *gone, BudgetSet(at, number, pool.available, terms)
    if len(pool.budgets) >= BUDGETS_MAX:
        return Conflict("too_many_budgets", f"a pool has at most {BUDGETS_MAX} budgets")
    return (BudgetSet(at, 0, pool.available, terms),)


def _decide_rates(pool: Pool, command: SetRates, at: int, scale: int) -> Outcome:
    book = pool.rates or RateBook()
    starts = at if command.effective_at is None else command.effective_at
    if starts < at:
        return Unfit("effective_at", "now or later: what was used before is not repriced")
    present = book.at(starts)
    if present is not None and present.card == command.card and command.effective_at in (None, present.effective_at_us):
        return Unchanged()
    if len(book.versions) >= CARDS_MAX:
        return Conflict("too_many_rate_cards", f"a currency has at most {CARDS_MAX} rate cards over its life")
    set_ = RatesSet(at, starts, 0, command.card)
    return (set_,) if pool.version else (Opened(at, scale), set_)


def receive(
    pool: Pool, source: Pool, source_name: str, moved: MovedOut, now: int, *, scale: int
) -> tuple[Event, ...] | Unfit:
    """What happens to the pool that gets what ``source`` gives away by ``moved``: a grant for every part of one.

    ``source`` is the state before or after ``moved``: only the terms of its grants are looked at.
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


def _is_over(block: Block, at: int) -> bool:
    ended = block.expires_at is not None and block.expires_at <= at
    return ended or block.state in (EXPIRED, VOIDED)


def _take(pool: Pool, amount: int) -> Parts:
    """Which grants pay ``amount``, which is there, in burn order."""
    first = pool.burn[0]
    return ((first.number, amount),) if first.available >= amount else _spread(pool.burn, amount)


def _split(parts: Parts, amount: int) -> tuple[Parts, Parts]:
    """The first ``amount`` units of ``parts``, and the rest."""
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


def _spread(burn: Iterable[Block], amount: int) -> Parts:
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


def _same_request(event: Keyed, command: PoolCommand) -> bool:
    """Whether ``command`` asks for what ``event`` was the answer to."""
    match event, command:
        case Debited(), Debit():
            # A retry may be priced by another card: what was reported is compared, and the first price stands.
            return (
                (event.card > 0 if command.card else event.requested == command.amount and not event.card)
                and event.partial == command.partial
                and event.occurred_at == command.occurred_at
                and event.metric == command.metric
                and event.quantity == command.quantity
                and bytes(event.dimensions) == bytes(command.dimensions)
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
                and bytes(event.metadata) == bytes(command.metadata)
            )
        case Held(), Hold():
            return (
                event.amount == command.amount
                and event.expires_at - event.at == command.ttl
                and event.metric == command.metric
                and bytes(event.dimensions) == bytes(command.dimensions)
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
                and (command.metadata is KEEP or bytes(command.metadata) == bytes(event.metadata))
            )
        # A hold is settled once, a grant voided once: asked again, whatever the amount, they answer as they did.
        case (Captured(), Capture()) | (Voided(), VoidGrant()):
            return True
        case Released(due_at=due_at), Release():
            return due_at is None
    return False


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
        if event.charges:
            count(pool.budgets, event.charges, event.amount)
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
    elif isinstance(event, Opened):
        pool.scale = event.scale
    else:
        _APPLY[type(event)](pool, event)


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


def _apply_held(pool: Pool, event: Held) -> None:
    hold = OpenHold(
        pool.version,
        event.amount,
        event.parts,
        event.at,
        event.expires_at,
        event.key,
        event.metric,
        event.dimensions,
        event.charges,
    )
    pool.holds[hold.number] = hold
    count(pool.budgets, event.charges, event.amount, holds=1)
    for number, part in event.parts:
        block = pool.blocks[number]
        block.available -= part
        block.held += part
        if not block.available:
            _leave_burn(pool, block)
    pool.available -= event.amount
    pool.held += event.amount
    heapq.heappush(pool.schedule, (hold.expires_at, hold.number))
    _forget_due(pool)


def _apply_captured(pool: Pool, event: Captured) -> None:
    hold = pool.holds.pop(event.hold)
    count(pool.budgets, hold.charges, -sum([part for _, part in event.returned]), holds=-1)
    count(pool.budgets, event.charges, sum([part for _, part in event.extra]))
    for number, part in event.parts:
        block = pool.blocks[number]
        block.held -= part
        block.spent += part
        pool.held -= part
        pool.spent += part
    for number, part in event.extra:
        block = pool.blocks[number]
        block.available -= part
        block.spent += part
        pool.available -= part
        pool.spent += part
        if not block.available:
            _leave_burn(pool, block)
    for number, part in event.returned:
        pool.blocks[number].held -= part
        pool.held -= part
        _come_back(pool, number, part)
    _forget_due(pool)


def _apply_released(pool: Pool, event: Released) -> None:
    hold = pool.holds.pop(event.hold)
    count(pool.budgets, hold.charges, -event.amount, holds=-1)
    for number, part in event.parts:
        pool.blocks[number].held -= part
        pool.held -= part
        _come_back(pool, number, part)
    _forget_due(pool)


def _apply_reversed(pool: Pool, event: Reversed) -> None:
    pool.reversed[event.debit] = pool.reversed.get(event.debit, 0) + event.amount
    count(pool.budgets, event.charges, -event.amount)
    for number, part in event.parts:
        pool.blocks[number].spent -= part
        pool.spent -= part
        _come_back(pool, number, part)


def _come_back(pool: Pool, number: int, part: int) -> None:
    """Credits of a grant are available again. If the grant is over, a ``Lapsed`` follows at once."""
    block = pool.blocks[number]
    was_empty = not block.available
    block.available += part
    pool.available += part
    if was_empty and block.state == LIVE:
        insort(pool.burn, block, key=Block.burn_rank)
        if block.expires_at is not None:
            heapq.heappush(pool.schedule, (block.expires_at, number))


def _apply_lapsed(pool: Pool, event: Lapsed) -> None:
    block = pool.blocks[event.grant]
    block.available -= event.amount
    pool.available -= event.amount
    if block.state == VOIDED:
        block.voided += event.amount
        pool.voided += event.amount
    else:
        if block.state == LIVE and not block.available:
            # It was depleted or held when its time came, so nothing had expired that would have said so.
            _leave_burn(pool, block)
            block.state = EXPIRED
        block.expired += event.amount
        pool.expired += event.amount
    _forget_due(pool)


def _apply_updated(pool: Pool, event: Updated) -> None:
    block = pool.blocks[event.grant]
    # The rank must not change under the sorted list.
    if block.available:
        _leave_burn(pool, block)
    block.priority = event.priority
    block.expires_at = event.expires_at
    block.metadata = event.metadata
    if block.available:
        insort(pool.burn, block, key=Block.burn_rank)
    _put_on_schedule(pool, block)
    _forget_due(pool)


def _apply_voided(pool: Pool, event: Voided) -> None:
    block = pool.blocks[event.grant]
    if block.available:
        _leave_burn(pool, block)
    if event.pending:
        # It did not count as granted yet: voided, it counts as granted and taken away.
        pool.pending -= event.amount
        pool.granted += event.amount
    else:
        block.available -= event.amount
        pool.available -= event.amount
    block.state = VOIDED
    block.voided += event.amount
    pool.voided += event.amount
    _forget_due(pool)


def _apply_budget_set(pool: Pool, event: BudgetSet) -> None:
    if event.budget:
        pool.budgets[event.budget].terms = event.terms
    else:
        pool.budgets[pool.version] = Budget(pool.version, event.terms)


def _apply_moved_out(pool: Pool, event: MovedOut) -> None:
    for number, part in event.parts:
        block = pool.blocks[number]
        block.available -= part
        block.moved_out += part
        if not block.available:
            _leave_burn(pool, block)
    pool.available -= event.amount
    pool.moved_out += event.amount
    _forget_due(pool)


def _apply_moved_in(pool: Pool, event: MovedIn) -> None:
    block = Block(
        number=pool.version,
        state=LIVE,
        amount=event.amount,
        available=event.amount,
        held=0,
        spent=0,
        expired=0,
        voided=0,
        moved_out=0,
        category=event.category,
        priority=event.priority,
        created_at=event.created_at,
        effective_at=event.effective_at,
        expires_at=event.expires_at,
        key=event.source_key,
        cost_basis=event.cost_basis,
        name=event.name,
        comment=event.comment,
        metadata=event.metadata,
    )
    pool.blocks[block.number] = block
    pool.granted += event.amount
    pool.available += event.amount
    insort(pool.burn, block, key=Block.burn_rank)
    _put_on_schedule(pool, block)


def _apply_rates_set(pool: Pool, event: RatesSet) -> None:
    book = pool.rates or RateBook()
    pool.rates = book.with_version(event.card, effective_at_us=event.effective_at, now_us=event.at)


def _apply_budget_removed(pool: Pool, event: BudgetRemoved) -> None:
    del pool.budgets[event.budget]


_APPLY: Final[dict[type[Event], Callable[[Pool, Any], None]]] = {
    Held: _apply_held,
    Captured: _apply_captured,
    Released: _apply_released,
    Reversed: _apply_reversed,
    Updated: _apply_updated,
    Voided: _apply_voided,
    Lapsed: _apply_lapsed,
    BudgetSet: _apply_budget_set,
    BudgetRemoved: _apply_budget_removed,
    RatesSet: _apply_rates_set,
    MovedOut: _apply_moved_out,
    MovedIn: _apply_moved_in,
}


def _leave_burn(pool: Pool, block: Block) -> None:
    # A debit empties grants from the front; whatever else takes one from further back is rare.
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
        if number in pool.holds:
            return
        block = pool.blocks.get(number)
        if block is not None and (block.state == PENDING or (block.available and moment == block.expires_at)):
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
    changed.holds = pool.holds.copy()
    changed.reversed = pool.reversed.copy()
    changed.budgets = {number: clone_budget(budget) for number, budget in pool.budgets.items()}
    changed.schedule = pool.schedule.copy()
    return changed


def rebuild_orders(pool: Pool) -> None:
    """Make ``burn`` and ``schedule`` from ``blocks``: for a pool that was read from a snapshot."""
    pool.burn = sorted(
        (block for block in pool.blocks.values() if block.state == LIVE and block.available), key=Block.burn_rank
    )
    pool.schedule = [(hold.expires_at, hold.number) for hold in pool.holds.values()]
    heapq.heapify(pool.schedule)
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
    held: dict[int, int] = dict.fromkeys(pool.blocks, 0)
    for hold in pool.holds.values():
        if sum(part for _, part in hold.parts) != hold.amount:
            raise BrokenInvariant(f"hold h{hold.number} of {hold.amount} has {hold.parts}")
        for number, part in hold.parts:
            held[number] += part
    if held != {number: block.held for number, block in pool.blocks.items()}:
        raise BrokenInvariant(f"the holds add up to {held}, the grants say otherwise")
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
