"""The verbs about usage: a part of ``Credits``, where the embedded engine and the client bring only ``_ask_usage``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolLike, parse_pool
from solvent.engine.values.times import TimeLike

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
    AnyUsageRequest,
    CompareRequest,
    EntriesRequest,
    ForecastRequest,
    RebuildRequest,
    SpikesRequest,
    StatusRequest,
    TableRequest,
)

T = TypeVar("T")
Filters = Mapping[str, GroupValue | Sequence[GroupValue]] | Sequence[Mapping[str, Any]]


class UsageVerbs(ABC):
    """What can be asked about where the credits go."""

    @abstractmethod
    async def _ask_usage(self, request: AnyUsageRequest, kind: type[T]) -> T:
        """The answer to ``request``."""

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
        window: str | None = None,
        time_zone: str = "UTC",
        group_by: Sequence[str] = (),
        filters: Filters = (),
        top: int | None = None,
        order: str = "credits",
        descending: bool | None = None,
        fill_empty: bool = False,
        consistent: bool = False,
    ) -> Usage:
        """Where the credits went, broken down by anything that events carry, over any range of time.

        Of one pool; or with ``customer``, or with neither in all of ``environment``, of all pools in ``currency``.

        - ``period`` says a range in words ("today", "last 7 days", "this month", "year to date", "2026-Q3",
          "2026-07-01..2026-07-14"), ``start`` and ``end`` say one to the microsecond, half-open. Without either, the
          last 30 days.
        - ``window`` cuts it into buckets of the calendar of ``time_zone``: minute, hour, day, week, month, quarter or
          year. With ``fill_empty`` those in which nothing happened are lines too.
        - ``group_by`` names up to 8 fields: dimensions of the events, and ``$metric``, ``$customer``, ``$resource``,
          ``$grant``, ``$category``, ``$cost_basis``, ``$currency``. A dimension whose own name begins with a dollar
          sign is written with one more.
        - ``filters``, all of which must hold: ``{"model": "gpt-4", "team": ["a", "b"], "user": None}`` (equal, one of,
          missing), or a list of ``{"field": ..., "op": ..., "values": [...]}`` with ``op`` one of "=", "in", "not in",
          "missing" and "prefix".
        - ``top`` keeps so many groups by ``order`` (credits, events, refused, quantity or name) over the whole range,
          and puts the rest together as "other".

        An answer is at most about half a second old; ``consistent=True`` has all that was acknowledged before.

        Raises ``InvalidRequest`` naming the field, ``TooLarge``, and ``Unavailable`` while usage is being brought up to
        date from the journal.
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
        return await self._ask_usage(TableRequest(question=question), Usage)

    async def usage_entries(
        self,
        usage: Usage,
        line: UsageLine | None = None,
        *,
        cursor: str | None = None,
        limit: int = ENTRIES_LIMIT_DEFAULT,
    ) -> UsageEntryPage:
        """The ledger entries behind a line of ``usage``, or behind all of it, by time, ``1 <= limit <= 1000``.

        They are those that were in the answer, however many came since. Raises ``InvalidRequest``, ``Unavailable``.
        """
        request = EntriesRequest(question=usage.question, as_of=usage.as_of, cursor=cursor, limit=limit)
        if line is not None:
            request = msgspec.structs.replace(
                request,
                start=None if usage.question.window is None else line.start.isoformat(),
                group=None if line.other else line.group,
                other=line.other,
            )
        return await self._ask_usage(request, UsageEntryPage)

    async def compare_usage(
        self, usage: Usage, against: str = "previous", *, order: str = "change", top: int | None = None
    ) -> UsageComparison:
        """``usage``, whose windows and top do not matter here, against another period, group by group.

        ``against`` is "previous" (the same kind of period just before), "year before" (the same dates a year ago), or
        any period in words. ``order`` is change (its size), increase, credits or name. Raises as ``usage`` does.
        """
        request = CompareRequest(question=usage.question, against=against, order=order, top=top)
        return await self._ask_usage(request, UsageComparison)

    async def usage_spikes(
        self, usage: Usage, *, sensitivity: float = SENSITIVITY_DEFAULT, limit: int = SPIKES_LIMIT_DEFAULT
    ) -> UsageSpikes:
        """The buckets and groups of ``usage``, which must have a window, that stand out against their own history.

        ``sensitivity`` is the score from which a bucket does, ``1 <= limit <= 1000``. Raises as ``usage`` does.
        """
        request = SpikesRequest(question=usage.question, sensitivity=sensitivity, limit=limit)
        return await self._ask_usage(request, UsageSpikes)

    async def forecast(
        self, pool: PoolLike, *, period: str = FORECAST_PERIOD_DEFAULT, time_zone: str = "UTC"
    ) -> Forecast:
        """When the pool runs dry if its credits go on being used as they were in ``period``. Raises as ``usage``."""
        request = ForecastRequest(pool=str(parse_pool(pool)), period=period, time_zone=time_zone)
        return await self._ask_usage(request, Forecast)

    async def usage_status(self, *, environment: str = ENVIRONMENT_DEFAULT) -> UsageStatus:
        """How far the usage file is, and the new one if it is being made again.

        The file holds all environments; ``environment`` says only who is asked, where several services run.
        """
        return await self._ask_usage(StatusRequest(environment=environment), UsageStatus)

    async def rebuild_usage(self, *, environment: str = ENVIRONMENT_DEFAULT) -> UsageStatus:
        """Begin to make the usage file again from the journal. The old one answers until the new one is there."""
        return await self._ask_usage(RebuildRequest(environment=environment), UsageStatus)


def _moment(value: TimeLike | None, field: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
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
