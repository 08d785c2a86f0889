"""The methods of ``Credits`` that answer questions about usage. Each builds a request and sends it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.moments import written
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolLike, parse_pool
from solvent.engine.values.times import TimeLike
from solvent.engine.values.windows import Period

from .requests import Request
from .usage_answers import (
    Forecast,
    GroupValue,
    Usage,
    UsageComparison,
    UsageEntryPage,
    UsageLine,
    UsageQuestion,
    UsageSpikes,
    UsageStatus,
)
from .usage_requests import (
    ENTRIES_LIMIT_DEFAULT,
    FORECAST_PERIOD_DEFAULT,
    PERIOD_DEFAULT,
    SENSITIVITY_DEFAULT,
    SPIKES_LIMIT_DEFAULT,
    CompareRequest,
    EntriesRequest,
    ForecastRequest,
    RebuildRequest,
    SpikesRequest,
    StatusRequest,
    TableRequest,
)
from .usage_words import CompareOrder, Order

A = TypeVar("A")
Filters = Mapping[str, GroupValue | Sequence[GroupValue]] | Sequence[Mapping[str, Any]]


class UsageVerbs(ABC):
    """Questions about where the credits go."""

    @abstractmethod
    async def send(self, request: Request[A]) -> A:
        """Send any one request and return its answer."""

    async def usage(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        currency: str = CURRENCY_DEFAULT,
        period: str | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        window: Period | None = None,
        time_zone: str = "UTC",
        group_by: Sequence[str] = (),
        filters: Filters = (),
        top: int | None = None,
        order: Order = "credits",
        descending: bool | None = None,
        fill_empty: bool = False,
        consistent: bool = False,
    ) -> Usage:
        """Return where the credits went, broken down by any fields of the events, over any range of time.

        The usage is that of one pool, or of all pools in ``currency`` of a customer or of the whole environment. The
        sum of every breakdown equals the sum of the ledger's debits, to the last unit.

        Args:
            pool: The pool. Default: all pools of ``customer``, or of ``environment``.
            customer: The customer. Default: all of the environment.
            environment: The environment.
            currency: The currency, where no pool is given.
            period: A range in words: "today", "last 7 days", "this month", "year to date", "2026-Q3",
                "2026-07-01..2026-07-14". Default, without ``start`` and ``end``: the last 30 days.
            start: The first moment of the range, to the microsecond.
            end: The moment after the last.
            window: Cuts the range into buckets of the calendar: "minute", "hour", "day", "week", "month", "quarter" or
                "year". Default: one bucket, the whole range.
            time_zone: The time zone of ``period`` and ``window``, such as "Europe/Paris".
            group_by: At most 8 fields: dimensions of the events, and ``$metric``, ``$customer``, ``$resource``,
                ``$grant``, ``$category``, ``$cost_basis``, ``$currency``. Write a dimension whose name begins with a
                dollar sign with a second one.
            filters: Conditions that must all hold: ``{"model": "gpt-4", "team": ["a", "b"], "user": None}`` (equal, one
                of, missing), or a list of ``{"field": ..., "op": ..., "values": [...]}`` with an ``op`` of "=", "in",
                "not in", "missing" or "prefix". At most 50, each with at most 1,000 values.
            top: The number of groups to keep, 1 to 10,000, ranked by ``order`` over the whole range. The others are
                summed in one line, "other". Default: all.
            order: "credits", "events", "refused", "quantity" or "name".
            descending: Whether the largest comes first. Default: yes, except by name.
            fill_empty: Whether windows in which nothing happened have lines too.
            consistent: Whether to wait until everything acknowledged before this call is in the answer. Otherwise the
                answer is at most about half a second old.

        Returns:
            The lines, one for each group and bucket, with totals, and the version of the data (``as_of``).

        Raises:
            InvalidRequest: A field is wrong.
            TooLarge: The answer has more than 100,000 lines: ask for the top ones, or for larger windows.
            Unavailable: Usage is being brought up to date from the journal.
        """
        question = UsageQuestion(
            pool=None if pool is None else str(parse_pool(pool)),
            customer=customer,
            environment=environment,
            currency=currency,
            period=PERIOD_DEFAULT if period is None and start is None and end is None else period,
            start=_moment(start, "start"),
            end=_moment(end, "end"),
            window=window,
            time_zone=time_zone,
            group_by=_names(group_by),
            filters=_filters(filters),
            top=top,
            order=order,
            descending=descending,
            fill_empty=fill_empty,
            consistent=consistent,
        )
        return await self.send(TableRequest(question=question))

    async def usage_entries(
        self,
        usage: Usage,
        line: UsageLine | None = None,
        *,
        cursor: str | None = None,
        limit: int = ENTRIES_LIMIT_DEFAULT,
    ) -> UsageEntryPage:
        """Return the ledger entries behind a line of ``usage``, or behind all of it, ordered by time.

        Only entries that the answer counted are returned. Later entries are left out.

        Args:
            usage: An answer of ``usage``.
            line: One of its lines. Default: all of them.
            cursor: The ``next_cursor`` of the page before.
            limit: Entries of the page, 1 to 1,000.

        Returns:
            The entries with their pools, and the cursor of the next page.

        Raises:
            InvalidRequest: A field is wrong.
            Unavailable: Usage is being brought up to date from the journal.
        """
        request = EntriesRequest(question=usage.question, as_of=usage.as_of, cursor=cursor, limit=limit)
        if line is not None:
            request = msgspec.structs.replace(
                request,
                start=None if usage.question.window is None else written(line.start),
                group=None if line.other else line.group,
                other=line.other,
            )
        return await self.send(request)

    async def compare_usage(
        self, usage: Usage, against: str = "previous", *, order: CompareOrder = "change", top: int | None = None
    ) -> UsageComparison:
        """Compare ``usage`` with another period, group by group. Its ``window`` and ``top`` are ignored.

        Args:
            usage: An answer of ``usage``.
            against: "previous" (the same kind of period just before), "year before" (the same dates a year ago), or any
                period in words.
            order: What groups are ranked by: "change" (its size), "increase", "credits" or "name".
            top: The number of groups to keep, 1 to 10,000. Default: all.

        Returns:
            Both periods, and for each group what it used in each, with the change.

        Raises:
            InvalidRequest: A field is wrong.
            TooLarge: There are more than 100,000 groups.
            Unavailable: Usage is being brought up to date from the journal.
        """
        request = CompareRequest(question=usage.question, against=against, order=order, top=top)
        return await self.send(request)

    async def usage_spikes(
        self, usage: Usage, *, sensitivity: float = SENSITIVITY_DEFAULT, limit: int = SPIKES_LIMIT_DEFAULT
    ) -> UsageSpikes:
        """Find the buckets and groups of ``usage`` that stand out against their own history.

        Args:
            usage: An answer of ``usage`` that has a window.
            sensitivity: The score from which a bucket stands out.
            limit: The most spikes to return, 1 to 1,000.

        Returns:
            The spikes, the highest score first, and the method in words.

        Raises:
            InvalidRequest: A field is wrong, or the usage has no window.
            TooLarge: There are more than 100,000 lines.
            Unavailable: Usage is being brought up to date from the journal.
        """
        request = SpikesRequest(question=usage.question, sensitivity=sensitivity, limit=limit)
        return await self.send(request)

    async def forecast(
        self, pool: PoolLike, *, period: str = FORECAST_PERIOD_DEFAULT, time_zone: str = "UTC"
    ) -> Forecast:
        """Forecast when a pool runs dry if its credits continue to be used at the rate of ``period``.

        Args:
            pool: The pool.
            period: A range in words, as for ``usage``.
            time_zone: The time zone of ``period``.

        Returns:
            The rate of use, when the credits end, what expires unused, and the method in words.

        Raises:
            InvalidRequest: A field is wrong.
            Unavailable: Usage is being brought up to date from the journal.
        """
        request = ForecastRequest(pool=str(parse_pool(pool)), period=period, time_zone=time_zone)
        return await self.send(request)

    async def usage_status(self, *, environment: str = ENVIRONMENT_DEFAULT) -> UsageStatus:
        """Return how far the usage file has followed the journal, and the new file if it is being rebuilt.

        Args:
            environment: An environment that the service serves. The usage file holds all of its environments.

        Returns:
            The frames that are in the file and in the journal.
        """
        return await self.send(StatusRequest(environment=environment))

    async def rebuild_usage(self, *, environment: str = ENVIRONMENT_DEFAULT) -> UsageStatus:
        """Start rebuilding the usage file from the journal. The old file answers until the new one is complete.

        Args:
            environment: An environment that the service serves. The usage file holds all of its environments.

        Returns:
            How far the rebuild has come.
        """
        return await self.send(RebuildRequest(environment=environment))


def _moment(value: TimeLike | None, field: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return written(value) if value.utcoffset() is not None else value.isoformat()
    raise InvalidRequest(field, "a datetime or ISO 8601 text", got=type(value).__name__)


def _names(fields: object) -> tuple[str, ...]:
    if not isinstance(fields, (list, tuple)):
        raise InvalidRequest("group_by", "a list of fields", got=type(fields).__name__)
    return tuple(fields)


def _filters(filters: object) -> tuple[dict[str, Any], ...]:
    if isinstance(filters, (list, tuple)):
        return tuple(dict(each) if isinstance(each, Mapping) else {"field": each} for each in filters)
    if not isinstance(filters, Mapping):
        raise InvalidRequest("filters", "names with values, or a list of filters", got=type(filters).__name__)
    found: list[dict[str, Any]] = []
    for name, value in filters.items():
        if value is None:
            found.append({"field": name, "op": "missing"})
        elif isinstance(value, (list, tuple)):
            found.append({"field": name, "op": "in", "values": list(value)})
        else:
            found.append({"field": name, "op": "=", "value": value})
    return tuple(found)
