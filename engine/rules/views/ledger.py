"""An entry of a pool's ledger, made from one event."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, assert_never

from solvent.engine.api.ledger import EntryKind, LedgerEntry
from solvent.engine.rules.events import (
    Activated,
    Alerted,
    AlertsSet,
    AllowanceRemoved,
    AllowanceSet,
    BudgetRemoved,
    BudgetSet,
    Captured,
    Debited,
    Event,
    Expired,
    Extended,
    Granted,
    Held,
    Lapsed,
    MovedIn,
    MovedOut,
    Opened,
    OutboxMoved,
    RatesSet,
    RechargeClosed,
    RechargeRequested,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Trimmed,
    Updated,
    Voided,
)
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.dimensions import decode_dimensions
from solvent.engine.values.pool_id import parse_canonical
from solvent.engine.values.times import to_datetime

from .parts import allocations_of, coverages, merged


def entry_of(event: Event, version: int, scale: int) -> LedgerEntry:
    """Return the ledger entry for the event that made ``version``."""

    def entry(kind: EntryKind, letter: str, amount: int, change: int, **rest: Any) -> LedgerEntry:
        at = to_datetime(event.at)
        return LedgerEntry(
            version=version,
            kind=kind,
            id=f"{letter}{version}",
            amount=to_decimal(amount, scale),
            change=to_decimal(change, scale),
            balance=to_decimal(0 if isinstance(event, Opened) else event.balance, scale),
            recorded_at=at,
            **{"occurred_at": at, **rest},
        )

    def usage(event: Debited | Captured) -> dict[str, Any]:
        return {
            "occurred_at": to_datetime(event.at if event.occurred_at is None else event.occurred_at),
            "allocations": allocations_of(merged(event.paid), scale),
            "metric": event.metric,
            "quantity": None if event.quantity is None else Decimal(event.quantity),
            "dimensions": decode_dimensions(event.dimensions),
            "card": event.card or None,
            "covered": coverages(event.covers, scale),
        }

    match event:
        case Debited():
            return entry("debit", "d", event.amount, -event.amount, key=event.key, **usage(event))
        case Granted():
            starts = event.at if event.effective_at is None else event.effective_at
            change = event.amount if starts <= event.at else 0
            return entry(
                "grant", "g", event.amount, change, key=event.key, dimensions=decode_dimensions(event.metadata)
            )
        case Activated():
            due_at = to_datetime(event.due_at)
            return entry("activation", "a", event.amount, event.amount, occurred_at=due_at, about=f"g{event.grant}")
        case Expired():
            due_at = to_datetime(event.due_at)
            return entry("expiry", "x", event.amount, -event.amount, occurred_at=due_at, about=f"g{event.grant}")
        case Lapsed():
            return entry("lapse", "x", event.amount, -event.amount, about=f"g{event.grant}")
        case Opened():
            return entry("opened", "o", 0, 0)
        case Held():
            return entry(
                "hold",
                "h",
                event.amount,
                -event.amount,
                key=event.key,
                allocations=allocations_of(event.parts, scale),
                metric=event.metric,
                dimensions=decode_dimensions(event.dimensions),
                covered=coverages(event.covers, scale),
            )
        case Captured():
            change = sum(part for _, part in event.returned) - sum(part for _, part in event.extra)
            return entry("capture", "d", event.amount, change, about=f"h{event.hold}", **usage(event))
        case Extended():
            return entry("extension", "e", 0, 0, key=event.key, about=f"h{event.hold}")
        case Released():
            return entry(
                "release" if event.due_at is None else "hold_expiry",
                "r",
                event.amount,
                event.amount,
                about=f"h{event.hold}",
                occurred_at=to_datetime(event.at if event.due_at is None else event.due_at),
                allocations=allocations_of(event.parts, scale),
                dimensions=decode_dimensions(event.dimensions),
            )
        case Reversed():
            return entry(
                "reversal",
                "r",
                event.amount,
                event.amount,
                key=event.key,
                about=f"d{event.debit}",
                allocations=allocations_of(merged(event.parts), scale),
                metric=event.metric,
                dimensions=decode_dimensions(event.dimensions),
                covered=coverages(event.covers, scale),
            )
        case Updated():
            metadata = decode_dimensions(event.metadata)
            return entry("update", "u", 0, 0, key=event.key, about=f"g{event.grant}", dimensions=metadata)
        case MovedOut():
            parts = allocations_of(event.parts, scale)
            about = str(parse_canonical(event.target))
            return entry(
                "transfer_out", "t", event.amount, -event.amount, key=event.key, about=about, allocations=parts
            )
        case MovedIn():
            about = str(parse_canonical(event.source))
            return entry("transfer_in", "g", event.amount, event.amount, about=about)
        case RatesSet():
            return entry("rates_set", "c", 0, 0, occurred_at=to_datetime(event.effective_at))
        case BudgetSet():
            return entry("budget_set", "b", 0, 0, about=event.terms.name)
        case BudgetRemoved():
            return entry("budget_removed", "b", 0, 0, about=event.name)
        case AllowanceSet():
            return entry("allowance_set", "f", 0, 0, about=event.terms.name)
        case AllowanceRemoved():
            return entry("allowance_removed", "f", 0, 0, about=event.name)
        case RecurringSet():
            return entry("recurring_set", "p", 0, 0, about=event.terms.name)
        case RecurringEnded():
            return entry("recurring_ended", "p", 0, 0, about=event.name)
        case Trimmed():
            return entry("roll_over_expiry", "x", event.amount, -event.amount, about=f"g{event.grant}")
        case AlertsSet():
            return entry("alerts_set", "n", 0, 0)
        case Alerted():
            return entry("alert", "n", 0, 0, about=event.kind)
        case RechargeRequested():
            return entry("recharge_requested", "q", event.amount, 0)
        case RechargeClosed():
            kind: EntryKind = "recharge_refused" if event.due_at is None else "recharge_timed_out"
            return entry(kind, "r", event.amount, 0, about=f"q{event.recharge}")
        case OutboxMoved():
            return entry("outbox", "x", 0, 0)
        case Voided():
            return entry("void", "v", event.amount, 0 if event.pending else -event.amount, about=f"g{event.grant}")
    assert_never(event)
