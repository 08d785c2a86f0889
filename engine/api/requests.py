"""The requests, one struct for each operation. The fields of a request are the fields of the JSON body.

A request holds what its caller passed, unchecked. ``rules/checking.py`` checks a command against the rules of a pool;
a read is checked where it is answered. The methods of ``Credits`` build requests, the transports read them from JSON,
and ``docs/reference.md`` is made from them: a field's docstring is what a caller in any language reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, get_args

import msgspec

from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.dimensions import Dimensions
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolLike
from solvent.engine.values.quantities import QuantityLike
from solvent.engine.values.readable import Readable
from solvent.engine.values.recurrence import RecurrencePeriod
from solvent.engine.values.terms import (
    KEEP,
    PRIORITY_DEFAULT,
    BudgetMode,
    Category,
    CostLike,
    Keep,
    Missing,
    RollOver,
    Seconds,
)
from solvent.engine.values.times import TimeLike
from solvent.engine.values.windows import AllowanceWindow, BudgetWindow

from .balances import Balance, CustomerTotals, GrantList, GrantState, HoldList, PoolPage
from .clock import ClockStatus
from .events import EventPage
from .ledger import CostReport, LedgerPage
from .prices import CardList, Estimate
from .receipts import AllocationPage, Receipt
from .settings import AlertsView, AllowanceCounts, AllowanceList, BudgetCounts, BudgetList, RecurringList
from .verdicts import Verdict

PAGE_DEFAULT = 100
LIST_DEFAULT = 1_000
"""The rows of a page of a list that is nearly always short: of grants, holds, budgets, allowances, ..."""

A = TypeVar("A")


class Request(Readable, msgspec.Struct, Generic[A], kw_only=True):
    """One request. Its answer is an ``A``."""

    operation: ClassVar[str] = ""
    """The name of the operation on the wire, such as "hold.capture"."""
    answer: ClassVar[type[Any]] = msgspec.Struct
    """The type ``A``, for code that decodes the answer."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        answer = next((each for base in getattr(cls, "__orig_bases__", ()) for each in get_args(base)), None)
        if isinstance(answer, type):
            cls.answer = answer


class PoolRequest(Request[A], Generic[A], kw_only=True):
    """A request about one pool."""

    pool: PoolLike
    """The pool: ``customer``, ``customer/resource``, with ``:currency`` and ``environment@`` where they are not the
    defaults."""


class CommandRequest(PoolRequest[Receipt], kw_only=True):
    """A request to change one pool, which may be one of a batch. Its answer is a receipt."""


class KeyedRequest(CommandRequest, kw_only=True):
    """A command with an idempotency key."""

    key: str
    """The idempotency key, 1 to 256 printable characters, unique within the pool. The same key with the same request
    is answered with the first receipt; with another request it is a conflict."""


def key_of(request: Request[Any]) -> str | None:
    """Return the idempotency key of a request; ``None`` if it has none."""
    return getattr(request, "key", None)


class GrantRequest(KeyedRequest, kw_only=True):
    """Put a block of credits into a pool. The first grant opens the pool."""

    operation: ClassVar[str] = "grant"

    amount: AmountLike
    """Credits, above zero, with at most the decimal places of the currency and 63 bits of its smallest unit."""
    category: Category = "paid"
    """``promotional`` burns before ``paid`` where priority and expiry are equal."""
    priority: int = PRIORITY_DEFAULT
    """0 to 100. Grants with a lower priority burn first."""
    effective_at: TimeLike | None = None
    """The time from which the credits can be spent. Default: now."""
    expires_at: TimeLike | None = None
    """The time at which what is left expires, after ``effective_at``. Default: never."""
    cost_basis: CostLike | None = None
    """What one credit cost: a decimal of at most 12 places and a currency code, such as 0.0125 and USD."""
    name: str | None = None
    """A name for people, 1 to 256 characters."""
    comment: str | None = None
    """A comment for people, 1 to 1,024 characters."""
    metadata: Dimensions | None = None
    """Names with values, as in ``dimensions``. Kept, and never interpreted."""


class UpdateGrantRequest(KeyedRequest, kw_only=True):
    """Change the terms of a grant. A field that is left out keeps its value; at least one is needed."""

    operation: ClassVar[str] = "grant.update"

    grant: str
    """The id of the grant, such as "g1"."""
    priority: int | Keep = KEEP
    """The new priority, 0 to 100."""
    expires_at: TimeLike | Keep | None = KEEP
    """The new expiry; null for never."""
    metadata: Dimensions | Keep = KEEP
    """The new metadata, which replaces the old."""


