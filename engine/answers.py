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
    "transfer_out",
    "transfer_in",
]


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """The part of a debit that one grant paid."""

    grant: str
    amount: Decimal


class Details(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What only some receipts say. Units and microseconds."""

    hold: int | None = None
    expires_at_us: int | None = None
    debit: int | None = None
    returned_units: int = 0
    lapsed_units: int = 0
    uncovered_units: int = 0
    warnings: tuple[str, ...] = ()
    card: int | None = None


NO_DETAILS = Details()


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The durable answer to a command. The same key gives the same receipt again, marked ``replayed``."""

    id: str
    """The letter of its kind and its version in the pool: ``g1`` a grant, ``d2`` a debit or capture, ``h3`` a hold,
    ``r4`` a release or reversal, ``u5`` an update, ``v6`` a voiding, ``b7`` a budget,
    ``c8`` a rate card, ``t9`` a transfer. Empty if nothing was to change.
    """
    version: int
    """The pool's version with this entry: each entry of a pool is one version."""
    replayed: bool
    scale: int
    amount_units: int
    balance_units: int
    recorded_at_us: int
    parts_units: tuple[tuple[int, int], ...] = ()
    """(grant number, units) in burn order."""
    details: Details = NO_DETAILS

    @property
    def amount(self) -> Decimal:
        """What was granted, spent, set aside, given back or taken away."""
        return to_decimal(self.amount_units, self.scale)

    @property
    def balance(self) -> Decimal:
        """What was available in the pool just after it."""
        return to_decimal(self.balance_units, self.scale)

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """Which grants paid, are held, or got back, in burn order. Empty for what is about a grant itself."""
        return tuple(Allocation(f"g{grant}", to_decimal(part, self.scale)) for grant, part in self.parts_units)

    @property
    def recorded_at(self) -> datetime:
        return to_datetime(self.recorded_at_us)

    @property
    def hold(self) -> str | None:
        """The hold that was captured or released."""
        return None if self.details.hold is None else f"h{self.details.hold}"

    @property
    def debit(self) -> str | None:
        """The debit that was reversed."""
        return None if self.details.debit is None else f"d{self.details.debit}"

    @property
    def expires_at(self) -> datetime | None:
        """When a hold expires unless it is settled before."""
        return None if self.details.expires_at_us is None else to_datetime(self.details.expires_at_us)

    @property
    def returned(self) -> Decimal:
        """What a capture did not spend, or a release gave back."""
        return to_decimal(self.details.returned_units, self.scale)

    @property
    def lapsed(self) -> Decimal:
        """How much of what was returned or reversed did not stay, because its grant had expired or been voided."""
        return to_decimal(self.details.lapsed_units, self.scale)

    @property
    def uncovered(self) -> Decimal:
        """What a capture asked for beyond its hold that did not fit: it was not spent."""
        return to_decimal(self.details.uncovered_units, self.scale)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Budgets that only warn, and would not have let it pass."""
        return self.details.warnings

    @property
    def card(self) -> int | None:
        """The version of the rate card that priced it."""
        return self.details.card


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


class HoldView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A hold that is not settled yet."""

    id: str
    amount: Decimal
    allocations: tuple[Allocation, ...]
    created_at: datetime
    expires_at: datetime
    key: str
    metric: str | None
    dimensions: dict[str, str | int | float | bool]


class HoldList(msgspec.Struct, frozen=True, gc=False):
    """The open holds of a pool at a version, oldest first."""

    pool: str
    version: int
    holds: tuple[HoldView, ...]


class StopView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A budget that is in the way."""

    budget: str
    value: str | int | float | bool | None
    limit: Decimal
    used: Decimal
    resets_at: datetime | None
    counts: Literal["credits", "holds"]


class BudgetCount(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one value of a budget's dimension has used in the present window. ``value`` is ``None`` without ``each``."""

    value: str | int | float | bool | None
    used: Decimal
    open_holds: int


class BudgetView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A budget, and what is used of it: the values that used most come first, at most 1,000."""

    name: str
    amount: Decimal
    window: str
    time_zone: str
    match: dict[str, str | int | float | bool]
    each: str | None
    mode: Literal["block", "warn"]
    holds_max: int | None
    resets_at: datetime | None
    counts: tuple[BudgetCount, ...]


class BudgetList(msgspec.Struct, frozen=True, gc=False):
    """The budgets of a pool at a version, in the order in which they were set first."""

    pool: str
    version: int
    budgets: tuple[BudgetView, ...]


class RateView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """``credits`` per ``per`` of a metric, where the dimensions match. Decimal text."""

    metric: str
    match: dict[str, str | int | float | bool]
    credits: str
    per: str


class CardView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A version of a currency's rate card, and from when on it prices what occurs."""

    number: int
    currency: str
    effective_at: datetime
    rates: tuple[RateView, ...]


class CardList(msgspec.Struct, frozen=True, gc=False):
    """All versions of a currency's rate card, in the order in which they were set."""

    cards: tuple[CardView, ...]


class Estimate(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a usage event would cost by the rate card in effect, and whether it would be allowed."""

    amount: Decimal
    card: int
    rate: RateView
    verdict: Verdict | None
    """``None`` if it costs nothing: that is always allowed."""


class Verdict(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Whether credits could be spent at a version of the pool: a debit of the same amount would get this answer."""

    pool: str
    version: int
    allowed: bool
    requested: Decimal
    available: Decimal
    """How much could be spent at most."""
    allocations: tuple[Allocation, ...]
    """Which grants would pay, in burn order: all of it if allowed, else what is available."""
    top_up: Decimal
    """The smallest grant that would let it pass, as far as credits go; 0 if there are enough."""
    stopped_by: StopView | None = None
    """The budget that does not let it pass, and when it would."""


class CostLine(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What became of credits of one cost basis and category."""

    cost_basis: dict[str, str] | None
    category: Literal["paid", "promotional"]
    burned: Decimal
    """Spent, less what was reversed."""
    expired: Decimal
    voided: Decimal
    value: Decimal | None
    """``burned`` times the price of a credit, exact, in the money of the cost basis."""


class CostReport(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What became of a pool's credits in a range of time, by what they had cost."""

    pool: str
    start: datetime | None
    end: datetime | None
    lines: tuple[CostLine, ...]


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
    about: str | None = None
    """The hold that was captured or released, the debit that was reversed, the grant that was changed."""
    metric: str | None = None
    quantity: Decimal | None = None
    dimensions: dict[str, str | int | float | bool] = {}
    card: int | None = None
    """The version of the rate card that priced a debit, if one did."""


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


Answer: TypeAlias = (
    Receipt
    | Balance
    | GrantList
    | HoldList
    | BudgetList
    | CardList
    | Estimate
    | Verdict
    | CostReport
    | LedgerPage
    | PoolPage
)


def to_wire(answer: Answer) -> dict[str, Any]:
    """The answer as plain JSON values: amounts as decimal text, times as ISO 8601."""
    if isinstance(answer, Receipt):
        built: dict[str, Any] = {
            "id": answer.id,
            "amount": str(answer.amount),
            "allocations": msgspec.to_builtins(answer.allocations),
            "balance": str(answer.balance),
            "version": answer.version,
            "recorded_at": answer.recorded_at.isoformat(),
            "replayed": answer.replayed,
        }
        if answer.details is not NO_DETAILS:
            built |= _details_to_wire(answer)
        return built
    plain: dict[str, Any] = msgspec.to_builtins(answer)
    return plain


def _details_to_wire(receipt: Receipt) -> dict[str, Any]:
    """Only what is there: a reader takes what is missing for none, or zero."""
    parts: dict[str, Any] = {
        "hold": receipt.hold,
        "debit": receipt.debit,
        "expires_at": None if receipt.expires_at is None else receipt.expires_at.isoformat(),
        "returned": str(receipt.returned) if receipt.details.returned_units else None,
        "lapsed": str(receipt.lapsed) if receipt.details.lapsed_units else None,
        "uncovered": str(receipt.uncovered) if receipt.details.uncovered_units else None,
        "card": receipt.card,
        "warnings": list(receipt.warnings) or None,
    }
    return {name: part for name, part in parts.items() if part is not None}
