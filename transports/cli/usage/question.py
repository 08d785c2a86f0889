"""The question of a command line, as calls of ``Credits``."""

from __future__ import annotations

from typing import Any

from solvent.engine.api.credits import Credits
from solvent.engine.api.usage_answers import Forecast, Usage, UsageComparison, UsageEntryPage, UsageSpikes
from solvent.engine.api.usage_requests import (
    ENTRIES_LIMIT_DEFAULT,
    FORECAST_PERIOD_DEFAULT,
    SENSITIVITY_DEFAULT,
    SPIKES_LIMIT_DEFAULT,
)
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT
from solvent.transports.cli.options import as_typed

from .filters import filters_of
from .options import ModeOptions, QuestionOptions


class Question:
    """One question about usage. Raises ``InvalidRequest`` for a filter that cannot be read."""

    def __init__(self, pool: str | None, asked: QuestionOptions, more: ModeOptions) -> None:
        filters = filters_of(asked)
        self.environment = asked.environment or ENVIRONMENT_DEFAULT
        self.filter_options = [each.option for each in filters]
        """The option of each filter."""
        self._pool = pool
        self._asked = asked
        self._more = more
        self._scope: dict[str, Any] = {
            "customer": asked.customer,
            "environment": self.environment,
            "currency": asked.in_currency or CURRENCY_DEFAULT,
            "period": asked.period,
            "start": asked.start,
            "end": asked.end,
            "time_zone": asked.time_zone,
            "filters": [each.filter for each in filters],
            "consistent": asked.consistent,
        }

    async def lines(self, credits: Credits) -> Usage:
        """Ask for the lines of the table."""
        asked = self._asked
        return await credits.usage(
            self._pool,
            **self._scope,
            group_by=asked.by or (),
            window=as_typed(asked.window),
            top=asked.top,
            order=as_typed(asked.order) or "credits",
            descending=False if asked.ascending else None,
            fill_empty=asked.fill,
        )

    async def changes(self, credits: Credits) -> UsageComparison:
        """Ask how the usage differs from the usage of another period."""
        fields = self._asked.by or ()
        # Ask for the smallest answer that holds the question, because the comparison asks again.
        usage = await credits.usage(self._pool, **self._scope, group_by=fields, top=1 if fields else None)
        return await credits.compare_usage(
            usage, self._more.compare or "", order=as_typed(self._asked.order) or "change", top=self._asked.top
        )

    async def spikes(self, credits: Credits) -> UsageSpikes:
        """Ask for the buckets that stand out."""
        sensitivity, limit = self._more.sensitivity, self._more.limit
        return await credits.usage_spikes(
            await self.lines(credits),
            sensitivity=SENSITIVITY_DEFAULT if sensitivity is None else sensitivity,
            limit=SPIKES_LIMIT_DEFAULT if limit is None else limit,
        )

    async def forecast(self, credits: Credits) -> Forecast:
        """Ask when the pool runs dry."""
        return await credits.forecast(self._pool or "", period=self._in_words(), time_zone=self._asked.time_zone)

    async def entries(self, credits: Credits) -> tuple[Usage, UsageEntryPage]:
        """Ask for the ledger entries behind the usage."""
        # The entries behind all lines are the same for any groups and buckets.
        usage = await credits.usage(self._pool, **self._scope)
        limit = ENTRIES_LIMIT_DEFAULT if self._more.limit is None else self._more.limit
        return usage, await credits.usage_entries(usage, cursor=self._more.cursor, limit=limit)

    def _in_words(self) -> str:
        """Return the range of a forecast, which takes it only as words: "START..END" for two times."""
        period, start, end = self._asked.period, self._asked.start, self._asked.end
        if period is not None and (start is not None or end is not None):
            raise InvalidRequest("--period", "either a period, or --start and --end")
        if period is None and start is None and end is None:
            return FORECAST_PERIOD_DEFAULT
        return f"{start or ''}..{end or ''}" if period is None else period
