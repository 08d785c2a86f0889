"""What pools hold: balances, grants, holds, and what all pools of a customer hold together."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from solvent.engine.values.readable import Readable

from .receipts import Allocation

GrantState: TypeAlias = Literal["pending", "active", "depleted", "expired", "voided"]


class Balance(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pool at a version. Always ``granted = available + held + spent + expired + voided + moved_out``.

    ``granted`` counts the grants that have taken effect; ``pending`` are those still to come.
    """

    pool: str
    version: int
    as_of: datetime
    available: Decimal
    held: Decimal
    granted: Decimal
    spent: Decimal
    expired: Decimal
    voided: Decimal
    moved_out: Decimal
    pending: Decimal


class GrantView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One grant, where its credits went, and its state."""

    id: str
    state: GrantState
    amount: Decimal
    available: Decimal
    held: Decimal
    spent: Decimal
    expired: Decimal
    voided: Decimal
    moved_out: Decimal
    category: Literal["paid", "promotional"]
    priority: int
    created_at: datetime
    effective_at: datetime
    expires_at: datetime | None
    cost_basis: dict[str, str] | None
    name: str | None
    comment: str | None
    metadata: dict[str, str | int | float | bool]
    key: str


class GrantList(Readable, msgspec.Struct, frozen=True, gc=False):
    """The grants of a pool at a version: those that can be burned in burn order, then the others, newest first."""

    pool: str
    version: int
    grants: tuple[GrantView, ...]


class HoldView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A hold that is not settled yet."""

    id: str
    amount: Decimal
    allocations: tuple[Allocation, ...]
    created_at: datetime
    expires_at: datetime
    key: str
    metric: str | None
    dimensions: dict[str, str | int | float | bool]


class HoldList(Readable, msgspec.Struct, frozen=True, gc=False):
    """The open holds of a pool at a version, oldest first."""

    pool: str
    version: int
    holds: tuple[HoldView, ...]


class PoolPage(Readable, msgspec.Struct, frozen=True, gc=False):
    """Balances of some pools, ordered by their canonical names. ``next_cursor`` continues."""

    pools: tuple[Balance, ...]
    next_cursor: str | None


class CurrencyTotals(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What all pools of a customer hold of one currency. The fields add up as those of a ``Balance`` do.

    What moved between them counts as ``granted`` where it arrived and as ``moved_out`` where it left.
    """

    currency: str
    pools: int
    available: Decimal
    held: Decimal
    granted: Decimal
    spent: Decimal
    expired: Decimal
    voided: Decimal
    moved_out: Decimal
    pending: Decimal


class CustomerTotals(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The totals of a customer's pools, a line for each currency, by its name."""

    environment: str
    customer: str
    totals: tuple[CurrencyTotals, ...]
