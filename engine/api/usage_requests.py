"""What may be asked about usage, each as one value: the same for an embedded engine and on the wire."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

import msgspec

from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT

from .usage_answers import (
    Forecast,
    GroupValue,
    Usage,
    UsageComparison,
    UsageEntryPage,
    UsageQuestion,
    UsageSpikes,
    UsageStatus,
)

ENTRIES_LIMIT_DEFAULT = 100
SPIKES_LIMIT_DEFAULT = 20
SENSITIVITY_DEFAULT = 3.5
PERIOD_DEFAULT = "last 30 days"
FORECAST_PERIOD_DEFAULT = "last 7 days"


class UsageRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One request about usage."""

    operation: ClassVar[str] = ""
    answer: ClassVar[type[Any]] = msgspec.Struct


class TableRequest(UsageRequest, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See ``Credits.usage``."""

    operation: ClassVar[str] = "usage"
    answer: ClassVar[type[Any]] = Usage

    question: UsageQuestion


class EntriesRequest(UsageRequest, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See ``Credits.usage_entries``. The line is named by its bucket and group, or is that of the others."""

    operation: ClassVar[str] = "usage.entries"
    answer: ClassVar[type[Any]] = UsageEntryPage

    question: UsageQuestion
    start: str | None = None
    group: dict[str, GroupValue] | None = None
    other: bool = False
    as_of: int | None = None
    cursor: str | None = None
    limit: int = ENTRIES_LIMIT_DEFAULT


class CompareRequest(UsageRequest, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See ``Credits.compare_usage``."""

    operation: ClassVar[str] = "usage.compare"
    answer: ClassVar[type[Any]] = UsageComparison

    question: UsageQuestion
    against: str = "previous"
    order: str = "change"
    top: int | None = None


class SpikesRequest(UsageRequest, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See ``Credits.usage_spikes``."""

    operation: ClassVar[str] = "usage.spikes"
    answer: ClassVar[type[Any]] = UsageSpikes

    question: UsageQuestion
    sensitivity: float = SENSITIVITY_DEFAULT
    limit: int = SPIKES_LIMIT_DEFAULT


class ForecastRequest(UsageRequest, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See ``Credits.forecast``."""

    operation: ClassVar[str] = "usage.forecast"
    answer: ClassVar[type[Any]] = Forecast

    pool: str
    period: str = FORECAST_PERIOD_DEFAULT
    time_zone: str = "UTC"


class StatusRequest(UsageRequest, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See ``Credits.usage_status``."""

    operation: ClassVar[str] = "usage.status"
    answer: ClassVar[type[Any]] = UsageStatus

    environment: str = ENVIRONMENT_DEFAULT
    """One that is served: it says who is asked, the usage file holds all."""


class RebuildRequest(UsageRequest, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """See ``Credits.rebuild_usage``."""

    operation: ClassVar[str] = "usage.rebuild"
    answer: ClassVar[type[Any]] = UsageStatus

    environment: str = ENVIRONMENT_DEFAULT


AnyUsageRequest: TypeAlias = (
    TableRequest | EntriesRequest | CompareRequest | SpikesRequest | ForecastRequest | StatusRequest | RebuildRequest
)
USAGE_REQUESTS: tuple[type[UsageRequest], ...] = (
    TableRequest,
    EntriesRequest,
    CompareRequest,
    SpikesRequest,
    ForecastRequest,
    StatusRequest,
    RebuildRequest,
)
