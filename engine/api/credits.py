"""The one interface of Solvent, whether it is embedded or reached over a transport.

``Engine`` and the NATS client are both ``Credits``: they bring ``_command`` and the reads, and the verbs are these.
One test suite runs over both.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from types import TracebackType
from typing import Any, ClassVar, Final

import anyio
import msgspec

from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.dimensions import Dimensions
from solvent.engine.values.errors import SolventError, StateConflict
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolLike
from solvent.engine.values.terms import KEEP, PRIORITY_DEFAULT, CostBasis, Keep
from solvent.engine.values.times import TimeLike

from .balances import Balance, CustomerTotals, GrantList, HoldList, PoolPage
from .events import EventPage, PoolEvent
from .ledger import CostReport, LedgerPage
from .prices import CardList, Estimate
from .receipts import Receipt
from .settings import AlertsView, AllowanceList, BudgetList, RecurringList
from .usage_verbs import UsageVerbs
from .verdicts import Verdict

BATCH_COMMANDS_MAX = 10_000
ATOMIC_COMMANDS_MAX = 1_000
HOLD_TTL_DEFAULT_S: Final = 3_600
RELEASE_TIMEOUT_S: Final = 5.0
"""How long leaving a hold's block may take. If nobody answers by then, the hold expires by itself."""


class GrantRequest(msgspec.Struct, kw_only=True):
    """A grant as one command of a ``batch``. The fields are those of ``Credits.grant``."""

    operation: ClassVar[str] = "grant"

    pool: PoolLike
    amount: AmountLike
    key: str
    category: str = "paid"
    priority: int = PRIORITY_DEFAULT
    effective_at: TimeLike | None = None
    expires_at: TimeLike | None = None
    cost_basis: CostBasis | None = None
    name: str | None = None
    comment: str | None = None
    metadata: Dimensions | None = None


class DebitRequest(msgspec.Struct, kw_only=True):
    """A debit as one command of a ``batch``. The fields are those of ``Credits.debit``."""

    operation: ClassVar[str] = "debit"

    pool: PoolLike
    amount: AmountLike
    key: str
    partial: bool = False
    occurred_at: TimeLike | None = None
    metric: str | None = None
    quantity: AmountLike | None = None
    dimensions: Dimensions | None = None
    backfill: bool = False


class ReportRequest(msgspec.Struct, kw_only=True):
    """A metered usage event as one command of a ``batch``. The fields are those of ``Credits.report``."""

    operation: ClassVar[str] = "report"

    pool: PoolLike
    metric: str
    quantity: AmountLike
    key: str
    partial: bool = False
    occurred_at: TimeLike | None = None
    dimensions: Dimensions | None = None
    backfill: bool = False


class HoldRequest(msgspec.Struct, kw_only=True):
    """A hold as one command of a ``batch``. The fields are those of ``Credits.hold``."""

    operation: ClassVar[str] = "hold"

    pool: PoolLike
    amount: AmountLike
    key: str
    ttl_s: float | Decimal = HOLD_TTL_DEFAULT_S
    metric: str | None = None
    dimensions: Dimensions | None = None


class CaptureRequest(msgspec.Struct, kw_only=True):
    """A capture as one command of a ``batch``. The fields are those of ``Credits.capture``."""

    operation: ClassVar[str] = "hold.capture"

    pool: PoolLike
    hold: str
    amount: AmountLike
    occurred_at: TimeLike | None = None
    metric: str | None = None
    quantity: AmountLike | None = None


class ReleaseRequest(msgspec.Struct, kw_only=True):
    """A release as one command of a ``batch``."""

    operation: ClassVar[str] = "hold.release"

    pool: PoolLike
    hold: str


class ReverseRequest(msgspec.Struct, kw_only=True):
    """A reversal as one command of a ``batch``. The fields are those of ``Credits.reverse``."""

    operation: ClassVar[str] = "reverse"

    pool: PoolLike
    debit: str
    key: str
    amount: AmountLike | None = None


Request = GrantRequest | DebitRequest | ReportRequest | HoldRequest | CaptureRequest | ReleaseRequest | ReverseRequest
REQUESTS: Final = (
    GrantRequest,
    DebitRequest,
    ReportRequest,
    HoldRequest,
    CaptureRequest,
    ReleaseRequest,
    ReverseRequest,
)
"""``Request``, for ``isinstance``."""


