"""All answers, and their form in plain JSON values: amounts as decimal text, times as ISO 8601."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from solvent.engine.values.moments import written

from .balances import Balance, CustomerTotals, GrantList, HoldList, PoolPage
from .clock import ClockStatus
from .events import EventPage
from .ledger import CostReport, LedgerPage
from .prices import CardList, Estimate
from .receipts import NO_DETAILS, AllocationPage, Receipt
from .settings import AlertsView, AllowanceCounts, AllowanceList, BudgetCounts, BudgetList, RecurringList
from .verdicts import Verdict

Answer: TypeAlias = (
    Receipt
    | AllocationPage
    | Balance
    | GrantList
    | HoldList
    | BudgetList
    | BudgetCounts
    | AllowanceList
    | AllowanceCounts
    | RecurringList
    | AlertsView
    | EventPage
    | CardList
    | Estimate
    | Verdict
    | CostReport
    | LedgerPage
    | PoolPage
    | CustomerTotals
    | ClockStatus
)


def to_wire(answer: Answer) -> dict[str, Any]:
    """Return the answer as plain JSON values: amounts as decimal text, times as ISO 8601."""
    if isinstance(answer, Receipt):
        built: dict[str, Any] = {
            "id": answer.id,
            "amount": str(answer.amount),
            "allocations": msgspec.to_builtins(answer.allocations),
            "balance": str(answer.balance),
            "version": answer.version,
            "recorded_at": written(answer.recorded_at),
            "replayed": answer.replayed,
        }
        if answer.details is not NO_DETAILS:
            built |= _details_to_wire(answer)
        return built
    plain: dict[str, Any] = msgspec.to_builtins(answer)
    return plain


def _details_to_wire(receipt: Receipt) -> dict[str, Any]:
    """Return only the fields that have a value. Readers take a missing field as ``None`` or zero."""
    parts: dict[str, Any] = {
        "hold": receipt.hold,
        "state": receipt.state,
        "opened_pool": True if receipt.opened_pool else None,
        "stopped_by": receipt.stopped_by,
        "resets_at": None if receipt.resets_at is None else receipt.resets_at.isoformat(),
        "settlement": msgspec.to_builtins(receipt.settlement),
        "debit": receipt.debit,
        "expires_at": None if receipt.expires_at is None else written(receipt.expires_at),
        "returned": str(receipt.returned) if receipt.details.returned_units else None,
        "lapsed": str(receipt.lapsed) if receipt.details.lapsed_units else None,
        "uncovered": str(receipt.uncovered) if receipt.details.uncovered_units else None,
        "granted": str(receipt.granted) if receipt.details.granted_units else None,
        "next_at": None if receipt.next_at is None else written(receipt.next_at),
        "card": receipt.card,
        "covered": str(receipt.covered) if receipt.details.covers_units else None,
        "allowances": msgspec.to_builtins(receipt.allowances) or None,
        "warnings": list(receipt.warnings) or None,
        "cut": list(receipt.cut) or None,
    }
    return {name: part for name, part in parts.items() if part is not None}
