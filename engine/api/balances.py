"""The contents of pools: balances, grants, holds, and the totals of all pools of a customer."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from solvent.engine.values.readable import Readable

from .receipts import Allocation

GrantState: TypeAlias = Literal["pending", "active", "depleted", "expired", "voided"]


class Balance(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The balance of a pool at a version, in credits.

    Always ``granted = available + held + spent + expired + voided + moved_out``.
    """

    pool: str
    """The name of the pool."""
    version: int
    """The version of the pool: the number of its entries."""
    as_of: datetime
    """The time at which this is the balance."""
    available: Decimal
    """The credits that can be spent."""
    held: Decimal
    """The credits that open holds have set aside."""
    granted: Decimal
    """The credits of all grants that have taken effect."""
    spent: Decimal
    """The credits that debits and captures spent, less what was reversed."""
    expired: Decimal
    """The credits that expired unspent."""
    voided: Decimal
    """The credits that were voided unspent."""
    moved_out: Decimal
    """The credits that transfers moved to other pools."""
    pending: Decimal
    """The credits of grants that have not taken effect. They are not part of ``granted``."""


class GrantView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One grant, its state, and where its credits are. Amounts are in credits."""

    id: str
    """The id of the grant, such as "g1"."""
    state: GrantState
    """The state of the grant. A depleted grant has nothing available and nothing held, and stays depleted past its
    expiry unless something of it comes back and lapses. An expired one has lost credits to its expiry, or has nothing
    but held ones left: they can still be captured."""
    amount: Decimal
    """The credits that were granted."""
    available: Decimal
    """The credits that can be spent."""
    held: Decimal
    """The credits that open holds have set aside."""
    spent: Decimal
    """The credits that debits and captures spent, less what was reversed."""
    expired: Decimal
    """The credits that expired unspent."""
    voided: Decimal
    """The credits that were voided unspent."""
    moved_out: Decimal
    """The credits that transfers moved to other pools."""
    category: Literal["paid", "promotional"]
    """Whether the credits were bought or given."""
    priority: int
    """The priority, 0 to 100. Grants with a lower priority burn first."""
    created_at: datetime
    """The time at which the grant was recorded."""
    effective_at: datetime
    """The time from which the credits can be spent."""
    expires_at: datetime | None
    """The time at which what is left expires; ``None`` for never."""
    cost_basis: dict[str, str] | None
    """What one credit cost: ``per_credit`` (decimal text) and ``currency``; ``None`` if it was not given."""
    name: str | None
    """The name for people."""
    comment: str | None
    """The comment for people."""
    metadata: dict[str, str | int | float | bool]
    """The caller's own names with values."""
    key: str
    """The idempotency key of the grant."""
    cut: tuple[str, ...] = ()
    """The names of fields that were left out because they do not fit into a message; ``allocations`` can be read with
    the operation of that name."""


class GrantList(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of the grants of a pool at a version: those that can be burned in burn order, then the others, newest
    first."""

    pool: str
    version: int
    """The version of the pool when the page was read. A grant whose state changes between two pages may come twice, or
    not at all; with ``as_of`` none does."""
    grants: tuple[GrantView, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class HoldView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A hold that is not settled yet."""

    id: str
    """The id of the hold, such as "h3"."""
    amount: Decimal
    """The credits that the hold has set aside of grants."""
    allocations: tuple[Allocation, ...]
    """The grants that the credits were set aside from, in burn order."""
    created_at: datetime
    """The time at which the hold was recorded."""
    expires_at: datetime
    """The time at which the hold expires unless it is settled before."""
    key: str
    """The idempotency key of the hold."""
    metric: str | None
    """What will be metered; ``None`` if it was not given."""
    dimensions: dict[str, str | int | float | bool]
    """The dimensions of the usage event that will capture the hold."""
    cut: tuple[str, ...] = ()
    """The names of fields that were left out because they do not fit into a message; ``allocations`` can be read with
    the operation of that name."""


class HoldList(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of the open holds of a pool at a version, oldest first."""

    pool: str
    version: int
    holds: tuple[HoldView, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class PoolPage(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of balances, ordered by the canonical names of their pools."""

    pools: tuple[Balance, ...]
    next_cursor: str | None
    """The cursor of the next page; ``None`` if this is the last."""


class CurrencyTotals(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The totals of a customer's pools in one currency, in credits. Each field is the sum of the same field of their
    balances.

    Credits that moved between the pools count as ``granted`` in the one and as ``moved_out`` in the other.
    """

    currency: str
    pools: int
    """The number of pools."""
    available: Decimal
    held: Decimal
    granted: Decimal
    spent: Decimal
    expired: Decimal
    voided: Decimal
    moved_out: Decimal
    pending: Decimal


class CustomerTotals(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A page of the totals of a customer's pools: one line for each currency, ordered by its name."""

    environment: str
    customer: str
    totals: tuple[CurrencyTotals, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""
