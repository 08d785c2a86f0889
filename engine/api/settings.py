"""The settings of a pool and their state: budgets, allowances, recurring grants, alerts and the recharge rule."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from solvent.engine.values.readable import Readable
from solvent.engine.values.terms import Missing


class BudgetCount(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is used of a budget in the present window, for one value of its dimension."""

    value: str | int | float | bool | None
    """The value of the dimension ``each``; ``None`` without ``each``, and for all usage that lacks it."""
    used: Decimal
    """The credits spent or held in the present window."""
    open_holds: int
    """The number of open holds."""


class BudgetView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A budget, and what is used of it."""

    name: str
    """The name of the budget."""
    amount: Decimal
    """The credits that may be spent per window."""
    window: str
    """The window after which the count begins again; ``total`` is never."""
    time_zone: str
    """The time zone in which windows begin."""
    match: dict[str, str | int | float | bool]
    """The dimensions that a debit or a hold must have to count; empty for all of the pool."""
    each: str | None
    """The dimension of which each value has a count of its own; ``None`` if there is one count for all."""
    mode: Literal["block", "warn"]
    """Whether the budget refuses what does not fit, or only warns in the receipt."""
    holds_max: int | None
    """The most holds that may be open at once; ``None`` for no limit."""
    resets_at: datetime | None
    """The end of the present window; ``None`` for ``total``."""
    counts: tuple[BudgetCount, ...]
    """What is used, by value of ``each``: at most ``counts_max`` values, those that used most first."""
    counts_cut: bool = False
    """Whether there are more counts. ``budget_counts`` reads all."""
    missing: Missing = "pass"
    """What happens to usage that lacks the dimension ``each``; its count has no value."""


class BudgetList(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of the budgets of a pool at a version, in the order in which they were first set."""

    pool: str
    version: int
    budgets: tuple[BudgetView, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class BudgetCounts(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of what is used of a budget, by value of its dimension. Each value comes once."""

    pool: str
    version: int
    budget: str
    """The name of the budget."""
    counts: tuple[BudgetCount, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class AllowanceCount(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is used and left of an allowance, for one value of its dimension."""

    value: str | int | float | bool | None
    """The value of the dimension ``each``; ``None`` without ``each``, and for all usage that lacks it."""
    used: Decimal
    """What is used now, in credits or in the quantity of ``metric``."""
    left: Decimal
    """What is left now, in the same unit."""
    resets_at: datetime
    """The time at which some of the quota comes back: the end of the window, or the next step of a rolling window."""


class AllowanceView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An allowance, and what is used of it.

    ``amount``, ``used`` and ``left`` are in credits or, if ``metric`` is set, in its quantity.
    """

    name: str
    """The name of the allowance."""
    amount: Decimal
    """The quota per window, in credits or in the quantity of ``metric``."""
    metric: str | None
    """The metric whose quantity is counted; ``None`` if credits are counted."""
    window: str | None
    """The fixed window after which the quota begins again; ``None`` if the window is rolling."""
    rolling_s: int | None
    """The length of the rolling window in seconds; ``None`` if the window is fixed."""
    time_zone: str
    """The time zone in which fixed windows begin."""
    match: dict[str, str | int | float | bool]
    """The dimensions that a debit or a hold must have to be covered; empty for all of the pool."""
    each: str | None
    """The dimension of which each value has a quota of its own; ``None`` if there is one quota for all."""
    counts: tuple[AllowanceCount, ...]
    """What is used, by value of ``each``: at most ``counts_max`` values, those that used most first."""
    counts_cut: bool = False
    """Whether there are more counts. ``allowance_counts`` reads all."""
    missing: Missing = "pass"
    """What happens to usage that lacks the dimension ``each``; its count has no value."""


class AllowanceList(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of the allowances of a pool at a version, in the order in which they pay."""

    pool: str
    version: int
    allowances: tuple[AllowanceView, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class AllowanceCounts(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of what is used of an allowance, by value of its dimension. Each value comes once."""

    pool: str
    version: int
    allowance: str
    """The name of the allowance."""
    counts: tuple[AllowanceCount, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class RecurringView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A recurring grant, and the time of its next grant."""

    name: str
    """The name of the recurring grant."""
    amount: Decimal
    """The credits granted per period."""
    period: str
    """The unit of the rhythm: day, week, month or year."""
    every: int
    """The number of units between two grants."""
    anchor: datetime
    """The moment from which periods are counted."""
    next_at: datetime
    """The time of the next grant."""
    ends_at: datetime | None
    """No grant is made at or after this time; ``None`` for no end."""
    time_zone: str
    """The time zone in which periods begin."""
    category: Literal["paid", "promotional"]
    """The category of each grant."""
    priority: int
    """The priority of each grant."""
    cost_basis: dict[str, str] | None
    """What one credit of each grant cost: ``per_credit`` (decimal text) and ``currency``; ``None`` if not given."""
    roll_over: str
    """"none", "all", or the most credits that may roll over, as decimal text."""
    prorate: bool
    """Whether a first period that is not whole is granted in part instead of in full."""
    last_grant: str | None
    """The id of the grant of the present period; ``None`` before the first."""


class RecurringList(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of the recurring grants of a pool that have not ended, at a version, in the order in which they were
    set."""

    pool: str
    version: int
    recurring: tuple[RecurringView, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""


class RechargeRule(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The rule by which a pool asks for more credits."""

    below: Decimal
    """The available credits below which the pool asks for more."""
    target: Decimal
    """The available credits that the pool asks to be filled up to."""
    monthly_max: Decimal | None
    """The most credits that are granted or requested in a calendar month; ``None`` for no limit."""
    time_zone: str
    """The time zone in which months begin."""
    grants: bool
    """Whether the pool grants the credits by itself."""
    timeout_s: int
    """The seconds after which a request that is neither granted nor refused ends."""
    category: Literal["paid", "promotional"]
    """The category of each grant."""
    cost_basis: dict[str, str] | None
    """What one credit of each grant cost: ``per_credit`` (decimal text) and ``currency``; ``None`` if not given."""


class OpenRecharge(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A recharge request that is neither granted nor refused."""

    id: str
    """The id of the request, such as "q7"."""
    amount: Decimal
    """The credits that are requested."""
    until: datetime
    """The time at which the request times out."""


class AlertsView(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The alerts of a pool at a version."""

    pool: str
    version: int
    low: tuple[str, ...]
    """The thresholds: credits, or percentages of what was available when credits were last added."""
    expiring_within_s: int | None
    """The seconds before its expiry at which a grant is announced; ``None`` if this alert is off."""
    budget_percents: tuple[int, ...]
    """The percentages of a budget at which its use is announced."""
    recharge: RechargeRule | None
    """The rule that asks for credits; ``None`` if there is none."""
    open_recharge: OpenRecharge | None
    """The recharge request that is open; ``None`` if there is none."""
