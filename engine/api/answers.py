"""What Solvent answers with. Amounts are ``Decimal``, times are aware datetimes in UTC.

Inside, answers hold units and microseconds; the public properties convert when they are read, so that a service
that answers thousands of debits a second converts only what it sends.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from solvent.engine.values.amounts import SCALE_MAX, to_decimal
from solvent.engine.values.times import to_datetime

GrantState: TypeAlias = Literal["pending", "active", "depleted", "expired", "voided"]
EventKind: TypeAlias = Literal[
    "low",
    "depleted",
    "expiring_soon",
    "budget_reached",
    "hold_expired",
    "recharge_requested",
    "recharge_refused",
    "recharge_timed_out",
]
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


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """The part of a debit that one grant paid."""

    grant: str
    amount: Decimal


class Coverage(msgspec.Struct, frozen=True, gc=False):
    """The part of a usage event that an allowance paid: no grant did."""

    allowance: str
    amount: Decimal


class Details(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What only some receipts say. Units and microseconds."""

    hold: int | None = None
    expires_at_us: int | None = None
    debit: int | None = None
    returned_units: int = 0
    lapsed_units: int = 0
    uncovered_units: int = 0
    warnings: tuple[str, ...] = ()
    card: int | None = None
    covers_units: tuple[tuple[str, int], ...] = ()
    """(allowance, units)"""


NO_DETAILS = Details()


class Receipt(msgspec.Struct, frozen=True, gc=False, array_like=True, eq=False):
    """The durable answer to a command. The same key gives the same receipt again, marked ``replayed``.

    Equal are receipts that say the same, whether or not they keep their amounts in the same units.
    """

    id: str
    """The letter of its kind and its version in the pool: ``g1`` a grant, ``d2`` a debit or capture, ``h3`` a hold,
    ``r4`` a release, a reversal or the refusal of a recharge, ``u5`` an update, ``v6`` a voiding, ``b7`` a budget,
    ``c8`` a rate card, ``t9`` a transfer, ``f10`` an allowance, ``p11`` a recurring grant, ``n12`` alerts, ``o1`` the
    pool itself. Empty if nothing was to change.
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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Receipt):
            return NotImplemented
        return self._at_scale(SCALE_MAX) == other._at_scale(SCALE_MAX)

    def __ne__(self, other: object) -> bool:
        # Said here too: that of msgspec compares what a class without ``eq`` is, not what it says.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.id, self.version, self.recorded_at_us))

    def _at_scale(self, scale: int) -> tuple[object, ...]:
        factor, details = 10 ** (scale - self.scale), self.details
        return (
            self.id,
            self.version,
            self.replayed,
            self.recorded_at_us,
            self.amount_units * factor,
            self.balance_units * factor,
            [(grant, units * factor) for grant, units in self.parts_units],
            msgspec.structs.replace(
                details,
                returned_units=details.returned_units * factor,
                lapsed_units=details.lapsed_units * factor,
                uncovered_units=details.uncovered_units * factor,
                covers_units=tuple([(allowance, units * factor) for allowance, units in details.covers_units]),
            ),
        )

    @property
    def amount(self) -> Decimal:
        """What was granted, spent, set aside, given back or taken away of grants. ``covered`` is beside it."""
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
    def covered(self) -> Decimal:
        """What allowances paid beside ``amount``, or keep for a hold, or were given back."""
        return to_decimal(sum([units for _, units in self.details.covers_units]), self.scale)

    @property
    def allowances(self) -> tuple[Coverage, ...]:
        """Which allowances that was."""
        return tuple(Coverage(name, to_decimal(units, self.scale)) for name, units in self.details.covers_units)

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


class ResetView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The allowance that has room again first, of those that cannot cover all that is asked for."""

    allowance: str
    dimension: str | None
    """Of which each value has a quota of its own, and which ``value`` is meant."""
    value: str | int | float | bool | None
    resets_at: datetime


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


