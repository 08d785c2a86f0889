"""What is set on a pool, with its state: budgets, allowances, recurring grants, alerts and the recharge rule."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from solvent.engine.values.readable import Readable


class BudgetCount(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one value of a budget's dimension has used in the present window. ``value`` is ``None`` without ``each``."""

    value: str | int | float | bool | None
    used: Decimal
    open_holds: int


class BudgetView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A budget, and what is used of it: the values that used most come first, at most 1,000."""

    name: str
    amount: Decimal
    window: str
    time_zone: str
    match: dict[str, str | int | float | bool]
    each: str | None
    mode: Literal["block", "warn"]
    holds_max: int | None
    resets_at: datetime | None
    counts: tuple[BudgetCount, ...]


class BudgetList(Readable, msgspec.Struct, frozen=True, gc=False):
    """The budgets of a pool at a version, in the order in which they were set first."""

    pool: str
    version: int
    budgets: tuple[BudgetView, ...]


class AllowanceCount(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one value of an allowance's dimension has used, and has left. ``value`` is ``None`` without ``each``."""

    value: str | int | float | bool | None
    used: Decimal
    left: Decimal
    resets_at: datetime
    """When some of it comes back: the end of the window, or a step of a rolling one."""


class AllowanceView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An allowance, and what is used of it: the values that used most come first, at most 1,000.

    ``amount``, ``used`` and ``left`` are credits or, with ``metric``, its quantity.
    """

    name: str
    amount: Decimal
    metric: str | None
    window: str | None
    rolling_s: int | None
    time_zone: str
    match: dict[str, str | int | float | bool]
    each: str | None
    counts: tuple[AllowanceCount, ...]


class AllowanceList(Readable, msgspec.Struct, frozen=True, gc=False):
    """The allowances of a pool at a version, in the order in which they cover."""

    pool: str
    version: int
    allowances: tuple[AllowanceView, ...]


class RecurringView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A recurring grant, and when it makes the next."""

    name: str
    amount: Decimal
    period: str
    every: int
    anchor: datetime
    next_at: datetime
    ends_at: datetime | None
    time_zone: str
    category: Literal["paid", "promotional"]
    priority: int
    cost_basis: dict[str, str] | None
    roll_over: str
    """"none", "all", or the most that may roll over, as decimal text."""
    prorate: bool
    last_grant: str | None
    """The grant of the present period."""


class RecurringList(Readable, msgspec.Struct, frozen=True, gc=False):
    """The recurring grants of a pool at a version that are not over, in the order in which they were set."""

    pool: str
    version: int
    recurring: tuple[RecurringView, ...]


class RechargeRule(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When a pool asks for more credits, and for how many."""

    below: Decimal
    target: Decimal
    monthly_max: Decimal | None
    time_zone: str
    grants: bool
    timeout_s: int
    category: Literal["paid", "promotional"]
    cost_basis: dict[str, str] | None


class OpenRecharge(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A request for credits that is neither granted nor refused."""

    id: str
    amount: Decimal
    until: datetime


class AlertsView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The alerts of a pool at a version."""

    pool: str
    version: int
    low: tuple[str, ...]
    """Amounts, and percentages of what was available when credits were last added."""
    expiring_within_s: int | None
    budget_percents: tuple[int, ...]
    recharge: RechargeRule | None
    open_recharge: OpenRecharge | None
