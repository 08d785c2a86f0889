"""Alerts: what a pool says by itself, once per occasion, when its credits run low, out, or are about to expire.

An alert is part of the journal, in the same frame as what caused it: it is as durable, and as ordered. Each says
something once; adding credits to the pool arms it again, as far as the balance then is above it. Credits that merely
come back from a hold do not, or an alert would sound for every hold on the edge.

A recharge rule asks for credits whenever the balance is below a threshold and nothing stands against it: an open
request (there is one at a time, which is granted, refused or timed out), the pause after a refusal, or what a month may
have. So it asks again when that is over, also if nothing else happens to the pool then, and for the rest if a grant was
less than what was asked for.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from solvent.engine.values.terms import Category, CostBasis

AlertKind: TypeAlias = Literal["low", "depleted", "expiring_soon", "budget_reached", "hold_expired"]
LOW_MAX: Final = 20
"""Thresholds of one pool."""
BUDGET_PERCENTS_MAX: Final = 20


class Threshold(NamedTuple):
    """Below which a balance is low: units, or if they are 0 a percentage of what was there after credits were added."""

    units: int
    percent: int = 0

    def limit(self, full: int) -> int:
        return self.units or self.percent * full // 100


class RechargeTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When to ask for more credits, and for how many."""

    below: int
    target: int
    """Up to which the balance is to be brought."""
    monthly_max: int | None = None
    """Units for a calendar month: what was granted counts, and what an open request asks for."""
    zone: str = "UTC"
    grants: bool = False
    """Whether the pool grants it by itself, at once."""
    timeout_us: int = 86_400_000_000
    """How long a request stays open, and how long no other is made after a refusal. Positive, or it asked for ever."""
    category: Category = "paid"
    cost_basis: CostBasis | None = None


class AlertTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What to say something about."""

    low: tuple[Threshold, ...] = ()
    expiring_us: int | None = None
    """How long before a grant expires, if credits of it are left."""
    budget_percents: tuple[int, ...] = ()
    """At how much of a budget, in percent."""
    recharge: RechargeTerms | None = None


NO_ALERTS: Final = AlertTerms()


class Recharge(msgspec.Struct, array_like=True, gc=False):
    """The open request of a pool, and what there was of them this month."""

    request: int = 0
    """The version of the pool that made it, written ``q<number>`` outside; 0: none is open."""
    amount: int = 0
    until: int = 0
    not_before: int = 0
    """After a request that came to nothing, when to ask again at the earliest."""
    month_start: int = 0
    month_used: int = 0
    """Of the month of the last request, which is over at ``month_end`` whatever time zone the rule has by then."""
    month_end: int = 0


class Alerts(msgspec.Struct, array_like=True, gc=False):
    """The alerts of a pool, and what they have said already."""

    terms: AlertTerms
    full: int
    """What was available when credits were last added."""
    fired: tuple[int, ...] = ()
    """The thresholds, by their place, that were passed since."""
    depleted: bool = False
    warned: dict[int, int] = msgspec.field(default_factory=dict)
    """Grants of which was said that they expire soon, and when."""
    recharge: Recharge = msgspec.field(default_factory=Recharge)

    def passed(self, balance: int) -> tuple[int, ...]:
        """The thresholds, by their place, that ``balance`` is below."""
        return tuple([place for place, low in enumerate(self.terms.low) if balance < low.limit(self.full)])

    def credits_added(self, balance: int) -> None:
        """Arm again what the balance is above of."""
        self.full = balance
        passed = self.passed(balance)
        self.fired = tuple([place for place in self.fired if place in passed])
        self.depleted = self.depleted and not balance


def clone_alerts(alerts: Alerts) -> Alerts:
    """A copy that shares nothing that changes."""
    return Alerts(
        alerts.terms,
        alerts.full,
        alerts.fired,
        alerts.depleted,
        alerts.warned.copy(),
        msgspec.structs.replace(alerts.recharge),
    )