class Credits(UsageVerbs):
    """Grants, holds, debits and what can be known of them. Each method raises a ``SolventError`` when the answer is no.

    ``pool`` is written ``customer``, ``customer/resource``, with ``:currency`` and ``environment@`` where they are
    not the defaults. Amounts go in as ``int``, ``str`` or ``Decimal``. A ``key`` is the caller's own name for the
    command, 1 to 256 characters: the same key and request again is answered with the first receipt.

    Any command may raise ``NotFound``, ``InvalidRequest``, ``Overloaded`` (nothing was written), or ``Unavailable``
    (outcome unknown: retry with the same key).
    """

    @abstractmethod
    async def _command(self, operation: str, pool: PoolLike, fields: dict[str, Any]) -> Receipt:
        """Do one command. ``fields`` are the parts of its ``*_command`` function, as the caller gave them."""

    async def grant(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        category: str = "paid",
        priority: int = PRIORITY_DEFAULT,
        effective_at: TimeLike | None = None,
        expires_at: TimeLike | None = None,
        cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
        name: str | None = None,
        comment: str | None = None,
        metadata: Dimensions | None = None,
    ) -> Receipt:
        """Put a block of credits into a pool; the first grant creates the pool.

        Grants burn by ``priority`` (0 to 100, lower first), then the sooner ``expires_at``, then ``promotional`` before
        ``paid``. ``cost_basis`` is what one credit cost, such as ``("0.0125", "USD")``.
        """
        return await self._command(
            "grant",
            pool,
            {
                "amount": amount,
                "key": key,
                "category": category,
                "priority": priority,
                "effective_at": effective_at,
                "expires_at": expires_at,
                "cost_basis": cost_basis,
                "name": name,
                "comment": comment,
                "metadata": metadata,
            },
        )

    async def update_grant(
        self,
        pool: PoolLike,
        grant: str,
        *,
        key: str,
        priority: int | Keep = KEEP,
        expires_at: TimeLike | Keep | None = KEEP,
        metadata: Dimensions | Keep = KEEP,
    ) -> Receipt:
        """Change the terms of a grant: only those that are given. ``expires_at=None`` is never.

        Raises ``StateConflict`` (``grant_expired``, ``grant_voided``) for a grant that is over.
        """
        given = {"priority": priority, "expires_at": expires_at, "metadata": metadata}
        changes = {name: value for name, value in given.items() if value is not KEEP}
        return await self._command("grant.update", pool, {"grant": grant, "key": key, **changes})

    async def void_grant(self, pool: PoolLike, grant: str) -> Receipt:
        """Take away what is left of a grant, not what is held or spent. Voided again, it answers as it did."""
        return await self._command("grant.void", pool, {"grant": grant})

    async def debit(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """Consume credits: all or nothing, or with ``partial`` what is there, at least one unit.

        ``occurred_at`` (default: when it is recorded) lies at most 400 days back and 5 minutes ahead; ``backfill``
        lifts the first, for old traces. ``metric`` and ``quantity`` say what was metered, ``dimensions`` who and what.

        Raises ``InsufficientCredits``, ``BudgetExceeded``, ``IdempotencyConflict``.
        """
        return await self._command(
            "debit",
            pool,
            {
                "amount": amount,
                "key": key,
                "partial": partial,
                "occurred_at": occurred_at,
                "metric": metric,
                "quantity": quantity,
                "dimensions": dimensions,
                "backfill": backfill,
            },
        )

    async def report(
        self,
        pool: PoolLike,
        metric: str,
        quantity: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """Debit what a metered quantity costs by the rate card that was in effect when it occurred.

        The price is exact, and rounded once, half-even, to the currency's decimal places. What costs nothing is
        recorded all the same. Asked again with its key, the first price stands whatever the card says by then.

        Raises as ``debit``, and ``NotFound`` (``rate card``, ``rate``) for what no rate prices.
        """
        return await self._command(
            "report",
            pool,
            {
                "metric": metric,
                "quantity": quantity,
                "key": key,
                "partial": partial,
                "occurred_at": occurred_at,
                "dimensions": dimensions,
                "backfill": backfill,
            },
        )

    @abstractmethod
    async def estimate(
        self,
        pool: PoolLike,
        metric: str,
        quantity: AmountLike,
        *,
        occurred_at: TimeLike | None = None,
        dimensions: Dimensions | None = None,
    ) -> Estimate:
        """What a usage event would cost, by which rate, and whether the pool would allow it. Writes nothing."""

    @abstractmethod
    async def set_rates(
        self,
        rates: Sequence[Mapping[str, Any]],
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        currency: str = CURRENCY_DEFAULT,
        effective_at: TimeLike | None = None,
    ) -> Receipt:
        """Let these rates price what occurs from ``effective_at`` on: now, or later. They replace the card before them.

        A rate is ``{"metric": "input_tokens", "match": {"model": "gpt-4"}, "credits": "30", "per": 1000000}``. The one
        that matches with the most dimensions wins; a card in which two could match equally well is refused.
        """

    @abstractmethod
    async def rates(self, *, environment: str = ENVIRONMENT_DEFAULT, currency: str = CURRENCY_DEFAULT) -> CardList:
        """All versions of a currency's rate card."""

    def hold(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        ttl_s: float | Decimal = HOLD_TTL_DEFAULT_S,
        metric: str | None = None,
        dimensions: Dimensions | None = None,
    ) -> PendingHold:
        """Set credits aside before the real cost is known, for ``ttl_s`` seconds, 1 to 86,400, to the microsecond.

        Await it for the hold, or enter it: ``async with credits.hold(...) as hold`` releases what the block did not
        capture. What is held is nobody else's, even when its grant expires meanwhile.

        Raises ``InsufficientCredits``, ``IdempotencyConflict``.
        """
        fields = {"amount": amount, "key": key, "ttl_s": ttl_s, "metric": metric, "dimensions": dimensions}
        return PendingHold(self, pool, fields)

    async def capture(
        self,
        pool: PoolLike,
        hold: str,
        amount: AmountLike,
        *,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
    ) -> Receipt:
        """Spend a hold: less than it (the rest goes back), all of it, or more (the rest is debited, if it fits).

        What does not fit is ``uncovered`` in the receipt. A hold is settled once: captured again, it answers as it did.
        Raises ``StateConflict`` (``hold_released``, ``hold_expired``).
        """
        return await self._command(
            "hold.capture",
            pool,
            {"hold": hold, "amount": amount, "occurred_at": occurred_at, "metric": metric, "quantity": quantity},
        )

    async def release(self, pool: PoolLike, hold: str) -> Receipt:
        """Give back a hold. Released again, it answers as it did.

        Raises ``StateConflict`` (``hold_captured``, ``hold_expired``).
        """
        return await self._command("hold.release", pool, {"hold": hold})

    async def reverse(self, pool: PoolLike, debit: str, *, key: str, amount: AmountLike | None = None) -> Receipt:
        """Undo a debit or a capture, or ``amount`` of it: the credits go back to the grants that had paid.

        What belongs to a grant that is over does not come back: it is ``lapsed`` in the receipt. Raises
        ``StateConflict`` (``already_reversed``), ``IdempotencyConflict``.
        """
        return await self._command("reverse", pool, {"debit": debit, "key": key, "amount": amount})

    async def set_budget(
        self,
        pool: PoolLike,
        name: str,
        amount: AmountLike,
        *,
        window: str,
        time_zone: str = "UTC",
        match: Dimensions | None = None,
        each: str | None = None,
        mode: str = "block",
        holds_max: int | None = None,
    ) -> Receipt:
        """Limit what may be spent per ``window`` (minute, hour, day, week, month, total) of a time zone.

        The budget counts the debits and holds whose dimensions have all of ``match``; with ``each``, every value of
        that dimension on its own. ``mode`` is ``block``, or ``warn``: then receipts name it. ``holds_max`` is how many
        holds may be open at once. Set again, it takes new terms; its count goes on unless match, each, window or time
        zone change.
        """
        return await self._command(
            "budget.set",
            pool,
            {
                "name": name,
                "amount": amount,
                "window": window,
                "time_zone": time_zone,
                "match": match,
                "each": each,
                "mode": mode,
                "holds_max": holds_max,
            },
        )

    async def remove_budget(self, pool: PoolLike, name: str) -> Receipt:
        """Let there be no budget of this name."""
        return await self._command("budget.remove", pool, {"name": name})

    async def open_pool(self, pool: PoolLike) -> Receipt:
        """Let there be this pool, with nothing in it. A first grant opens it as well."""
        return await self._command("pool.open", pool, {})

    async def set_allowance(
        self,
        pool: PoolLike,
        name: str,
        amount: AmountLike,
        *,
        window: str | None = None,
        rolling_s: int | None = None,
        time_zone: str = "UTC",
        match: Dimensions | None = None,
        each: str | None = None,
        metric: str | None = None,
    ) -> Receipt:
        """Let usage be free up to ``amount`` per ``window`` (hour, day, week, month) or in any ``rolling_s`` seconds.

        The allowance covers debits and holds before any grant does, those whose dimensions have all of ``match``; with
        ``each``, every value of that dimension has a quota of its own. It counts credits or, with ``metric``, the
        quantity of that metric. ``rolling_s`` is a multiple of 60, at most 31 days. Opens the pool if it is new.
        """
        return await self._command(
            "allowance.set",
            pool,
            {
                "name": name,
                "amount": amount,
                "window": window,
                "rolling_s": rolling_s,
                "time_zone": time_zone,
                "match": match,
                "each": each,
                "metric": metric,
            },
        )

    async def remove_allowance(self, pool: PoolLike, name: str) -> Receipt:
        """Let there be no allowance of this name."""
        return await self._command("allowance.remove", pool, {"name": name})

    @abstractmethod
    async def allowances(self, pool: PoolLike) -> AllowanceList:
        """The allowances of a pool, with what is used of them now."""

    async def set_recurring(
        self,
        pool: PoolLike,
        name: str,
        amount: AmountLike,
        *,
        period: str,
        every: int = 1,
        anchor: TimeLike | None = None,
        starts_at: TimeLike | None = None,
        ends_at: TimeLike | None = None,
        time_zone: str = "UTC",
        category: str = "paid",
        priority: int = PRIORITY_DEFAULT,
        cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
        roll_over: AmountLike = "none",
        prorate: bool = False,
    ) -> Receipt:
        """Grant ``amount`` at the start and at the beginning of every period (day, week, month, year) after it.

        Periods are counted from ``anchor`` (default: the start), in a time zone: on the 31st, or on the last day of a
        shorter month. The first, if it is not whole, is granted in full or, ``prorate``, in part. ``roll_over`` says
        what is left of a period when the next begins: it expires ("none"), stays ("all"), or stays up to an amount.
        A period that was missed is granted when the pool is next looked at, within a second or two of the start.

        Set again, the terms count from the next grant on; another rhythm begins anew. Opens the pool if it is new.
        """
        return await self._command(
            "recurring.set",
            pool,
            {
                "name": name,
                "amount": amount,
                "period": period,
                "every": every,
                "anchor": anchor,
                "starts_at": starts_at,
                "ends_at": ends_at,
                "time_zone": time_zone,
                "category": category,
                "priority": priority,
                "cost_basis": cost_basis,
                "roll_over": roll_over,
                "prorate": prorate,
            },
        )

    async def cancel_recurring(self, pool: PoolLike, name: str, *, at_once: bool = False) -> Receipt:
        """Grant nothing more under this name. What was granted stays to its end or, ``at_once``, what is left of the
        present period is voided."""
        return await self._command("recurring.cancel", pool, {"name": name, "at_once": at_once})

    @abstractmethod
    async def recurring(self, pool: PoolLike) -> RecurringList:
        """The recurring grants of a pool that are not over."""

    async def set_alerts(
        self,
        pool: PoolLike,
        *,
        low: Sequence[AmountLike] = (),
        expiring_within_s: int | None = None,
        budget_percents: Sequence[int] = (),
        recharge: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Let the pool say when credits run low, out, or are about to expire. All of its alerts, each time.

        ``low`` has amounts, and percentages such as "20%" of what was available when credits were last added: each
        sounds once, and is armed again when credits are added above it. ``expiring_within_s`` is how long before a
        grant with credits left expires, ``budget_percents`` at how much of a budget. A pool with alerts also says when
        it is depleted, and when a hold expires.

        ``recharge`` asks for credits: ``{"below": "20", "target": "100"}``, and perhaps ``monthly_max``,
        ``time_zone``, ``timeout_s`` (a day), ``category``, ``cost_basis``, and ``grants``: then the pool grants them
        by itself. One request is open at a time, until ``grant_recharge``, ``refuse_recharge`` or its end; the next is
        made as soon as it may be while the balance is below, whether or not anything is spent.
        """
        return await self._command(
            "alerts.set",
            pool,
            {
                "low": list(low) if isinstance(low, (list, tuple)) else low,
                "expiring_within_s": expiring_within_s,
                "budget_percents": list(budget_percents)
                if isinstance(budget_percents, (list, tuple))
                else budget_percents,
                "recharge": recharge,
            },
        )

    @abstractmethod
    async def alerts(self, pool: PoolLike) -> AlertsView:
        """The alerts of a pool, and the recharge request that is open."""

    async def grant_recharge(
        self,
        pool: PoolLike,
        recharge: str,
        *,
        amount: AmountLike | None = None,
        cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
        expires_at: TimeLike | None = None,
        comment: str | None = None,
    ) -> Receipt:
        """Grant what a recharge request, such as "q7", asks for, or ``amount``. Granted again, it answers as it did.

        If that leaves the balance below the threshold, the rest is asked for at once.
        Raises ``StateConflict`` (``recharge_refused``, ``recharge_timed_out``), ``NotFound``.
        """
        return await self._command(
            "recharge.grant",
            pool,
            {
                "recharge": recharge,
                "amount": amount,
                "cost_basis": cost_basis,
                "expires_at": expires_at,
                "comment": comment,
            },
        )

    async def refuse_recharge(self, pool: PoolLike, recharge: str) -> Receipt:
        """Let a recharge request come to nothing: a card was declined. The next is not made before its timeout.

        Raises ``StateConflict`` (``recharge_granted``, ``recharge_timed_out``), ``NotFound``.
        """
        return await self._command("recharge.refuse", pool, {"recharge": recharge})

    @abstractmethod
    def events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str | None = None,
    ) -> AsyncIterator[PoolEvent]:
        """What pools say, as it happens: alerts and recharge requests, in the journal's order, each once.

        Of one pool, of a customer's, or of an environment's. From now on; or with ``after``, the position of the last
        event that was dealt with ("0.0": none), everything behind that first. Nothing is missed or repeated between
        the two, nor while a service restarts. Events are read when they are asked for: who is slow holds up nobody.

        Raises ``InvalidRequest`` for a position that is none of this journal's. Over NATS, what is wrong shows at the
        first event that is waited for: ``Unavailable`` if no service answers, or the client may not ask it.
        """

    @abstractmethod
    async def past_events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str = "0.0",
        limit: int = 100,
    ) -> EventPage:
        """A page of what pools have said, behind the position ``after``, ``1 <= limit <= 1000``.

        "end" as a position stands for that of the newest: the page is empty, and says where the next event goes.
        Raises ``InvalidRequest``.
        """

    @abstractmethod
    async def budgets(self, pool: PoolLike) -> BudgetList:
        """The budgets of a pool, with what is used of them in their present windows."""

    @abstractmethod
    async def transfer(self, source: PoolLike, target: PoolLike, amount: AmountLike, *, key: str) -> Receipt:
        """Move unspent credits between two pools of one customer and currency, in one atomic step.

        They leave in burn order, and each block keeps its category, priority, expiry and cost basis. The key is the
        source's. Raises ``InsufficientCredits``, ``IdempotencyConflict``.
        """

    @abstractmethod
    async def batch(self, requests: Sequence[Request], *, atomic: bool = False) -> list[Receipt | SolventError]:
        """Do many commands: receipts and errors side by side, in the order of the requests, and nothing raised for one.

        Each stands on its own, 10,000 at most; ``atomic``, all of them are done or none, 1,000 at most, on any pools of
        one customer. If one is refused then, the others are answered ``StateConflict`` (``batch_refused``).
        """

    @abstractmethod
    async def check(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        dimensions: Dimensions | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
    ) -> Verdict:
        """Whether ``amount`` could be spent now, how much at most, and out of which allowances and grants.

        ``metric`` and ``quantity`` matter to allowances that count them. Writes nothing.
        """

    @abstractmethod
    async def balance(self, pool: PoolLike, *, as_of: TimeLike | None = None) -> Balance:
        """The pool as it is, or as it was at a moment. Raises ``NotFound`` for a pool that was never granted
        anything."""

    @abstractmethod
    async def grants(self, pool: PoolLike, *, as_of: TimeLike | None = None) -> GrantList:
        """All grants of a pool, those that can be burned first, in burn order."""

    @abstractmethod
    async def holds(self, pool: PoolLike) -> HoldList:
        """The holds of a pool that are not settled, oldest first."""

    @abstractmethod
    async def costs(self, pool: PoolLike, *, start: TimeLike | None = None, end: TimeLike | None = None) -> CostReport:
        """What became of the pool's credits in [start, end), by cost basis: burned, expired, voided, and their value.

        By the time of recording: what finance needs to recognise revenue. Read from the journal.
        """

    @abstractmethod
    async def ledger(
        self, pool: PoolLike, *, limit: int = 100, cursor: str | None = None, newest_first: bool = True
    ) -> LedgerPage:
        """A page of the pool's history, ``1 <= limit <= 1000``. A cursor stays valid while entries are added."""

    @abstractmethod
    async def pools(
        self,
        customer: str | None = None,
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        limit: int = 100,
        cursor: str | None = None,
    ) -> PoolPage:
        """Balances of a customer's pools, or of a whole environment's, ``1 <= limit <= 1000`` a page."""

    @abstractmethod
    async def totals(self, customer: str, *, environment: str = ENVIRONMENT_DEFAULT) -> CustomerTotals:
        """What all pools of a customer hold together, by currency; nothing, if there is none.

        Each pool counts as it is when it is asked, one after another: what moves between two of them meanwhile may be
        counted in both or in neither.
        """


class OpenHold:
    """A hold that was granted. ``capture`` or ``release`` it; else it expires at ``receipt.expires_at``."""

    def __init__(self, credits: Credits, pool: PoolLike, receipt: Receipt) -> None:
        self._credits = credits
        self._pool = pool
        self.receipt = receipt
        self.settled = False

    @property
    def id(self) -> str:
        return self.receipt.id

    async def capture(
        self,
        amount: AmountLike,
        *,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
    ) -> Receipt:
        """See ``Credits.capture``."""
        receipt = await self._credits.capture(
            self._pool, self.id, amount, occurred_at=occurred_at, metric=metric, quantity=quantity
        )
        self.settled = True
        return receipt

    async def release(self) -> Receipt:
        """See ``Credits.release``."""
        receipt = await self._credits.release(self._pool, self.id)
        self.settled = True
        return receipt


class PendingHold:
    """What ``Credits.hold`` returns: nothing is asked until it is awaited or entered."""

    def __init__(self, credits: Credits, pool: PoolLike, fields: dict[str, Any]) -> None:
        self._credits = credits
        self._pool = pool
        self._fields = fields
        self._opened: OpenHold | None = None

    async def _open(self) -> OpenHold:
        receipt = await self._credits._command("hold", self._pool, self._fields)
        return OpenHold(self._credits, self._pool, receipt)

    def __await__(self) -> Generator[Any, None, OpenHold]:
        return self._open().__await__()

    async def __aenter__(self) -> OpenHold:
        opening = asyncio.ensure_future(self._open())
        try:
            self._opened = opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The hold may be granted already: nobody else would ever release it.
            with anyio.move_on_after(RELEASE_TIMEOUT_S, shield=True), suppress(SolventError):
                await (await opening).release()
            opening.cancel()
            raise
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._opened is not None  # noqa: S101 - narrows the type: it was entered
        if self._opened.settled:
            return
        # Also when the block was cancelled: credits that nobody will spend should not wait for their expiry.
        with anyio.move_on_after(RELEASE_TIMEOUT_S, shield=True):
            try:
                await self._opened.release()
            except StateConflict:
                # It is over already: captured by its id, by an earlier try with the same key, or expired.
                return
            except SolventError as failure:
                if error is None:
                    raise
                error.add_note(f"hold {self._opened.id} could not be released and will expire: {failure}")