class VoidGrantRequest(CommandRequest, kw_only=True):
    """Void what is left of a grant, but not what is held or spent. A second void gets the same answer as the first."""

    operation: ClassVar[str] = "grant.void"

    grant: str
    """The id of the grant, such as "g1"."""


class DebitRequest(KeyedRequest, kw_only=True):
    """Consume credits for a usage event: all of ``amount``, or with ``partial`` as much as is available."""

    operation: ClassVar[str] = "debit"

    amount: AmountLike
    """Credits, above zero, with at most the decimal places of the currency and 63 bits of its smallest unit."""
    partial: bool = False
    """Whether to spend what is available, at least one unit, if that is less than ``amount``."""
    occurred_at: TimeLike | None = None
    """When the usage happened, at most 400 days back and 5 minutes ahead. Default: when it is recorded."""
    metric: str | None = None
    """What was metered, such as "input_tokens": 1 to 128 printable characters."""
    quantity: QuantityLike | None = None
    """How much was metered, from 0, with at most 18 digits before the point and 9 after it."""
    dimensions: Dimensions | None = None
    """Who and what used the credits: at most 64 names of 1 to 128 characters, with strings of at most 1,024 characters,
    numbers or booleans; 8 KiB in all."""
    backfill: bool = False
    """Lifts the limit on how far back ``occurred_at`` may lie, for old traces."""


class ReportRequest(KeyedRequest, kw_only=True):
    """Debit what a metered quantity costs, by the rate card that was in effect when the usage happened."""

    operation: ClassVar[str] = "report"

    metric: str
    """What was metered, such as "input_tokens": 1 to 128 printable characters."""
    quantity: QuantityLike
    """How much was metered, from 0, with at most 18 digits before the point and 9 after it."""
    partial: bool = False
    """Whether to spend what is available, at least one unit, if that is less than the price."""
    occurred_at: TimeLike | None = None
    """When the usage happened, at most 400 days back and 5 minutes ahead. Default: when it is recorded."""
    dimensions: Dimensions | None = None
    """Who and what used the credits; rates match on them. The limits are those of a debit."""
    backfill: bool = False
    """Lifts the limit on how far back ``occurred_at`` may lie, for old traces."""


class HoldRequest(KeyedRequest, kw_only=True):
    """Set credits aside before the real cost is known. Nobody else can spend them until the hold ends."""

    operation: ClassVar[str] = "hold"

    amount: AmountLike
    """Credits, above zero, with at most the decimal places of the currency and 63 bits of its smallest unit."""
    ttl_s: Seconds | None = None
    """Seconds until the hold expires, 1 to 86,400, to the microsecond. Default: an hour."""
    expires_at: TimeLike | None = None
    """The time at which the hold expires, at most 24 hours ahead, instead of ``ttl_s``."""
    metric: str | None = None
    """What will be metered: 1 to 128 printable characters."""
    dimensions: Dimensions | None = None
    """The dimensions of the usage event that will capture the hold; budgets and allowances match on them. The limits
    are those of a debit."""


class CaptureRequest(CommandRequest, kw_only=True):
    """Spend a hold: less than it (the rest goes back), all of it, or more (the rest is debited, if it fits)."""

    operation: ClassVar[str] = "hold.capture"

    hold: str
    """The id of the hold, such as "h3"."""
    amount: AmountLike | None = None
    """Credits, above zero. What exceeds the hold and does not fit into the pool is ``uncovered`` in the receipt.
    Default: what ``quantity`` costs by the rate card that was in effect when the usage happened."""
    occurred_at: TimeLike | None = None
    """When the usage happened, at most 400 days back and 5 minutes ahead. Default: when it is recorded."""
    metric: str | None = None
    """What was metered. Default: the metric of the hold."""
    quantity: QuantityLike | None = None
    """How much was metered, from 0, with at most 18 digits before the point and 9 after it."""


class ReleaseRequest(CommandRequest, kw_only=True):
    """Give back all of a hold. A second release gets the same answer as the first."""

    operation: ClassVar[str] = "hold.release"

    hold: str
    """The id of the hold, such as "h3"."""


