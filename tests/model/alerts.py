"""The model of alerts and of recharge requests. See "Alerts and recharge" in docs/credits.md.

Whether an alert was made already is read from the journal, backwards; what a month has had is added up from all
requests. An alert speaks of the pool as it is when all lines of a command, or of a moment, are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from solvent.engine.rules.alerts import AlertTerms, Threshold
from solvent.engine.rules.commands import GrantRecharge, RefuseRecharge

from .budgets import Budget, same, value_of
from .lines import Dims, Line, Refused
from .times import month_of

if TYPE_CHECKING:
    from .pool import ModelPool

NO_ALERTS = AlertTerms()
MAY_LOWER = ("AlertsSet", "Debited", "Held", "Captured", "MovedOut", "Expired", "Voided", "Lapsed", "Trimmed")
MAY_RAISE = ("Granted", "Activated", "MovedIn", "Reversed")
"""Both are followed by alerts of a low balance; a line that does add credits also arms these alerts again. What comes
back from a hold does neither."""
ABOUT: dict[str, Any] = {
    "place": 0,
    "about": 0,
    "value": None,
    "amount": 0,
    "limit": 0,
    "percent": 0,
    "moment": None,
    "budget": None,
    "recurring": None,
}
"""The fields of an alert where it leaves them out."""
RequestState: TypeAlias = Literal["open", "granted", "refused", "timed_out"]


class Cause(NamedTuple):
    """A line after which there may be an alert."""

    kind: str
    dims: Dims | None
    """Of what was charged to budgets."""
    expired_hold: tuple[int, int] | None
    """A hold that expired, and what it gave back."""


@dataclass(eq=False)
class Request:
    """A recharge request."""

    number: int
    at: int
    amount: int
    until: int
    state: RequestState = "open"
    granted: int = 0

    @property
    def counts(self) -> int:
        """What it takes of the most for its month."""
        return {"open": self.amount, "granted": self.granted}.get(self.state, 0)


def balance_when_added(line: Line) -> int | None:
    """Return what is available after a line that adds credits; ``None`` after another."""
    about = line.about
    match line.kind:
        case "Granted":
            return line.balance if about["effective_at"] is None or about["effective_at"] <= line.at else None
        case "Activated":
            return line.balance
        case "MovedIn":
            return line.balance - int(about["lapsed"]) if about["amount"] > about["lapsed"] else None
        case "Reversed":
            return line.balance - int(about["lapsed"]) if about["amount"] > about["lapsed"] else None
    return None


class Alerts:
    """The alerts of a pool and its recharge requests."""

    def __init__(self, pool: ModelPool) -> None:
        self.pool = pool
        self.terms = NO_ALERTS
        self.warned: dict[int, int] = {}
        """For which expiry of a grant there was an alert."""
        self.requests: list[Request] = []
        self.asks_again_at = 0
        """The end of the pause after a refusal."""
        self._causes: list[Cause] = []

    @property
    def is_on(self) -> bool:
        return self.terms != NO_ALERTS

    def set(self, terms: AlertTerms) -> None:
        self.terms, self.warned = terms, {}

    def cause(self, kind: str, dims: Dims | None = None, expired_hold: tuple[int, int] | None = None) -> None:
        """Remember a line after which there may be an alert."""
        self._causes.append(Cause(kind, dims, expired_hold))

    def make(self) -> None:
        """Write the alerts that follow from the lines since this was asked last, and a recharge request."""
        causes, self._causes = self._causes, []
        for cause in causes if self.is_on else ():
            if cause.expired_hold is not None:
                number, amount = cause.expired_hold
                self.write("hold_expired", about=number, amount=amount)
            if cause.dims is not None:
                self.make_of_budgets(cause.dims)
            if cause.kind in (*MAY_LOWER, *MAY_RAISE):
                self.make_of_balance()
        self.request_recharge()

    def write(self, kind: str, /, **about: Any) -> None:
        self.pool.write("Alerted", kind=kind, **(ABOUT | about))

    # Low, depleted, expiring soon

    def make_of_balance(self) -> None:
        pool = self.pool
        for place, low in enumerate(self.terms.low):
            limit = low.units or low.percent * self.full() // 100
            if pool.available < limit and not self.has_alerted_low(place, low):
                if any(line.kind == "Alerted" and line.about["kind"] == "low" for line in pool.log):
                    pool.note("a second alert of a low balance")
                self.write("low", place=place, limit=limit, percent=low.percent)
        has_had_credits = any(not block.is_pending for block in pool.blocks.values())
        if not pool.available and has_had_credits and not self.has_alerted_depleted():
            self.write("depleted")

    def full(self) -> int:
        """Return what was available after credits were last added, or when the alerts were set."""
        for line in reversed(self.pool.log):
            if line.kind == "AlertsSet":
                return line.balance
            if (after := balance_when_added(line)) is not None:
                return after
        raise AssertionError("no alerts are set")

    def has_alerted_low(self, place: int, low: Threshold) -> bool:
        for line in reversed(self.pool.log):
            if line.kind == "Alerted" and (line.about["kind"], line.about["place"]) == ("low", place):
                return True
            after = balance_when_added(line)
            if line.kind == "AlertsSet" or (after is not None and after >= low.units):
                return False
        return False

    def has_alerted_depleted(self) -> bool:
        for line in reversed(self.pool.log):
            if line.kind == "Alerted" and line.about["kind"] == "depleted":
                return True
            if line.kind == "AlertsSet" or balance_when_added(line):
                return False
        return False

    def expiring_soon(self, number: int) -> int | None:
        """Return when to alert that a grant with credits left expires soon; ``None``: never, or it was done."""
        ends = self.pool.blocks[number].ends
        if not self.is_on or self.terms.expiring_us is None or ends is None or self.warned.get(number) == ends:
            return None
        return ends - self.terms.expiring_us

    def alert_expiring_soon(self, number: int) -> None:
        block = self.pool.blocks[number]
        self.warned[number] = block.ends or 0
        self.write("expiring_soon", about=number, amount=len(block.those("left")), moment=block.ends)

    # Budgets

    def make_of_budgets(self, dims: Dims) -> None:
        budgets, at = self.pool.budgets, self.pool.at
        for budget in budgets.matching(dims):
            used, most = budgets.used(budget, dims, at), budget.terms.amount
            percent = max([each for each in self.terms.budget_percents if used * 100 >= each * most], default=0)
            value = value_of(budget.terms, dims)
            start = budget.window(at)
            if percent > self.percent_alerted(budget, value, start):
                self.write(
                    "budget_reached",
                    about=budget.number,
                    value=value,
                    amount=used,
                    limit=most,
                    percent=percent,
                    moment=start,
                    budget=budget.terms.name,
                )

    def percent_alerted(self, budget: Budget, value: Any, start: int) -> int:
        """Return the percentage of the newest alert of this window; new terms begin again."""
        for line in reversed(self.pool.log):
            about = line.about
            if line.kind == "AlertsSet" or (line.kind == "BudgetSet" and about["budget"] == budget.number):
                return 0
            window = [about.get(name) for name in ("kind", "about", "moment")]
            is_of_window = line.kind == "Alerted" and window == ["budget_reached", budget.number, start]
            if is_of_window and same(about["value"], value):
                return int(about["percent"])
        return 0

    # Recharge requests

    @property
    def open_request(self) -> Request | None:
        return next((each for each in self.requests if each.state == "open"), None)

    def to_request(self, at: int) -> int:
        """Return what the recharge rule asks for at ``at`` if nothing else happens before; 0: nothing."""
        rule, pool = self.terms.recharge, self.pool
        if rule is None or pool.available >= rule.below or self.open_request or at < self.asks_again_at:
            return 0
        amount = min(rule.target - pool.available, pool.room)
        if rule.monthly_max is not None:
            had = sum(each.counts for each in self.requests if month_of(each.at) == month_of(at))
            amount = min(amount, rule.monthly_max - had)
        return max(0, amount)

    def requests_next(self) -> int | None:
        """Return when a pool that asks for nothing now will do so by itself: after a pause, or in a new month."""
        if self.terms.recharge is None:
            return None
        clock = self.pool.clock
        moments = (clock, self.asks_again_at, month_of(clock)[1], month_of(self.asks_again_at)[1])
        return min([each for each in moments if each >= clock and self.to_request(each)], default=None)

    def request_recharge(self) -> None:
        rule, pool = self.terms.recharge, self.pool
        amount = self.to_request(pool.at)
        if rule is None or not amount:
            return
        last = self.requests[-1] if self.requests else None
        if last is not None and last.state == "refused":
            pool.note("a request after one that was refused")
        elif last is not None and last.state == "timed_out":
            pool.note("a request after one that timed out")
        elif last is not None and pool.log[-1].kind == "Granted" and pool.log[-1].about["recharge"] == last.number:
            pool.note("a request for the rest of one")
        if amount < rule.target - pool.available:
            pool.note("a request for what is left of a month")
        start, end = month_of(pool.at)
        request = Request(pool.next, pool.at, amount, pool.at + rule.timeout_us)
        self.requests.append(request)
        pool.write(
            "RechargeRequested",
            amount=amount,
            until=request.until,
            month_start=start,
            granted=rule.grants,
            month_end=end,
        )
        if rule.grants:
            pool.note("a request that is granted by itself")
            self.grant(request, amount, ends=None)

    def grant(self, request: Request, amount: int, *, ends: int | None, **label: Any) -> None:
        """Grant what is requested. It has no more alerts of its own than the line that it follows."""
        rule = self.terms.recharge
        request.state, request.granted = "granted", amount
        self.pool.settle(f"\x01recharge:{request.number}", "granted")
        self.pool.put_in(
            amount,
            "paid" if rule is None else rule.category,
            key=f"\x01recharge:{request.number}",
            ends=ends,
            name="recharge",
            recharge=request.number,
            **{"cost_basis": None if rule is None else rule.cost_basis, **label},
        )

    def close(self, request: Request, state: Literal["refused", "timed_out"], due_at: int | None) -> None:
        """Let a request come to nothing. After a refusal, no other is made for as long as one stays open."""
        request.state = state
        if state == "refused" and self.terms.recharge is not None:
            self.asks_again_at = self.pool.at + self.terms.recharge.timeout_us
        self.pool.settle(f"\x01recharge:{request.number}", state)
        self.pool.write("RechargeClosed", recharge=request.number, amount=request.amount, due_at=due_at)


def set_alerts(pool: ModelPool, terms: AlertTerms) -> None:
    if terms == pool.alerts.terms:
        raise Refused("Unchanged")
    pool.alerts.set(terms)
    pool.write("AlertsSet", terms=terms)
    pool.alerts.cause("AlertsSet")


def grant_recharge(pool: ModelPool, command: GrantRecharge) -> None:
    request = pool.alerts.open_request
    if request is None or request.number != command.recharge:
        raise Refused("UnknownEntry", "recharge", command.recharge)
    if command.expires_at is not None and command.expires_at <= pool.at:
        raise Refused("Unfit", "expires_at")
    amount = request.amount if command.amount is None else command.amount
    if amount > pool.room:
        raise Refused("Unfit", "amount")
    label = {} if command.cost_basis is None else {"cost_basis": command.cost_basis}
    pool.alerts.grant(request, amount, ends=command.expires_at, comment=command.comment, **label)
    pool.alerts.cause("Granted")


def refuse_recharge(pool: ModelPool, command: RefuseRecharge) -> None:
    request = pool.alerts.open_request
    if request is None or request.number != command.recharge:
        raise Refused("UnknownEntry", "recharge", command.recharge)
    pool.alerts.close(request, "refused", None)
