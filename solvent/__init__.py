"""Solvent: a real-time credit engine that can never overdraw a pool.

Embedded in an asyncio application: ``Engine.open``. Over NATS: ``connect``. Both have the methods of ``Credits``.
"""

from __future__ import annotations

from importlib.metadata import version as _version

from solvent.engine.answers import (
    Allocation,
    Balance,
    GrantList,
    GrantView,
    LedgerEntry,
    LedgerPage,
    PoolPage,
    Receipt,
)
from solvent.engine.commands import CostBasis
from solvent.engine.credits import Credits, DebitRequest, GrantRequest
from solvent.engine.engine import Engine, Settings
from solvent.engine.errors import (
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
    "CostBasis",
    "Credits",
    "DebitRequest",
    "Engine",
    "GrantList",
    "GrantRequest",
    "GrantView",
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
    "Overloaded",
    "PoolId",
    "PoolPage",
    "Receipt",
    "Refused",
    "Settings",
    "SolventError",
    "StateConflict",
    "TooLarge",
    "Unavailable",
    "__version__",
    "connect",
]
