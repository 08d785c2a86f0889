"""The history of a pool, entry by entry, and the use of its credits by cost basis."""

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
    "extension",
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
    """What became of the credits of one cost basis and category. Amounts are in credits."""

    cost_basis: dict[str, str] | None
    """What one credit cost: ``per_credit`` (decimal text) and ``currency``; ``None`` for grants without one."""
    category: Literal["paid", "promotional"]
    burned: Decimal
    """The credits that were spent, less what was reversed."""
    expired: Decimal
    """The credits that expired unspent."""
    voided: Decimal
    """The credits that were voided unspent."""
    value: Decimal | None
    """``burned`` times the price of a credit, exact, in the currency of the cost basis; ``None`` without one."""


class CostReport(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What became of a pool's credits in a range of time, by cost basis."""

    pool: str
    """The name of the pool."""
    start: datetime | None
    """The first moment of the range; ``None`` for the beginning."""
    end: datetime | None
    """The moment after the last; ``None`` for the end."""
    lines: tuple[CostLine, ...]
    """A page of the lines, by currency and price, those without a cost basis last."""
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class LedgerEntry(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One entry of a pool's history. Amounts are in credits."""

    version: int
    """The version of the pool after this entry."""
    kind: EntryKind
    id: str
    """The id of the entry, as in its receipt."""
    amount: Decimal
    """The credits that the entry is about: granted, spent, held, given back, expired, voided or moved."""
    change: Decimal
    """What the entry added to the available credits; below 0 if it took some away."""
    balance: Decimal
    """The credits that were available just after this entry."""
    recorded_at: datetime
    """The time at which the entry was recorded."""
    occurred_at: datetime
    """The time at which it happened: for usage as the caller gave it, otherwise when it was recorded or due."""
    key: str | None = None
    """The idempotency key of the command; ``None`` if it had none."""
    allocations: tuple[Allocation, ...] = ()
    """The grants that paid, are held or got credits back, in burn order."""
    about: str | None = None
    """The id of the hold that was captured or released, the debit that was reversed, or the grant that was changed."""
    metric: str | None = None
    """What was metered; ``None`` if it was not given."""
    quantity: Decimal | None = None
    """How much was metered; ``None`` if it was not given."""
    dimensions: dict[str, str | int | float | bool] = {}
    """The dimensions of the usage event."""
    card: int | None = None
    """The version of the rate card that priced the debit; ``None`` if no card did."""
    covered: tuple[Coverage, ...] = ()
    """The credits that allowances paid in addition to ``amount``."""
    cut: tuple[str, ...] = ()
    """The names of fields that were left out because they do not fit into a message; ``allocations`` can be read with
    the operation of that name."""


class LedgerPage(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of a pool's ledger."""

    pool: str
    """The name of the pool."""
    version: int
    """The version of the pool when the page was read."""
    entries: tuple[LedgerEntry, ...]
    next_cursor: str | None
    """The cursor of the next page; ``None`` if this is the last."""