class AllowanceCount(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one value of an allowance's dimension has used, and has left. ``value`` is ``None`` without ``each``."""

    value: str | int | float | bool | None
    used: Decimal
    left: Decimal
    resets_at: datetime
    """When some of it comes back: the end of the window, or a step of a rolling one."""


class AllowanceView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An allowance, and what is used of it: the values that used most come first, at most 1,000.

    ``amount``, ``used`` and ``left`` are credits or, with ``metric``, its quantity.
    """

    name: str
    amount: Decimal
    metric: str | None
    window: str | None
    rolling_s: int | None
    time_zone: str
    match: dict[str, str | int | float | bool]
    each: str | None
    counts: tuple[AllowanceCount, ...]


class AllowanceList(msgspec.Struct, frozen=True, gc=False):
    """The allowances of a pool at a version, in the order in which they cover."""

    pool: str
    version: int
    allowances: tuple[AllowanceView, ...]


class RecurringView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A recurring grant, and when it makes the next."""

    name: str
    amount: Decimal
    period: str
    every: int
    anchor: datetime
    next_at: datetime
    ends_at: datetime | None
    time_zone: str
    category: Literal["paid", "promotional"]
    priority: int
    cost_basis: dict[str, str] | None
    roll_over: str
    """"none", "all", or the most that may roll over, as decimal text."""
    prorate: bool
    last_grant: str | None
    """The grant of the present period."""


class RecurringList(msgspec.Struct, frozen=True, gc=False):
    """The recurring grants of a pool at a version that are not over, in the order in which they were set."""

    pool: str
    version: int
    recurring: tuple[RecurringView, ...]


class RechargeRule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When a pool asks for more credits, and for how many."""

    below: Decimal
    target: Decimal
    monthly_max: Decimal | None
    time_zone: str
    grants: bool
    timeout_s: int
    category: Literal["paid", "promotional"]
    cost_basis: dict[str, str] | None


class OpenRecharge(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A request for credits that is neither granted nor refused."""

    id: str
    amount: Decimal
    until: datetime


class AlertsView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The alerts of a pool at a version."""

    pool: str
    version: int
    low: tuple[str, ...]
    """Amounts, and percentages of what was available when credits were last added."""
    expiring_within_s: int | None
    budget_percents: tuple[int, ...]
    recharge: RechargeRule | None
    open_recharge: OpenRecharge | None


class PoolEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Something that a pool said by itself. What a kind has nothing to say of is ``None``."""

    kind: EventKind
    pool: str
    version: int
    recorded_at: datetime
    available: Decimal
    position: str
    """Where it stands among all events of the journal: ``events(after=...)`` and ``past_events`` go on behind it."""
    limit: Decimal | None = None
    """The threshold, or the budget's amount."""
    percent: int | None = None
    amount: Decimal | None = None
    """What is left of a grant, came back from a hold, is used of a budget, or is asked for."""
    grant: str | None = None
    hold: str | None = None
    budget: str | None = None
    value: str | int | float | bool | None = None
    """That of the dimension for which the budget counts on its own."""
    expires_at: datetime | None = None
    """When the grant expires, or the request."""
    recharge: str | None = None
    granted: bool = False
    """Whether the pool grants the recharge by itself."""


class EventPage(msgspec.Struct, frozen=True, gc=False):
    """Some events, oldest first. ``position`` goes on behind what was looked at; ``more``: at once."""

    events: tuple[PoolEvent, ...]
    position: str
    more: bool


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
    """How much could be spent at most, allowances included."""
    allocations: tuple[Allocation, ...]
    """Which grants would pay, in burn order: all of it if allowed, else what is available."""
    top_up: Decimal
    """The smallest grant that would let it pass, as far as credits go; 0 if there are enough."""
    covered: tuple[Coverage, ...] = ()
    """What allowances would pay of it, before any grant."""
    resets_at: datetime | None = None
    """When an allowance that cannot cover all of it has room again; ``None``: none is in the way."""
    reset: ResetView | None = None
    """Which allowance that is."""
    stopped_by: StopView | None = None
    """The budget that does not let it pass, and when it would."""
    warnings: tuple[str, ...] = ()
    """Budgets that only warn, and would be exceeded."""


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
    covered: tuple[Coverage, ...] = ()
    """What allowances paid beside ``amount``."""


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


class CurrencyTotals(msgspec.Struct, frozen=True, gc=False, kw_only=True):
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


class CustomerTotals(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The totals of a customer's pools, a line for each currency, by its name."""

    environment: str
    customer: str
    totals: tuple[CurrencyTotals, ...]


Answer: TypeAlias = (
    Receipt
    | Balance
    | GrantList
    | HoldList
    | BudgetList
    | AllowanceList
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
        "covered": str(receipt.covered) if receipt.details.covers_units else None,
        "allowances": msgspec.to_builtins(receipt.allowances) or None,
        "warnings": list(receipt.warnings) or None,
    }
    return {name: part for name, part in parts.items() if part is not None}
