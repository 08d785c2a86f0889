"""The receipt of a command, made from the event that answers it."""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

from solvent.engine.api.receipts import NO_DETAILS, Details, Receipt
from solvent.engine.rules.events import (
    AlertsSet,
    AllowanceRemoved,
    AllowanceSet,
    BudgetRemoved,
    BudgetSet,
    Captured,
    Debited,
    Extended,
    Granted,
    Held,
    Keyed,
    MovedOut,
    Opened,
    OutboxMoved,
    Parts,
    RatesSet,
    RechargeClosed,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Setting,
    Updated,
    Voided,
)
from solvent.engine.rules.outcomes import Repeat
from solvent.engine.rules.pool import Pool
from solvent.engine.values.terms import HoldState

from .parts import covered_units, merged

_OPENED: Final = Details(opened=True)


def unchanged(pool: Pool, next_at: int | None = None) -> Receipt:
    """Return the receipt of a setting that changed nothing."""
    details = NO_DETAILS if next_at is None else Details(next_at_us=next_at)
    return Receipt("", pool.version, True, pool.scale, 0, pool.available, pool.clock, (), details)


def receipt_of_repeat(repeat: Repeat, scale: int) -> Receipt:
    """Return the first receipt again. That of a hold says what has become of the hold meanwhile."""
    first = receipt_of(repeat.event, repeat.version, scale, replayed=True)
    if not isinstance(repeat.event, Held):
        return first
    if repeat.ended is None:
        details = msgspec.structs.replace(first.details, expires_at_us=repeat.expires_at)
    else:
        event, version = repeat.ended
        letter, amount, _, _, end = _receipt_parts(event)
        details = msgspec.structs.replace(
            first.details,
            state=state_after(event),
            settled_units=(
                f"{letter}{version}",
                amount if isinstance(event, Captured) else 0,
                end.returned_units,
                end.lapsed_units,
                end.uncovered_units,
            ),
        )
    return msgspec.structs.replace(first, details=details)


def state_after(event: Keyed) -> HoldState:
    """Return what became of the hold that ``event`` settled."""
    if isinstance(event, Captured):
        return "captured"
    return "expired" if isinstance(event, Released) and event.due_at is not None else "released"


def receipt_of(event: Keyed | Setting, version: int, scale: int, *, replayed: bool, opened: bool = False) -> Receipt:
    """Return the receipt of a command. It is made from the event alone, so it is the same at any later time.

    Settings, whose receipts are not repeated, do not record whether they ``opened`` their pool.
    """
    if isinstance(event, Debited) and not event.warned and not event.card and not event.covers and event.cut is None:
        return Receipt(f"d{version}", version, replayed, scale, event.amount, event.balance, event.at, event.parts)
    letter, amount, balance, parts, details = _receipt_parts(event)
    if opened and not details.opened:
        details = msgspec.structs.replace(details, opened=True)
    return Receipt(f"{letter}{version}", version, replayed, scale, amount, balance, event.at, parts, details)


def _receipt_parts(
    event: Keyed | Setting,
) -> tuple[str, int, int, Parts, Details]:
    """Return the letter of the id, the amount, the balance after the event and all that followed, parts, details."""
    match event:
        case Granted():
            return "g", event.amount, event.balance, (), _OPENED if event.opened else NO_DETAILS
        case Held():
            details = Details(
                expires_at_us=event.expires_at,
                warnings=event.warned,
                covers_units=covered_units(event.covers),
                state="open",
            )
            return "h", event.amount, event.balance, event.parts, details
        case Debited():
            details = Details(
                warnings=event.warned,
                card=event.card or None,
                covers_units=covered_units(event.covers),
                stopped_by=None if event.cut is None else f"{event.cut.by} {event.cut.name}",
                resets_at_us=None if event.cut is None else event.cut.resets_at,
            )
            return "d", event.amount, event.balance, event.parts, details
        case MovedOut():
            return "t", event.amount, event.balance, event.parts, _OPENED if event.opened else NO_DETAILS
        case RatesSet():
            return "c", 0, 0, (), NO_DETAILS
        case BudgetSet() | BudgetRemoved():
            return "b", 0, event.balance, (), NO_DETAILS
        case Captured():
            details = Details(
                hold=event.hold,
                returned_units=sum(part for _, part in event.returned),
                lapsed_units=event.lapsed,
                uncovered_units=event.uncovered,
                warnings=event.warned,
                covers_units=covered_units(event.covers),
                card=event.card or None,
            )
            return "d", event.amount, event.balance - event.lapsed, merged(event.paid), details
        case Released():
            details = Details(hold=event.hold, returned_units=event.amount, lapsed_units=event.lapsed)
            return "r", event.amount, event.balance - event.lapsed, event.parts, details
        case Reversed():
            details = Details(
                debit=event.debit,
                returned_units=event.amount,
                lapsed_units=event.lapsed,
                covers_units=covered_units(event.covers),
            )
            return "r", event.amount, event.balance - event.lapsed, merged(event.parts), details
        case Extended():
            return "e", 0, event.balance, (), Details(hold=event.hold, expires_at_us=event.expires_at)
        case Updated():
            return "u", 0, event.balance, (), NO_DETAILS
        case Voided():
            return "v", event.amount, event.balance, (), NO_DETAILS
        case RechargeClosed():
            return "r", event.amount, event.balance, (), NO_DETAILS
        case AllowanceSet() | AllowanceRemoved():
            return "f", 0, event.balance, (), NO_DETAILS
        case RecurringSet():
            details = Details(granted_units=event.granted, lapsed_units=event.lapsed, next_at_us=event.following)
            return "p", event.granted, event.balance + event.granted - event.lapsed, (), details
        case RecurringEnded():
            return "p", 0, event.balance, (), NO_DETAILS
        case AlertsSet():
            return "n", 0, event.balance, (), NO_DETAILS
        case Opened():
            return "o", 0, 0, (), _OPENED
        case OutboxMoved():
            return "x", 0, 0, (), NO_DETAILS
    assert_never(event)
