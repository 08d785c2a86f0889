"""What should happen to a pool that is asked for something: events or a refusal. Pure, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

import msgspec

from solvent.engine.values.amounts import SCALE_DEFAULT, UNITS_MAX
from solvent.engine.values.terms import KEEP, PRIORITY_DEFAULT
from solvent.engine.values.times import DAY_US, SECOND_US

from .alerting import with_alerts
from .allowances import NOTHING_COVERED, Covers, cover, slice_covers, sum_covers
from .budgets import NO_CHARGES, Charge, charge
from .commands import (
    SETTING_COMMANDS,
    Capture,
    Debit,
    Grant,
    GrantRecharge,
    Hold,
    PoolCommand,
    RefuseRecharge,
    Release,
    Reverse,
    SetAlerts,
    SettingCommand,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from .decide_settings import decide_setting
from .due import lapses_of, sum_lapses
from .events import (
    Captured,
    Debited,
    Event,
    Granted,
    Held,
    Keyed,
    MovedIn,
    MovedOut,
    Opened,
    Parts,
    RechargeClosed,
    Released,
    Reversed,
    Updated,
    Voided,
    parts_of_one,
)
from .outcomes import (
    Conflict,
    ConflictReason,
    Insufficient,
    KeyTaken,
    Outcome,
    OverBudget,
    Prior,
    Repeat,
    Unfit,
    UnknownEntry,
    UnknownPool,
)
from .pool import EXPIRED, PENDING, VOIDED, Block, Pool

UPDATABLE: Final = ("priority", "expires_at", "metadata")
"""The terms of a grant that can be changed."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """How far a usage event's own time may lie from the pool's clock, in microseconds."""

    occurred_back_max_us: int = 400 * DAY_US
    occurred_ahead_max_us: int = 300 * SECOND_US


LIMITS_DEFAULT: Final = Limits()


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
    outcome = _decide(pool, command, now, prior, scale, limits)
    if pool.alerts is None and not isinstance(command, SetAlerts):
        return outcome
    return with_alerts(pool, outcome) if isinstance(outcome, tuple) else outcome


def _decide(
    pool: Pool, command: PoolCommand | SettingCommand, now: int, prior: Prior | None, scale: int, limits: Limits
) -> Outcome:
    at = pool.clock if pool.clock > now else now
    if isinstance(command, SETTING_COMMANDS):
        return decide_setting(pool, command, at, scale)
    if prior is not None:
        return _repeat(command, *prior)
    if isinstance(command, Debit):
        return _decide_debit(pool, command, at, limits)
    if isinstance(command, Grant):
        return _decide_grant(pool, command, at, scale)
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
            lapses = lapses_of(pool, hold.parts, balance, at)
            lapsed = sum_lapses(lapses)
            return Released(at, number, hold.amount, balance, hold.parts, lapsed, None, hold.dimensions), *lapses
        case Reverse():
            return _decide_reverse(pool, command, at)
        case Transfer(key=key, amount=amount, target=target):
            if amount > pool.available:
                return Insufficient(amount, pool.available)
            return (MovedOut(at, key, amount, pool.available - amount, _take(pool, amount), target),)
        case UpdateGrant():
            return _decide_update(pool, command, at)
        case VoidGrant(grant=number):
            block = pool.blocks.get(number)
            if block is None:
                return UnknownEntry("grant", number)
            if _is_over(block, at):
                return Conflict("grant_expired", f"grant g{number} has expired")
            if block.state == PENDING:
                return (Voided(at, number, block.amount, pool.available, True),)
            return (Voided(at, number, block.available, pool.available - block.available),)
        case GrantRecharge():
            return _decide_recharge(pool, command, at)
        case RefuseRecharge(recharge=number):
            if pool.alerts is None or pool.alerts.recharge.request != number:
                return UnknownEntry("recharge", number)
            return (RechargeClosed(at, number, pool.alerts.recharge.amount, pool.available),)
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
        reason: ConflictReason = "hold_captured"
        if isinstance(event, Released):
            reason = "hold_released" if event.due_at is None else "hold_expired"
        word = reason.removeprefix("hold_")
        return Conflict(reason, f"hold h{command.hold} was {word} before, by entry {version}")
    if isinstance(command, (GrantRecharge, RefuseRecharge)):
        reason = "recharge_granted"
        if isinstance(event, RechargeClosed):
            reason = "recharge_refused" if event.due_at is None else "recharge_timed_out"
        word = reason.removeprefix("recharge_").replace("_", " ")
        about = f"the request q{command.recharge} was {word} before, by entry {version}"
        return Conflict(reason, f"{about}: what was paid for it can be granted by itself")
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
    covered = NOTHING_COVERED
    if pool.allowances:
        covered = cover(
            pool.allowances.values(),
            command.dimensions,
            at,
            amount,
            metric=command.metric,
            quantity=command.quantity,
        )
        amount = covered.rest
    if amount > pool.available:
        if not (command.partial and (pool.available or covered.covers)):
            return Insufficient(command.amount, pool.available, command.amount - amount, covered.reset)
        amount = pool.available
    charges: tuple[Charge, ...] = ()
    warned: tuple[str, ...] = ()
    if pool.budgets:
        charged = charge(pool.budgets.values(), command.dimensions, at, amount)
        if charged.stop is not None:
            if not (command.partial and (charged.room or covered.covers)):
                return OverBudget(charged.stop)
            amount = charged.room or 0
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
            covered.covers,
        ),
    )


def _decide_hold(pool: Pool, command: Hold, at: int) -> Outcome:
    amount, covered = command.amount, NOTHING_COVERED
    if pool.allowances:
        covered = cover(pool.allowances.values(), command.dimensions, at, amount, counted="credits")
        amount = covered.rest
    if amount > pool.available:
        return Insufficient(command.amount, pool.available, command.amount - amount, covered.reset)
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
            _take(pool, amount) if amount else (),
            at + command.ttl,
            command.metric,
            command.dimensions,
            charged.charges,
            charged.warned,
            covered.covers,
        ),
    )


def _decide_capture(pool: Pool, command: Capture, at: int, limits: Limits) -> Outcome:
    hold = pool.holds.get(command.hold)
    if hold is None:
        return UnknownEntry("hold", command.hold)
    occurred_at = command.occurred_at
    if occurred_at is not None and (unfit := _check_occurred_at(occurred_at, at, limits, False)):
        return unfit
    metric = command.metric or hold.metric
    amount, extra_covers = command.amount, Covers()
    if pool.allowances and command.quantity is not None:
        covered = cover(
            pool.allowances.values(),
            hold.dimensions,
            at,
            amount,
            metric=metric,
            quantity=command.quantity,
            counted="quantity",
        )
        amount, extra_covers = covered.rest, covered.covers
    # What the hold covers is spent in any case: it was promised, by allowances first. Beyond, it is as a debit.
    kept = sum_covers(hold.covers)
    free = min(amount, kept)
    held = min(amount - free, hold.amount)
    parts, returned = _split(hold.parts, held)
    beyond = amount - free - held
    paid, extra, charged = beyond, Parts(), NO_CHARGES
    if beyond:
        more = NOTHING_COVERED
        if pool.allowances:
            more = cover(pool.allowances.values(), hold.dimensions, at, beyond, counted="credits")
            paid = more.rest
        if paid and pool.budgets:
            charged = charge(pool.budgets.values(), hold.dimensions, at, paid)
        if paid <= pool.available and charged.stop is None:
            extra = _take(pool, paid) if paid else ()
            extra_covers += more.covers
            beyond = 0
        else:
            paid = 0
    balance = pool.available - paid + hold.amount - held
    lapses = lapses_of(pool, returned, balance, at)
    captured = Captured(
        at,
        hold.number,
        held + paid,
        balance,
        parts,
        extra,
        returned,
        beyond,
        sum_lapses(lapses),
        occurred_at,
        metric,
        command.quantity,
        hold.dimensions,
        charged.charges if extra else (),
        charged.warned if extra else (),
        hold.charges,
        slice_covers(hold.covers, 0, free),
        extra_covers,
        slice_covers(hold.covers, free, kept),
    )
    return (captured, *lapses)


def _decide_reverse(pool: Pool, command: Reverse, at: int) -> Outcome:
    if command.paid is None:
        return UnknownEntry("debit", command.debit)
    done = pool.reversed.get(command.debit, 0)
    covered, paid = sum_covers(command.covers), sum(part for _, part in command.paid)
    left = covered + paid - done
    if not left:
        return Conflict("already_reversed", f"nothing is left of debit d{command.debit}: all of it was reversed")
    amount = left if command.amount is None else command.amount
    if amount > left:
        return Unfit("amount", f"at most {left} smallest units, what is left of debit d{command.debit}")
    # The last units that were taken go back first, so that the split of a debit into parts changes nothing: those that
    # grants had paid, then those that allowances had.
    kept, _ = _split(command.paid, max(0, left - covered))
    _, parts = _split(kept, max(0, left - amount - covered))
    covers = slice_covers(command.covers, left - amount, left)
    amount -= sum_covers(covers)
    # What was taken beyond the hold was taken last.
    held = paid - command.beyond_hold
    beyond = max(0, left - covered - held) - max(0, left - covered - amount - held)
    balance = pool.available + amount
    lapses = lapses_of(pool, parts, balance, at)
    return (
        Reversed(
            at,
            command.key,
            command.debit,
            amount,
            balance,
            parts,
            sum_lapses(lapses),
            command.amount,
            command.dimensions,
            command.charges,
            covers,
            command.metric,
            command.beyond_charges if beyond else (),
            beyond,
        ),
        *lapses,
    )


def _decide_update(pool: Pool, command: UpdateGrant, at: int) -> Outcome:
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


def _decide_recharge(pool: Pool, command: GrantRecharge, at: int) -> Outcome:
    recharge = None if pool.alerts is None else pool.alerts.recharge
    if recharge is None or recharge.request != command.recharge:
        return UnknownEntry("recharge", command.recharge)
    rule = pool.alerts.terms.recharge if pool.alerts is not None else None
    amount = recharge.amount if command.amount is None else command.amount
    if command.expires_at is not None and command.expires_at <= at:
        return Unfit("expires_at", "a time after now")
    room = UNITS_MAX - pool.granted - pool.pending
    if amount > room:
        return Unfit("amount", f"at most {room} smallest units more: a pool's grants stay below 2^63 together")
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
    return parts_of_one(first.number, amount) if first.available >= amount else _spread(pool.burn, amount)


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
                event.amount + sum_covers(event.covers) == command.amount
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
        case (Captured(), Capture()) | (Voided(), VoidGrant()) | (Granted(), GrantRecharge()):
            return True
        case RechargeClosed(due_at=due_at), RefuseRecharge():
            return due_at is None
        case Released(due_at=due_at), Release():
            return due_at is None
    return False