class ExtendRequest(KeyedRequest, kw_only=True):
    """Let an open hold expire later: at most 24 hours from now, and 7 days from its start."""

    operation: ClassVar[str] = "hold.extend"

    hold: str
    """The id of the hold, such as "h3"."""
    ttl_s: Seconds | None = None
    """Seconds from now until the hold expires, 1 to 86,400, to the microsecond. Exactly one of ``ttl_s`` and
    ``expires_at`` is needed."""
    expires_at: TimeLike | None = None
    """The time at which the hold expires, later than it does now."""


class ReverseRequest(KeyedRequest, kw_only=True):
    """Undo a debit or a capture, or a part of it: the credits go back to the grants that had paid."""

    operation: ClassVar[str] = "reverse"

    debit: str
    """The id of the debit, such as "d2"."""
    amount: AmountLike | None = None
    """Credits, at most what is left of the debit. Default: all of it."""


class SetBudgetRequest(CommandRequest, kw_only=True):
    """Limit what may be spent per window. A budget of the same name takes the new terms."""

    operation: ClassVar[str] = "budget.set"

    name: str
    """The name of the budget, 1 to 128 printable characters."""
    amount: AmountLike
    """Credits per window, above zero."""
    window: BudgetWindow
    """The window after which the count begins again; ``total`` is never."""
    time_zone: str = "UTC"
    """The time zone in which windows begin, such as Europe/Paris."""
    match: Dimensions | None = None
    """The budget counts debits and holds whose dimensions have all of these values. Default: all of the pool."""
    each: str | None = None
    """The dimension of which each value has a count of its own. Default: one count for all."""
    missing: Missing = "pass"
    """What happens to debits and holds that lack the dimension ``each``: they are not counted ("pass"), are refused
    ("block"), or share one count ("count together")."""
    mode: BudgetMode = "block"
    """``block`` refuses what does not fit; ``warn`` lets it pass and names the budget in the receipt."""
    holds_max: int | None = None
    """The most holds that may be open at once, 0 to 1,000,000. Default: no limit."""


class RemoveBudgetRequest(CommandRequest, kw_only=True):
    """Remove a budget. Removing one that does not exist changes nothing."""

    operation: ClassVar[str] = "budget.remove"

    name: str
    """The name of the budget."""


class OpenPoolRequest(CommandRequest, kw_only=True):
    """Open a pool with nothing in it. Opening one that exists changes nothing."""

    operation: ClassVar[str] = "pool.open"


class SetAllowanceRequest(CommandRequest, kw_only=True):
    """Make usage free up to a quota per window. An allowance of the same name takes the new terms."""

    operation: ClassVar[str] = "allowance.set"

    name: str
    """The name of the allowance, 1 to 128 printable characters."""
    amount: AmountLike
    """The quota per window, above zero: credits, or a quantity of ``metric`` where that is given."""
    window: AllowanceWindow | None = None
    """The fixed window after which the quota begins again. Exactly one of ``window`` and ``rolling_s`` is needed."""
    rolling_s: int | None = None
    """The length of a rolling window in seconds: a multiple of 60, from 60 to 2,678,400 (31 days)."""
    time_zone: str = "UTC"
    """The time zone in which fixed windows begin, such as Europe/Paris."""
    match: Dimensions | None = None
    """The allowance covers debits and holds whose dimensions have all of these values. Default: all of the pool."""
    each: str | None = None
    """The dimension of which each value has a quota of its own. Default: one quota for all."""
    missing: Missing = "pass"
    """What happens to debits and holds that lack the dimension ``each``: they are not covered ("pass"), are refused
    ("block"), or share one quota ("count together")."""
    metric: str | None = None
    """The metric whose quantity is counted. Default: credits are counted."""


class RemoveAllowanceRequest(CommandRequest, kw_only=True):
    """Remove an allowance. Removing one that does not exist changes nothing."""

    operation: ClassVar[str] = "allowance.remove"

    name: str
    """The name of the allowance."""


