"""The receipt of a command, made from the event that answers it."""

from __future__ import annotations

from typing import assert_never

from solvent.engine.api.receipts import NO_DETAILS, Details, Receipt
from solvent.engine.rules.events import (
    AlertsSet,
    AllowanceRemoved,
    AllowanceSet,
    BudgetRemoved,
    BudgetSet,
    Captured,
    Debited,
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
from solvent.engine.rules.pool import Pool

from .parts import covered_units, merged


def unchanged(pool: Pool, next_at: int | None = None) -> Receipt:
    """Return the receipt of a setting that changed nothing."""
    details = NO_DETAILS if next_at is None else Details(next_at_us=next_at)
    return Receipt("", pool.version, True, pool.scale, 0, pool.available, pool.clock, (), details)


def receipt_of(event: Keyed | Setting, version: int, scale: int, *, replayed: bool) -> Receipt:
    """Return the receipt of a command. It is made from the event alone, so it is the same at any later time."""
    if isinstance(event, Debited) and not event.warned and not event.card and not event.covers:
        return Receipt(f"d{version}", version, replayed, scale, event.amount, event.balance, event.at, event.parts)
    letter, amount, balance, parts, details = _receipt_parts(event)
    return Receipt(f"{letter}{version}", version, replayed, scale, amount, balance, event.at, parts, details)


def _receipt_parts(
    event: Keyed | Setting,
) -> tuple[str, int, int, Parts, Details]:
    """Return the letter of the id, the amount, the balance after the event and all that followed, parts, details."""
    match event:
        case Granted():
            return "g", event.amount, event.balance, (), NO_DETAILS
        case Held():
            details = Details(
                expires_at_us=event.expires_at, warnings=event.warned, covers_units=covered_units(event.covers)
            )
            return "h", event.amount, event.balance, event.parts, details
        case Debited():
            details = Details(warnings=event.warned, card=event.card or None, covers_units=covered_units(event.covers))
            return "d", event.amount, event.balance, event.parts, details
        case MovedOut():
            return "t", event.amount, event.balance, event.parts, NO_DETAILS
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
            return "o", 0, 0, (), NO_DETAILS
        case OutboxMoved():
            return "x", 0, 0, (), NO_DETAILS
    assert_never(event)
