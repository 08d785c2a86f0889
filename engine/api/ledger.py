"""The history of a pool, entry by entry, and what became of its credits by cost basis."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from solvent.engine.values.readable import Readable

from .receipts import Allocation, Coverage

EntryKind: TypeAlias = Literal[
    "opened",
    "grant",
    "activation",
    "update",
    "void",
    "expiry",
    "lapse",
    "debit",
    "hold",
    "capture",
    "release",
    "hold_expiry",
    "reversal",
    "budget_set",
    "budget_removed",
    "rates_set",
    "allowance_set",
    "allowance_removed",
    "recurring_set",
    "recurring_ended",
    "roll_over_expiry",
    "alerts_set",
    "alert",
    "recharge_requested",
    "recharge_refused",
    "recharge_timed_out",
    "outbox",
    "transfer_out",
    "transfer_in",
]


class CostLine(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What became of credits of one cost basis and category."""

    cost_basis: dict[str, str] | None
    category: Literal["paid", "promotional"]
    burned: Decimal
    """Spent, less what was reversed."""
    expired: Decimal
    voided: Decimal
    value: Decimal | None
    """``burned`` times the price of a credit, exact, in the money of the cost basis."""


class CostReport(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What became of a pool's credits in a range of time, by what they had cost."""

    pool: str
    start: datetime | None
    end: datetime | None
    lines: tuple[CostLine, ...]


class LedgerEntry(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One line of a pool's history. ``change`` is what it did to the available credits, ``balance`` the result."""

    version: int
    kind: EntryKind
    id: str
    amount: Decimal
    change: Decimal
    balance: Decimal
    recorded_at: datetime
    occurred_at: datetime
    key: str | None = None
    allocations: tuple[Allocation, ...] = ()
    about: str | None = None
    """The hold that was captured or released, the debit that was reversed, the grant that was changed."""
    metric: str | None = None
    quantity: Decimal | None = None
    dimensions: dict[str, str | int | float | bool] = {}
    card: int | None = None
    """The version of the rate card that priced a debit, if one did."""
    covered: tuple[Coverage, ...] = ()
    """What allowances paid beside ``amount``."""


class LedgerPage(Readable, msgspec.Struct, frozen=True, gc=False):
    """Some entries of a pool's ledger. ``next_cursor`` continues; ``None`` says that nothing is left."""

    pool: str
    version: int
    entries: tuple[LedgerEntry, ...]
    next_cursor: str | None
