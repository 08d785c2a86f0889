"""The requests about usage, one struct for each operation, the same for an embedded engine and on the wire."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT

from .requests import Request
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


A = TypeVar("A")


class UsageRequest(Request[A], Generic[A], kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A request about usage. Its fields are the fields of the JSON body."""


class QuestionRequest(UsageRequest[A], Generic[A], kw_only=True):
    """A request that refers to a question about usage."""

    question: UsageQuestion
    """The question: whose usage, in which time, broken down by which fields."""


class TableRequest(QuestionRequest[Usage], kw_only=True):
    """Read where the credits went, broken down by fields and windows of time."""

    operation: ClassVar[str] = "usage"


class EntriesRequest(QuestionRequest[UsageEntryPage], kw_only=True):
    """Read the ledger entries behind one line of an answer, or behind all of it."""

    operation: ClassVar[str] = "usage.entries"

    start: str | None = None
    """The start of the line's bucket, ISO 8601. Default: all buckets."""
    group: dict[str, GroupValue] | None = None
    """The group of the line. Default: all groups."""
    other: bool = False
    """Whether the line is "other", the sum of the groups outside the top."""
    as_of: int | None = None
    """The ``as_of`` of the answer: entries that came later are left out."""
    cursor: str | None = None
    """The ``next_cursor`` of the page before."""
    limit: int = ENTRIES_LIMIT_DEFAULT
    """Entries of the page, 1 to 1,000."""


class CompareRequest(QuestionRequest[UsageComparison], kw_only=True):
    """Compare usage with the usage of another period, group by group."""

    operation: ClassVar[str] = "usage.compare"

    against: str = "previous"
    """The other period: "previous", "year before", or any period in words."""
    order: str = "change"
    """What groups are ranked by: "change" (its size), "increase", "credits" or "name"."""
    top: int | None = None
    """The number of groups to keep, 1 to 10,000. Default: all."""


class SpikesRequest(QuestionRequest[UsageSpikes], kw_only=True):
    """Find the buckets and groups that stand out against their own history."""

    operation: ClassVar[str] = "usage.spikes"

    sensitivity: float = SENSITIVITY_DEFAULT
    """The score from which a bucket stands out."""
    limit: int = SPIKES_LIMIT_DEFAULT
    """The most spikes to return, 1 to 1,000."""


class ForecastRequest(UsageRequest[Forecast], kw_only=True):
    """Forecast when a pool runs dry if its credits continue to be used at the rate of ``period``."""

    operation: ClassVar[str] = "usage.forecast"

    pool: str
    """The pool."""
    period: str = FORECAST_PERIOD_DEFAULT
    """The period, in words, from which the rate of use is taken."""
    time_zone: str = "UTC"
    """The time zone of the period."""


class StatusRequest(UsageRequest[UsageStatus], kw_only=True):
    """Read how far the usage file has followed the journal."""

    operation: ClassVar[str] = "usage.status"

    environment: str = ENVIRONMENT_DEFAULT
    """An environment that the service serves. The usage file holds all of its environments."""


class RebuildRequest(UsageRequest[UsageStatus], kw_only=True):
    """Start rebuilding the usage file from the journal."""

    operation: ClassVar[str] = "usage.rebuild"

    environment: str = ENVIRONMENT_DEFAULT
    """An environment that the service serves. The usage file holds all of its environments."""


USAGE_REQUESTS: tuple[type[UsageRequest[Any]], ...] = (
    TableRequest,
    EntriesRequest,
    CompareRequest,
    SpikesRequest,
    ForecastRequest,
    StatusRequest,
    RebuildRequest,
)
