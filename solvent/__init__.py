"""Solvent: a real-time credit engine that can never overdraw a pool.

Embedded in an asyncio application: ``Engine.open``. Over NATS: ``connect``. Both have the methods of ``Credits``.
``http_app`` is an ASGI application to mount in one of your own.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from solvent.engine.api.balances import (
    Balance,
    CurrencyTotals,
    CustomerTotals,
    GrantList,
    GrantView,
    HoldList,
    HoldView,
    PoolPage,
)
from solvent.engine.api.credits import Credits
from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.api.holds import OpenHold, PendingHold
from solvent.engine.api.ledger import CostLine, CostReport, LedgerEntry, LedgerPage
from solvent.engine.api.prices import CardList, CardView, Estimate, RateView
from solvent.engine.api.receipts import Allocation, AllocationPage, Coverage, Receipt, Settlement
from solvent.engine.api.requests import (
    CaptureRequest,
    DebitRequest,
    GrantRequest,
    HoldRequest,
    ReleaseRequest,
    ReportRequest,
    ReverseRequest,
)
from solvent.engine.api.settings import (
    AlertsView,
    AllowanceCount,
    AllowanceCounts,
    AllowanceList,
    AllowanceView,
    BudgetCount,
    BudgetCounts,
    BudgetList,
    BudgetView,
    OpenRecharge,
    RechargeRule,
    RecurringList,
    RecurringView,
)
from solvent.engine.api.usage_answers import (
    Forecast,
    Usage,
    UsageChange,
    UsageComparison,
    UsageEntry,
    UsageEntryPage,
    UsageLine,
    UsageQuestion,
    UsageSpike,
    UsageSpikes,
    UsageStatus,
)
from solvent.engine.api.verdicts import ResetView, StopView, Verdict
from solvent.engine.audit.heads import PublishedHead, PublishedHeads, publish_heads, read_heads
from solvent.engine.engine import Engine
from solvent.engine.rules.limits import Limits
from solvent.engine.runtime.collector import tune_collector
from solvent.engine.settings import Settings
from solvent.engine.values.errors import (
    BudgetExceeded,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    JournalShorter,
    NewerFormat,
    NotFound,
    Overloaded,
    Refused,
    SolventError,
    StateConflict,
    TooLarge,
    Unavailable,
)
from solvent.engine.values.pool_id import PoolId
from solvent.engine.values.terms import CostBasis
from solvent.transports.http.app import HttpApp, http_app
from solvent.transports.nats.client import Client, connect
from solvent.transports.nats.discovery import AlreadyServed
from solvent.transports.nats.launcher import NatsServerUnavailable
from solvent.transports.nats.refusals import NoService, NotPermitted

from ._moved import keep_old_names as _keep_old_names

if _TYPE_CHECKING:
    from solvent.engine.audit.losses import Loss, accept_loss, find_loss
    from solvent.engine.audit.verify import Verification, verify_journal

__version__ = _version("solvent")
_LATER = {
    "Loss": "solvent.engine.audit.losses",
    "Verification": "solvent.engine.audit.verify",
    "accept_loss": "solvent.engine.audit.losses",
    "find_loss": "solvent.engine.audit.losses",
    "verify_journal": "solvent.engine.audit.verify",
}
"""The names that are imported on first use, because they need DuckDB, which only the usage process loads."""


def __getattr__(name: str) -> _Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(_LATER[name]), name)


_keep_old_names()

__all__ = [
    "AlertsView",
    "Allocation",
    "AllocationPage",
    "AllowanceCount",
    "AllowanceCounts",
    "AllowanceList",
    "AllowanceView",
    "AlreadyServed",
    "Balance",
    "BudgetCount",
    "BudgetCounts",
    "BudgetExceeded",
    "BudgetList",
    "BudgetView",
    "CaptureRequest",
    "CardList",
    "CardView",
    "Client",
    "CostBasis",
    "CostLine",
    "CostReport",
    "Coverage",
    "Credits",
    "CurrencyTotals",
    "CustomerTotals",
    "DebitRequest",
    "Engine",
    "Estimate",
    "EventPage",
    "Forecast",
    "GrantList",
    "GrantRequest",
    "GrantView",
    "HoldList",
    "HoldRequest",
    "HoldView",
    "HttpApp",
    "IdempotencyConflict",
    "InsufficientCredits",
    "InvalidRequest",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "JournalShorter",
    "LedgerEntry",
    "LedgerPage",
    "Limits",
    "Loss",
    "NatsServerUnavailable",
    "NewerFormat",
    "NoService",
    "NotFound",
    "NotPermitted",
    "OpenHold",
    "OpenRecharge",
    "Overloaded",
    "PendingHold",
    "PoolEvent",
    "PoolId",
    "PoolPage",
    "PublishedHead",
    "PublishedHeads",
    "RateView",
    "Receipt",
    "RechargeRule",
    "RecurringList",
    "RecurringView",
    "Refused",
    "ReleaseRequest",
    "ReportRequest",
    "ResetView",
    "ReverseRequest",
    "Settings",
    "Settlement",
    "SolventError",
    "StateConflict",
    "StopView",
    "TooLarge",
    "Unavailable",
    "Usage",
    "UsageChange",
    "UsageComparison",
    "UsageEntry",
    "UsageEntryPage",
    "UsageLine",
    "UsageQuestion",
    "UsageSpike",
    "UsageSpikes",
    "UsageStatus",
    "Verdict",
    "Verification",
    "__version__",
    "accept_loss",
    "connect",
    "find_loss",
    "http_app",
    "publish_heads",
    "read_heads",
    "tune_collector",
    "verify_journal",
]
