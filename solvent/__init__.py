"""Solvent: a real-time credit engine that can never overdraw a pool.

Embedded in an asyncio application: ``Engine.open``. Over NATS: ``connect``. Both have the methods of ``Credits``.
"""

from __future__ import annotations

from importlib.metadata import version as _version

from solvent.engine.answers import (
    Allocation,
    Balance,
    BudgetCount,
    BudgetList,
    BudgetView,
    CardList,
    CardView,
    CostLine,
    CostReport,
    Estimate,
    GrantList,
    GrantView,
    HoldList,
    HoldView,
    LedgerEntry,
    LedgerPage,
    PoolPage,
    RateView,
    Receipt,
    StopView,
    Verdict,
)
from solvent.engine.commands import CostBasis
from solvent.engine.credits import (
    CaptureRequest,
    Credits,
    DebitRequest,
    GrantRequest,
    HoldRequest,
    OpenHold,
    ReleaseRequest,
    ReportRequest,
    ReverseRequest,
)
from solvent.engine.engine import Engine, Settings
from solvent.engine.errors import (
    BudgetExceeded,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    NotFound,
    Overloaded,
    Refused,
    SolventError,
    StateConflict,
    TooLarge,
    Unavailable,
)
from solvent.engine.pool import Limits
from solvent.engine.pool_id import PoolId
from solvent.transports.nats.client import connect

__version__ = _version("solvent")

__all__ = [
    "Allocation",
    "Balance",
    "BudgetCount",
    "BudgetExceeded",
    "BudgetList",
    "BudgetView",
    "CaptureRequest",
    "CardList",
    "CardView",
    "CostBasis",
    "CostLine",
    "CostReport",
    "Credits",
    "DebitRequest",
    "Engine",
    "Estimate",
    "GrantList",
    "GrantRequest",
    "GrantView",
    "HoldList",
    "HoldRequest",
    "HoldView",
    "IdempotencyConflict",
    "InsufficientCredits",
    "InvalidRequest",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "LedgerEntry",
    "LedgerPage",
    "Limits",
    "NotFound",
    "OpenHold",
    "Overloaded",
    "PoolId",
    "PoolPage",
    "RateView",
    "Receipt",
    "Refused",
    "ReleaseRequest",
    "ReportRequest",
    "ReverseRequest",
    "Settings",
    "SolventError",
    "StateConflict",
    "StopView",
    "TooLarge",
    "Unavailable",
    "Verdict",
    "__version__",
    "connect",
]
