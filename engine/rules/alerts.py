"""Alerts: events that a pool publishes, once per occasion, when its credits run low, run out, or will expire soon.

An alert is journalled in the same frame as its cause, so it is as durable and as ordered. Each alert fires once.
Adding credits arms it again if the balance is then above its threshold. Credits that come back from a hold do not, or
an alert would fire for every hold near the threshold.

A recharge rule requests credits whenever the balance is below a threshold and nothing forbids it: an open request
(there is one at a time, which is granted, refused or timed out), the pause after a refusal, or the limit of the month.
When that has ended, it requests again, even if nothing else happens to the pool. If a grant was less than the request,
it requests the rest.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from solvent.engine.values.terms import Category, CostBasis

AlertKind: TypeAlias = Literal["low", "depleted", "expiring_soon", "budget_reached", "hold_expired", "grant_skipped"]
LOW_MAX: Final = 20
"""The most thresholds of one pool."""
BUDGET_PERCENTS_MAX: Final = 20


class Threshold(NamedTuple):
    """The balance below which credits are low."""

    units: int
    """The threshold in units; 0 if it is a percentage."""
    percent: int = 0
    """The threshold as a percentage of the balance just after credits were last added."""

    def limit(self, full: int) -> int:
        return self.units or self.percent * full // 100


class RechargeTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The terms of a recharge rule. Amounts are in units."""

    below: int
    """The balance below which credits are requested."""
    target: int
    """The balance up to which credits are requested."""
    monthly_max: int | None = None
    """The most units of a calendar month, granted and in the open request together; ``None`` for no limit."""
    zone: str = "UTC"
    grants: bool = False
    """Whether the pool grants the request by itself, at once."""
    timeout_us: int = 86_400_000_000
    """How long a request stays open, and the pause after a refusal. Above 0, or the pool would request endlessly."""
    category: Category = "paid"
    cost_basis: CostBasis | None = None


class AlertTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The alerts that are set."""

    low: tuple[Threshold, ...] = ()
    expiring_us: int | None = None
    """The time before its expiry at which a grant with credits left is announced; ``None`` if this alert is off."""
    budget_percents: tuple[int, ...] = ()
    """The percentages of a budget at which its use is announced."""
    recharge: RechargeTerms | None = None


NO_ALERTS: Final = AlertTerms()


class Recharge(msgspec.Struct, array_like=True, gc=False):
    """The open recharge request of a pool, and what was requested this month."""

    request: int = 0
    """The version of the pool that made the request, ``q<number>`` in answers; 0 if none is open."""
    amount: int = 0
    until: int = 0
    not_before: int = 0
    """The earliest time of the next request after one that was not granted."""
    month_start: int = 0
    month_used: int = 0
    """The units granted or requested in the month of the last request."""
    month_end: int = 0
    """The end of that month. It stays even if the rule gets another time zone."""


class Alerts(msgspec.Struct, array_like=True, gc=False):
    """The alerts of a pool, and which of them have fired."""

    terms: AlertTerms
    full: int
    """The units that were available when credits were last added."""
    fired: tuple[int, ...] = ()
    """The indexes of the thresholds that were crossed since."""
    depleted: bool = False
    """Whether the alert that the pool is depleted has fired."""
    warned: dict[int, int] = msgspec.field(default_factory=dict)
    """The expiry of each grant for which the alert that it expires soon has fired."""
    recharge: Recharge = msgspec.field(default_factory=Recharge)

    def passed(self, balance: int) -> tuple[int, ...]:
        """Return the indexes of the thresholds that ``balance`` is below."""
        return tuple([place for place, low in enumerate(self.terms.low) if balance < low.limit(self.full)])

    def credits_added(self, balance: int) -> None:
        """Arm the alerts again whose threshold ``balance`` is above."""
        self.full = balance
        passed = self.passed(balance)
        self.fired = tuple([place for place in self.fired if place in passed])
        self.depleted = self.depleted and not balance


def clone_alerts(alerts: Alerts) -> Alerts:
    """Return a copy that shares no mutable state."""
    return Alerts(
        alerts.terms,
        alerts.full,
        alerts.fired,
        alerts.depleted,
        alerts.warned.copy(),
        msgspec.structs.replace(alerts.recharge),
    )
