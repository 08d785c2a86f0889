"""Everything that a pool can do, together, on three pools of one customer, against a naive model.

The model shares no code with the engine. It keeps single units of credit and of quota, and a log of plain lines: what
an allowance, a budget or a recharge rule has left is counted again from everything that ever happened, and whether an
alert was said is read from the log, backwards. It foretells every entry of the journal, and those are compared.

A script is made of a seed. One that fails is shortened by dropping commands, and printed as it can be run again.
"""

from __future__ import annotations

import os
import time
import traceback
from calendar import timegm
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import groupby
from random import Random
from typing import Any, TypeAlias

import msgspec
import pytest

from solvent.engine.audit.plain_rules import PlainPool
from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.alerts import AlertTerms, RechargeTerms, Threshold
from solvent.engine.rules.allowances import AllowanceTerms
from solvent.engine.rules.budgets import BudgetTerms
from solvent.engine.rules.commands import (
    SETTING_COMMANDS,
    CancelRecurring,
    Capture,
    Debit,
    Grant,
    GrantRecharge,
    Hold,
    OpenPool,
    PoolCommand,
    RefuseRecharge,
    Release,
    RemoveAllowance,
    RemoveBudget,
    Reverse,
    SetAlerts,
    SetAllowance,
    SetBudget,
    SetRecurring,
    SettingCommand,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from solvent.engine.rules.decide import decide
from solvent.engine.rules.decisions.debits import completed
from solvent.engine.rules.decisions.transfers import receive
from solvent.engine.rules.due import due, due_after, pass_time
from solvent.engine.rules.events import (
    KEYED,
    Activated,
    Alerted,
    AlertsSet,
    AllowanceRemoved,
    AllowanceSet,
    BudgetRemoved,
    BudgetSet,
    Captured,
    Debited,
    Event,
    Expired,
    Granted,
    Held,
    Keyed,
    Lapsed,
    MovedIn,
    MovedOut,
    Opened,
    RechargeClosed,
    RechargeRequested,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Trimmed,
    Updated,
    Voided,
    answering,
)
from solvent.engine.rules.evolve import apply, fold
from solvent.engine.rules.outcomes import (
    Conflict,
    Insufficient,
    KeyTaken,
    OverBudget,
    Repeat,
    Unchanged,
    Unfit,
    UnknownEntry,
    UnknownPool,
)
from solvent.engine.rules.pool import Pool, check_books
from solvent.engine.rules.recurring import RecurringTerms
from solvent.engine.values.dimensions import encode_dimensions
from solvent.engine.values.terms import KEEP

EXAMPLES = int(os.environ.get("SOLVENT_TEST_EXAMPLES", "1"))
SCRIPTS = 220 * EXAMPLES
COMMANDS = 100
"""Of one script: with 220 scripts 22,000 random steps a run."""
SHRINK_S = 20.0
"""How long a script that fails is shortened."""
SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
BEGIN = 20_000 * DAY + 7 * HOUR
POOLS = ("acme", "acme/a", "acme/b")
USERS = ("ann", "bob", "cy")

Line: TypeAlias = tuple[Any, ...]
"""An entry of the journal: kind, time, balance after it, and the rest."""
Dims: TypeAlias = dict[str, str]
No: TypeAlias = tuple[Any, ...]
"""A refusal, in words."""

SEEN: Counter[str] = Counter()
RAN: set[int] = set()


# The model


@dataclass(eq=False)
class Unit:
    """One unit of credit."""

    credit: Credit
    where: str = "left"
    piece: int = 0
    """Of a capture: 0 was held before, 1 was not."""


@dataclass(eq=False)
class Credit:
    """A grant."""

    number: int
    amount: int
    category: str
    priority: int
    created: int
    starts: int
    ends: int | None
    recurring: int = 0
    pending: bool = False
    voided: bool = False
    units: list[Unit] = field(default_factory=list)

    def over(self, at: int) -> bool:
        return self.voided or (self.ends is not None and self.ends <= at)

    def those(self, where: str) -> list[Unit]:
        return [unit for unit in self.units if unit.where == where]


@dataclass(eq=False)
class Quota:
    """An allowance, and every unit that it covered and did not get back."""

    number: int
    terms: AllowanceTerms
    uses: list[Use] = field(default_factory=list)

    def start(self, at: int) -> int:
        size = self.size
        return at // size * size

    @property
    def size(self) -> int:
        """Of a window or, if it rolls, of one of the sixty steps in which it moves."""
        window = self.terms.window
        return self.terms.rolling_us // 60 if window is None else {"hour": HOUR, "day": DAY}[str(window)]

    def ends(self, at: int) -> int:
        """When what is used at ``at`` is no longer counted: with its window or, if it rolls, a step late."""
        return self.start(at) + self.size + (self.terms.rolling_us if self.terms.window is None else 0)

    def live(self, at: int) -> list[Use]:
        return [use for use in self.uses if self.ends(use.at) > at]

    def left(self, at: int, value: str | None) -> int:
        return max(0, self.terms.amount - sum(use.share for use in self.live(at) if use.value == value))

    def opens(self, at: int, value: str | None) -> int:
        return min([self.ends(at), *(self.ends(use.at) for use in self.live(at) if use.value == value and use.share)])


@dataclass(eq=False)
class Use:
    """A unit of credit that an allowance paid, and the share of its quota that this was."""

    quota: Quota
    value: str | None
    at: int
    share: int
    cover: int
    """Units with the same were covered together."""


@dataclass(eq=False)
class Item:
    """What counts for budgets: an amount, recorded with some dimensions as some entry."""

    entry: int
    dims: Dims
    at: int
    amount: int


@dataclass(eq=False)
class Limit:
    """A budget."""

    number: int
    terms: BudgetTerms

    @property
    def size(self) -> int:
        return {"minute": MINUTE, "hour": HOUR, "total": 10**20}[self.terms.window]

    def window(self, at: int) -> int:
        return at // self.size * self.size

    def opens(self, at: int, amount: int) -> int | None:
        """When an amount that does not fit would fit if nothing else were spent."""
        never = self.terms.window == "total" or amount > self.terms.amount
        return None if never else self.window(at) + self.size


@dataclass(eq=False)
class Promise:
    """A hold."""

    uses: list[Use]
    units: list[Unit]
    ends: int
    dims: Dims
    metric: str | None
    item: Item


@dataclass(eq=False)
class Paid:
    """What is not undone of a debit or a capture, the first taken first."""

    units: list[Use | Unit]
    item: Item
    beyond: Item | None = None
    """What a capture took beyond its hold."""


@dataclass(eq=False)
class Plan:
    """A recurring grant."""

    number: int
    terms: RecurringTerms
    anchor: int
    next: int
    last: int = 0

    def period(self, at: int) -> tuple[int, int]:
        size = self.terms.every * DAY
        start = self.anchor + (at - self.anchor) // size * size
        return start, start + size


@dataclass(eq=False)
class Request:
    """A recharge request."""

    number: int
    at: int
    amount: int
    until: int
    state: str = "open"
    granted: int = 0

    @property
    def counts(self) -> int:
        """What it takes of its month."""
        return {"open": self.amount, "granted": self.granted}.get(self.state, 0)


ADDS = ("granted", "activated", "moved_in", "reversed")
"""Lines that add credits to a pool, so that alerts are armed again; a reversal only if something of it stays."""
TAKES = (
    "alerts_set", "debited", "held", "captured", "moved_out", "expired", "voided", "lapsed", "trimmed",
)  # fmt: skip
"""Lines after which a balance may be low."""


def after_adding(line: Line) -> int | None:
    """What is available after a line that adds credits."""
    if line[0] == "reversed":
        return line[2] - line[6] if line[4] > line[6] else None
    return int(line[2]) if line[0] in ADDS else None


def share_of_period(terms: RecurringTerms, plan: Plan) -> int:
    """What the next grant of a plan would be by these terms, if it is made in part."""
    start, end = plan.period(plan.next)
    return half_even(Fraction(terms.amount * (end - plan.next), end - start))


class Book:
    """The model of one pool."""

    def __init__(self) -> None:
        self.log: list[Line] = []
        self.clock = self.at = 0
        self.credits: dict[int, Credit] = {}
        self.holds: dict[int, Promise] = {}
        self.debits: dict[int, Paid] = {}
        self.quotas: list[Quota] = []
        self.limits: list[Limit] = []
        self.items: list[Item] = []
        self.plans: list[Plan] = []
        self.alerts: AlertTerms | None = None
        self.warned: dict[int, int] = {}
        self.unsaid: list[tuple[str, Dims | None, tuple[int, int] | None]] = []
        self.requests: list[Request] = []
        self.asks_again_at = 0
        self.leaving: list[Unit] = []
        """The units of the last transfer."""
        self.keys: dict[str, tuple[int, object, str]] = {}
        """Entry, request and kind of what used a key."""

    # What is there

    @property
    def next(self) -> int:
        return len(self.log) + 1

    @property
    def available(self) -> int:
        return sum(len(credit.those("left")) for credit in self.credits.values())

    @property
    def request(self) -> Request | None:
        return next((each for each in self.requests if each.state == "open"), None)

    def order(self) -> list[Credit]:
        return sorted(
            (credit for credit in self.credits.values() if credit.those("left")),
            key=lambda credit: (
                credit.priority,
                float("inf") if credit.ends is None else credit.ends,
                ["promotional", "paid"].index(credit.category),
                credit.starts,
                credit.created,
                credit.number,
            ),
        )

    def take(self, amount: int, where: str) -> list[Unit]:
        """Take units, in burn order."""
        units = [unit for credit in self.order() for unit in credit.those("left")][:amount]
        assert len(units) == amount
        for unit in units:
            unit.where, unit.piece = where, 0
        return units

    def write(self, kind: str, *details: Any) -> int:
        self.clock = self.at
        self.log.append((kind, self.at, self.available, *details))
        return len(self.log)

    # Allowances and budgets

    def cover(
        self, dims: Dims, amount: int, metric: str | None, quantity: str | None, *, only: str | None = None
    ) -> tuple[list[list[Use]], int | None]:
        """What allowances would pay, and when the first that cannot pay more has room again."""
        covers: list[list[Use]] = []
        rest, opens = amount, None
        for quota in self.quotas:
            terms = quota.terms
            counted = "credits" if terms.metric is None else "quantity"
            if only not in (None, counted) or (terms.metric is not None and terms.metric != metric):
                continue
            if (counted == "quantity" and quantity is None) or not fits(terms.match, terms.each, dims):
                continue
            value = None if terms.each is None else dims[terms.each]
            left = quota.left(self.at, value)
            if counted == "credits":
                shares = [1] * min(rest, left)
            else:
                shares = shares_of(rest, Fraction(quantity or 0) / amount, left)
            number = len(self.log) * 100 + len(covers)
            if shares:
                covers.append([Use(quota, value, self.at, share, number) for share in shares])
            rest -= len(shares)
            if rest:
                opens = min(opens or 10**20, quota.opens(self.at, value))
        return covers, opens if rest else None

    def use(self, covers: Iterable[list[Use]]) -> list[Use]:
        uses = [use for cover in covers for use in cover]
        for use in uses:
            use.quota.uses.append(use)
        return uses

    def unuse(self, uses: Iterable[Use]) -> None:
        for use in uses:
            use.quota.uses.remove(use)
            SEEN["an allowance got something back"] += 1

    def used(self, limit: Limit, dims: Dims) -> int:
        """What a budget has counted of its present window, for the same value if it counts each on its own."""
        terms = limit.terms
        return sum(
            item.amount
            for item in self.items
            if item.entry > limit.number
            and fits(terms.match, terms.each, item.dims)
            and (terms.each is None or item.dims[terms.each] == dims[terms.each])
            and limit.window(item.at) == limit.window(self.at)
        )

    def charged(self, dims: Dims) -> list[Limit]:
        return [limit for limit in self.limits if fits(limit.terms.match, limit.terms.each, dims)]

    def stopped(self, dims: Dims, amount: int) -> No | None:
        """The first budget that does not let it pass."""
        for limit in self.charged(dims):
            if amount and (used := self.used(limit, dims)) + amount > limit.terms.amount:
                return "over_budget", limit.terms.name, used, limit.opens(self.at, amount)
        return None

    # Time

    def moments(self) -> Iterator[tuple[int, int, str]]:
        """What will happen by itself: when, to what, and what it is."""
        for number, promise in self.holds.items():
            yield promise.ends, number, "hold ends"
        for plan in self.plans:
            yield plan.next, plan.number, "plan grants"
        for request in self.requests:
            if request.state == "open":
                yield request.until, request.number, "request ends"
        if (moment := self.asks_next()) is not None:
            yield moment, 0, "asks again"
        for number, credit in self.credits.items():
            if credit.pending:
                yield credit.starts, number, "grant starts"
            elif credit.ends is not None and credit.those("left"):
                yield credit.ends, number, "grant ends"
                ahead = None if self.alerts is None else self.alerts.expiring_us
                if ahead is not None and self.warned.get(number) != credit.ends:
                    yield credit.ends - ahead, number, "grant ends soon"

    def pass_time(self, now: int) -> None:
        """One thing after another, the earliest first, and of those of one moment the oldest."""
        self.at = max(self.clock, now)
        while (first := min(self.moments(), default=None)) is not None and first[0] <= self.at:
            self.happen(*first)

    def happen(self, moment: int, number: int, what: str) -> None:
        SEEN[what] += 1
        match what:
            case "hold ends":
                self.end_hold(number, moment)
            case "plan grants":
                self.recur(next(plan for plan in self.plans if plan.number == number))
            case "request ends":
                request = next(each for each in self.requests if each.number == number)
                request.state = "timed_out"
                self.keys[f"recharge {number}"] = self.next, None, "timed_out"
                self.write("recharge_closed", number, request.amount, moment)
            case "asks again":
                # What it asks for is said with all the rest.
                paused = self.clock < self.asks_again_at
                SEEN["a pause was over" if paused else "a new month began for recharges"] += 1
            case "grant starts":
                credit = self.credits[number]
                credit.pending = False
                for unit in credit.units:
                    unit.where = "left"
                self.write("activated", number, credit.amount, moment)
                self.say("activated")
            case "grant ends":
                lost = self.credits[number].those("left")
                for unit in lost:
                    unit.where = "expired"
                self.write("expired", number, len(lost), moment)
                self.say("expired")
            case _:
                credit = self.credits[number]
                self.warned[number] = moment = credit.ends or 0
                self.alert("expiring_soon", about=number, amount=len(credit.those("left")), moment=moment)
        self.speak()

    def recur(self, plan: Plan) -> None:
        terms, moment = plan.terms, plan.next
        start, end = plan.period(moment)
        amount = half_even(Fraction(terms.amount * (end - moment), end - start)) if terms.prorate else terms.amount
        if terms.roll_over:
            rolling = [unit for each in self.order() if each.recurring == plan.number for unit in each.those("left")]
            lost = rolling[: max(0, len(rolling) - terms.roll_over)]
            for credit, units in by_credit(lost):
                for unit in units:
                    unit.where = "expired"
                SEEN["what did not roll over was trimmed"] += 1
                self.write("trimmed", credit.number, len(units))
                self.say("trimmed")
        last = terms.ends_at is not None and end >= terms.ends_at
        plan.last, plan.next = self.next, end
        ends = end if terms.roll_over == 0 else None
        self.put_in(
            amount,
            terms.category,
            terms.priority,
            moment,
            ends,
            name=terms.name,
            plan=plan,
            follows=None if last else end,
        )
        if last:
            self.plans.remove(plan)
        if end <= self.at:
            SEEN["a period was missed"] += 1

    # What is said

    def alert(self, kind: str, **about: Any) -> None:
        self.write("alerted", kind, *(about.get(name, default) for name, default in ALERTED.items()))

    def say(self, kind: str, dims: Dims | None = None, hold: tuple[int, int] | None = None) -> None:
        """Remember that a line of some kind was written, of which there may be something to say."""
        self.unsaid.append((kind, dims, hold))

    def speak(self) -> None:
        """Say what there is to say now that all of a step has happened."""
        unsaid, self.unsaid = self.unsaid, []
        for each in unsaid:
            self.say_of(*each)
        self.ask_for_more()

    def say_of(self, kind: str, dims: Dims | None, hold: tuple[int, int] | None) -> None:
        if self.alerts is None:
            return
        if hold is not None:
            self.alert("hold_expired", about=hold[0], amount=hold[1])
        for limit in [] if dims is None else self.charged(dims):
            used, most = self.used(limit, dims or {}), limit.terms.amount
            percent = max([each for each in self.alerts.budget_percents if used * 100 >= each * most], default=0)
            value = None if limit.terms.each is None else (dims or {})[limit.terms.each]
            start = limit.window(self.at)
            if percent > self.said_of_budget(limit, value, start):
                self.alert(
                    "budget_reached", about=limit.number, value=value, amount=used, limit=most, percent=percent,
                    moment=start, budget=limit.terms.name,
                )  # fmt: skip
        if kind in (*ADDS, *TAKES):
            for place, low in enumerate(self.alerts.low):
                limit_ = low.units or low.percent * self.full() // 100
                if self.available < limit_ and not self.said_low(place, low):
                    before = any(line[0] == "alerted" and line[3:5] == ("low", place) for line in self.log)
                    SEEN["low was said again" if before else "low was said"] += 1
                    self.alert("low", place=place, limit=limit_, percent=low.percent)
            there_was = any(not credit.pending for credit in self.credits.values())
            if not self.available and there_was and not self.said_depleted():
                self.alert("depleted")

    def full(self) -> int:
        """What was there after credits were added, or when the alerts were set."""
        for line in reversed(self.log):
            if line[0] == "alerts_set":
                return int(line[2])
            if (after := after_adding(line)) is not None:
                return after
        raise AssertionError("no alerts are set")

    def said_low(self, place: int, low: Threshold) -> bool:
        for line in reversed(self.log):
            if line[0] == "alerted" and line[3:5] == ("low", place):
                return True
            after = after_adding(line)
            if line[0] == "alerts_set" or (after is not None and after >= low.units):
                return False
        return False

    def said_depleted(self) -> bool:
        for line in reversed(self.log):
            if line[0] == "alerted" and line[3] == "depleted":
                return True
            if line[0] == "alerts_set" or after_adding(line):
                return False
        return False

    def said_of_budget(self, limit: Limit, value: str | None, start: int) -> int:
        names = list(ALERTED)
        for line in reversed(self.log):
            if line[0] == "alerts_set" or (line[0] == "budget_set" and line[3:] == (limit.number, limit.terms.name)):
                return 0
            if line[0] == "alerted" and line[3] == "budget_reached":
                about = dict(zip(names, line[4:], strict=True))
                if (about["about"], about["value"], about["moment"]) == (limit.number, value, start):
                    return int(about["percent"])
        return 0

    def to_ask_for(self, at: int) -> int:
        """How much the recharge rule asks for at a time, if nothing else happens before."""
        rule = None if self.alerts is None else self.alerts.recharge
        if rule is None or self.available >= rule.below or self.request is not None or at < self.asks_again_at:
            return 0
        amount = rule.target - self.available
        if rule.monthly_max is not None:
            had = sum(each.counts for each in self.requests if month(each.at) == month(at))
            amount = min(amount, rule.monthly_max - had)
        return max(0, amount)

    def asks_next(self) -> int | None:
        """When a pool that asks for nothing now will, by itself."""
        moments = (self.clock, self.asks_again_at, next_month(self.clock), next_month(self.asks_again_at))
        return min([each for each in moments if each >= self.clock and self.to_ask_for(each)], default=None)

    def ask_for_more(self) -> None:
        amount = self.to_ask_for(self.at)
        rule = None if self.alerts is None else self.alerts.recharge
        if rule is None or not amount:
            return
        last = self.requests[-1] if self.requests else None
        if last is not None and last.state != "granted":
            SEEN[f"what was {last.state.replace('_', ' ')} was asked for again"] += 1
        elif last is not None and self.log[-1][0] == "granted" and self.log[-1][-1] == last.number:
            SEEN["what was granted in part was asked for again"] += 1
        SEEN["the month had too little left"] += amount < rule.target - self.available
        request = Request(self.next, self.at, amount, self.at + rule.timeout_us)
        self.requests.append(request)
        bounds = month(self.at), next_month(self.at)
        self.write("recharge_requested", amount, request.until, *bounds, rule.grants)
        if rule.grants:
            SEEN["a recharge was granted by itself"] += 1
            self.grant_request(request, amount, rule.category, None)

    def grant_request(self, request: Request, amount: int, category: str, ends: int | None) -> None:
        request.state, request.granted = "granted", amount
        self.keys[f"recharge {request.number}"] = self.next, None, "granted"
        self.put_in(amount, category, 50, None, ends, name="recharge", request=request.number, quiet=True)

    # What is asked

    def judge(self, command: PoolCommand | SettingCommand) -> list[Line] | No:
        """What a command comes to: lines, or why it is refused. Time has passed."""
        self_key = key_of(command)
        if self_key is not None and (used := self.keys.get(self_key)) is not None:
            return self.repeat(command, *used)
        before = len(self.log)
        refused = self.do(command)
        if refused is not None:
            assert len(self.log) == before
            return refused
        self.speak()
        lines = self.log[before:]
        if self_key is not None:
            number = before + 1 + (lines[0][0] == "opened")
            self.keys.setdefault(self_key, (number, wish(command), self.log[number - 1][0]))
        return lines

    def repeat(self, command: PoolCommand | SettingCommand, number: int, asked: object, kind: str) -> No:
        if isinstance(command, (Capture, Release)):
            wanted = "captured" if isinstance(command, Capture) else "released"
            return ("repeat", number) if kind == wanted else ("conflict", f"hold_{kind}")
        if isinstance(command, (GrantRecharge, RefuseRecharge)):
            wanted = "granted" if isinstance(command, GrantRecharge) else "refused"
            return ("repeat", number) if kind == wanted else ("conflict", f"recharge_{kind}")
        if isinstance(command, VoidGrant) or asked == wish(command):
            return "repeat", number
        return "key_taken", number

    def do(self, command: PoolCommand | SettingCommand) -> No | None:
        if isinstance(command, (Grant, OpenPool, SetAllowance, SetRecurring)):
            return self.do_first(command)
        if not self.log:
            return ("unknown_pool",)
        match command:
            case Debit():
                return self.debit(command)
            case Hold():
                return self.hold(command)
            case Capture():
                return self.capture(command)
            case Release(hold=number):
                if number not in self.holds:
                    return "unknown", "hold", number
                self.end_hold(number, None)
            case Reverse():
                return self.reverse(command)
            case Transfer(amount=amount):
                if amount > self.available:
                    return "insufficient", amount, self.available, 0, None
                self.leaving = self.take(amount, "moved_out")
                self.write("moved_out", amount, parts_of(self.leaving), command.target)
                self.say("moved_out")
            case UpdateGrant() | VoidGrant():
                return self.change(command)
            case SetBudget(terms=limits):
                found = next((each for each in self.limits if each.terms.name == limits.name), None)
                if found is None:
                    self.limits.append(Limit(self.write("budget_set", 0, limits.name), limits))
                elif found.terms == limits:
                    return ("unchanged",)
                else:
                    found.terms = limits
                    self.write("budget_set", found.number, limits.name)
            case RemoveBudget(name=name):
                found = next((each for each in self.limits if each.terms.name == name), None)
                if found is None:
                    return ("unchanged",)
                self.limits.remove(found)
                self.write("budget_removed", found.number, name)
            case RemoveAllowance(name=name):
                quota = next((each for each in self.quotas if each.terms.name == name), None)
                if quota is None:
                    return ("unchanged",)
                self.quotas.remove(quota)
                self.write("allowance_removed", quota.number, name)
            case CancelRecurring():
                return self.cancel(command)
            case SetAlerts(terms=terms):
                return self.set_alerts(terms)
            case GrantRecharge() | RefuseRecharge():
                return self.settle_request(command)
            case _:
                raise AssertionError(command)
        return None

    def open(self) -> None:
        if not self.log:
            self.write("opened")

    def do_first(self, command: Grant | OpenPool | SetAllowance | SetRecurring) -> No | None:
        """What opens a pool that is not there."""
        match command:
            case Grant():
                starts = self.at if command.effective_at is None else command.effective_at
                if command.expires_at is not None and command.expires_at <= max(self.at, starts):
                    return "unfit", "expires_at"
                self.open()
                self.put_in(
                    command.amount, command.category, command.priority, command.effective_at, command.expires_at
                )
            case OpenPool():
                if self.log:
                    return ("unchanged",)
                self.open()
            case SetAllowance(terms=terms):
                return self.set_allowance(terms)
            case SetRecurring(terms=terms):
                return self.set_recurring(terms)
        return None

    def put_in(
        self,
        amount: int,
        category: str,
        priority: int,
        effective_at: int | None,
        ends: int | None,
        *,
        name: str | None = None,
        plan: Plan | None = None,
        follows: int | None = None,
        request: int = 0,
        quiet: bool = False,
    ) -> None:
        starts = self.at if effective_at is None else effective_at
        pending = starts > self.at
        credit = Credit(
            self.next, amount, category, priority, self.at, starts, ends, plan.number if plan else 0, pending
        )
        credit.units = [Unit(credit, "pending" if pending else "left") for _ in range(amount)]
        self.credits[credit.number] = credit
        kind = "announced" if pending else "granted"
        self.write(
            kind, amount, category, priority, effective_at, ends, name, credit.recurring, follows, request
        )  # fmt: skip
        if not quiet:
            self.say(kind)

    def debit(self, command: Debit) -> No | None:
        dims, amount, partial = dims_of(command), command.amount, command.partial
        covers, opens = self.cover(dims, amount, command.metric, command.quantity)
        wanted = rest = amount - sum(len(cover) for cover in covers)
        if rest > self.available:
            if not partial or not (self.available or covers):
                return "insufficient", amount, self.available, amount - rest, opens
            wanted = self.available
        if stop := self.stopped(dims, wanted):
            if not partial:
                return stop
            while self.stopped(dims, wanted):
                wanted -= 1
            if not wanted and not covers:
                return stop
        number, uses, units = self.next, self.use(covers), self.take(wanted, "spent")
        item = Item(number, dims, self.at, wanted)
        self.items.append(item)
        self.debits[number] = Paid([*uses, *units], item)
        self.write("debited", wanted, parts_of(units), covers_of(uses), amount, partial)
        self.say("debited", dims)
        SEEN["a debit was covered in part" if uses and units else "a debit was covered" if uses else "a debit"] += 1
        if wanted + len(uses) < amount:
            SEEN["a part of what was asked"] += 1
        for use in uses:
            SEEN[describe(use.quota)] += 1
        return None

    def hold(self, command: Hold) -> No | None:
        dims, amount = dims_of(command), command.amount
        covers, opens = self.cover(dims, amount, None, None, only="credits")
        rest = amount - sum(len(cover) for cover in covers)
        if rest > self.available:
            return "insufficient", amount, self.available, amount - rest, opens
        if stop := self.stopped(dims, rest):
            return stop
        number, uses, units = self.next, self.use(covers), self.take(rest, "held")
        SEEN["a hold was covered in part" if uses and units else "a hold was covered" if uses else "a hold"] += 1
        item = Item(number, dims, self.at, rest)
        self.items.append(item)
        ends = self.at + command.ttl
        self.holds[number] = Promise(uses, units, ends, dims, command.metric, item)
        self.write("held", rest, parts_of(units), covers_of(uses), ends)
        self.say("held", dims)
        return None

    def capture(self, command: Capture) -> No | None:
        if command.hold not in self.holds:
            return "unknown", "hold", command.hold
        promise = self.holds.pop(command.hold)
        dims, amount = promise.dims, command.amount
        metered: list[list[Use]] = []
        if command.quantity is not None:
            metric = command.metric or promise.metric
            metered, _ = self.cover(dims, amount, metric, command.quantity, only="quantity")
            amount -= sum(len(cover) for cover in metered)
        # What is promised is spent in any case, by allowances first; beyond that it is as a debit.
        free, kept_free = promise.uses[:amount], promise.uses[amount:]
        amount -= len(free)
        spent, back = promise.units[:amount], promise.units[amount:]
        beyond = amount - len(spent)
        more: list[list[Use]] = []
        extra: list[Unit] = []
        pays = 0
        if beyond:
            more, _ = self.cover(dims, beyond, None, None, only="credits")
            pays = beyond - sum(len(cover) for cover in more)
            if pays > self.available or self.stopped(dims, pays):
                more, pays = [], 0
            else:
                beyond = 0
        uses = self.use([*metered, *more])
        for unit in spent:
            unit.where = "spent"
        extra = self.take(pays, "spent")
        for unit in extra:
            unit.piece = 1
        number = self.next
        promise.item.amount = len(spent)
        more_item = Item(number, dims, self.at, len(extra)) if extra else None
        if more_item is not None:
            self.items.append(more_item)
        self.unuse(kept_free)
        self.debits[number] = Paid([*free, *uses, *spent, *extra], promise.item, more_item)
        lapsing = self.come_back(back)
        self.keys[f"hold {command.hold}"] = number, None, "captured"
        self.write(
            "captured", command.hold, len(spent) + len(extra), parts_of(spent), parts_of(extra), parts_of(back),
            beyond, sum(len(units) for units in lapsing), covers_of(free), covers_of(uses), covers_of(kept_free),
        )  # fmt: skip
        self.say("captured", dims if extra else None)
        self.lapse(lapsing)
        SEEN["a capture of more" if extra or uses else "a capture of less" if back or kept_free else "a capture"] += 1
        if beyond:
            SEEN["a capture beyond what there is"] += 1
        return None

    def end_hold(self, number: int, due_at: int | None) -> None:
        promise = self.holds.pop(number)
        self.unuse(promise.uses)
        promise.item.amount = 0
        lapsing = self.come_back(promise.units)
        self.keys[f"hold {number}"] = self.next, None, "released" if due_at is None else "expired"
        lapsed = sum(len(units) for units in lapsing)
        self.write("released", number, len(promise.units), parts_of(promise.units), lapsed, due_at)
        self.say("released", hold=None if due_at is None else (number, len(promise.units)))
        self.lapse(lapsing)

    def come_back(self, units: Sequence[Unit]) -> list[list[Unit]]:
        """Give units back. Returns those that will not stay, as they belong together."""
        together = by_credit(units)
        for unit in units:
            unit.where, unit.piece = "left", 0
        return [each for credit, each in together if credit.over(self.at)]

    def lapse(self, lapsing: Iterable[list[Unit]]) -> None:
        for units in lapsing:
            credit = units[0].credit
            for unit in units:
                unit.where = "voided" if credit.voided else "expired"
            self.write("lapsed", credit.number, len(units))
            self.say("lapsed")

    def reverse(self, command: Reverse) -> No | None:
        paid = self.debits.get(command.debit)
        if paid is None:
            return "unknown", "debit", command.debit
        if not paid.units:
            return "conflict", "already_reversed"
        count = len(paid.units) if command.amount is None else command.amount
        if count > len(paid.units):
            return "unfit", "amount"
        undone = paid.units[-count:]
        del paid.units[-count:]
        SEEN["a reversal in part" if paid.units else "a reversal of what was left"] += 1
        uses = [each for each in undone if isinstance(each, Use)]
        units = [each for each in undone if isinstance(each, Unit)]
        self.unuse(uses)
        extra = sum(unit.piece for unit in units)
        paid.item.amount -= len(units) - extra
        if paid.beyond is not None:
            paid.beyond.amount -= extra
        parts, lapsing = parts_of(units), self.come_back(units)
        lapsed = sum(len(each) for each in lapsing)
        self.write("reversed", command.debit, len(units), parts, lapsed, command.amount, covers_of(uses))
        self.say("reversed")
        self.lapse(lapsing)
        return None

    def change(self, command: UpdateGrant | VoidGrant) -> No | None:
        credit = self.credits.get(command.grant)
        if credit is None:
            return "unknown", "grant", command.grant
        if credit.over(self.at):
            return "conflict", "grant_voided" if credit.voided else "grant_expired"
        if isinstance(command, VoidGrant):
            self.void(credit)
            return None
        if isinstance(command.expires_at, int) and command.expires_at <= max(self.at, credit.starts):
            return "unfit", "expires_at"
        if isinstance(command.priority, int):
            credit.priority = command.priority
        if command.expires_at is not KEEP:
            assert not isinstance(command.expires_at, type(KEEP))
            credit.ends = command.expires_at
        self.write("updated", credit.number, credit.priority, credit.ends)
        return None

    def void(self, credit: Credit) -> None:
        lost = credit.units if credit.pending else credit.those("left")
        was_pending, credit.pending, credit.voided = credit.pending, False, True
        for unit in lost:
            unit.where = "voided"
        self.keys[f"void {credit.number}"] = self.next, None, "voided"
        self.write("voided", credit.number, len(lost), was_pending)
        self.say("voided")

    def set_allowance(self, terms: AllowanceTerms) -> No | None:
        found = next((each for each in self.quotas if each.terms.name == terms.name), None)
        if found is not None and found.terms == terms:
            return ("unchanged",)
        self.open()
        if found is not None and scope_of(found.terms) == scope_of(terms):
            found.terms = terms
            self.write("allowance_set", found.number, terms.name)
            SEEN["an allowance has new terms"] += 1
            return None
        if found is not None:
            self.quotas.remove(found)
            self.write("allowance_removed", found.number, terms.name)
            SEEN["an allowance begins anew"] += 1
        self.quotas.append(Quota(self.write("allowance_set", 0, terms.name), terms))
        return None

    def set_recurring(self, terms: RecurringTerms) -> No | None:
        found = next((each for each in self.plans if each.terms.name == terms.name), None)
        if found is not None and found.terms == terms:
            return ("unchanged",)
        if (
            found is not None
            and rhythm_of(found.terms) == rhythm_of(terms)
            and (terms.ends_at is None or terms.ends_at > found.next)
            and (not terms.prorate or share_of_period(terms, found))
        ):
            found.terms = terms
            self.write("recurring_set", found.number, terms.name, found.anchor, found.next)
            SEEN["a recurring grant has new terms"] += 1
            return None
        starts = self.at if terms.starts_at is None else terms.starts_at
        if starts < self.at:
            return "unfit", "starts_at"
        if terms.ends_at is not None and terms.ends_at <= starts:
            return "unfit", "ends_at"
        self.open()
        if found is not None:
            self.plans.remove(found)
            self.write("recurring_ended", found.number, terms.name)
            SEEN["a recurring grant begins anew"] += 1
        plan = Plan(self.next, terms, starts if terms.anchor is None else terms.anchor, starts)
        start, end = plan.period(starts)
        if terms.prorate and not half_even(Fraction(terms.amount * (end - starts), end - start)):
            plan.next = end
        self.plans.append(plan)
        self.write("recurring_set", 0, terms.name, plan.anchor, plan.next)
        return None

    def cancel(self, command: CancelRecurring) -> No | None:
        plan = next((each for each in self.plans if each.terms.name == command.name), None)
        if plan is None:
            return ("unchanged",)
        self.plans.remove(plan)
        last = self.credits.get(plan.last)
        if command.at_once and last is not None and not last.over(self.at):
            self.void(last)
            SEEN["a recurring grant was cancelled at once"] += 1
        self.write("recurring_ended", plan.number, command.name)
        return None

    def set_alerts(self, terms: AlertTerms) -> No | None:
        if terms == (AlertTerms() if self.alerts is None else self.alerts):
            return ("unchanged",)
        self.alerts = None if terms == AlertTerms() else terms
        self.warned = {}
        self.write("alerts_set")
        self.say("alerts_set")
        return None

    def settle_request(self, command: GrantRecharge | RefuseRecharge) -> No | None:
        request = self.request
        if request is None or request.number != command.recharge:
            return "unknown", "recharge", command.recharge
        rule = None if self.alerts is None else self.alerts.recharge
        if isinstance(command, RefuseRecharge):
            request.state = "refused"
            if rule is not None:
                self.asks_again_at = self.at + rule.timeout_us
            self.keys[f"recharge {request.number}"] = self.next, None, "refused"
            self.write("recharge_closed", request.number, request.amount, None)
            return None
        if command.expires_at is not None and command.expires_at <= self.at:
            return "unfit", "expires_at"
        amount = request.amount if command.amount is None else command.amount
        self.grant_request(request, amount, "paid" if rule is None else rule.category, command.expires_at)
        self.say("granted")
        return None

    def move_in(self, units: Sequence[Unit], name: str) -> list[Line]:
        """Credits that were moved out of another pool arrive."""
        before = len(self.log)
        self.open()
        for old, each in by_credit(units):
            new = Credit(
                self.next, len(each), old.category, old.priority, old.created, old.starts, old.ends
            )  # fmt: skip
            new.units = [Unit(new) for _ in each]
            self.credits[new.number] = new
            self.write("moved_in", name, old.number, len(each), *terms_of(new))
            self.say("moved_in")
            SEEN["an expiry was moved" if old.ends is not None else "credits without expiry were moved"] += 1
        self.speak()
        return self.log[before:]


ANSWERED = {
    "Grant": "Granted", "Debit": "Debited", "Hold": "Held", "Capture": "Captured", "Release": "Released",
    "Reverse": "Reversed", "UpdateGrant": "Updated", "VoidGrant": "Voided", "Transfer": "MovedOut",
    "GrantRecharge": "Granted", "RefuseRecharge": "RechargeClosed", "OpenPool": "Opened", "SetBudget": "BudgetSet",
    "RemoveBudget": "BudgetRemoved", "SetAllowance": "AllowanceSet", "RemoveAllowance": "AllowanceRemoved",
    "SetRecurring": "RecurringSet", "CancelRecurring": "RecurringEnded", "SetAlerts": "AlertsSet",
}  # fmt: skip
"""The entry that answers a command."""
ALERTED: dict[str, Any] = {
    "place": 0, "about": 0, "value": None, "amount": 0, "limit": 0, "percent": 0, "moment": None, "budget": None,
}  # fmt: skip


def fits(match: Iterable[tuple[str, Any]], each: str | None, dims: Dims) -> bool:
    return all(dims.get(name) == wanted for name, wanted in match) and (each is None or each in dims)


def shares_of(rest: int, per_unit: Fraction, left: int) -> list[int]:
    """How many of ``rest`` units a quota in millionths covers, and what it spends on each, in whole millionths.

    The quota that pays for all of them is rounded up; if it is not enough, what is left to pay is rounded half-even.
    """
    if not rest or not left:
        return []
    wanted = rest * per_unit * 10**6
    if wanted <= left:
        units, used = rest, -int(-wanted // 1)
    else:
        units, used = rest - half_even(rest - Fraction(left, 10**6) / per_unit), left
    return [used * (place + 1) // units - used * place // units for place in range(units)]


def half_even(number: Fraction) -> int:
    below = number.numerator // number.denominator
    beyond = number - below
    return below + (beyond > Fraction(1, 2) or (beyond == Fraction(1, 2) and below % 2 == 1))


def by_credit(units: Iterable[Unit]) -> list[tuple[Credit, list[Unit]]]:
    """Units that belong together, in their order."""
    groups = [list(each) for _, each in groupby(units, key=lambda unit: (unit.credit.number, unit.piece))]
    return [(each[0].credit, each) for each in groups]


def parts_of(units: Iterable[Unit]) -> tuple[tuple[int, int], ...]:
    return tuple((credit.number, len(each)) for credit, each in by_credit(units))


def covers_of(uses: Iterable[Use]) -> tuple[Line, ...]:
    groups = [list(each) for _, each in groupby(uses, key=lambda use: (use.quota.number, use.cover))]
    return tuple(
        (use.quota.number, use.value, use.quota.start(use.at), len(each), sum(one.share for one in each))
        for each in groups
        for use in each[:1]
    )


def terms_of(credit: Credit) -> Line:
    return credit.category, credit.priority, credit.created, credit.starts, credit.ends


def scope_of(terms: AllowanceTerms) -> Line:
    return terms.window, terms.rolling_us, terms.zone, terms.match, terms.each, terms.metric


def rhythm_of(terms: RecurringTerms) -> Line:
    return terms.period, terms.every, terms.anchor, terms.starts_at, terms.zone


def month(at: int) -> int:
    """The beginning of the month that ``at`` lies in."""
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
    return timegm((day.year, day.month, 1, 0, 0, 0)) * SECOND


def next_month(at: int) -> int:
    return month(month(at) + 32 * DAY)


def describe(quota: Quota) -> str:
    terms = quota.terms
    window = "rolling" if terms.window is None else terms.window
    return f"covered by {window}, {'all' if terms.each is None else 'each'}, {terms.metric or 'credits'}"


def dims_of(command: Debit | Hold) -> Dims:
    found = msgspec.msgpack.decode(command.dimensions, type=dict[str, str])
    return dict(found)


def key_of(command: PoolCommand | SettingCommand) -> str | None:
    """Under what it is remembered. What can happen only once has a name of its own."""
    match command:
        case Capture(hold=number) | Release(hold=number):
            return f"hold {number}"
        case VoidGrant(grant=number):
            return f"void {number}"
        case GrantRecharge(recharge=number) | RefuseRecharge(recharge=number):
            return f"recharge {number}"
        case Grant(key=key) | Debit(key=key) | Hold(key=key) | Reverse(key=key) | UpdateGrant(key=key):
            return key
        case Transfer(key=key):
            return key
    return None


def wish(command: PoolCommand | SettingCommand) -> object:
    """What makes a request the same request."""
    if isinstance(command, Reverse):
        return "Reverse", command.debit, command.amount
    values = msgspec.structs.asdict(command)
    return type(command).__name__, {
        name: bytes(value) if isinstance(value, msgspec.Raw) else value for name, value in values.items()
    }


# What the engine says, in the words of the model


def plain_covers(covers: Iterable[Any]) -> tuple[Line, ...]:
    return tuple(
        (each.allowance, msgspec.msgpack.decode(each.value) if each.value else None, each.start, each.units, each.used)
        for each in covers
    )


def plain(event: Event) -> Line:
    """An event as a line."""
    kind, details = _plain(event)
    return kind, event.at, getattr(event, "balance", 0), *details


def _plain(e: Event) -> tuple[str, Line]:
    match e:
        case Opened():
            return "opened", ()
        case Granted():
            live = e.effective_at is None or e.effective_at <= e.at
            return "granted" if live else "announced", (
                e.amount, e.category, e.priority, e.effective_at, e.expires_at, e.name, e.recurring, e.next_at,
                e.recharge,
            )  # fmt: skip
        case Activated():
            return "activated", (e.grant, e.amount, e.due_at)
        case Expired():
            return "expired", (e.grant, e.amount, e.due_at)
        case Debited():
            return "debited", (e.amount, e.parts, plain_covers(e.covers), e.requested, e.partial)
        case Held():
            return "held", (e.amount, e.parts, plain_covers(e.covers), e.expires_at)
        case Captured():
            return "captured", (
                e.hold, e.amount, e.parts, e.extra, e.returned, e.uncovered, e.lapsed, plain_covers(e.held_covers),
                plain_covers(e.extra_covers), plain_covers(e.returned_covers),
            )  # fmt: skip
        case Released():
            return "released", (e.hold, e.amount, e.parts, e.lapsed, e.due_at)
        case Reversed():
            return "reversed", (e.debit, e.amount, e.parts, e.lapsed, e.requested, plain_covers(e.covers))
        case Updated():
            return "updated", (e.grant, e.priority, e.expires_at)
        case Voided():
            return "voided", (e.grant, e.amount, e.pending)
        case Lapsed():
            return "lapsed", (e.grant, e.amount)
        case BudgetSet():
            return "budget_set", (e.budget, e.terms.name)
        case BudgetRemoved():
            return "budget_removed", (e.budget, e.name)
        case MovedOut():
            return "moved_out", (e.amount, e.parts, e.target)
        case MovedIn():
            terms = e.category, e.priority, e.created_at, e.effective_at, e.expires_at
            return "moved_in", (e.source, e.source_grant, e.amount, *terms)
        case AllowanceSet():
            return "allowance_set", (e.allowance, e.terms.name)
        case AllowanceRemoved():
            return "allowance_removed", (e.allowance, e.name)
        case RecurringSet():
            return "recurring_set", (e.recurring, e.terms.name, e.anchor, e.next_at)
        case RecurringEnded():
            return "recurring_ended", (e.recurring, e.name)
        case Trimmed():
            return "trimmed", (e.grant, e.amount)
        case AlertsSet():
            return "alerts_set", ()
        case Alerted():
            value = msgspec.msgpack.decode(e.value) if e.value else None
            about = {**{name: getattr(e, name) for name in ALERTED}, "value": value}
            return "alerted", (e.kind, *about.values())
        case RechargeRequested():
            return "recharge_requested", (e.amount, e.until, e.month_start, e.month_end, e.granted)
        case RechargeClosed():
            return "recharge_closed", (e.recharge, e.amount, e.due_at)
    raise AssertionError(e)


def plain_refusal(outcome: object) -> No:
    match outcome:
        case Repeat(version=version):
            return "repeat", version
        case Unchanged():
            return ("unchanged",)
        case UnknownPool():
            return ("unknown_pool",)
        case UnknownEntry(what=what, number=number):
            return "unknown", what, number
        case KeyTaken(version=version):
            return "key_taken", version
        case Conflict(reason=reason):
            return "conflict", reason
        case Unfit(field=name):
            return "unfit", name
        case Insufficient(reset=reset):
            resets_at = None if reset is None else reset.at
            return "insufficient", outcome.requested, outcome.available, outcome.covered, resets_at
        case OverBudget(stop=stop):
            return "over_budget", stop.budget, stop.used, stop.resets_at
    raise AssertionError(outcome)


# A script, and the two that are asked the same


@dataclass(frozen=True)
class Step:
    """A command of a script.

    What it is about is number ``which`` of what there is then, counted round; or, in a script that is shortened, what
    step ``of`` made, so that any other step can be left out.
    """

    name: int
    kind: str
    pool: int
    wait: int
    terms: dict[str, Any]


class Side:
    """A pool of the engine and its model."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pool, self.book, self.plain = Pool(), Book(), PlainPool()
        self.events: list[Event] = []
        self.keys: dict[str, tuple[Keyed, int]] = {}
        self.agenda: int | None = None
        """When whoever reads the journal without folding it would have the pool looked at again."""

    def happened(self, events: Sequence[Event]) -> None:
        for version, event in enumerate(events, len(self.events) + 1):
            if isinstance(event, KEYED):
                assert event.key not in self.keys, f"two entries with key {event.key!r}"
                self.keys[event.key] = event, version
            # What the verifier judges by agrees that this can happen.
            self.plain.happen(event, frame=1)
            moment = due_after(event)
            if moment is not None:
                self.agenda = moment if self.agenda is None else min(moment, self.agenda)
        self.events += events

    def pass_time(self, now: int) -> None:
        book, before = self.book, len(self.book.log)
        first = min(book.moments(), default=None)
        if first is not None:
            assert self.pool.schedule, f"nothing would wake the pool for {first}"
            assert self.pool.schedule[0][0] <= first[0], f"too late for {first}"
            assert self.agenda is not None, f"after the index was lost, nothing would wake the pool for {first}"
            assert self.agenda <= max(first[0], book.clock), f"after the index was lost, too late for {first}"
        foreseen = due(self.pool, now)
        facts = pass_time(self.pool, now)
        assert list(foreseen) == facts, "what is due is not what happens"
        assert due(self.pool, now) == ()
        self.happened(facts)
        self.agenda = self.pool.schedule[0][0] if self.pool.schedule else None
        book.pass_time(now)
        for line in book.log[before:]:
            SEEN[f"{line[0]} {line[3]}" if line[0] == "alerted" else line[0]] += 1
        self.check_lines(facts, book.log[before:])

    def check_lines(self, events: Sequence[Event], lines: Sequence[Line]) -> None:
        found = [plain(event) for event in events]
        assert found == lines, f"the model says\n{show(lines)}the engine says\n{show(found)}"

    def ask(self, command: PoolCommand | SettingCommand, now: int) -> tuple[Event, ...] | None:
        """Ask both. Returns the events, if there are any; the pool has them."""
        if isinstance(command, Reverse):
            found = self.events[command.debit - 1] if 1 <= command.debit <= len(self.events) else None
            command = completed(command, found)
        before = encode_pool(self.pool)
        prior = self.keys.get(command.key) if not isinstance(command, SETTING_COMMANDS) else None
        outcome = decide(self.pool, command, now, prior=prior)
        assert encode_pool(self.pool) == before, "a question changed the pool"
        expected = self.book.judge(command)
        if not isinstance(outcome, tuple):
            refusal = plain_refusal(outcome)
            assert refusal == expected, f"the model says {expected}, the engine {refusal}"
            if isinstance(outcome, Repeat):
                assert outcome.event == self.events[outcome.version - 1], "not the first receipt"
            SEEN["refused: " + " ".join(refusal if refusal[0] == "conflict" else refusal[:1])] += 1
            return None
        assert isinstance(expected, list), f"the model says {expected}, the engine {outcome}"
        for event in outcome:
            apply(self.pool, event)
        version = len(self.events)
        self.happened(outcome)
        self.check_lines(outcome, expected)
        for line in expected:
            SEEN[f"{line[0]} {line[3]}" if line[0] == "alerted" else line[0]] += 1
        answer, number = answering(outcome, version)
        assert self.events[number - 1] == answer
        assert type(answer).__name__ == ANSWERED[type(command).__name__], f"the answer to {command} is {answer}"
        return outcome

    def check(self, now: int) -> None:
        """Everything that the pool and the model know is the same."""
        pool, book, at = self.pool, self.book, max(self.book.clock, now)
        check_books(pool)
        self.plain.finish()
        assert (pool.version, pool.clock, pool.available) == (len(book.log), book.clock, book.available)
        assert (self.plain.version, self.plain.clock, self.plain.granted) == (pool.version, pool.clock, pool.granted)
        wheres = ("left", "held", "spent", "expired", "voided", "moved_out", "pending")
        totals: Counter[str] = Counter()
        for number, credit in book.credits.items():
            block = pool.blocks[number]
            where = Counter(unit.where for unit in credit.units)
            assert where.keys() <= set(wheres)
            totals += where
            found = (block.available, block.held, block.spent, block.expired, block.voided, block.moved_out)
            assert found == tuple(where[name] for name in wheres[:-1]), f"grant {number}: {found}, {where}"
            assert min(found) >= 0
            assert block.amount == credit.amount == sum(found) + where["pending"]
            assert terms_of(credit) == (
                block.category, block.priority, block.created_at, block.effective_at, block.expires_at,
            )  # fmt: skip
        assert (
            pool.available,
            pool.held,
            pool.spent,
            pool.expired,
            pool.voided,
            pool.moved_out,
            pool.pending,
        ) == tuple(totals[name] for name in wheres)
        assert pool.granted == sum(totals.values()) - totals["pending"]
        assert pool.blocks.keys() == book.credits.keys()
        assert [block.number for block in pool.burn] == [credit.number for credit in book.order()]
        open_holds = {
            number: (hold.amount, hold.parts, plain_covers(hold.covers), hold.expires_at)
            for number, hold in pool.holds.items()
        }
        assert open_holds == {
            number: (len(each.units), parts_of(each.units), covers_of(each.uses), each.ends)
            for number, each in book.holds.items()
        }
        self.check_quotas(at)
        assert {number: (each.next_at, each.last_grant) for number, each in pool.recurring.items()} == {
            plan.number: (plan.next, plan.last) for plan in book.plans
        }
        request = book.request
        assert (AlertTerms() if pool.alerts is None else pool.alerts.terms) == (book.alerts or AlertTerms())
        assert (0 if pool.alerts is None else pool.alerts.recharge.request) == (request.number if request else 0)

    def check_quotas(self, at: int) -> None:
        """What is used of allowances and budgets, of all windows that are not over."""
        assert list(self.pool.allowances) == [quota.number for quota in self.book.quotas]
        for quota in self.book.quotas:
            used: Counter[tuple[int, str | None]] = Counter()
            for use in quota.live(at):
                used[quota.start(use.at), use.value] += use.share
            counted: Counter[tuple[int, str | None]] = Counter()
            for start, counters in self.pool.allowances[quota.number].used.items():
                for value, count in counters.items():
                    assert count > 0
                    if quota.ends(start) > at:
                        counted[start, msgspec.msgpack.decode(value) if value else None] = count
            assert counted == +used, f"allowance {quota.number}: the model counts {used}, the engine {counted}"
            assert len(self.pool.allowances[quota.number].used) <= 63, "counters of times that are over are kept"
        assert list(self.pool.budgets) == [limit.number for limit in self.book.limits]
        for limit in self.book.limits:
            budget = self.pool.budgets[limit.number]
            current = budget.window_start == limit.window(at)
            for user in USERS:
                value = b"" if limit.terms.each is None else msgspec.msgpack.encode(user)
                used_ = self.book.used(limit, {"user": user})
                assert (budget.used.get(value, 0) if current else 0) == used_, f"budget {limit.number}, {user}"


def show(lines: Iterable[Line]) -> str:
    return "".join(f"  {line}\n" for line in lines)


class Run:
    """A script that is being run."""

    def __init__(self) -> None:
        self.sides = [Side(name) for name in POOLS]
        self.now = BEGIN
        self.asked: dict[int, tuple[int, PoolCommand | SettingCommand]] = {}
        self.trace: list[str] = []
        self.done: list[Step] = []
        """The steps, with what they turned out to be about."""
        self.made: dict[tuple[str, int], int] = {}
        """The first entry that a step made in a pool."""

    def run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.now = max(BEGIN, self.now + step.wait)
            self.done.append(step)
            self.do(step)
        for side in self.sides:
            assert encode_pool(fold(Pool(), side.events)) == encode_pool(side.pool), "the journal says another pool"
            for later in (5 * DAY, 40 * DAY):
                side.pass_time(self.now + later)
                side.check(self.now + later)

    def do(self, step: Step) -> None:
        side = self.sides[step.pool]
        side.pass_time(self.now)
        side.check(self.now)
        SEEN[step.kind] += 1
        match step.kind:
            case "restart by snapshot":
                side.pool = decode_pool(encode_pool(side.pool))
            case "restart by fold":
                replayed = fold(Pool(), side.events)
                assert encode_pool(replayed) == encode_pool(side.pool), "the journal says another pool"
                side.pool = replayed
                assert not due(side.pool, self.now)
            case "again" | "conflict":
                if self.asked and (earlier := self.asked.get(self.about(step, list(self.asked)))) is not None:
                    number, command = earlier
                    if isinstance(command, (SetBudget, RemoveBudget)) and self.sides[number].book.holds:
                        return
                    self.ask(step, number, command if step.kind == "again" else other(command, step.terms["key"]))
            case _:
                made = make(step, side.book, self)
                if made is not None:
                    self.asked[step.name] = step.pool, made
                    self.ask(step, step.pool, made)
        side.check(self.now)

    def about(self, step: Step, numbers: Sequence[int]) -> int:
        """One of ``numbers``; at times, and if there is none, one that does not exist."""
        terms, pool = step.terms, POOLS[step.pool]
        commands = step.kind in ("again", "conflict")
        if "of" in terms:
            maker, place = terms["of"]
            return int(place) + (int(maker) if commands else self.made.get((pool, maker), 10**6))
        which = int(terms["which"])
        if not numbers or not which % 17:
            return 10**6
        number = numbers[which % len(numbers)]
        of: tuple[int, int] | None = (number, 0)
        if not commands:
            earlier = [(first, maker) for (name, maker), first in self.made.items() if name == pool and first <= number]
            of = (max(earlier)[1], number - max(earlier)[0]) if earlier else None
        if of is not None:
            self.done[-1] = replace(step, terms={**terms, "of": of})
        return number

    def ask(self, step: Step, number: int, command: PoolCommand | SettingCommand) -> None:
        side = self.sides[number]
        self.trace.append(f"{self.now} {side.name}: {command}")
        side.pass_time(self.now)
        aim = command.target if isinstance(command, Transfer) else None
        target = next((each for each in self.sides if each.name == aim), None)
        if target is not None:
            target.pass_time(self.now)
            self.made[target.name, step.name] = target.book.next
        self.made[side.name, step.name] = side.book.next
        events = side.ask(command, self.now)
        if events is not None and target is not None:
            moved = events[0]
            assert isinstance(moved, MovedOut)
            arrived = receive(target.pool, side.pool, side.name, moved, self.now, scale=6)
            assert isinstance(arrived, tuple)
            for event in arrived:
                apply(target.pool, event)
            target.happened(arrived)
            target.check_lines(arrived, target.book.move_in(side.book.leaving, side.name))
            target.check(self.now)
        side.check(self.now)


def make(step: Step, book: Book, run: Run) -> PoolCommand | SettingCommand | None:
    """The command that a step comes to; ``None`` if it makes no sense now."""
    terms, at, key = dict(step.terms), book.at, f"k{step.name}"
    for name in ("which", "of"):
        terms.pop(name, None)
    for name in ("effective_at", "expires_at", "starts_at", "ends_at", "anchor"):
        if isinstance(terms.get(name), int):
            terms[name] += at
    if "dims" in terms:
        terms["dimensions"] = encode_dimensions(terms.pop("dims"), "dimensions")
    match step.kind:
        case "open":
            return OpenPool()
        case "grant":
            return Grant(key, **terms)
        case "debit":
            return Debit(key, **terms)
        case "hold":
            return Hold(key, **terms)
        case "capture":
            number = run.about(step, list(book.holds))
            held = book.holds.get(number)
            size = 1 if held is None else len(held.uses) + len(held.units)
            return Capture(number, max(1, size + terms.pop("beyond")), **terms)
        case "release":
            return Release(run.about(step, list(book.holds)))
        case "reverse":
            return Reverse(key, run.about(step, list(book.debits)), **terms)
        case "update":
            return UpdateGrant(key, run.about(step, list(book.credits)), **terms)
        case "void":
            return VoidGrant(run.about(step, list(book.credits)))
        case "transfer":
            return Transfer(key, terms["amount"], POOLS[(step.pool + terms["by"]) % len(POOLS)])
        case "allowance":
            return SetAllowance(AllowanceTerms(**terms))
        case "remove allowance":
            return RemoveAllowance(terms["name"])
        case "budget":
            return SetBudget(BudgetTerms(**terms))
        case "remove budget":
            return RemoveBudget(terms["name"])
        case "recurring":
            return SetRecurring(RecurringTerms(period="day", **terms))
        case "new recurring terms":
            if not book.plans:
                return None
            plan = book.plans[step.terms["which"] % len(book.plans)]
            return SetRecurring(msgspec.structs.replace(plan.terms, **terms))
        case "cancel":
            names = [plan.terms.name for plan in book.plans] or ["plan"]
            return CancelRecurring(names[step.terms["which"] % len(names)], **terms)
        case "alerts":
            rule = terms.pop("recharge")
            return SetAlerts(AlertTerms(**terms, recharge=None if rule is None else RechargeTerms(**rule)))
        case "grant a recharge":
            return GrantRecharge(run.about(step, [each.number for each in book.requests[-2:]][::-1]), **terms)
        case "refuse a recharge":
            return RefuseRecharge(run.about(step, [each.number for each in book.requests[-2:]][::-1]))
        case "again" | "conflict":
            return None
    raise AssertionError(step)


def other(command: PoolCommand | SettingCommand, kind: int) -> PoolCommand | SettingCommand:
    """Another request with the same key."""
    match command:
        case Debit() | Grant() | Hold() | Transfer() if kind:
            return msgspec.structs.replace(command, amount=command.amount + 1)
        case Debit(key=key) | Hold(key=key) | Transfer(key=key):
            return Grant(key, 1)
        case Grant(key=key):
            return Debit(key, 1)
        case Reverse():
            return msgspec.structs.replace(command, amount=(command.amount or 0) + 1)
        case UpdateGrant():
            return msgspec.structs.replace(command, priority=77)
        case Capture(hold=number):
            return Capture(number, command.amount + 1) if kind else Release(number)
        case Release(hold=number):
            return Capture(number, 1)
        case GrantRecharge(recharge=number):
            return RefuseRecharge(number)
        case RefuseRecharge(recharge=number):
            return GrantRecharge(number)
    return command


# Scripts

WEIGHTS = {
    "open": 0.5, "grant": 10, "debit": 28, "hold": 16, "capture": 3, "release": 1, "reverse": 7, "update": 3, "void": 2,
    "transfer": 5, "allowance": 7, "remove allowance": 1, "budget": 5, "remove budget": 0.7, "recurring": 4,
    "new recurring terms": 2, "cancel": 2, "alerts": 6, "grant a recharge": 3, "refuse a recharge": 2, "again": 8,
    "conflict": 5, "restart by snapshot": 3, "restart by fold": 2,
}  # fmt: skip
LEAN = {
    "grant": 0.2, "recurring": 0, "allowance": 0, "alerts": 2, "debit": 2, "grant a recharge": 3, "refuse a recharge": 3
}  # fmt: skip
SEQUELS = {
    "hold": ("capture", "capture", "capture", "release", "again", "hold"),
    "alerts": ("grant a recharge", "refuse a recharge", "debit", "transfer", "cancel", "recurring", "alerts"),
    "recurring": ("cancel", "new recurring terms", "alerts"),
    "capture": ("conflict", "again", "reverse", "reverse", "restart by snapshot"),
    "grant a recharge": ("conflict", "again", "grant a recharge", "debit"),
    "refuse a recharge": ("conflict", "again", "alerts", "restart by snapshot", "restart by fold"),
    "void": ("again", "reverse"),
}
"""What often follows soon."""
SCOPES: dict[str, dict[str, Any]] = {
    "daily": {"window": "day"},
    "hourly": {"window": "hour", "each": "user"},
    "rolling": {"rolling_us": 2 * HOUR},
    "seat": {"rolling_us": 30 * MINUTE, "each": "user", "match": (("kind", "chat"),)},
    "tokens": {"window": "day", "metric": "tokens"},
    "burst": {"rolling_us": HOUR, "metric": "tokens", "each": "user"},
}
LIMITS: dict[str, dict[str, Any]] = {
    "one": {"window": "minute", "match": (("user", "ann"),)},
    "each": {"window": "hour", "each": "user"},
    "all": {"window": "total"},
}


def steps_of(seed: int) -> list[Step]:
    dice = Random(seed)
    # Every script has its own favourites and its own pace, so that what is rare happens often in some.
    weights = [weight * dice.choice([0.2, 1, 1, 5]) for weight in WEIGHTS.values()]
    if dice.random() < 0.2:
        # A pool that lives from hand to mouth.
        weights = [weight * LEAN.get(kind, 1) for weight, kind in zip(weights, WEIGHTS, strict=True)]
    pace = dice.choice([SECOND, MINUTE, MINUTE, 10 * MINUTE, HOUR])
    leaps = dice.choice([0, 0.03, 0.1])
    pools = dice.choice([[0], [0, 0, 0, 0, 1, 2]])
    richness = dice.choice([5, 20, 40])
    kinds = ["grant"] * len(set(pools)) + dice.choices(list(WEIGHTS), weights, k=COMMANDS)
    steps: list[Step] = []
    for kind in kinds[:COMMANDS]:
        wait = dice.choice([0, 0, 0, 1, pace // 7, pace, pace, 5 * pace, -5 * SECOND])
        if dice.random() < leaps:
            wait = dice.choice([3 * HOUR, DAY, DAY, 2 * DAY, 2 * DAY, 3 * DAY, 40 * DAY])
        pool = len(steps) if len(steps) < len(set(pools)) else dice.choice(pools)
        steps.append(Step(len(steps), kind, pool, wait, terms_for(kind, dice, richness)))
    for step in list(steps):
        sequels = SEQUELS.get(steps[step.name].kind, ())
        later = step.name + dice.randint(1, 9)
        if sequels and later < COMMANDS and dice.random() < 0.7:
            kind = dice.choice(sequels)
            terms = terms_for(kind, dice, richness)
            if kind in ("again", "conflict"):
                terms["of"] = (step.name, 0)
            steps[later] = replace(steps[later], kind=kind, pool=steps[step.name].pool, terms=terms)
    return steps


def terms_for(kind: str, dice: Random, richness: int) -> dict[str, Any]:
    """What a command asks for; times are those from when it is asked."""
    which = dice.randrange(10_000)
    match kind:
        case "grant":
            return {
                "amount": dice.randint(1, richness),
                "category": dice.choice(["paid", "promotional"]),
                "priority": dice.choice([50, 50, 50, 10, 90]),
                "effective_at": dice.choice([None, None, None, dice.randint(1, 5 * HOUR)]),
                "expires_at": dice.choice([None, dice.randint(1, HOUR), dice.randint(1, 3 * DAY)]),
            }
        case "debit":
            return {"amount": dice.randint(1, 9), "partial": dice.random() < 0.3, **usage(dice)}
        case "hold":
            found = usage(dice)
            del found["quantity"]
            ttl = dice.choice([MINUTE, HOUR, 6 * HOUR, DAY, DAY])
            return {"amount": dice.randint(1, 9), "ttl": ttl, **found}
        case "capture":
            found = usage(dice)
            del found["dims"]
            return {"which": which, "beyond": dice.choice([-6, -3, -1, 0, 0, 1, 2, 5, 20]), **found}
        case "reverse":
            return {"which": which, "amount": dice.choice([None, dice.randint(1, 6)])}
        case "update":
            ends = dice.choice([KEEP, None, dice.randint(1, 2 * DAY)])
            priority = dice.choice([KEEP, 5, 50, 95]) if ends is not KEEP else dice.choice([5, 50, 95])
            return {"which": which, "priority": priority, "expires_at": ends}
        case "transfer":
            return {"amount": dice.randint(1, 9), "by": dice.choice([1, 2])}
        case "allowance":
            name = dice.choice(list(SCOPES))
            scope = SCOPES[name if dice.random() < 0.8 else dice.choice(list(SCOPES))]
            amount = dice.randint(2, 15)
            if "metric" in scope:
                amount = dice.choice([amount * 10**6, 3_333_333, 12_345_678, 1])
            return {"name": name, "amount": amount, **scope}
        case "remove allowance":
            return {"name": dice.choice(list(SCOPES))}
        case "budget":
            name = dice.choice(list(LIMITS))
            return {"name": name, "amount": dice.randint(3, 30), **LIMITS[name]}
        case "remove budget":
            return {"name": dice.choice(list(LIMITS))}
        case "recurring":
            starts = dice.choice([None, None, None, dice.randint(-HOUR, 2 * DAY)])
            return {
                "name": dice.choice(["plan", "seat"]),
                "every": dice.choice([1, 1, 1, 2, 3]),
                "anchor": dice.choice([None, None, -dice.randint(1, 5 * DAY)]),
                "starts_at": starts,
                "ends_at": dice.choice([None, None, (starts or 0) + dice.randint(1, 6 * DAY)]),
                "category": dice.choice(["paid", "promotional"]),
                "priority": dice.choice([50, 50, 20]),
                "prorate": dice.random() < 0.4,
                **quantity_of_plan(dice),
            }
        case "new recurring terms":
            return {"which": which, "ends_at": dice.choice([None, dice.randint(1, 5 * DAY)]), **quantity_of_plan(dice)}
        case "cancel":
            return {"which": which, "at_once": dice.random() < 0.6}
        case "alerts":
            return alert_terms(dice)
        case "grant a recharge":
            ends = dice.choice([None, None, dice.randint(-SECOND, DAY)])
            return {"which": which, "amount": dice.choice([None, None, dice.randint(1, 9)]), "expires_at": ends}
        case "conflict":
            return {"which": which, "key": dice.choice([0, 1])}
    return {"which": which}


def usage(dice: Random) -> dict[str, Any]:
    dims = {"user": dice.choice(USERS), "kind": dice.choice(["chat", "job"])}
    if dice.random() < 0.3:
        del dims[dice.choice(["user", "kind"])]
    metered = dice.random() < 0.45
    return {
        "dims": dims,
        "metric": dice.choice(["tokens", "tokens", "tokens", "calls"]) if metered else None,
        "quantity": dice.choice(["1", "2.5", "3", "7", "0.000001", "0.123456789", "40"]) if metered else None,
    }


def quantity_of_plan(dice: Random) -> dict[str, Any]:
    return {
        "amount": dice.randint(1, 9),
        "roll_over": dice.choice([0, 0, None, dice.randint(1, 9), dice.randint(1, 4)]),
    }


def alert_terms(dice: Random) -> dict[str, Any]:
    if dice.random() < 0.1:
        return {"recharge": None}
    below = dice.randint(1, 16)
    rule: dict[str, Any] = {
        "below": below,
        "target": below + dice.randint(0, 12),
        "monthly_max": dice.choice([None, dice.randint(5, 60), dice.randint(3, 12)]),
        "grants": dice.random() < 0.4,
        "timeout_us": dice.choice([10 * MINUTE, 6 * HOUR, 2 * DAY]),
        "category": dice.choice(["paid", "promotional"]),
    }
    low = [Threshold(dice.randint(1, 25)), Threshold(dice.randint(1, 8)), Threshold(0, dice.choice([20, 50, 100]))]
    return {
        "low": tuple(dice.sample(low, dice.randint(0, 3))),
        "expiring_us": dice.choice([None, None, 10 * MINUTE, DAY]),
        "budget_percents": dice.choice([(), (50, 100), (30, 80)]),
        "recharge": dice.choice([None, rule, rule, rule]),
    }


def failure_of(steps: Sequence[Step]) -> tuple[BaseException, Run] | None:
    """What goes wrong with a script; ``None`` if nothing does."""
    run = Run()
    try:
        run.run(steps)
    except Exception as error:  # noqa: BLE001 - whatever a script comes to is reported with it
        return error, run
    return None


def shortened(steps: list[Step]) -> list[Step]:
    """A script that fails, with as few commands as dropping some of them can reach."""
    give_up_at = time.monotonic() + SHRINK_S
    first = failure_of(steps)
    assert first is not None
    told = first[1].done
    steps = told if failure_of(told) is not None else steps
    size = len(steps)
    while size and time.monotonic() < give_up_at:
        place, before = 0, len(steps)
        while place < len(steps) and time.monotonic() < give_up_at:
            fewer = steps[:place] + steps[place + size :]
            if failure_of(fewer) is not None:
                steps = fewer
            else:
                place += size
        size = 1 if size == 1 and len(steps) < before else size // 2
    return steps


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_whatever_is_asked_of_three_pools_is_what_the_model_foretells(seed: int) -> None:
    RAN.add(seed)
    steps = steps_of(seed)
    if failure_of(steps) is None:
        return
    saved = SEEN.copy()
    steps = shortened(steps)
    SEEN.clear()
    SEEN.update(saved)
    failure = failure_of(steps)
    assert failure is not None, "the same script passes when it is run again"
    error, run = failure
    script = "\n".join(f"    {step!r}," for step in steps).replace(repr(KEEP), "KEEP")
    asked = "\n".join(f"    {line}" for line in run.trace)
    told = "".join(traceback.format_exception(error)[-3:])
    pytest.fail(f"seed {seed}, shortened to {len(steps)} steps:\n{script}\nasked:\n{asked}\n{told}", pytrace=False)


OFTEN = {
    "again": 700, "conflict": 300, "transfer": 250, "restart by snapshot": 200, "restart by fold": 100, "open": 25,
    "debited": 900, "held": 450, "captured": 130, "released": 250, "reversed": 180, "updated": 80, "voided": 90,
    "activated": 100, "expired": 600, "lapsed": 80, "moved_out": 130, "trimmed": 400, "allowance_set": 300,
    "allowance_removed": 40, "budget_set": 200, "budget_removed": 5, "recurring_set": 250, "recurring_ended": 120,
    "alerts_set": 250, "recharge_requested": 280, "recharge_closed": 150, "alerted low": 300, "alerted depleted": 120,
    "alerted expiring_soon": 150, "alerted hold_expired": 120, "alerted budget_reached": 30,
    "a debit": 400, "a debit was covered": 350, "a debit was covered in part": 40, "a part of what was asked": 60,
    "a hold was covered": 150, "a hold was covered in part": 25, "a capture of less": 30, "a capture of more": 40,
    "a capture": 50, "a capture beyond what there is": 15, "a reversal in part": 60, "a reversal of what was left": 120,
    "an allowance got something back": 800, "an allowance has new terms": 60, "an allowance begins anew": 30,
    "covered by day, all, credits": 250, "covered by day, all, tokens": 150, "covered by hour, each, credits": 500,
    "covered by rolling, all, credits": 300, "covered by rolling, each, credits": 200,
    "covered by rolling, each, tokens": 130, "a period was missed": 600, "a recurring grant has new terms": 60,
    "a recurring grant begins anew": 60, "a recurring grant was cancelled at once": 30, "an expiry was moved": 80,
    "low was said again": 200, "a recharge was granted by itself": 70, "the month had too little left": 70,
    "what was refused was asked for again": 12, "what was timed out was asked for again": 110,
    "what was granted in part was asked for again": 4, "a pause was over": 6, "a new month began for recharges": 6,
    "request ends": 130, "refused: repeat": 300, "refused: key_taken": 90, "refused: unchanged": 300,
    "refused: insufficient": 700, "refused: over_budget": 100, "refused: unfit": 100, "refused: unknown": 500,
    "refused: unknown_pool": 30, "refused: conflict already_reversed": 80, "refused: conflict grant_expired": 80,
    "refused: conflict grant_voided": 15, "refused: conflict hold_captured": 5,
    "refused: conflict recharge_granted": 15, "refused: conflict recharge_refused": 5,
    "refused: conflict recharge_timed_out": 15,
}  # fmt: skip
"""What has to have happened in a run of all scripts, and how often at the least: about a third of what does."""


def test_everything_that_is_worth_a_test_did_happen() -> None:
    if len(RAN) < SCRIPTS:
        pytest.skip("it is about all the scripts together")
    rare = {name: (SEEN[name], least * EXAMPLES) for name, least in OFTEN.items() if SEEN[name] < least * EXAMPLES}
    assert not rare