class SetRecurringRequest(CommandRequest, kw_only=True):
    """Grant credits at the start of every period. A recurring grant of the same name takes the new terms.

    A field that is left out then keeps its value.
    """

    operation: ClassVar[str] = "recurring.set"

    name: str
    """The name of the recurring grant, 1 to 128 printable characters."""
    amount: AmountLike
    """Credits per period, above zero."""
    period: RecurrencePeriod
    """The unit of the rhythm."""
    every: int | Keep = KEEP
    """The number of units between two grants, 1 to 1,000. Of a new one: 1."""
    anchor: TimeLike | None = None
    """The moment from which periods are counted. A monthly grant anchored on the 31st is made on the last day of a
    shorter month. Of a new one: the first grant."""
    starts_at: TimeLike | None = None
    """The time of the first grant. Of a new one: now."""
    ends_at: TimeLike | Keep | None = KEEP
    """No grant is made at or after this time; null for never. Of a new one: never."""
    time_zone: str | Keep = KEEP
    """The time zone in which periods begin, such as Europe/Paris. Of a new one: UTC."""
    category: Category | Keep = KEEP
    """The category of each grant. Of a new one: paid."""
    priority: int | Keep = KEEP
    """The priority of each grant, 0 to 100. Of a new one: 50."""
    cost_basis: CostLike | Keep | None = KEEP
    """What one credit of each grant cost; null for no cost basis. Of a new one: none."""
    roll_over: RollOver | Keep = KEEP
    """What happens to credits left when the next period begins: "none" keeps none of them, "all" keeps all, an amount
    keeps at most that many. The rest expires. Of a new one: none."""
    prorate: bool | Keep = KEEP
    """Whether a period that has begun is granted in part instead of in full when it starts. With a new rhythm, it asks
    for that part at once. Of a new one: false."""
    start: Literal["now"] | None = None
    """With a new rhythm, "now" grants the period that has begun at once. Default: the first grant is at the next
    beginning of a period."""


class CancelRecurringRequest(CommandRequest, kw_only=True):
    """End a recurring grant. What was granted stays until its own end."""

    operation: ClassVar[str] = "recurring.cancel"

    name: str
    """The name of the recurring grant."""
    at_once: bool = False
    """Whether to void what is left of the present period too."""


class SetAlertsRequest(CommandRequest, kw_only=True):
    """Set all alerts of a pool. An alert that is left out is switched off."""

    operation: ClassVar[str] = "alerts.set"

    low: Sequence[AmountLike] = ()
    """At most 20 thresholds: amounts, or percentages such as "20%" of what was available when credits were last
    added."""
    expiring_within_s: int | None = None
    """The seconds before its expiry at which a grant with credits left is announced, 1 to 31,622,400 (366 days)."""
    budget_percents: Sequence[int] = ()
    """At most 20 percentages of a budget, 1 to 100, at which its use is announced."""
    recharge: Mapping[str, Any] | None = None
    """The rule that asks for credits: ``below`` and ``target`` (credits), and optionally ``monthly_max`` (credits),
    ``time_zone``, ``grants`` (whether the pool grants them by itself), ``timeout_s`` (60 to 2,678,400; default: a day),
    ``category`` and ``cost_basis``."""


class GrantRechargeRequest(CommandRequest, kw_only=True):
    """Grant what a recharge request asks for, or another amount. A second grant gets the same answer as the first."""

    operation: ClassVar[str] = "recharge.grant"

    recharge: str
    """The id of the recharge request, such as "q7"."""
    amount: AmountLike | None = None
    """Credits, above zero. Default: the amount of the request."""
    cost_basis: CostLike | None = None
    """What one credit cost. Default: the cost basis of the rule."""
    expires_at: TimeLike | None = None
    """The expiry of the grant. Default: never."""
    comment: str | None = None
    """A comment for people, 1 to 1,024 characters."""


class RefuseRechargeRequest(CommandRequest, kw_only=True):
    """Refuse a recharge request, for instance because a card was declined."""

    operation: ClassVar[str] = "recharge.refuse"

    recharge: str
    """The id of the recharge request, such as "q7"."""


class TransferRequest(PoolRequest[Receipt], kw_only=True):
    """Move unspent credits from ``pool`` to ``target``, both of one customer and currency, in one atomic step."""

    operation: ClassVar[str] = "transfer"

    target: PoolLike
    """The pool that receives the credits."""
    amount: AmountLike
    """Credits, above zero, at most what is available."""
    key: str
    """The idempotency key, 1 to 256 printable characters, unique within the pool that the credits leave."""
    open_pool: bool = False
    """Whether to open the target if it does not exist. Without it, such a transfer is refused."""


