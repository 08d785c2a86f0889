"""The rows of the answers that are pages of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from .balances import CustomerTotals, GrantList, HoldList, PoolPage
from .events import EventPage
from .ledger import CostReport, LedgerPage
from .prices import CardList, CardView
from .receipts import AllocationPage
from .settings import AllowanceCounts, AllowanceList, BudgetCounts, BudgetList, RecurringList
from .usage_answers import UsageEntryPage

ROWS: Final[dict[type[Any], str]] = {
    AllocationPage: "allocations",
    AllowanceCounts: "counts",
    AllowanceList: "allowances",
    BudgetCounts: "counts",
    BudgetList: "budgets",
    CardList: "cards",
    CostReport: "lines",
    CustomerTotals: "totals",
    EventPage: "events",
    GrantList: "grants",
    HoldList: "holds",
    LedgerPage: "entries",
    PoolPage: "pools",
    RecurringList: "recurring",
    UsageEntryPage: "entries",
}
"""The field with the rows, by the type of the page."""


def rows_of(page: Any) -> Sequence[Any]:
    """Return the rows of a page; none for an answer that is no page."""
    field = ROWS.get(type(page))
    rows: Sequence[Any] = () if field is None else getattr(page, field)
    return rows


def _whole_cards(parts: Sequence[CardView]) -> list[CardView]:
    """Return cards whose rates came in several parts as one each."""
    cards: list[CardView] = []
    for part in parts:
        if part.first_rate and cards:
            begun = cards.pop()
            cards.append(msgspec.structs.replace(begun, rates=(*begun.rates, *part.rates)))
        else:
            cards.append(part)
    return cards


def joined(pages: Sequence[Any]) -> Any:
    """Return the pages of a list as one, without a cursor."""
    field = ROWS[type(pages[0])]
    rows = [row for page in pages for row in getattr(page, field)]
    if field == "cards":
        rows = _whole_cards(rows)
    return msgspec.structs.replace(pages[0], **{field: tuple(rows), "next_cursor": None})
