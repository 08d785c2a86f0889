"""Whether something could be spent, how much at most, out of what, and what would stop it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from solvent.engine.values.readable import Readable

from .receipts import Allocation, Coverage


class StopView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A budget that is in the way."""

    budget: str
    value: str | int | float | bool | None
    limit: Decimal
    used: Decimal
    resets_at: datetime | None
    counts: Literal["credits", "holds"]


class ResetView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The allowance that has room again first, of those that cannot cover all that is asked for."""

    allowance: str
    dimension: str | None
    """Of which each value has a quota of its own, and which ``value`` is meant."""
    value: str | int | float | bool | None
    resets_at: datetime


class Verdict(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Whether credits could be spent at a version of the pool: a debit of the same amount would get this answer."""

    pool: str
    version: int
    allowed: bool
    requested: Decimal
    available: Decimal
    """How much could be spent at most, allowances included."""
    allocations: tuple[Allocation, ...]
    """Which grants would pay, in burn order: all of it if allowed, else what is available."""
    top_up: Decimal
    """The smallest grant that would let it pass, as far as credits go; 0 if there are enough."""
    covered: tuple[Coverage, ...] = ()
    """What allowances would pay of it, before any grant."""
    resets_at: datetime | None = None
    """When an allowance that cannot cover all of it has room again; ``None``: none is in the way."""
    reset: ResetView | None = None
    """Which allowance that is."""
    stopped_by: StopView | None = None
    """The budget that does not let it pass, and when it would."""
    warnings: tuple[str, ...] = ()
    """Budgets that only warn, and would be exceeded."""
