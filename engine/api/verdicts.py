"""The answer to ``check``: whether an amount could be spent, how much at most, from which grants, and what stops it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from solvent.engine.values.readable import Readable

from .receipts import Allocation, Coverage


class StopView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The budget that would refuse the amount."""

    budget: str
    """The name of the budget."""
    value: str | int | float | bool | None
    """The value of the dimension for which the budget counts on its own; ``None`` if it has one count for all."""
    limit: Decimal
    """The limit of the budget: credits per window or, if ``counts`` is "holds", open holds."""
    used: Decimal
    """What is used of the limit now, in the same unit."""
    resets_at: datetime | None
    """The end of the window; ``None`` if waiting does not help."""
    counts: Literal["credits", "holds"]
    """What the budget counts here: credits, or open holds."""


class ResetView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The first allowance to have room again, of those that cannot cover the whole amount."""

    allowance: str
    """The name of the allowance."""
    dimension: str | None
    """The dimension of which each value has a quota of its own; ``None`` if there is one quota for all."""
    value: str | int | float | bool | None
    """The value of ``dimension`` whose quota this is."""
    resets_at: datetime
    """The time at which the allowance has room again."""


class Verdict(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Whether an amount could be spent at this version of the pool. A debit of that amount would get the same answer.

    Amounts are in credits.
    """

    pool: str
    """The name of the pool."""
    version: int
    """The version of the pool that was checked."""
    allowed: bool
    """Whether a debit of ``requested`` would succeed."""
    requested: Decimal
    """The amount that was checked, in credits."""
    available: Decimal
    """The largest amount that could be spent, in credits, allowances included."""
    allocations: tuple[Allocation, ...]
    """The grants that would pay, in burn order: for the whole amount if it is allowed, else for what is available."""
    top_up: Decimal
    """The smallest grant, in credits, that would be enough; 0 if none is needed. A budget may still refuse."""
    covered: tuple[Coverage, ...] = ()
    """The part that allowances would pay, before any grant."""
    resets_at: datetime | None = None
    """The time at which an allowance that cannot cover the whole amount has room again; ``None`` if there is none."""
    reset: ResetView | None = None
    """The allowance that has room again at ``resets_at``."""
    stopped_by: StopView | None = None
    """The budget that would refuse the amount, and when it resets; ``None`` if no budget refuses."""
    warnings: tuple[str, ...] = ()
    """The names of budgets that would be exceeded but only warn."""
    cut: tuple[str, ...] = ()
    """The names of fields that were left out because they do not fit into a message; ``allocations`` can be read with
    the operation of that name."""
    missing: str | None = None
    """The dimension that the usage lacks and a budget or an allowance asks for; ``None`` if it lacks none."""