class CheckRequest(PoolRequest[Verdict], kw_only=True):
    """Check whether an amount could be spent now, and from which grants. Writes nothing."""

    operation: ClassVar[str] = "check"

    amount: AmountLike
    """Credits, above zero."""
    dimensions: Dimensions | None = None
    """The dimensions of the debit that would follow; budgets and allowances match on them."""
    metric: str | None = None
    """What would be metered. Only allowances that count this metric use it."""
    quantity: QuantityLike | None = None
    """How much would be metered."""


class EstimateRequest(PoolRequest[Estimate], kw_only=True):
    """Estimate what a usage event would cost, by which rate, and whether the pool would allow it. Writes nothing."""

    operation: ClassVar[str] = "estimate"

    metric: str
    """What would be metered, such as "input_tokens"."""
    quantity: QuantityLike
    """How much would be metered, from 0."""
    occurred_at: TimeLike | None = None
    """The time whose rate card is used. Default: now."""
    dimensions: Dimensions | None = None
    """The dimensions of the usage event; rates match on them."""


class BalanceRequest(PoolRequest[Balance], kw_only=True):
    """Read a pool's balance, now or at a past moment."""

    operation: ClassVar[str] = "balance"

    as_of: TimeLike | None = None
    """The moment, not after now. Default: now."""


class GrantsRequest(PoolRequest[GrantList], kw_only=True):
    """Read a page of the grants of a pool: those that can be burned first, in burn order."""

    operation: ClassVar[str] = "grants"

    as_of: TimeLike | None = None
    """The moment, not after now. Default: now."""
    state: GrantState | None = None
    """Only grants in this state. Default: all."""
    limit: int = LIST_DEFAULT
    """The most grants of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class HoldsRequest(PoolRequest[HoldList], kw_only=True):
    """Read a page of the open holds of a pool, oldest first."""

    operation: ClassVar[str] = "holds"

    limit: int = LIST_DEFAULT
    """The most holds of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class BudgetsRequest(PoolRequest[BudgetList], kw_only=True):
    """Read a page of the budgets of a pool, with what is used of them in their present windows."""

    operation: ClassVar[str] = "budgets"

    limit: int = LIST_DEFAULT
    """The most budgets of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""
    counts_max: int = LIST_DEFAULT
    """The most counts of each, 0 to 1,000. Fewer come if they do not fit into a message; then ``counts_cut`` is set."""


class BudgetCountsRequest(PoolRequest[BudgetCounts], kw_only=True):
    """Read a page of what is used of a budget in its present window, by value of its dimension."""

    operation: ClassVar[str] = "budget.counts"

    name: str
    """The name of the budget."""
    limit: int = LIST_DEFAULT
    """The most counts of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class AllowancesRequest(PoolRequest[AllowanceList], kw_only=True):
    """Read a page of the allowances of a pool, with what is used of them now."""

    operation: ClassVar[str] = "allowances"

    limit: int = LIST_DEFAULT
    """The most allowances of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""
    counts_max: int = LIST_DEFAULT
    """The most counts of each, 0 to 1,000. Fewer come if they do not fit into a message; then ``counts_cut`` is set."""


class AllowanceCountsRequest(PoolRequest[AllowanceCounts], kw_only=True):
    """Read a page of what is used of an allowance now, by value of its dimension."""

    operation: ClassVar[str] = "allowance.counts"

    name: str
    """The name of the allowance."""
    limit: int = LIST_DEFAULT
    """The most counts of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class RecurringRequest(PoolRequest[RecurringList], kw_only=True):
    """Read a page of the recurring grants of a pool that have not ended."""

    operation: ClassVar[str] = "recurring"

    limit: int = LIST_DEFAULT
    """The most recurring grants of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class AlertsRequest(PoolRequest[AlertsView], kw_only=True):
    """Read the alerts of a pool, and its open recharge request."""

    operation: ClassVar[str] = "alerts"


class LedgerRequest(PoolRequest[LedgerPage], kw_only=True):
    """Read a page of a pool's history."""

    operation: ClassVar[str] = "ledger"

    limit: int = PAGE_DEFAULT
    """Entries of the page, 1 to 1,000."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before. It stays valid while entries are added."""
    newest_first: bool = True
    """Whether the newest entry comes first."""


