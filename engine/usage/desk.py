"""Answers requests about usage: checks them, asks the usage process, and converts its numbers to amounts and times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Final, TypeVar, cast

import msgspec

from solvent.engine.api.balances import GrantList
from solvent.engine.api.usage_answers import (
    Forecast,
    GroupValue,
    Usage,
    UsageChange,
    UsageComparison,
    UsageEntry,
    UsageEntryPage,
    UsageLines,
    UsageQuestion,
    UsageSpike,
    UsageSpikes,
    UsageStatus,
)
from solvent.engine.api.usage_requests import (
    CompareRequest,
    EntriesRequest,
    ForecastRequest,
    RebuildRequest,
    SpikesRequest,
    StatusRequest,
    TableRequest,
    UsageRequest,
)
from solvent.engine.api.usage_table import UsageGroup, UsageTable, unpack
from solvent.engine.api.usage_words import COMPARE_ORDERS, CompareOrder
from solvent.engine.rules.events import Event
from solvent.engine.rules.views.ledger import entry_of
from solvent.engine.values.amounts import parse_amount, shown, to_decimal
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import parse_canonical, parse_pool
from solvent.engine.values.times import DAY_US, EPOCH, MICROSECOND, parse_time, to_datetime
from solvent.engine.values.windows import Period, check_zone, window_of

from .analysis import Compared, forecast
from .messages import Extent, Status, table_from
from .periods import Span, parse_span, previous_span, year_before
from .process import UsageProcess
from .query import (
    TOP_MAX,
    UsageCell,
    UsageQuery,
    UsageScope,
    check_count,
    check_entries_limit,
    customer_scope,
    environment_scope,
    pool_scope,
    usage_cell,
    usage_query,
)

A = TypeVar("A")

RELATIVE_PLACES: Final = 4
SPIKES_LIMIT_MAX: Final = 1_000
HORIZON_US: Final = 3_653 * DAY_US
"""The horizon of a forecast, ten years. A pool that runs dry later has no date."""
SPIKE_HISTORY: Final[dict[Period, tuple[int, int]]] = {
    "minute": (180, 30),
    "hour": (168, 24),
    "day": (28, 5),
    "week": (12, 5),
    "month": (12, 5),
    "quarter": (8, 5),
    "year": (5, 5),
}
"""The number of buckets before the range that are read too, and the number needed to judge a bucket."""
SPIKES_METHOD: Final = (
    "A bucket is a spike if its modified z-score (Iglewicz and Hoaglin, 1993) reaches the sensitivity. The score "
    "compares it with the buckets of its group before it, at most 168. It must also be 1.5 times as far above their "
    "median as the group has been three times before. A group that used nothing before must use a notable share of all "
    "credits."
)
FORECAST_ASSUMPTION: Final = (
    "Credits are used at the average rate of the range, in burn order. Credits that expire before they are used are "
    "lost. No grants are added, and open holds stay open."
)
ENTRIES_PER_TURN: Final = 50
"""The entries converted before other tasks get a turn: a millisecond."""
LINES_PER_TURN: Final = 100
"""The lines converted before other tasks get a turn: half a millisecond."""


_events: Final[msgspec.msgpack.Decoder[Event]] = msgspec.msgpack.Decoder(Event)


class UsageDesk:
    """Answers the requests about usage of one engine."""

    def __init__(
        self,
        process: UsageProcess,
        *,
        now_us: Callable[[], int],
        scale_of: Callable[[str, str | None], Awaitable[int]],
        extent: Callable[[], Awaitable[Extent]],
        grants_of: Callable[[str], Awaitable[GrantList]],
        timeout_s: float,
    ) -> None:
        """``scale_of`` returns the decimal places of a pool, or of all pools of a currency; ``extent`` the extent of
        everything acknowledged; ``grants_of`` all active grants of a pool in burn order."""
        self._process = process
        self._now_us = now_us
        self._scale_of = scale_of
        self._extent = extent
        self._grants_of = grants_of
        self._timeout_s = timeout_s

    async def answer(self, request: UsageRequest[A]) -> A:
        """Return the answer to ``request``. Raises ``SolventError``."""
        answer: object
        match request:
            case TableRequest():
                answer = await self.usage(request.question)
            case EntriesRequest():
                answer = await self.entries(request)
            case CompareRequest():
                answer = await self.compare(request)
            case SpikesRequest():
                answer = await self.spikes(request)
            case ForecastRequest():
                answer = await self.forecast(request)
            case StatusRequest():
                answer = await self.status()
            case RebuildRequest():
                answer = await self.rebuild()
            case _:
                raise InvalidRequest("request", "a request about usage", got=type(request).__name__)
        return cast("A", answer)

    async def usage(self, question: UsageQuestion) -> Usage:
        """Answer ``Credits.usage``."""
        query = self.check(question)
        return await self.told(question, query, await self.table(question, query))

    def check(self, question: UsageQuestion) -> UsageQuery:
        """Return the question as a checked query. Raises ``InvalidRequest``, ``TooLarge``."""
        zone = check_zone(question.time_zone, "time_zone")
        span = _span_of(question, zone, self._now_us())
        return usage_query(
            _scope_of(question),
            start=span.start,
            end=span.end,
            window=question.window,
            zone=zone,
            group_by=question.group_by,
            filters=question.filters,
            top=question.top,
            order=question.order,
            descending=question.descending,
            fill_empty=question.fill_empty,
        )

    async def table(self, question: UsageQuestion, query: UsageQuery) -> UsageTable:
        """Return the answer of the usage process."""
        return await self._process.table(query, await self._extent_of(question), self._timeout_s)

    async def _extent_of(self, question: UsageQuestion) -> Extent:
        return await self._extent() if question.consistent else Extent()

    async def told(self, question: UsageQuestion, query: UsageQuery, table: UsageTable) -> Usage:
        """Convert a table to an answer for the caller."""
        scale = await self._scale_in(query)
        whole = msgspec.structs.replace(
            table,
            buckets=((query.start, query.end),),
            groups=(UsageGroup((None,) * len(query.group_by)),),
            cells=table.total,
        )
        return Usage(
            question=absolute(question, query),
            start=to_datetime(query.start),
            end=to_datetime(query.end),
            lines=UsageLines(table, scale),
            total=UsageLines(whole, scale)[0],
            position=table.position,
            as_of=table.as_of,
        )

    async def _scale_in(self, query: UsageQuery) -> int:
        return await self._scale_of(query.scope.currency, query.scope.pool)

    async def entries(self, request: EntriesRequest) -> UsageEntryPage:
        """Answer ``Credits.usage_entries``."""
        check_entries_limit(request.limit)
        query, cell = self._cell_of(request)
        page = await self._process.entries(
            query, cell, as_of=request.as_of, cursor=request.cursor, limit=request.limit, timeout_s=self._timeout_s
        )
        entries: list[UsageEntry] = []
        pools: dict[str, tuple[str, int]] = {}
        for place, each in enumerate(page.entries):
            if each.pool not in pools:
                pool = parse_canonical(each.pool)
                pools[each.pool] = str(pool), await self._scale_of(pool.currency, each.pool)
            name, scale = pools[each.pool]
            entry = entry_of(_events.decode(each.event), each.version, scale)
            entries.append(UsageEntry(pool=name, credits=to_decimal(each.credits, scale), entry=entry))
            if place % ENTRIES_PER_TURN == ENTRIES_PER_TURN - 1:
                await asyncio.sleep(0)
        return UsageEntryPage(entries=tuple(entries), next_cursor=page.cursor)

    def _cell_of(self, request: EntriesRequest) -> tuple[UsageQuery, UsageCell]:
        question = request.question
        if request.group is None and not request.other and question.group_by:
            # The cell is all groups together, so the grouping does not matter.
            question = msgspec.structs.replace(question, group_by=(), top=None)
        query = self.check(question)
        values: tuple[GroupValue, ...] = ()
        if request.group is not None:
            if request.group.keys() != set(query.group_by):
                raise InvalidRequest("group", f"a value for each of {', '.join(query.group_by) or 'no field'}")
            values = tuple(request.group[name] for name in query.group_by)
        start = None if request.start is None else _bucket_of(query, parse_time(request.start, "start"))
        return query, usage_cell(query, start=start, values=values, other=request.other)

    async def compare(self, request: CompareRequest) -> UsageComparison:
        """Answer ``Credits.compare_usage``."""
        question = msgspec.structs.replace(request.question, window=None, top=None, fill_empty=False)
        query = self.check(question)
        order = _compare_order(request.order)
        if request.top is not None:
            check_count(request.top, "top", TOP_MAX)
        other = self._other_span(request.against, Span(query.start, query.end), query.zone)
        before = msgspec.structs.replace(query, start=other.start, end=other.end)
        groups, events_before, events_after = await self._process.comparison(
            query,
            before,
            order=order,
            top=request.top,
            extent=await self._extent_of(question),
            timeout_s=self._timeout_s,
        )
        scale = await self._scale_in(query)
        changes: list[UsageChange] = []
        for first in range(0, len(groups), LINES_PER_TURN):
            changes += [_change(each, query.group_by, scale) for each in groups[first : first + LINES_PER_TURN]]
            await asyncio.sleep(0)
        total = Compared(
            (None,) * len(query.group_by),
            False,
            sum(each.credits_before for each in groups),
            sum(each.credits_after for each in groups),
            events_before,
            events_after,
        )
        return UsageComparison(
            question=absolute(question, query),
            start=to_datetime(query.start),
            end=to_datetime(query.end),
            before_start=to_datetime(other.start),
            before_end=to_datetime(other.end),
            changes=tuple(changes),
            total=_change(total, query.group_by, scale),
        )

    def _other_span(self, against: str, span: Span, zone: str) -> Span:
        match against:
            case "previous":
                other = previous_span(span, zone)
            case "year before":
                other = year_before(span, zone)
            case _:
                try:
                    return parse_span(against, zone, self._now_us())
                except InvalidRequest as error:
                    raise InvalidRequest("against", f'"previous", "year before" or {error.expected}') from None
        if not other.start < other.end:
            raise InvalidRequest("against", "a period after 1970")
        return other

    async def spikes(self, request: SpikesRequest) -> UsageSpikes:
        """Answer ``Credits.usage_spikes``."""
        question = msgspec.structs.replace(request.question, fill_empty=False)
        query = self.check(question)
        window = query.window
        if window is None:
            raise InvalidRequest("window", "a window: what stands out is a bucket")
        since = query.start
        history, history_min = SPIKE_HISTORY[window]
        for _ in range(history):
            query = msgspec.structs.replace(query, start=window_of(max(query.start - 1, 0), window, query.zone)[0])
        check_count(request.limit, "limit", SPIKES_LIMIT_MAX)
        if not 0 < request.sensitivity < float("inf"):
            raise InvalidRequest("sensitivity", "a number above 0", got=shown(request.sensitivity))
        found = await self._process.spikes(
            query,
            since=since,
            history_min=history_min,
            sensitivity=float(request.sensitivity),
            limit=request.limit,
            extent=await self._extent_of(question),
            timeout_s=self._timeout_s,
        )
        usage = await self.told(question, query, table_from(query, [found.part], found.end))
        scale = await self._scale_in(query)
        return UsageSpikes(
            start=to_datetime(since),
            usage=usage,
            spikes=tuple(
                UsageSpike(line=line, expected=to_decimal(round(Fraction(twice, 2)), scale), score=round(score, 2))
                for line, twice, score in zip(usage.lines, unpack(found.expected_twice), found.scores, strict=True)
            ),
            method=SPIKES_METHOD,
        )

    async def forecast(self, request: ForecastRequest) -> Forecast:
        """Answer ``Credits.forecast``."""
        pool = parse_pool(request.pool)
        held = await self._grants_of(str(pool))
        question = UsageQuestion(pool=str(pool), period=request.period, time_zone=request.time_zone, consistent=True)
        query = self.check(question)
        now = self._now_us()
        end = min(query.end, now)
        if end <= query.start:
            raise InvalidRequest("period", "a period of which something is over", got=shown(request.period))
        query = msgspec.structs.replace(query, end=end)
        used = (await self.table(question, query)).total
        scale = await self._scale_in(query)
        spent = sum(used.debited) - sum(used.reversed)
        blocks = [
            (parse_amount(grant.available, scale), _moment_us(grant.expires_at))
            for grant in held.grants
            if grant.state == "active" and grant.available
        ]
        found = forecast(blocks, spent, over_us=end - query.start, now=now, horizon_us=HORIZON_US)
        return Forecast(
            pool=str(pool),
            version=held.version,
            available=to_decimal(sum(units for units, _ in blocks), scale),
            start=to_datetime(query.start),
            end=to_datetime(end),
            per_day=to_decimal(round(found.rate * DAY_US), scale),
            runs_dry_at=None if found.runs_dry_at is None else to_datetime(found.runs_dry_at),
            expiring=to_decimal(found.expires_unused, scale),
            assumption=FORECAST_ASSUMPTION,
        )

    async def status(self) -> UsageStatus:
        """Answer ``Credits.usage_status``."""
        return _status(await self._process.status(self._timeout_s))

    async def rebuild(self) -> UsageStatus:
        """Answer ``Credits.rebuild_usage``."""
        return _status(await self._process.rebuild(self._timeout_s))


def absolute(question: UsageQuestion, query: UsageQuery) -> UsageQuestion:
    """Return the question with its range as moments, so that it means the same tomorrow."""
    return msgspec.structs.replace(
        question, period=None, start=to_datetime(query.start).isoformat(), end=to_datetime(query.end).isoformat()
    )


def _scope_of(question: UsageQuestion) -> UsageScope:
    if question.pool is not None:
        if question.customer is not None:
            raise InvalidRequest("customer", "nothing where a pool is given")
        return pool_scope(question.pool)
    if question.customer is not None:
        return customer_scope(question.environment, question.customer, question.currency)
    return environment_scope(question.environment, question.currency)


def _span_of(question: UsageQuestion, zone: str, now: int) -> Span:
    if question.period is not None:
        if question.start is not None or question.end is not None:
            raise InvalidRequest("period", "either a period, or start and end", got=repr(question.period)[:60])
        return parse_span(question.period, zone, now)
    start = 0 if question.start is None else parse_time(question.start, "start")
    return Span(start, now if question.end is None else parse_time(question.end, "end"))


def _bucket_of(query: UsageQuery, start: int) -> int:
    """Return the start of the bucket that a line calls ``start``."""
    for bucket in query.buckets():
        if bucket[0] == start:
            return start
    raise InvalidRequest("start", "the start of a bucket of the question", got=to_datetime(start).isoformat())


def _compare_order(order: object) -> CompareOrder:
    for known in COMPARE_ORDERS:
        if known == order:
            return known
    raise InvalidRequest("order", f"one of {', '.join(COMPARE_ORDERS)}", got=shown(order))


def _change(group: Compared, fields: Sequence[str], scale: int) -> UsageChange:
    relative = group.relative
    return UsageChange(
        group=dict(zip(fields, group.values, strict=True)),
        other=group.other,
        credits=to_decimal(group.credits_after, scale),
        before=to_decimal(group.credits_before, scale),
        events=group.events_after,
        events_before=group.events_before,
        change=to_decimal(group.change, scale),
        relative=None if relative is None else to_decimal(round(relative * 10**RELATIVE_PLACES), RELATIVE_PLACES),
    )


def _moment_us(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // MICROSECOND


def _status(status: Status) -> UsageStatus:
    return UsageStatus(position=status.position, journal=status.journal, rebuilt=status.rebuilt, failure=status.failure)
