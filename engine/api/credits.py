"""The one interface of Solvent, whether it is embedded or reached over a transport.

``Engine`` and the clients are ``Credits``. The verbs are defined here, once: each builds a request and sends it. An
implementation provides ``send``, ``batch`` and ``events``. One test suite runs over all implementations.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from inspect import getdoc
from typing import Any, Literal, TypeVar

import msgspec

from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.dimensions import Dimensions
from solvent.engine.values.errors import InvalidRequest, SolventError
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolLike
from solvent.engine.values.quantities import QuantityLike
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

from . import requests as ask
from .balances import Balance, CustomerTotals, GrantList, GrantState, HoldList, PoolPage
from .clock import ClockStatus
from .events import EventPage, PoolEvent
from .holds import PendingHold
from .ledger import CostReport, LedgerPage
from .prices import CardList, Estimate
from .receipts import AllocationPage, Receipt
from .requests import BatchRequest, Request
from .rows import rows_of
from .settings import AlertsView, AllowanceCounts, AllowanceList, BudgetCounts, BudgetList, RecurringList
from .usage_verbs import UsageVerbs
from .verdicts import Verdict

BATCH_COMMANDS_MAX = 10_000
ATOMIC_COMMANDS_MAX = 1_000

A = TypeVar("A")


class Credits(UsageVerbs):
    """Grants, holds and debits of credits, and all that can be read about them.

    **Pools** are written ``customer`` or ``customer/resource``, with ``:currency`` and ``environment@`` where those are
    not the defaults: ``acme``, ``acme/website-1``, ``staging@acme:tokens``.

    **Amounts** go in as ``int``, ``str`` or ``Decimal`` and come out as ``Decimal``, in credits. A binary float is
    refused. **Times** go in as aware ``datetime`` or as ISO 8601 text with an offset, and come out in UTC.

    **Keys**: a ``key`` is the caller's own name for a command, 1 to 256 printable characters, unique within the pool.
    The same key with the same request is answered with the first receipt, marked ``replayed``, for the journal's life.
    A refusal does not use up its key.

    **Errors** that every method may raise, in addition to those that it names: ``InvalidRequest`` (a field is wrong),
    ``NotFound`` (no such pool), ``StateConflict`` with ``currency_scale`` (the pool has other decimal places than the
    currency is configured with), ``Overloaded`` (nothing was written: try again later), ``Unavailable`` (the outcome is
    unknown unless the error says otherwise: try again with the same key) and ``JournalError`` (the journal failed).
    """

    def __init_subclass__(cls, **options: Any) -> None:
        # A verb that an implementation overrides for speed keeps its docstring.
        super().__init_subclass__(**options)
        for name, member in vars(cls).items():
            if callable(member) and not member.__doc__ and not name.startswith("_"):
                member.__doc__ = getdoc(getattr(Credits, name, None))

    @abstractmethod
    async def send(self, request: Request[A]) -> A:
        """Send any one request and return its answer. The other methods are shorter ways to write this.

        Raises the same errors as the verb of that request.
        """

    async def grant(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        category: Category = "paid",
        priority: int = PRIORITY_DEFAULT,
        effective_at: TimeLike | None = None,
        expires_at: TimeLike | None = None,
        cost_basis: CostLike | None = None,
        name: str | None = None,
        comment: str | None = None,
        metadata: Dimensions | None = None,
    ) -> Receipt:
        """Put a block of credits into a pool. The first grant opens the pool.

        Grants burn by ``priority`` (0 to 100, lower first), then by the sooner ``expires_at``, then ``promotional``
        before ``paid``, then by the sooner ``effective_at``, then by age.

        Args:
            pool: The pool that gets the credits.
            amount: Credits, above zero.
            key: The idempotency key.
            category: ``"paid"`` or ``"promotional"``.
            priority: 0 to 100.
            effective_at: The time from which the credits can be spent. Default: now.
            expires_at: The time at which what is left expires. Default: never.
            cost_basis: What one credit cost, such as ``("0.0125", "USD")``: at most 12 decimal places.
            name: A name for people, at most 256 characters.
            comment: A comment for people, at most 1,024 characters.
            metadata: Names with values, as in ``dimensions`` of ``debit``. Kept, and never interpreted.

        Returns:
            The receipt. Its ``id`` ("g1") names the grant, and ``opened_pool`` says whether it opened the pool.

        Raises:
            IdempotencyConflict: The key was used for another request.
            InvalidRequest: A field is wrong, or all grants of the pool would exceed 63 bits of the smallest unit.
        """
        return await self.send(
            ask.GrantRequest(
                pool=pool,
                amount=amount,
                key=key,
                category=category,
                priority=priority,
                effective_at=effective_at,
                expires_at=expires_at,
                cost_basis=cost_basis,
                name=name,
                comment=comment,
                metadata=metadata,
            )
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
        """Change the terms of a grant. A term that is left out keeps its value; at least one is needed.

        Args:
            pool: The pool of the grant.
            grant: The id of the grant, such as "g1".
            key: The idempotency key.
            priority: 0 to 100.
            expires_at: The new expiry, or ``None`` for never.
            metadata: The new metadata, which replaces the old.

        Returns:
            The receipt of the change.

        Raises:
            NotFound: There is no such grant.
            StateConflict: The grant has ended (``grant_expired``, ``grant_voided``).
            IdempotencyConflict: The key was used for another request.
        """
        return await self.send(
            ask.UpdateGrantRequest(
                pool=pool, grant=grant, key=key, priority=priority, expires_at=expires_at, metadata=metadata
            )
        )

    async def void_grant(self, pool: PoolLike, grant: str) -> Receipt:
        """Void what is left of a grant, but not what is held or spent. A second void gets the same answer as the first.

        Args:
            pool: The pool of the grant.
            grant: The id of the grant, such as "g1".

        Returns:
            The receipt. Its ``amount`` is what was voided, in credits.

        Raises:
            NotFound: There is no such grant.
            StateConflict: The grant has expired (``grant_expired``).
        """
        return await self.send(ask.VoidGrantRequest(pool=pool, grant=grant))

    async def debit(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: QuantityLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """Consume credits for a usage event: all of ``amount``, or with ``partial`` as much as is available.

        Allowances pay first, then grants in burn order. A debit that exceeds any matching budget is refused. The debit
        is one atomic, durable step: the answer comes after the flush.

        Args:
            pool: The pool that pays.
            amount: Credits, above zero.
            key: The idempotency key, for instance the id of the usage event.
            partial: Whether to spend what is available, at least one unit, if that is less than ``amount``.
            occurred_at: When the usage happened: at most 400 days back and 5 minutes ahead (``Settings.limits``).
                Default: when it is recorded.
            metric: What was metered, such as "input_tokens".
            quantity: How much was metered, from 0, with at most 18 digits before the point and 9 after it.
            dimensions: Who and what used the credits, such as ``{"model": "gpt-4", "user": "u7"}``: at most 64 names of
                1 to 128 characters, with strings of at most 1,024 characters, numbers or booleans; 8 KiB in all.
            backfill: Lift the limit on how far back ``occurred_at`` may lie, for old traces.

        Returns:
            The receipt: ``id`` ("d2"), ``amount``, ``allocations`` to grants, ``allowances`` that paid, the ``balance``
            after it, the pool's ``version``, ``warnings`` of budgets that only warn.

        Raises:
            InsufficientCredits: Less than ``amount`` is available; the error has the ``top_up`` that would be enough.
            BudgetExceeded: A budget would be exceeded; the error names the budget and when its window resets.
            IdempotencyConflict: The key was used for another request.
        """
        return await self.send(
            ask.DebitRequest(
                pool=pool,
                amount=amount,
                key=key,
                partial=partial,
                occurred_at=occurred_at,
                metric=metric,
                quantity=quantity,
                dimensions=dimensions,
                backfill=backfill,
            )
        )

    async def report(
        self,
        pool: PoolLike,
        metric: str,
        quantity: QuantityLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """Debit what a metered quantity costs, by the rate card that was in effect when the usage happened.

        The price is exact, and rounded once, half-even, to the currency's decimal places. Usage that costs nothing is
        recorded too. A repeat with the same key keeps the first price, even if the rates have changed since.

        Args:
            pool: The pool that pays.
            metric: What was metered, such as "input_tokens".
            quantity: How much was metered, from 0, with at most 18 digits before the point and 9 after it.
            key: The idempotency key, for instance the id of the usage event.
            partial: Whether to spend what is available, at least one unit, if that is less than the price.
            occurred_at: When the usage happened: at most 400 days back and 5 minutes ahead. Default: when it is
                recorded.
            dimensions: Who and what used the credits; rates match on them. Bounds as for ``debit``.
            backfill: Lift the limit on how far back ``occurred_at`` may lie, for old traces.

        Returns:
            The receipt of the debit, with ``card``, the version of the rate card that priced it.

        Raises:
            NotFound: No rate card was in effect (``rate card``), or no rate matches (``rate``).
            InsufficientCredits: Less than the price is available.
            BudgetExceeded: A budget would be exceeded.
            IdempotencyConflict: The key was used for another request.
        """
        return await self.send(
            ask.ReportRequest(
                pool=pool,
                metric=metric,
                quantity=quantity,
                key=key,
                partial=partial,
                occurred_at=occurred_at,
                dimensions=dimensions,
                backfill=backfill,
            )
        )

    async def estimate(
        self,
        pool: PoolLike,
        metric: str,
        quantity: QuantityLike,
        *,
        occurred_at: TimeLike | None = None,
        dimensions: Dimensions | None = None,
    ) -> Estimate:
        """Return what a usage event would cost, by which rate, and whether the pool would allow it. Writes nothing.

        Args:
            pool: The pool that would pay.
            metric: What would be metered.
            quantity: How much would be metered, from 0.
            occurred_at: The time whose rate card is used. Default: now.
            dimensions: The dimensions of the usage event; rates match on them.

        Returns:
            The price in credits, the version of the card, the rate, and for a price above zero the verdict of
            ``check``.

        Raises:
            NotFound: No rate card is in effect (``rate card``), or no rate matches (``rate``).
        """
        return await self.send(
            ask.EstimateRequest(
                pool=pool, metric=metric, quantity=quantity, occurred_at=occurred_at, dimensions=dimensions
            )
        )

    async def set_rates(
        self,
        rates: Sequence[Mapping[str, Any]],
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        currency: str = CURRENCY_DEFAULT,
        effective_at: TimeLike | None = None,
    ) -> Receipt:
        """Set the rates that price usage from ``effective_at`` on. They replace the previous card.

        A rate is ``{"metric": "input_tokens", "match": {"model": "gpt-4"}, "credits": "30", "per": 1000000}``. The rate
        that matches with the most dimensions prices an event; a card in which two could match equally well is refused.

        Args:
            rates: At most 1,000 rates. ``match`` may be left out, and ``per`` is 1 then.
            environment: The environment whose usage they price.
            currency: The currency they price in.
            effective_at: The time from which they apply. Default: now. It may lie back as far as usage may (400 days
                unless the engine says otherwise) if each metric that had rates since then has the same on this card. So
                the first rates of a metric can price what was used before them.

        Returns:
            The receipt. Its ``id`` ("c8") names the version of the card.

        Raises:
            InvalidRequest: A rate is wrong, two rates could match equally well, or ``effective_at`` lies too far back,
                or before it a metric had another price: past usage is not priced again.
            StateConflict: The currency has 1,000 cards over its life already (``too_many_rate_cards``).
        """
        return await self.send(
            ask.SetRatesRequest(rates=rates, environment=environment, currency=currency, effective_at=effective_at)
        )

    async def rates(
        self,
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        currency: str = CURRENCY_DEFAULT,
        limit: int = ask.LIST_DEFAULT,
        cursor: str | None = None,
    ) -> CardList:
        """Return a page of the versions of a currency's rate card, oldest first.

        Args:
            environment: The environment whose usage they price.
            currency: The currency they price in.
            limit: The most rates of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The cards with their rates and the times from which they apply; none if no card was set.
        """
        return await self.send(ask.RatesRequest(environment=environment, currency=currency, limit=limit, cursor=cursor))

    async def clock(self, *, environment: str = ENVIRONMENT_DEFAULT) -> ClockStatus:
        """Return the engine's time, and whether the machine's clock is believed.

        Args:
            environment: An environment that the service serves. It has one clock for all of them.

        Returns:
            Both times, and why the machine's clock is not believed.
        """
        return await self.send(ask.ClockRequest(environment=environment))

    async def confirm_clock(self, *, environment: str = ENVIRONMENT_DEFAULT) -> ClockStatus:
        """Confirm that the machine's clock is right. If it was not believed, what is due by it falls due now.

        Args:
            environment: An environment that the service serves. It has one clock for all of them.

        Returns:
            Both times.

        Raises:
            Unavailable: The clock is believed, but that is not in the journal yet: confirm it again after a restart.
        """
        return await self.send(ask.ConfirmClockRequest(environment=environment))

    def hold(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        ttl_s: Seconds | None = None,
        expires_at: TimeLike | None = None,
        metric: str | None = None,
        dimensions: Dimensions | None = None,
    ) -> PendingHold:
        """Set credits aside before the real cost is known. Nobody else can spend them until the hold ends.

        Await the result for an ``OpenHold``, or enter it: ``async with credits.hold(...) as hold`` releases the hold
        when the block ends, unless it was captured. An awaited hold can be entered later, ``async with hold:``. Held
        credits stay with the hold even if their grant expires.

        A hold that is asked for again says what became of it: ``state`` is "open", "captured", "released" or "expired",
        and the ``settlement`` of its receipt has the amounts. One that is settled cannot be entered.

        If the caller is cancelled while it asks or in the block, the hold is released before the cancellation goes on.

        Args:
            pool: The pool that pays.
            amount: Credits, above zero.
            key: The idempotency key.
            ttl_s: Seconds until the hold expires by itself, 1 to 86,400, to the microsecond. Default: an hour.
            expires_at: The time at which the hold expires by itself, at most 24 hours ahead, instead of ``ttl_s``.
            metric: What will be metered.
            dimensions: The dimensions of the usage event that will capture the hold. Bounds as for ``debit``.

        Returns:
            The hold. It has its ``id`` ("h3") and its receipt once it was awaited or entered.

        Raises:
            InsufficientCredits: Less than ``amount`` is available.
            BudgetExceeded: A budget would be exceeded.
            IdempotencyConflict: The key was used for another request.
            StateConflict: It is entered, and is settled already (``hold_captured``, ``hold_released``,
                ``hold_expired``).
        """
        return PendingHold(
            self,
            ask.HoldRequest(
                pool=pool,
                amount=amount,
                key=key,
                ttl_s=ttl_s,
                expires_at=expires_at,
                metric=metric,
                dimensions=dimensions,
            ),
        )

    async def capture(
        self,
        pool: PoolLike,
        hold: str,
        amount: AmountLike | None = None,
        *,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: QuantityLike | None = None,
    ) -> Receipt:
        """Spend a hold: less than it (the rest goes back), all of it, or more (the rest is debited, if it fits).

        A hold is settled once: a second capture of the same amount gets the same answer as the first. Without
        ``amount``, the rate card prices ``quantity`` with the dimensions of the hold, as ``report`` does. A repeat then
        keeps the first price.

        Args:
            pool: The pool of the hold.
            hold: The id of the hold, such as "h3".
            amount: Credits, above zero. Default: what ``quantity`` costs.
            occurred_at: When the usage happened: at most 400 days back and 5 minutes ahead. Default: when it is
                recorded.
            metric: What was metered. Default: the metric of the hold.
            quantity: How much was metered, from 0.

        Returns:
            The receipt of the debit, with ``returned`` (what went back), ``lapsed`` (what would have gone back to a
            grant that has ended) and ``uncovered`` (what exceeded the hold and did not fit).

        Raises:
            NotFound: There is no such hold, or no rate for the usage (``rate card``, ``rate``).
            StateConflict: The hold has already ended in another way (``hold_released``, ``hold_expired``), or was
                captured with another amount, metric or quantity (``hold_captured``).
        """
        return await self.send(
            ask.CaptureRequest(
                pool=pool, hold=hold, amount=amount, occurred_at=occurred_at, metric=metric, quantity=quantity
            )
        )

    async def release(self, pool: PoolLike, hold: str) -> Receipt:
        """Give back all of a hold. A second release gets the same answer as the first.

        Args:
            pool: The pool of the hold.
            hold: The id of the hold, such as "h3".

        Returns:
            The receipt, with ``lapsed``: the credits that were lost because their grant has ended.

        Raises:
            NotFound: There is no such hold.
            StateConflict: The hold has already ended in another way (``hold_captured``, ``hold_expired``).
        """
        return await self.send(ask.ReleaseRequest(pool=pool, hold=hold))

    async def extend(
        self,
        pool: PoolLike,
        hold: str,
        *,
        key: str,
        ttl_s: Seconds | None = None,
        expires_at: TimeLike | None = None,
    ) -> Receipt:
        """Let an open hold expire later: at most 24 hours from now, and 7 days from its start.

        Args:
            pool: The pool of the hold.
            hold: The id of the hold, such as "h3".
            key: The idempotency key of the extension, another than that of the hold.
            ttl_s: Seconds from now until the hold expires, 1 to 86,400. One of ``ttl_s`` and ``expires_at`` is needed.
            expires_at: The time at which the hold expires.

        Returns:
            The receipt, with ``hold`` and the new ``expires_at``.

        Raises:
            InvalidRequest: The hold would expire no later than now, or too late.
            NotFound: There is no such hold.
            StateConflict: The hold has ended (``hold_captured``, ``hold_released``, ``hold_expired``).
            IdempotencyConflict: The key was used for another request.
        """
        return await self.send(ask.ExtendRequest(pool=pool, hold=hold, key=key, ttl_s=ttl_s, expires_at=expires_at))

    async def reverse(self, pool: PoolLike, debit: str, *, key: str, amount: AmountLike | None = None) -> Receipt:
        """Undo a debit or a capture, or a part of it: the credits go back to the grants that had paid, the last first.

        Args:
            pool: The pool of the debit.
            debit: The id of the debit, such as "d2".
            key: The idempotency key.
            amount: Credits, at most what is left of the debit. Default: all of it.

        Returns:
            The receipt, with ``lapsed``: the credits that were lost because their grant has ended.

        Raises:
            NotFound: There is no such debit.
            InvalidRequest: ``amount`` exceeds what is left of the debit, or what the pool has room for (63 bits).
            StateConflict: Nothing is left of the debit (``already_reversed``).
            IdempotencyConflict: The key was used for another request.
        """
        return await self.send(ask.ReverseRequest(pool=pool, debit=debit, key=key, amount=amount))

    async def set_budget(
        self,
        pool: PoolLike,
        name: str,
        amount: AmountLike,
        *,
        window: BudgetWindow,
        time_zone: str = "UTC",
        match: Dimensions | None = None,
        each: str | None = None,
        missing: Missing = "pass",
        mode: BudgetMode = "block",
        holds_max: int | None = None,
    ) -> Receipt:
        """Limit what may be spent per window. A budget of the same name takes the new terms.

        The budget counts debits and holds; a release or a reversal reduces the count. New terms keep the count unless
        ``match``, ``each``, ``missing``, ``window`` or ``time_zone`` change. A pool has at most 100 budgets.

        Args:
            pool: The pool.
            name: The name of the budget, 1 to 128 printable characters.
            amount: Credits per window, above zero.
            window: "minute", "hour", "day", "week", "month" or "total".
            time_zone: The time zone in which windows begin, such as "Europe/Paris".
            match: Count only what has all of these dimensions. Default: all of the pool.
            each: The dimension of which each value has a count of its own. Default: one count for all.
            missing: What happens to usage that lacks the dimension ``each``: "pass" does not count it, "block" refuses
                it, "count together" gives all of it one count.
            mode: "block" refuses what does not fit; "warn" lets it pass and names the budget in the receipt.
            holds_max: The most holds that may be open at once, 0 to 1,000,000. Default: no limit.

        Returns:
            The receipt. Its ``id`` is empty if nothing had to change.

        Raises:
            StateConflict: The pool has 100 budgets already (``too_many_budgets``).
        """
        return await self.send(
            ask.SetBudgetRequest(
                pool=pool,
                name=name,
                amount=amount,
                window=window,
                time_zone=time_zone,
                match=match,
                each=each,
                missing=missing,
                mode=mode,
                holds_max=holds_max,
            )
        )

    async def remove_budget(self, pool: PoolLike, name: str) -> Receipt:
        """Remove a budget. Removing one that does not exist changes nothing.

        Args:
            pool: The pool.
            name: The name of the budget.

        Returns:
            The receipt. Its ``id`` is empty if there was no such budget.
        """
        return await self.send(ask.RemoveBudgetRequest(pool=pool, name=name))

    async def open_pool(self, pool: PoolLike) -> Receipt:
        """Open a pool with nothing in it. A first grant opens it as well. Opening one that exists changes nothing.

        Args:
            pool: The pool.

        Returns:
            The receipt. Its ``id`` is empty if the pool exists.
        """
        return await self.send(ask.OpenPoolRequest(pool=pool))

    async def set_allowance(
        self,
        pool: PoolLike,
        name: str,
        amount: AmountLike,
        *,
        window: AllowanceWindow | None = None,
        rolling_s: int | None = None,
        time_zone: str = "UTC",
        match: Dimensions | None = None,
        each: str | None = None,
        missing: Missing = "pass",
        metric: str | None = None,
    ) -> Receipt:
        """Make usage free up to a quota per window. An allowance of the same name takes the new terms.

        An allowance pays for debits and holds before any grant does. Setting one opens a new pool. A pool has at most
        100 allowances.

        Args:
            pool: The pool.
            name: The name of the allowance, 1 to 128 printable characters.
            amount: The quota per window, above zero: credits, or a quantity of ``metric`` where that is given.
            window: "hour", "day", "week" or "month". Exactly one of ``window`` and ``rolling_s`` is needed.
            rolling_s: The length of a rolling window in seconds, a multiple of 60, from 60 to 2,678,400 (31 days).
            time_zone: The time zone in which fixed windows begin, such as "Europe/Paris".
            match: Cover only what has all of these dimensions. Default: all of the pool.
            each: The dimension of which each value has a quota of its own. Default: one quota for all.
            missing: What happens to usage that lacks the dimension ``each``: "pass" does not cover it, "block" refuses
                it, "count together" gives all of it one quota.
            metric: The metric whose quantity is counted. Default: credits are counted.

        Returns:
            The receipt. Its ``id`` is empty if nothing had to change.

        Raises:
            StateConflict: The pool has 100 allowances already (``too_many_allowances``).
        """
        return await self.send(
            ask.SetAllowanceRequest(
                pool=pool,
                name=name,
                amount=amount,
                window=window,
                rolling_s=rolling_s,
                time_zone=time_zone,
                match=match,
                each=each,
                missing=missing,
                metric=metric,
            )
        )

    async def remove_allowance(self, pool: PoolLike, name: str) -> Receipt:
        """Remove an allowance. Removing one that does not exist changes nothing.

        Args:
            pool: The pool.
            name: The name of the allowance.

        Returns:
            The receipt. Its ``id`` is empty if there was no such allowance.
        """
        return await self.send(ask.RemoveAllowanceRequest(pool=pool, name=name))

    async def allowances(
        self,
        pool: PoolLike,
        *,
        limit: int = ask.LIST_DEFAULT,
        cursor: str | None = None,
        counts_max: int = ask.LIST_DEFAULT,
    ) -> AllowanceList:
        """Return a page of the allowances of a pool, with what is used of them now.

        Args:
            pool: The pool.
            limit: The most allowances of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.
            counts_max: The most counts of each, 0 to 1,000; ``allowance_counts`` reads all.

        Returns:
            The allowances in the order in which they pay, with the pool's version.
        """
        return await self.send(ask.AllowancesRequest(pool=pool, limit=limit, cursor=cursor, counts_max=counts_max))

    async def allowance_counts(
        self, pool: PoolLike, name: str, *, limit: int = ask.LIST_DEFAULT, cursor: str | None = None
    ) -> AllowanceCounts:
        """Return a page of what is used of an allowance now, by value of its dimension.

        Args:
            pool: The pool.
            name: The name of the allowance.
            limit: The most counts of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The counts of the values that used any of it. Each value comes once.

        Raises:
            NotFound: There is no such allowance.
        """
        return await self.send(ask.AllowanceCountsRequest(pool=pool, name=name, limit=limit, cursor=cursor))

    async def set_recurring(
        self,
        pool: PoolLike,
        name: str,
        amount: AmountLike,
        *,
        period: RecurrencePeriod,
        every: int | Keep = KEEP,
        anchor: TimeLike | None = None,
        starts_at: TimeLike | None = None,
        ends_at: TimeLike | Keep | None = KEEP,
        time_zone: str | Keep = KEEP,
        category: Category | Keep = KEEP,
        priority: int | Keep = KEEP,
        cost_basis: CostLike | Keep | None = KEEP,
        roll_over: RollOver | Keep = KEEP,
        prorate: bool | Keep = KEEP,
        start: Literal["now"] | None = None,
    ) -> Receipt:
        """Grant credits at the start of every period. A recurring grant of the same name takes the new terms.

        What is left out keeps its value; a new one has the defaults. Terms that describe the same recurring grant, such
        as those that ``recurring`` returned, change nothing. New terms apply from the next grant on, and a lower
        roll-over at once. A new rhythm starts at its next beginning of a period, unless ``start``, ``starts_at`` or
        ``prorate`` asks for something else. Within one period, a recurring grant of a name grants once, also if it was
        cancelled and set again. A period that was missed is granted when the pool is next used, or by itself within a
        second or two of the engine's start. Setting one opens a new pool. A pool has at most 100 recurring grants.

        Args:
            pool: The pool.
            name: The name of the recurring grant, 1 to 128 printable characters.
            amount: Credits per period, above zero.
            period: "day", "week", "month" or "year".
            every: The number of periods between two grants, 1 to 1,000. Default: 1.
            anchor: The moment from which periods are counted. A monthly grant anchored on the 31st is made on the last
                day of a shorter month. Default: the first grant.
            starts_at: The time of the first grant. Default: now.
            ends_at: No grant is made at or after this time; ``None`` for never. Default: never.
            time_zone: The time zone in which periods begin, such as "Europe/Paris". Default: UTC.
            category: The category of each grant. Default: "paid".
            priority: The priority of each grant, 0 to 100. Default: 50.
            cost_basis: What one credit of each grant cost; ``None`` for no cost basis. Default: ``None``.
            roll_over: What happens to credits left when the next period begins: "none" keeps none of them, "all" keeps
                all, an amount keeps at most that many. The rest expires. Default: "none".
            prorate: Grant a period that has begun in part instead of in full when it starts. With a new rhythm, that
                part is granted at once. Default: False.
            start: "now" grants the period of a new rhythm that has begun at once. Default: at its next beginning.

        Returns:
            The receipt, with ``granted`` (the credits that were granted at once) and ``next_at`` (the time of the next
            grant). Its ``id`` is empty if nothing had to change.

        Raises:
            StateConflict: The pool has 100 recurring grants already (``too_many_recurring``).
        """
        return await self.send(
            ask.SetRecurringRequest(
                pool=pool,
                name=name,
                amount=amount,
                period=period,
                every=every,
                anchor=anchor,
                starts_at=starts_at,
                ends_at=ends_at,
                time_zone=time_zone,
                category=category,
                priority=priority,
                cost_basis=cost_basis,
                roll_over=roll_over,
                prorate=prorate,
                start=start,
            )
        )

    async def cancel_recurring(self, pool: PoolLike, name: str, *, at_once: bool = False) -> Receipt:
        """End a recurring grant. What was granted stays until its own end.

        Args:
            pool: The pool.
            name: The name of the recurring grant.
            at_once: Void what is left of the present period too.

        Returns:
            The receipt. Its ``id`` is empty if there was no such recurring grant.
        """
        return await self.send(ask.CancelRecurringRequest(pool=pool, name=name, at_once=at_once))

    async def recurring(
        self, pool: PoolLike, *, limit: int = ask.LIST_DEFAULT, cursor: str | None = None
    ) -> RecurringList:
        """Return a page of the recurring grants of a pool that have not ended.

        Args:
            pool: The pool.
            limit: The most recurring grants of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The recurring grants with their terms and the time of their next grant, and the pool's version.
        """
        return await self.send(ask.RecurringRequest(pool=pool, limit=limit, cursor=cursor))

    async def set_alerts(
        self,
        pool: PoolLike,
        *,
        low: Sequence[AmountLike] = (),
        expiring_within_s: int | None = None,
        budget_percents: Sequence[int] = (),
        recharge: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Set all alerts of a pool. An alert that is left out is switched off.

        An alert fires once when its threshold is crossed, and is armed again when credits are added above it. A pool
        with any alert also publishes when it is depleted and when a hold expires. ``events`` delivers the alerts.

        ``recharge`` is a rule that asks for credits: ``{"below": "20", "target": "100"}``, and optionally
        ``monthly_max`` (credits), ``time_zone``, ``timeout_s`` (60 to 2,678,400; default: a day), ``category``,
        ``cost_basis`` and ``grants`` (whether the pool grants the credits by itself). One request is open at a time,
        until ``grant_recharge``, ``refuse_recharge`` or its time-out. While the balance is below, the next request is
        made as soon as the rule allows, whether or not anything is spent.

        Args:
            pool: The pool.
            low: At most 20 thresholds: amounts, or percentages such as "20%" of what was available when credits were
                last added.
            expiring_within_s: The seconds before its expiry at which a grant with credits left is announced, 1 to
                31,622,400 (366 days).
            budget_percents: At most 20 percentages of a budget, 1 to 100, at which its use is announced.
            recharge: The rule that asks for credits.

        Returns:
            The receipt. Its ``id`` is empty if nothing had to change.
        """
        return await self.send(
            ask.SetAlertsRequest(
                pool=pool,
                low=low,
                expiring_within_s=expiring_within_s,
                budget_percents=budget_percents,
                recharge=recharge,
            )
        )

    async def alerts(self, pool: PoolLike) -> AlertsView:
        """Return the alerts of a pool, and its open recharge request.

        Args:
            pool: The pool.

        Returns:
            The thresholds and the rule as they were set, and the recharge request that is open.
        """
        return await self.send(ask.AlertsRequest(pool=pool))

    async def grant_recharge(
        self,
        pool: PoolLike,
        recharge: str,
        *,
        amount: AmountLike | None = None,
        cost_basis: CostLike | None = None,
        expires_at: TimeLike | None = None,
        comment: str | None = None,
    ) -> Receipt:
        """Grant what a recharge request asks for, or another amount. A second grant gets the same answer as the first.

        If the balance is still below the threshold afterwards, the pool requests the rest at once.

        Args:
            pool: The pool.
            recharge: The id of the recharge request, such as "q7".
            amount: Credits, above zero. Default: the amount of the request.
            cost_basis: What one credit cost. Default: the cost basis of the rule.
            expires_at: The expiry of the grant. Default: never.
            comment: A comment for people, at most 1,024 characters.

        Returns:
            The receipt of the grant.

        Raises:
            NotFound: There is no such request.
            StateConflict: The request has already ended in another way (``recharge_refused``, ``recharge_timed_out``).
        """
        return await self.send(
            ask.GrantRechargeRequest(
                pool=pool,
                recharge=recharge,
                amount=amount,
                cost_basis=cost_basis,
                expires_at=expires_at,
                comment=comment,
            )
        )

    async def refuse_recharge(self, pool: PoolLike, recharge: str) -> Receipt:
        """Refuse a recharge request, for instance because a card was declined. The next is made after the time-out.

        Args:
            pool: The pool.
            recharge: The id of the recharge request, such as "q7".

        Returns:
            The receipt of the refusal.

        Raises:
            NotFound: There is no such request.
            StateConflict: The request has already ended in another way (``recharge_granted``, ``recharge_timed_out``).
        """
        return await self.send(ask.RefuseRechargeRequest(pool=pool, recharge=recharge))

    @abstractmethod
    def events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str | None = None,
    ) -> AsyncIterator[PoolEvent]:
        """Iterate over the alerts and recharge requests of pools as they happen, in the journal's order, each once.

        No event is missed or repeated between past and new events, nor while a service restarts. An event is read only
        when the caller asks for the next one, so a slow reader delays nobody else. Over NATS, errors are raised by the
        first event that is awaited: ``NoService`` if no service answers, ``NotPermitted`` if the client may not ask it.
        A client that may not subscribe to published events gets events some seconds late.

        Args:
            pool: The pool. Default: all pools of ``customer``, or of ``environment``.
            customer: The customer. Default: all of the environment.
            environment: The environment.
            after: The position of the last event that was handled; "0.0" is the beginning. Default: now.

        Returns:
            An iterator without an end. Each event carries its ``position``.

        Raises:
            InvalidRequest: The position is not one of this journal.
        """

    async def past_events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str = "0.0",
        limit: int = ask.PAGE_DEFAULT,
    ) -> EventPage:
        """Return a page of past alerts and recharge requests.

        Args:
            pool: The pool. Default: all pools of ``customer``, or of ``environment``.
            customer: The customer. Default: all of the environment.
            environment: The environment.
            after: The position of the last event that was handled; "0.0" is the beginning. "end" is the newest: the
                page is empty then, and its ``position`` is the one to wait from.
            limit: The most events to return, 1 to 1,000.

        Returns:
            The events, the position to continue from, and whether there are more.

        Raises:
            InvalidRequest: The position is not one of this journal.
        """
        return await self.send(
            ask.PastEventsRequest(pool=pool, customer=customer, environment=environment, after=after, limit=limit)
        )

    async def budgets(
        self,
        pool: PoolLike,
        *,
        limit: int = ask.LIST_DEFAULT,
        cursor: str | None = None,
        counts_max: int = ask.LIST_DEFAULT,
    ) -> BudgetList:
        """Return a page of the budgets of a pool, with what is used of them in their present windows.

        Args:
            pool: The pool.
            limit: The most budgets of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.
            counts_max: The most counts of each, 0 to 1,000; ``budget_counts`` reads all.

        Returns:
            The budgets with their terms and counts, and the pool's version.
        """
        return await self.send(ask.BudgetsRequest(pool=pool, limit=limit, cursor=cursor, counts_max=counts_max))

    async def budget_counts(
        self, pool: PoolLike, name: str, *, limit: int = ask.LIST_DEFAULT, cursor: str | None = None
    ) -> BudgetCounts:
        """Return a page of what is used of a budget in its present window, by value of its dimension.

        Args:
            pool: The pool.
            name: The name of the budget.
            limit: The most counts of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The counts of the values that used any of it or have open holds. Each value comes once.

        Raises:
            NotFound: There is no such budget.
        """
        return await self.send(ask.BudgetCountsRequest(pool=pool, name=name, limit=limit, cursor=cursor))

    async def transfer(
        self, source: PoolLike, target: PoolLike, amount: AmountLike, *, key: str, open_pool: bool = False
    ) -> Receipt:
        """Move unspent credits between two pools of one customer and currency, in one atomic step.

        Credits leave in burn order. Each block keeps its category, priority, expiry and cost basis.

        Args:
            source: The pool that the credits leave.
            target: The pool that receives the credits.
            amount: Credits, above zero.
            key: The idempotency key, unique within the source.
            open_pool: Whether to open the target if it does not exist.

        Returns:
            The receipt of the source, with ``opened_pool``: whether the target was opened.

        Raises:
            NotFound: One of the pools does not exist, and ``open_pool`` was not given for the target.
            InsufficientCredits: Less than ``amount`` is available.
            IdempotencyConflict: The key was used for another request.
        """
        return await self.send(
            ask.TransferRequest(pool=source, target=target, amount=amount, key=key, open_pool=open_pool)
        )

    @abstractmethod
    async def batch(self, requests: Sequence[BatchRequest], *, atomic: bool = False) -> list[Receipt | SolventError]:
        """Send many commands at once. Each has its own answer; a refused command does not raise.

        Args:
            requests: ``GrantRequest``, ``DebitRequest``, ``ReportRequest``, ``HoldRequest``, ``CaptureRequest``,
                ``ReleaseRequest`` or ``ReverseRequest``, at most 10,000. Requests to one pool are done in this order.
            atomic: Do all of them or none: at most 1,000, on any pools of one customer.

        Returns:
            A receipt or an error for each request, in their order. If one request of an atomic batch is refused, the
            others are answered ``StateConflict`` (``batch_refused``).

        Raises:
            TooLarge: There are more requests than a batch may have.
        """

    async def check(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        dimensions: Dimensions | None = None,
        metric: str | None = None,
        quantity: QuantityLike | None = None,
    ) -> Verdict:
        """Return whether an amount could be spent now, how much at most, and from which grants. Writes nothing.

        Args:
            pool: The pool that would pay.
            amount: Credits, above zero.
            dimensions: The dimensions of the debit that would follow; budgets and allowances match on them.
            metric: What would be metered. Only allowances that count this metric use it.
            quantity: How much would be metered.

        Returns:
            The verdict, with the allowances and grants that would pay, and the budget that would refuse.
        """
        return await self.send(
            ask.CheckRequest(pool=pool, amount=amount, dimensions=dimensions, metric=metric, quantity=quantity)
        )

    async def balance(self, pool: PoolLike, *, as_of: TimeLike | None = None) -> Balance:
        """Return the balance of a pool, now or as it was at a moment.

        Args:
            pool: The pool.
            as_of: The moment, not after now. Default: now.

        Returns:
            The balance in credits, with the pool's version.

        Raises:
            NotFound: The pool does not exist, or did not at that time.
        """
        return await self.send(ask.BalanceRequest(pool=pool, as_of=as_of))

    async def grants(
        self,
        pool: PoolLike,
        *,
        as_of: TimeLike | None = None,
        state: GrantState | None = None,
        limit: int = ask.LIST_DEFAULT,
        cursor: str | None = None,
    ) -> GrantList:
        """Return a page of the grants of a pool: those that can be burned first, in burn order.

        ``each`` iterates over all of them.

        Args:
            pool: The pool.
            as_of: The moment, not after now. Default: now.
            state: Only grants in this state: "pending", "active", "depleted", "expired" or "voided". Default: all.
            limit: The most grants of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The grants with their states and amounts in credits, and the pool's version.

        Raises:
            NotFound: The pool does not exist, or did not at that time.
        """
        return await self.send(ask.GrantsRequest(pool=pool, as_of=as_of, state=state, limit=limit, cursor=cursor))

    async def holds(self, pool: PoolLike, *, limit: int = ask.LIST_DEFAULT, cursor: str | None = None) -> HoldList:
        """Return a page of the open holds of a pool, oldest first.

        Args:
            pool: The pool.
            limit: The most holds of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The holds with their amounts in credits and their expiries, and the pool's version.
        """
        return await self.send(ask.HoldsRequest(pool=pool, limit=limit, cursor=cursor))

    async def allocations(
        self, pool: PoolLike, entry: str, *, limit: int = ask.LIST_DEFAULT, cursor: str | None = None
    ) -> AllocationPage:
        """Return a page of the grants that an entry took credits from or gave them back to.

        A receipt, a hold or a ledger entry has them too, unless its ``cut`` names them.

        Args:
            pool: The pool.
            entry: The id of the entry, such as "d2" or "h3".
            limit: The most allocations of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The allocations in burn order, and the cursor of the next page.

        Raises:
            NotFound: There is no such entry.
        """
        return await self.send(ask.AllocationsRequest(pool=pool, entry=entry, limit=limit, cursor=cursor))

    async def costs(
        self,
        pool: PoolLike,
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        limit: int = ask.LIST_DEFAULT,
        cursor: str | None = None,
    ) -> CostReport:
        """Return what became of a pool's credits in [start, end), by cost basis: burned, expired, voided, their value.

        Entries count at the time of recording, and are read from the journal. Finance recognises revenue from this.

        Args:
            pool: The pool.
            start: The first moment. Default: the beginning.
            end: The moment after the last, not before ``start``. Default: the end.
            limit: The most lines of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            A page of lines, one for each cost basis, with amounts in credits and values in the currency of the basis.
        """
        return await self.send(ask.CostsRequest(pool=pool, start=start, end=end, limit=limit, cursor=cursor))

    async def ledger(
        self, pool: PoolLike, *, limit: int = ask.PAGE_DEFAULT, cursor: str | None = None, newest_first: bool = True
    ) -> LedgerPage:
        """Return a page of a pool's history.

        Args:
            pool: The pool.
            limit: Entries of the page, 1 to 1,000.
            cursor: The ``next_cursor`` of the page before. It stays valid while entries are added.
            newest_first: Whether the newest entry comes first.

        Returns:
            The entries, fewer than ``limit`` if they do not fit into one message, and the cursor of the next page.
        """
        return await self.send(ask.LedgerRequest(pool=pool, limit=limit, cursor=cursor, newest_first=newest_first))

    async def pools(
        self,
        customer: str | None = None,
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        limit: int = ask.PAGE_DEFAULT,
        cursor: str | None = None,
    ) -> PoolPage:
        """Return a page of balances: of a customer's pools, or of all pools of an environment.

        Args:
            customer: The customer. Default: all of the environment.
            environment: The environment.
            limit: Balances of the page, 1 to 1,000.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            The balances by name, and the cursor of the next page.
        """
        return await self.send(ask.PoolsRequest(customer=customer, environment=environment, limit=limit, cursor=cursor))

    async def totals(
        self,
        customer: str,
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        limit: int = ask.LIST_DEFAULT,
        cursor: str | None = None,
    ) -> CustomerTotals:
        """Return a page of the totals of all pools of a customer, by currency.

        The pools are read one after another. Credits that move between two of them meanwhile may be counted in both or
        in neither.

        Args:
            customer: The customer.
            environment: The environment.
            limit: The most currencies of the page, 1 to 1,000. Fewer come if they do not fit into one message.
            cursor: The ``next_cursor`` of the page before.

        Returns:
            A line for each currency; none if the customer has no pool.
        """
        return await self.send(
            ask.TotalsRequest(customer=customer, environment=environment, limit=limit, cursor=cursor)
        )

    async def every_page(self, request: Request[A]) -> AsyncIterator[A]:
        """Iterate over the pages of a list, from the one that ``request`` asks for to the last.

        Args:
            request: A request with a ``cursor``, such as ``GrantsRequest(pool="acme", state="active")``.

        Returns:
            An iterator over the answers. One page is in memory at a time.

        Raises:
            InvalidRequest: The request is not for a list.
        """
        if not hasattr(request, "cursor"):
            raise InvalidRequest("request", "a request with a cursor", got=type(request).__name__)
        while True:
            page = await self.send(request)
            yield page
            following = getattr(page, "next_cursor", None)
            if following is None:
                return
            request = msgspec.structs.replace(request, cursor=following)

    async def each(self, request: Request[Any]) -> AsyncIterator[Any]:
        """Iterate over the rows of a list: the grants of a ``GrantsRequest``, the entries of a ``LedgerRequest``, ...

        Args:
            request: A request with a ``cursor``, such as ``GrantsRequest(pool="acme", state="active")``.

        Returns:
            An iterator over the rows of all pages, from the one that ``request`` asks for on.

        Raises:
            InvalidRequest: The request is not for a list.
        """
        async for page in self.every_page(request):
            for row in rows_of(page):
                yield row