class AllocationsRequest(PoolRequest[AllocationPage], kw_only=True):
    """Read a page of the grants that an entry took credits from or gave them back to, such as a debit or a hold."""

    operation: ClassVar[str] = "allocations"

    entry: str
    """The id of the entry, as in its receipt, such as "d2"."""
    limit: int = LIST_DEFAULT
    """The most allocations of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class CostsRequest(PoolRequest[CostReport], kw_only=True):
    """Read what became of a pool's credits in [start, end), by cost basis. Entries count at the time of recording."""

    operation: ClassVar[str] = "costs"

    start: TimeLike | None = None
    """The first moment. Default: the beginning."""
    end: TimeLike | None = None
    """The moment after the last. Default: the end."""
    limit: int = LIST_DEFAULT
    """The most lines of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class CustomerRequest(Request[A], Generic[A], kw_only=True):
    """A request about the pools of a customer."""

    environment: str = ENVIRONMENT_DEFAULT
    """The environment, 1 to 128 printable characters."""


class PoolsRequest(CustomerRequest[PoolPage], kw_only=True):
    """Read a page of balances: of a customer's pools, or of all pools of an environment."""

    operation: ClassVar[str] = "pools"

    customer: str | None = None
    """The customer. Default: all of the environment."""
    limit: int = PAGE_DEFAULT
    """Balances of the page, 1 to 1,000."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class TotalsRequest(CustomerRequest[CustomerTotals], kw_only=True):
    """Read a page of the totals of all pools of a customer, by currency."""

    operation: ClassVar[str] = "totals"

    customer: str
    """The customer."""
    limit: int = LIST_DEFAULT
    """The most currencies of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class RatesRequest(Request[CardList], kw_only=True):
    """Read a page of the versions of a currency's rate card."""

    operation: ClassVar[str] = "rates"

    environment: str = ENVIRONMENT_DEFAULT
    """The environment, 1 to 128 printable characters."""
    currency: str = CURRENCY_DEFAULT
    """The currency, 1 to 128 printable characters."""
    limit: int = LIST_DEFAULT
    """The most rates of the page, 1 to 1,000. Fewer come if they do not fit into a message."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""


class ServiceRequest(Request[A], Generic[A], kw_only=True):
    """A request about the service as a whole."""

    environment: str = ENVIRONMENT_DEFAULT
    """An environment that the service serves. It has one clock for all of them."""


class ClockRequest(ServiceRequest[ClockStatus], kw_only=True):
    """Read the engine's time, and whether the machine's clock is believed."""

    operation: ClassVar[str] = "clock"


class ConfirmClockRequest(ServiceRequest[ClockStatus], kw_only=True):
    """Confirm that the machine's clock is right. If it was not believed, it is from now on."""

    operation: ClassVar[str] = "clock.confirm"


class SetRatesRequest(Request[Receipt], kw_only=True):
    """Set the rates that price usage from ``effective_at`` on. They replace the previous card."""

    operation: ClassVar[str] = "rates.set"

    rates: Sequence[Mapping[str, Any]]
    """At most 1,000 rates: ``metric``, ``match`` (dimensions), ``credits`` (a decimal) and ``per`` (a quantity)."""
    environment: str = ENVIRONMENT_DEFAULT
    """The environment, 1 to 128 printable characters."""
    currency: str = CURRENCY_DEFAULT
    """The currency, 1 to 128 printable characters."""
    effective_at: TimeLike | None = None
    """The time from which the rates apply. Default: now. An earlier one, as far as usage may be, changes no price."""


class PastEventsRequest(Request[EventPage], kw_only=True):
    """Read a page of past events: of one pool, of a customer's pools, or of an environment's pools."""

    operation: ClassVar[str] = "events"

    pool: PoolLike | None = None
    """The pool. Default: all pools of ``customer``, or of ``environment``."""
    customer: str | None = None
    """The customer. Default: all of the environment."""
    environment: str = ENVIRONMENT_DEFAULT
    """The environment, 1 to 128 printable characters."""
    after: str = "0.0"
    """The position of the last event that was handled; "0.0" is the beginning, "end" the newest."""
    limit: int = PAGE_DEFAULT
    """The most events to return, 1 to 1,000."""


BatchRequest: TypeAlias = (
    GrantRequest | DebitRequest | ReportRequest | HoldRequest | CaptureRequest | ReleaseRequest | ReverseRequest
)
"""The requests that ``Credits.batch`` takes."""
BATCH_REQUESTS = (
    GrantRequest,
    DebitRequest,
    ReportRequest,
    HoldRequest,
    CaptureRequest,
    ReleaseRequest,
    ReverseRequest,
)
"""``BatchRequest``, for ``isinstance``."""
