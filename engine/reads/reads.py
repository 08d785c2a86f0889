"""All reads except usage. Each request is answered from a live pool, or from the journal if it is about the past."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast, get_args

import msgspec

from solvent.engine.api.balances import Balance, CustomerTotals, GrantList, GrantState, HoldList, PoolPage
from solvent.engine.api.events import EventPage
from solvent.engine.api.ledger import CostReport, LedgerPage
from solvent.engine.api.prices import CardList, Estimate
from solvent.engine.api.receipts import AllocationPage
from solvent.engine.api.requests import (
    AlertsRequest,
    AllocationsRequest,
    AllowanceCountsRequest,
    AllowancesRequest,
    BalanceRequest,
    BudgetCountsRequest,
    BudgetsRequest,
    CheckRequest,
    CostsRequest,
    EstimateRequest,
    GrantsRequest,
    HoldsRequest,
    LedgerRequest,
    PastEventsRequest,
    PoolsRequest,
    RatesRequest,
    RecurringRequest,
    Request,
    TotalsRequest,
)
from solvent.engine.api.settings import (
    AlertsView,
    AllowanceCounts,
    AllowanceList,
    BudgetCounts,
    BudgetList,
    RecurringList,
)
from solvent.engine.api.verdicts import Verdict
from solvent.engine.journal.frames import Head
from solvent.engine.pools.partition import Partition
from solvent.engine.pools.pools import Pools
from solvent.engine.projections.history import fold_before, fold_until
from solvent.engine.rules.checking import check_question
from solvent.engine.rules.commands import Page, Read
from solvent.engine.rules.fields import check_whole, parse_any_entry_id
from solvent.engine.rules.pool import Pool
from solvent.engine.rules.rates import price
from solvent.engine.rules.views.balances import GrantPlace, balance_of, grants_of
from solvent.engine.rules.views.ledger import entry_of
from solvent.engine.rules.views.prices import cards_of, rate_view
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.cursors import read_cursor, write_cursor
from solvent.engine.values.errors import InvalidRequest, NotFound
from solvent.engine.values.pages import LEDGER_PAGE_MAX, LIST_PAGE_MAX, POOL_PAGE_MAX, check_limit
from solvent.engine.values.pool_id import PoolId, check_id, customer_prefixes, environment_prefix, parse_pool
from solvent.engine.values.times import MOMENT_MAX_US, TimeLike, parse_time, to_datetime
from solvent.engine.values.words import check_word

from .costs import CostSums, LinePlace, place_of
from .feed import Feed
from .ledger import read_page
from .totals import PoolSums

A = TypeVar("A")


class Reads:
    """Answers reads about ``pools``."""

    def __init__(self, pools: Pools, feed: Feed) -> None:
        self._pools = pools
        self._feed = feed
        self._answers: dict[type[Request[Any]], Callable[[Any], Awaitable[Any]]] = {
            BalanceRequest: self._balance,
            GrantsRequest: self._grants,
            HoldsRequest: self._holds,
            BudgetsRequest: self._budgets,
            BudgetCountsRequest: self._budget_counts,
            AllowancesRequest: self._allowances,
            AllowanceCountsRequest: self._allowance_counts,
            RecurringRequest: self._recurring,
            AlertsRequest: self._alerts,
            CheckRequest: self._check,
            EstimateRequest: self._estimate,
            RatesRequest: self._rates,
            LedgerRequest: self._ledger,
            AllocationsRequest: self._allocations,
            CostsRequest: self._costs,
            PastEventsRequest: self._past_events,
            PoolsRequest: self._page,
            TotalsRequest: self._totals,
        }

    async def answer(self, request: Request[A]) -> A:
        """Return the answer to ``request``. Raises ``SolventError``."""
        answer = self._answers.get(type(request))
        if answer is None:
            raise InvalidRequest("request", "a request that the engine answers", got=type(request).__name__)
        return cast("A", await answer(request))

    async def _balance(self, request: BalanceRequest) -> Balance:
        pool = parse_pool(request.pool)
        if request.as_of is None:
            return await self._pools.ask(pool, Read("balance"), Balance)
        return balance_of(await self._as_of(pool, request.as_of), str(pool))

    async def _grants(self, request: GrantsRequest) -> GrantList:
        pool = parse_pool(request.pool)
        state = None if request.state is None else check_word(request.state, "state", GRANT_STATES)
        at = None if request.as_of is None else parse_time(request.as_of, "as_of")
        page = _page_of(request, pool, GrantPlace, state=state, at=at)
        if request.as_of is None:
            return await self._pools.ask(pool, Read("grants", page), GrantList)
        return grants_of(await self._as_of(pool, request.as_of), str(pool), page, now=at or 0)

    async def _holds(self, request: HoldsRequest) -> HoldList:
        pool = parse_pool(request.pool)
        return await self._pools.ask(pool, Read("holds", _page_of(request, pool, int)), HoldList)

    async def _budgets(self, request: BudgetsRequest) -> BudgetList:
        pool = parse_pool(request.pool)
        page = _page_of(request, pool, int, counts_max=_check_counts(request.counts_max))
        return await self._pools.ask(pool, Read("budgets", page), BudgetList)

    async def _budget_counts(self, request: BudgetCountsRequest) -> BudgetCounts:
        pool, name = parse_pool(request.pool), check_id(request.name, "name")
        page = _page_of(request, pool, bytes, name=name)
        return await self._pools.ask(pool, Read("budget.counts", page), BudgetCounts)

    async def _allowances(self, request: AllowancesRequest) -> AllowanceList:
        pool = parse_pool(request.pool)
        page = _page_of(request, pool, int, counts_max=_check_counts(request.counts_max))
        return await self._pools.ask(pool, Read("allowances", page), AllowanceList)

    async def _allowance_counts(self, request: AllowanceCountsRequest) -> AllowanceCounts:
        pool, name = parse_pool(request.pool), check_id(request.name, "name")
        page = _page_of(request, pool, bytes, name=name)
        return await self._pools.ask(pool, Read("allowance.counts", page), AllowanceCounts)

    async def _recurring(self, request: RecurringRequest) -> RecurringList:
        pool = parse_pool(request.pool)
        return await self._pools.ask(pool, Read("recurring", _page_of(request, pool, int)), RecurringList)

    async def _alerts(self, request: AlertsRequest) -> AlertsView:
        return await self._pools.ask(parse_pool(request.pool), Read("alerts"), AlertsView)

    async def _check(self, request: CheckRequest) -> Verdict:
        pool = parse_pool(request.pool)
        return await self._pools.ask(pool, check_question(request, self._pools.scale_of(pool.currency)), Verdict)

    async def _estimate(self, request: EstimateRequest) -> Estimate:
        pool = parse_pool(request.pool)
        scale = self._pools.scale_of(pool.currency)
        now = self._pools.services.now_us()
        at = now if request.occurred_at is None else parse_time(request.occurred_at, "occurred_at")
        version = (await self._pools.rates(pool.environment, pool.currency)).at(at)
        if version is None:
            raise NotFound("rate card", f"{pool.currency} of {pool.environment} at that time")
        priced = price(version.card, request.metric, request.quantity, request.dimensions, scale)
        amount = to_decimal(priced.units, scale)
        verdict = None
        if priced.units:
            question = CheckRequest(
                pool=pool,
                amount=amount,
                dimensions=request.dimensions,
                metric=request.metric,
                quantity=request.quantity,
            )
            verdict = await self._check(question)
        else:
            # No verdict is needed: it is always allowed, but only in a pool that exists.
            await self._pools.ask(pool, Read("balance"), Balance)
        return Estimate(amount=amount, card=version.number, rate=rate_view(priced.rate), verdict=verdict)

    async def _rates(self, request: RatesRequest) -> CardList:
        environment, currency = check_id(request.environment, "environment"), check_id(request.currency, "currency")
        about = (request.operation, environment, currency)
        after = read_cursor(request.cursor, about, tuple[int, int])
        page = Page(check_limit(request.limit, LIST_PAGE_MAX), after, about)
        return cards_of(await self._pools.rates(environment, currency), page)

    async def _past_events(self, request: PastEventsRequest) -> EventPage:
        return await self._feed.page(request)

    async def _as_of(self, pool: PoolId, as_of: TimeLike) -> Pool:
        """Return the pool as of a moment, folded from the journal, with the changes due by then."""
        moment = parse_time(as_of, "as_of")
        if moment > self._pools.services.now_us():
            raise InvalidRequest("as_of", "a time that has come already")
        partition, head, _ = await self._history(pool)
        past = await fold_until(partition.journal, partition.index, partition.snapshots, pool.canonical, head, moment)
        if not past.version:
            raise NotFound("pool", f"{pool} at that time")
        return past

    async def _history(self, pool: PoolId) -> tuple[Partition, Head, int]:
        """Return the partition, the head of the pool's history with all acknowledged and due changes, and the pool's
        decimal places. Raises ``NotFound``."""
        scale = await self._pools.ask(pool, Read("scale"), int)
        partition = await self._pools.partition()
        head = (await partition.store.heads([pool.canonical])).get(pool.canonical)
        if head is None:
            raise NotFound("pool", str(pool))
        return partition, head, scale

    async def _costs(self, request: CostsRequest) -> CostReport:
        pool = parse_pool(request.pool)
        begins = 0 if request.start is None else parse_time(request.start, "start")
        ends = MOMENT_MAX_US if request.end is None else parse_time(request.end, "end")
        if ends < begins:
            raise InvalidRequest("end", "a time that is not before start")
        limit = check_limit(request.limit, LIST_PAGE_MAX)
        about = (request.operation, pool.canonical, begins, ends)
        after = read_cursor(request.cursor, about, LinePlace)
        partition, head, scale = await self._history(pool)
        sums = CostSums()
        for moment, sign in ((begins, -1), (ends, 1)):
            past = await fold_before(
                partition.journal, partition.index, partition.snapshots, pool.canonical, head, moment
            )
            sums.add(past.blocks.values(), sign)
        lines = [line for line in sums.lines(scale) if after is None or place_of(line) > after]
        return CostReport(
            pool=str(pool),
            start=None if request.start is None else to_datetime(begins),
            end=None if request.end is None else to_datetime(ends),
            lines=tuple(lines[:limit]),
            next_cursor=write_cursor(about, place_of(lines[limit - 1])) if len(lines) > limit else None,
        )

    async def _allocations(self, request: AllocationsRequest) -> AllocationPage:
        pool = parse_pool(request.pool)
        version = parse_any_entry_id(request.entry, "entry")
        limit = check_limit(request.limit, LIST_PAGE_MAX)
        about = (request.operation, pool.canonical, version)
        begins = max(0, read_cursor(request.cursor, about, int) or 0)
        _, _, scale = await self._history(pool)
        event = await self._pools.find_entry(pool.canonical, version)
        entry = None if event is None else entry_of(event, version, scale)
        if entry is None or entry.id != request.entry:
            raise NotFound("entry", f"{request.entry} of {pool}")
        found = entry.allocations[begins : begins + limit]
        more = begins + limit < len(entry.allocations)
        return AllocationPage(str(pool), entry.id, found, write_cursor(about, begins + limit) if more else None)

    async def _ledger(self, request: LedgerRequest) -> LedgerPage:
        pool = parse_pool(request.pool)
        check_limit(request.limit, LEDGER_PAGE_MAX)
        about = (request.operation, pool.canonical, bool(request.newest_first))
        version = read_cursor(request.cursor, about, int)
        partition, head, scale = await self._history(pool)
        page = await read_page(
            partition.journal,
            partition.index,
            pool.canonical,
            head,
            name=str(pool),
            scale=scale,
            limit=request.limit,
            cursor=version,
            newest_first=request.newest_first,
        )
        if page.next_cursor is None:
            return page
        return msgspec.structs.replace(page, next_cursor=write_cursor(about, page.entries[-1].version))

    async def _page(self, request: PoolsRequest) -> PoolPage:
        limit = check_limit(request.limit, POOL_PAGE_MAX)
        check_id(request.environment, "environment")
        if request.customer is None:
            prefixes: tuple[str, ...] = (environment_prefix(request.environment),)
        else:
            prefixes = customer_prefixes(request.environment, check_id(request.customer, "customer"))
        about = (request.operation, request.environment, request.customer)
        after = read_cursor(request.cursor, about, str) or ""
        partition = await self._pools.partition()
        # Pools that the index may lack are in memory. Read memory first: pools only ever move from there to the index.
        names = {name for name in partition.projector.pools() if name > after and name.startswith(prefixes)}
        for prefix in prefixes:
            names.update(await partition.index.pools(prefix, after=after, limit=limit + 1))
        page = sorted(names)[: limit + 1]
        balances = await asyncio.gather(
            *(self._balance(BalanceRequest(pool=parse_pool(name))) for name in page[:limit])
        )
        return PoolPage(tuple(balances), write_cursor(about, page[limit - 1]) if len(page) > limit else None)

    async def _totals(self, request: TotalsRequest) -> CustomerTotals:
        customer = check_id(request.customer, "customer")
        limit = check_limit(request.limit, LIST_PAGE_MAX)
        about = (request.operation, check_id(request.environment, "environment"), customer)
        after = read_cursor(request.cursor, about, str) or ""
        sums = PoolSums()
        cursor: str | None = None
        while True:
            page = await self._page(PoolsRequest(customer=customer, environment=request.environment, cursor=cursor))
            for balance in page.pools:
                sums.add(parse_pool(balance.pool).currency, balance)
            cursor = page.next_cursor
            if cursor is None:
                break
        found = [line for line in sums.totals() if line.currency > after]
        return CustomerTotals(
            environment=request.environment,
            customer=customer,
            totals=tuple(found[:limit]),
            next_cursor=write_cursor(about, found[limit - 1].currency) if len(found) > limit else None,
        )


GRANT_STATES: Final[tuple[GrantState, ...]] = get_args(GrantState)


def _check_counts(counts_max: object) -> int:
    return check_whole(counts_max, "counts_max", 0, LIST_PAGE_MAX)


def _page_of(
    request: Any,
    pool: PoolId,
    place: Any,
    *,
    state: str | None = None,
    at: int | None = None,
    name: str = "",
    counts_max: int = 0,
) -> Page:
    """Return the page of a list of ``pool`` that ``request`` asks for. ``place`` is the type of a place in the list."""
    about = (request.operation, pool.canonical, state, at, name)
    after = read_cursor(request.cursor, about, place)
    return Page(check_limit(request.limit, LIST_PAGE_MAX), after, about, state, name, counts_max)
