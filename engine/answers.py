"""What Solvent answers with. Amounts are ``Decimal``, times are aware datetimes in UTC.

Inside, answers hold units and microseconds; the public properties convert when they are read, so that a service
that answers thousands of debits a second converts only what it sends.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from .amounts import to_decimal
from .times import to_datetime

GrantState: TypeAlias = Literal["pending", "active", "depleted", "expired", "voided"]
EntryKind: TypeAlias = Literal["opened", "grant", "activation", "debit", "expiry"]


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """The part of a debit that one grant paid."""

    grant: str
    amount: Decimal


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The durable answer to a grant or a debit. The same key gives the same receipt again, marked ``replayed``."""

    id: str
    """``g1`` for a grant, ``d2`` for a debit: the letter of its kind and its version in the pool."""
    version: int
    """The pool's version with this entry: each entry of a pool is one version."""
    replayed: bool
    scale: int
    amount_units: int
    balance_units: int
    recorded_at_us: int
    parts_units: tuple[tuple[int, int], ...] = ()
    """(grant number, units) in burn order."""

    @property
    def amount(self) -> Decimal:
        return to_decimal(self.amount_units, self.scale)

    @property
    def balance(self) -> Decimal:
        """What was available in the pool just after it."""
        return to_decimal(self.balance_units, self.scale)

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """Which grants paid, in burn order. Empty for a grant."""
        return tuple(Allocation(f"g{grant}", to_decimal(part, self.scale)) for grant, part in self.parts_units)

    @property
    def recorded_at(self) -> datetime:
        return to_datetime(self.recorded_at_us)


class Balance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
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


class GrantView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
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


class GrantList(msgspec.Struct, frozen=True, gc=False):
    """The grants of a pool at a version: those that can be burned in burn order, then the others, newest first."""

    pool: str
    version: int
    grants: tuple[GrantView, ...]


class LedgerEntry(msgspec.Struct, frozen=True, gc=False, kw_only=True):
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
    metric: str | None = None
    quantity: Decimal | None = None
    dimensions: dict[str, str | int | float | bool] = {}


class LedgerPage(msgspec.Struct, frozen=True, gc=False):
    """Some entries of a pool's ledger. ``next_cursor`` continues; ``None`` says that nothing is left."""

    pool: str
    version: int
    entries: tuple[LedgerEntry, ...]
    next_cursor: str | None


class PoolPage(msgspec.Struct, frozen=True, gc=False):
    """Balances of some pools, ordered by their canonical names. ``next_cursor`` continues."""

    pools: tuple[Balance, ...]
    next_cursor: str | None


Answer: TypeAlias = Receipt | Balance | GrantList | LedgerPage | PoolPage


def to_wire(answer: Answer) -> dict[str, Any]:
    """The answer as plain JSON values: amounts as decimal text, times as ISO 8601."""
    if isinstance(answer, Receipt):
        return {
            "id": answer.id,
            "amount": str(answer.amount),
            "allocations": msgspec.to_builtins(answer.allocations),
            "balance": str(answer.balance),
            "version": answer.version,
            "recorded_at": answer.recorded_at.isoformat(),
            "replayed": answer.replayed,
        }
    built: dict[str, Any] = msgspec.to_builtins(answer)
    return built
