"""The rules of a pool a second time, written as plainly as possible: ``verify`` judges a journal by them.

Nothing here is shared with the serving code (``decide``, ``evolve``, ``pool``, ``due``) except the shape of the
events. Each event is first checked: could it have happened after the events before it? Then it is applied. This reads
like the rules in the README: grants burn in their order, only available credits are spent, a key is used once, a hold
is settled once, and credits go back to where they came from.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from solvent.engine.rules.events import (
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
    Extended,
    Granted,
    Held,
    Lapsed,
    MovedIn,
    MovedOut,
    Opened,
    OutboxMoved,
    Parts,
    RatesSet,
    RechargeClosed,
    RechargeRequested,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Trimmed,
    Updated,
    Voided,
)
from solvent.engine.runtime.files import JOURNAL_FORMAT
from solvent.engine.values.amounts import UNITS_MAX

_NEVER: Final = 1 << 63
_DAY: Final = 86_400 * 1_000_000
_FLOAT: Final = b"\xcb"
"""How msgpack begins a float."""
_PENDING, _LIVE, _VOIDED = "pending", "live", "voided"


class Difference(Exception):
    """An event is impossible after the events before it."""


class PlainGrant:
    """A block of credits, and where they are now. ``amount`` is always the sum of the other amounts."""

    __slots__ = (
        "amount",
        "category",
        "created_at",
        "effective_at",
        "expired",
        "expires_at",
        "held",
        "left",
        "moved_out",
        "number",
        "origin",
        "period_end",
        "priority",
        "recurring",
        "rolls",
        "spent",
        "state",
        "voided",
    )

    def __init__(self, number: int, event: Granted | MovedIn, *, created_at: int, effective_at: int) -> None:
        self.number = number
        self.amount = self.left = event.amount
        self.held = self.spent = self.expired = self.voided = self.moved_out = 0
        self.priority = event.priority
        self.category = event.category
        self.expires_at = event.expires_at
        self.created_at = created_at
        self.effective_at = effective_at
        self.recurring = event.recurring
        self.rolls = bool(event.recurring) and (isinstance(event, MovedIn) or event.expires_at is None)
        """Whether a recurring grant of this pool made it so that it rolls over."""
        self.origin = event.origin if isinstance(event, MovedIn) else None
        self.period_end = event.period_end
        self.state = _LIVE

    def rank(self) -> tuple[int, int, bool, int, int, int]:
        """Return the burn rank, lower first: priority, expiry, promotional before paid, effect, creation, journal."""
        ends = _NEVER if self.expires_at is None else self.expires_at
        return self.priority, ends, self.category == "paid", self.effective_at, self.created_at, self.number

    def is_over(self, at: int) -> bool:
        return self.state == _VOIDED or (self.expires_at is not None and self.expires_at <= at)


class _Budget:
    __slots__ = ("amount", "blocks", "start", "used")

    def __init__(self) -> None:
        self.amount = 0
        self.blocks = False
        self.start = 0
        self.used: dict[bytes, int] = {}


class _Plan:
    """A recurring grant, as long as it grants and, once it has ended, as long as it says how much rolls over."""

    __slots__ = ("goes_on", "last", "most", "next_at", "rhythm")

    def __init__(self) -> None:
        self.most: int | None = None
        """The most that may stand from ended periods; ``None`` for all."""
        self.next_at = 0
        self.last = 0
        """Its newest grant."""
        self.goes_on = True
        self.rhythm: Any = None
        """In the words in which it was set."""


class PlainPool:
    """One pool or stream, recomputed. ``happen`` raises ``Difference``."""

    def __init__(self) -> None:
        self.rules = JOURNAL_FORMAT
        """The number of the rules by which the present event was written: a rule that came later does not bind it."""
        self.version = 0
        self.clock = 0
        self.scale = 0
        self.available = 0
        self._held_units = 0
        self._pending_units = 0
        self.grants: dict[int, PlainGrant] = {}
        self.holds: dict[int, Held] = {}
        self._burn: list[tuple[tuple[int, int, bool, int, int, int], PlainGrant]] = []
        """The live grants with credits left, in burn order."""
        self._debits: dict[int, Parts] = {}
        self._undone: dict[int, int] = {}
        """The amount that was returned to grants, by debit."""
        self._keys: set[str] = set()
        self._budgets: dict[int, _Budget] = {}
        self._allowances: set[int] = set()
        self._plans: dict[int, _Plan] = {}
        self._owed: dict[int, tuple[int, int]] = {}
        """By recurring grants whose credits have just come back: the most that may stand from periods that have ended
        by a time, and that time."""
        self._requests: set[int] = set()
        """The recharge requests that are open or were refused. Each is granted at most once."""
        self._published = 0
        self._cards: list[tuple[int, int, RatesSet]] = []
        """The rate cards: the time of the usage that each prices first, when it began to rule, and what it says."""

    # What was recomputed

    @property
    def granted(self) -> int:
        return sum(grant.amount for grant in self.grants.values() if grant.state != _PENDING)

    def total(self, name: str) -> int:
        """Return the sum of ``held``, ``spent``, ``expired``, ``voided`` or ``moved_out`` over the grants."""
        return sum(getattr(grant, name) for grant in self.grants.values())

    # What happens

    def happen(self, event: Event, frame: int, rules: int = JOURNAL_FORMAT) -> None:
        """Apply the next event, of ``frame``, which was written by the rules of that number.

        Raises ``Difference`` if it is impossible.
        """
        if not isinstance(event, (Lapsed, Trimmed)):
            # What does not stay of credits that come back has gone by now.
            if self._owed:
                self._check_owed()
            self._check_bound()
        self.rules = rules
        if event.at < self.clock:
            raise Difference("it is dated before the entry before it")
        self.clock = event.at
        self.version += 1
        if isinstance(event, Opened) != (self.version == 1):
            raise Difference("a pool is opened once, first")
        key = getattr(event, "key", None)
        if key is not None:
            if key in self._keys:
                raise Difference(f"it uses the key {key!r} a second time")
            self._keys.add(key)
        if isinstance(event, OutboxMoved):
            if not self._published <= event.frame < frame:
                raise Difference(f"frame {event.frame} cannot have been published then")
            self._published = event.frame
            return
        _RULES[type(event)](self, event)
        if not isinstance(event, Opened) and event.balance != self.available:
            raise Difference(f"it gives the balance as {event.balance}, but it is {self.available}")

    def finish(self) -> None:
        """Check at the end that every grant adds up, and the grants to the pool. Raises ``Difference``."""
        self._check_owed()
        self._check_bound()
        held = dict.fromkeys(self.grants, 0)
        for hold in self.holds.values():
            for number, part in hold.parts:
                held[number] += part
        for grant in self.grants.values():
            places = (grant.left, grant.held, grant.spent, grant.expired, grant.voided, grant.moved_out)
            if min(places) < 0 or sum(places) != grant.amount:
                raise Difference(f"grant g{grant.number} of {grant.amount} does not add up: {places}")
            if grant.held != held[grant.number]:
                raise Difference(
                    f"the open holds keep {held[grant.number]} of g{grant.number}, but the grant has {grant.held} held"
                )
        left = sum(grant.left for grant in self.grants.values() if grant.state != _PENDING)
        if left != self.available:
            raise Difference(f"the pool has {self.available} available, but its grants have {left}")

    # Grants

    def _opened(self, event: Opened) -> None:
        self.scale = event.scale

    def _granted(self, event: Granted) -> None:
        starts = event.at if event.effective_at is None else event.effective_at
        _positive(event.amount)
        grant = PlainGrant(self.version, event, created_at=event.at, effective_at=starts)
        # A missed period is granted late, and may be over by then.
        if grant.is_over(max(event.at, starts)) and not event.recurring:
            raise Difference("it grants credits that have expired already")
        if event.opened and (self.version != 2 or event.recurring or event.recharge):
            raise Difference("it says that it opened the pool, which was there before")
        self.grants[grant.number] = grant
        if event.recurring:
            self._recur(event)
        if event.recharge:
            if event.recharge not in self._requests:
                raise Difference(f"recharge q{event.recharge} was not asked for, or is granted a second time")
            self._requests.discard(event.recharge)
        if starts > event.at:
            grant.state = _PENDING
            self._pending_units += grant.amount
        else:
            self._add(grant)

    def _activated(self, event: Activated) -> None:
        grant = self._grant(event.grant)
        if grant.state != _PENDING or event.due_at != grant.effective_at or event.due_at > event.at:
            raise Difference(f"g{event.grant} cannot take effect at that time")
        if event.amount != grant.amount:
            raise Difference(f"g{event.grant} takes effect with {event.amount} instead of {grant.amount}")
        grant.state = _LIVE
        self._pending_units -= grant.amount
        self._add(grant)

    def _expired(self, event: Expired) -> None:
        grant = self._grant(event.grant)
        if grant.state != _LIVE or event.due_at != grant.expires_at or event.due_at > event.at:
            raise Difference(f"g{event.grant} does not expire then")
        if event.amount != grant.left or not event.amount:
            raise Difference(f"{event.amount} of g{event.grant} expire, but {grant.left} are left")
        self._leave(grant, event.amount)
        grant.expired += event.amount

    def _lapsed(self, event: Lapsed) -> None:
        grant = self._grant(event.grant)
        if not grant.is_over(event.at):
            raise Difference(f"credits of g{event.grant} lapse, which is not over")
        self._leave(grant, event.amount)
        if grant.state == _VOIDED:
            grant.voided += event.amount
        else:
            grant.expired += event.amount

    def _recur(self, event: Granted) -> None:
        plan = self._plan(event.recurring)
        if self.rules >= 2:
            if event.effective_at != plan.next_at:
                raise Difference(f"p{event.recurring} grants at {event.effective_at}, not at {plan.next_at}")
            # What is left of earlier periods rolls over before the next is granted.
            stands = self._stands(event.recurring, event.effective_at or event.at)
            if plan.most is not None and stands > plan.most:
                raise Difference(f"{stands} of p{event.recurring} stand from ended periods, {plan.most} may")
        plan.last = self.version
        if event.next_at is not None:
            plan.next_at = event.next_at
        elif event.period_end is not None:
            plan.goes_on = False
        else:
            del self._plans[event.recurring]

    def _trimmed(self, event: Trimmed) -> None:
        grant = self._grant(event.grant)
        if not grant.recurring or (self.rules >= 2 and not grant.rolls):
            raise Difference(f"g{event.grant} does not roll over")
        if self.rules >= 2:
            plan = self._plans.get(grant.recurring)
            if plan is None or plan.most is None or self.period_end(grant) > event.at:
                raise Difference(f"g{event.grant} has no roll-over to be cut to")
            # It may be cut late, when a grant is over that was not yet.
            stands = self._stands(grant.recurring, event.at, over=True)
            if event.amount > stands - plan.most:
                raise Difference(f"{event.amount} are cut, {stands} stand from ended periods and {plan.most} may")
        self._leave(grant, event.amount)
        grant.expired += event.amount

    def _voided(self, event: Voided) -> None:
        grant = self._grant(event.grant)
        if grant.state == _VOIDED or event.pending != (grant.state == _PENDING):
            raise Difference(f"g{event.grant} is voided twice, or in another state than it has")
        if event.amount != grant.left:
            raise Difference(f"{event.amount} of g{event.grant} are voided, but {grant.left} are left")
        if event.pending:
            grant.left = 0
            self._pending_units -= event.amount
        elif event.amount:
            self._leave(grant, event.amount)
        grant.voided += event.amount
        grant.state = _VOIDED

    def _updated(self, event: Updated) -> None:
        grant = self._grant(event.grant)
        self._unlist(grant)
        grant.priority, grant.expires_at = event.priority, event.expires_at
        self._list(grant)

    # Spending

    def _debited(self, event: Debited) -> None:
        covered = sum(cover.units for cover in event.covers)
        if event.amount < 0 or event.amount + covered > event.requested:
            raise Difference(f"{event.amount} and {covered} free are debited, {event.requested} were asked for")
        if event.amount + covered < event.requested and not event.partial:
            raise Difference(f"only {event.amount} and {covered} free of {event.requested} are debited")
        if event.cut is not None:
            resets_at = event.cut.resets_at
            if event.amount + covered == event.requested or (resets_at is not None and resets_at <= event.at):
                raise Difference(f"it says that {event.cut.by} {event.cut.name} stopped it, until {resets_at}")
        self._check_covers(event.covers)
        self._take(event.amount, event.parts, event.at)
        self._spend(event.parts)
        self._charge(event.charges, event.amount, check=True)
        self._debits[self.version] = event.parts

    def _held(self, event: Held) -> None:
        if event.expires_at <= event.at or event.amount < 0:
            raise Difference("the hold has a negative amount, or expires before it begins")
        self._check_covers(event.covers)
        self._take(event.amount, event.parts, event.at)
        for number, part in event.parts:
            self.grants[number].held += part
        self._held_units += event.amount
        self._charge(event.charges, event.amount, check=True)
        self.holds[self.version] = event

    def _extended(self, event: Extended) -> None:
        hold = self.holds.get(event.hold)
        if hold is None or hold.expires_at <= event.at:
            raise Difference(f"hold h{event.hold} is extended, but not open")
        if event.ttl is not None and event.expires_at != event.at + event.ttl:
            raise Difference(f"hold h{event.hold} expires at another time than was asked for")
        if not hold.expires_at < event.expires_at <= min(event.at + _DAY, hold.at + 7 * _DAY):
            raise Difference(f"hold h{event.hold} cannot be extended to {event.expires_at}")
        self.holds[event.hold] = msgspec.structs.replace(hold, expires_at=event.expires_at)

    def _captured(self, event: Captured) -> None:
        hold = self._settle(event.hold, event.at)
        beyond = sum(part for _, part in event.extra)
        parts, returned = _cut(hold.parts, event.amount - beyond)
        if (event.parts, event.returned) != (parts, returned) or (beyond and returned):
            raise Difference(f"the hold paid {event.parts} and returned {event.returned}, which are not its parts")
        for number, part in hold.parts:
            self.grants[number].held -= part
        self._spend(parts)
        self._take(beyond, event.extra, event.at)
        self._spend(event.extra)
        self._charge(hold.charges, -sum(part for _, part in returned))
        self._charge(event.charges, beyond, check=True)
        self._come_back(returned, event.at)
        self._debits[self.version] = parts + event.extra

    def _released(self, event: Released) -> None:
        if event.due_at is None:
            hold = self._settle(event.hold, event.at)
        else:
            hold = self._settle(event.hold, event.due_at - 1)
            if event.due_at != hold.expires_at or event.due_at > event.at:
                raise Difference(f"hold h{event.hold} does not expire then")
        if event.amount != hold.amount or event.parts != hold.parts:
            raise Difference(f"hold h{event.hold} returns {event.parts} instead of {hold.parts}")
        for number, part in hold.parts:
            self.grants[number].held -= part
        self._charge(hold.charges, -hold.amount)
        self._come_back(hold.parts, event.at if event.due_at is None else event.due_at)

    def _reversed(self, event: Reversed) -> None:
        paid = self._debits.get(event.debit)
        if paid is None:
            raise Difference(f"there is no debit d{event.debit} to reverse")
        undone = self._undone.get(event.debit, 0)
        total = sum(part for _, part in paid)
        if not 0 <= event.amount <= total - undone:
            raise Difference(f"{event.amount} of d{event.debit} are reversed, {total - undone} are not yet")
        kept, _ = _cut(paid, total - undone)
        # Credits taken last are returned first.
        _, parts = _cut(kept, total - undone - event.amount)
        if event.parts != parts:
            raise Difference(f"of d{event.debit} come back {event.parts}, it was paid by {parts}")
        self._undone[event.debit] = undone + event.amount
        for number, part in parts:
            self.grants[number].spent -= part
        self._charge(event.charges, event.beyond_hold - event.amount)
        self._charge(event.beyond_charges, -event.beyond_hold)
        self._come_back(parts, event.at)

    def _moved_out(self, event: MovedOut) -> None:
        _positive(event.amount)
        self._take(event.amount, event.parts, event.at)
        for number, part in event.parts:
            self.grants[number].moved_out += part

    def _moved_in(self, event: MovedIn) -> None:
        _positive(event.amount)
        grant = PlainGrant(self.version, event, created_at=event.created_at, effective_at=event.effective_at)
        self._owe([event.recurring], event.at)
        self.grants[grant.number] = grant
        self._add(grant)

    # Terms

    def _budget_set(self, event: BudgetSet) -> None:
        number = event.budget or self.version
        budget = self._budgets.setdefault(number, _Budget()) if number == self.version else self._budget(number)
        budget.amount, budget.blocks = event.terms.amount, event.terms.mode == "block"

    def _budget_removed(self, event: BudgetRemoved) -> None:
        self._budget(event.budget)
        del self._budgets[event.budget]

    def _allowance_set(self, event: AllowanceSet) -> None:
        if event.allowance and event.allowance not in self._allowances:
            raise Difference(f"there is no allowance f{event.allowance}")
        self._allowances.add(event.allowance or self.version)

    def _allowance_removed(self, event: AllowanceRemoved) -> None:
        if event.allowance not in self._allowances:
            raise Difference(f"there is no allowance f{event.allowance}")
        self._allowances.discard(event.allowance)

    def _recurring_set(self, event: RecurringSet) -> None:
        if not event.recurring:
            self._plans[self.version] = _Plan()
        number, rhythm = event.recurring or self.version, (event.anchor, event.terms.period, event.terms.every)
        plan = self._plans.get(number) if self.rules >= 2 else self._plan(number)
        if plan is None:
            raise Difference(f"there is no recurring grant p{number}")
        until = self.period_end(self.grants[plan.last]) if plan.last else 0
        is_earlier = event.next_at < min(until, plan.next_at)
        if self.rules >= 2 and is_earlier and (rhythm, event.terms.zone) == plan.rhythm:
            raise Difference(f"p{number} would grant a second time for the period until {until}")
        if plan.last and plan.next_at != event.next_at and self.grants[plan.last].period_end is None:
            self.grants[plan.last].period_end = plan.next_at
        plan.goes_on, plan.rhythm = True, (rhythm, event.terms.zone)
        plan.most, plan.next_at = event.terms.roll_over, event.next_at
        if self.rules >= 2 and plan.most is not None:
            self._owed[event.recurring or self.version] = plan.most, event.at

    def _recurring_ended(self, event: RecurringEnded) -> None:
        plan = self._plan(event.recurring)
        if event.until is None:
            if self.rules >= 2 and plan.last:
                raise Difference(f"p{event.recurring} has granted g{plan.last}, and it does not say until when")
            del self._plans[event.recurring]
            return
        grant = self._grant(plan.last)
        if event.until != (plan.next_at if grant.period_end is None else grant.period_end):
            raise Difference(f"the period of g{plan.last} does not end at {event.until}")
        plan.goes_on, grant.period_end = False, event.until
        if plan.most is not None:
            self._owed[event.recurring] = plan.most, event.at

    def _recharge_requested(self, event: RechargeRequested) -> None:
        _positive(event.amount)
        self._requests.add(self.version)

    def _recharge_closed(self, event: RechargeClosed) -> None:
        if event.recharge not in self._requests:
            raise Difference(f"recharge q{event.recharge} is closed, but not open")

    def _rates_set(self, event: RatesSet) -> None:
        """Check a card that is dated back: no metric that had rates before now may get others for that time."""
        if event.effective_at < event.at:
            if self.rules < 2:
                raise Difference("it prices what was used before it")
            moments = {event.effective_at, *(start for start, _, _ in self._cards)}
            for moment in moments:
                if event.effective_at <= moment < event.at:
                    stood, stands = _rates_of(self._card_at(moment)), _rates_of(event)
                    for metric, rates in stood.items():
                        if stands.get(metric) != rates:
                            raise Difference(f"it changes what {metric} had cost before it")
        self._cards.append((event.effective_at, max(event.effective_at, event.at), event))

    def _card_at(self, moment: int) -> RatesSet | None:
        """Return the card that prices usage of ``moment``: the one that took effect last, or was dated back last."""
        found = [(rules, number) for number, (starts, rules, _) in enumerate(self._cards) if starts <= moment]
        return self._cards[max(found)[1]][2] if found else None

    def _alerted(self, event: Alerted) -> None:
        """Accept an alert. One that a recurring grant could not grant takes it to its next period."""
        if event.kind != "grant_skipped":
            return
        plan = self._plan(event.about)
        if event.amount <= UNITS_MAX - self._holds():
            raise Difference(f"p{event.about} could grant {event.amount}")
        if plan.last and self.grants[plan.last].period_end is None:
            self.grants[plan.last].period_end = plan.next_at
        if event.moment is not None:
            plan.next_at = event.moment
        elif plan.last:
            plan.goes_on = False
        else:
            del self._plans[event.about]

    def _holds(self) -> int:
        """Return what the pool holds: what is available, held and pending."""
        return self.available + self._held_units + self._pending_units

    def _said(self, event: AlertsSet) -> None:
        """Accept an event that changes no credits."""

    # What the rules have in common

    def _grant(self, number: int) -> PlainGrant:
        grant = self.grants.get(number)
        if grant is None:
            raise Difference(f"there is no grant g{number}")
        return grant

    def _budget(self, number: int) -> _Budget:
        budget = self._budgets.get(number)
        if budget is None:
            raise Difference(f"there is no budget b{number}")
        return budget

    def _check_bound(self) -> None:
        if (holds := self._holds()) > UNITS_MAX:
            raise Difference(f"it holds {holds}, more than 63 bits")

    def _plan(self, number: int) -> _Plan:
        plan = self._plans.get(number)
        if plan is None or not plan.goes_on:
            raise Difference(f"there is no recurring grant p{number}")
        return plan

    def period_end(self, grant: PlainGrant) -> int:
        """Return the end of the period of a grant; 0 for one of an older version that is over."""
        if grant.period_end is not None:
            return grant.period_end
        plan = self._plans.get(grant.recurring)
        return plan.next_at if plan is not None and plan.last == grant.number else 0

    def _stands(self, recurring: int, at: int, *, over: bool = False) -> int:
        """Return what is left from the periods of a recurring grant that have ended; with ``over``, of grants that are
        over as well."""
        return sum(
            grant.left
            for _, grant in self._burn
            if grant.recurring == recurring and grant.rolls
            if self.period_end(grant) <= at and (over or not grant.is_over(at))
        )

    def _owe(self, recurring: Iterable[int], at: int) -> None:
        """Note how much may stand of recurring grants of which credits come back now: not more than rolls over."""
        for number in recurring if self.rules >= 2 else ():
            plan = self._plans.get(number)
            if plan is not None and plan.most is not None and number not in self._owed:
                self._owed[number] = max(plan.most, self._stands(number, at)), at

    def _check_owed(self) -> None:
        for number, (most, at) in self._owed.items():
            if (stands := self._stands(number, at)) > most:
                raise Difference(f"{stands} of p{number} stand from ended periods, {most} may")
        self._owed.clear()

    def _settle(self, number: int, at: int) -> Held:
        hold = self.holds.pop(number, None)
        if hold is None:
            raise Difference(f"hold h{number} is settled, but not open")
        if hold.expires_at <= at:
            raise Difference(f"hold h{number} is settled after it expired")
        self._held_units -= hold.amount
        return hold

    def _take(self, amount: int, parts: Parts, at: int) -> None:
        """Take ``amount`` from the grants in burn order, which must give exactly ``parts``."""
        if amount > self.available:
            raise Difference(f"it takes {amount} of {self.available}: an overdraft")
        expected: list[tuple[int, int]] = []
        rest = amount
        for _, grant in self._burn:
            if not rest:
                break
            if grant.is_over(at):
                raise Difference(f"it takes from g{grant.number}, which has ended")
            if self.rules >= 2 and grant.rolls:
                self._check_ended(grant, at)
            expected.append((grant.number, min(rest, grant.left)))
            rest -= expected[-1][1]
        if parts != tuple(expected):
            raise Difference(f"it takes {parts}, the burn order says {tuple(expected)}")
        for number, part in parts:
            self._leave(self.grants[number], part)

    def _check_ended(self, grant: PlainGrant, at: int) -> None:
        """Check that no more is left of a recurring grant that has ended than rolls over. Raises ``Difference``."""
        plan = self._plans.get(grant.recurring)
        if plan is None or plan.goes_on or plan.most is None or self.period_end(grant) > at:
            return
        if (stands := self._stands(grant.recurring, at)) > plan.most:
            raise Difference(f"{stands} of p{grant.recurring} stand from ended periods, {plan.most} may")

    def _spend(self, parts: Parts) -> None:
        for number, part in parts:
            self.grants[number].spent += part

    def _add(self, grant: PlainGrant) -> None:
        self.available += grant.left
        self._list(grant)

    def _leave(self, grant: PlainGrant, amount: int) -> None:
        """Take ``amount`` from the rest of a grant."""
        if not 0 < amount <= grant.left:
            raise Difference(f"{amount} are taken from g{grant.number}, which has {grant.left} left")
        if amount == grant.left:
            self._unlist(grant)
        grant.left -= amount
        self.available -= amount

    def _come_back(self, parts: Parts, at: int) -> None:
        self._owe([self.grants[number].recurring for number, _ in parts if self.grants[number].rolls], at)
        for number, part in parts:
            grant = self.grants[number]
            self.available += part
            grant.left += part
            if grant.left == part:
                self._list(grant)

    def _list(self, grant: PlainGrant) -> None:
        if grant.left and grant.state == _LIVE:
            insort(self._burn, (grant.rank(), grant), key=_rank_of)

    def _unlist(self, grant: PlainGrant) -> None:
        place = bisect_left(self._burn, grant.rank(), key=_rank_of)
        if place < len(self._burn) and self._burn[place][1] is grant:
            del self._burn[place]

    def _charge(self, charges: tuple[Any, ...], amount: int, *, check: bool = False) -> None:
        """Count the charges of an entry to budgets. With ``check``, no blocking budget may be exceeded."""
        for number, value, start in charges:
            budget = self._budgets.get(number)
            if budget is None:
                if check:
                    raise Difference(f"it is charged to budget b{number}, which is not there")
                continue
            if start > budget.start:
                budget.start, budget.used = start, {}
            if start == budget.start:
                # Since rules 2 equal numbers are one value; before, 1 and 1.0 were two. Both counts are kept.
                plainly = b"=" + _named_plainly(value)
                for name in (value, plainly):
                    budget.used[name] = budget.used.get(name, 0) + amount
                used = budget.used[plainly if self.rules >= 2 else value]
                if check and amount and budget.blocks and used > budget.amount:
                    raise Difference(f"budget b{number} of {budget.amount} would be passed: {used}")

    def _check_covers(self, covers: tuple[Any, ...]) -> None:
        for cover in covers:
            if cover.allowance not in self._allowances or cover.units <= 0:
                raise Difference(f"{cover.units} are covered by allowance f{cover.allowance}")


def _named_plainly(value: bytes) -> bytes:
    """Return an encoded value of a dimension with a whole number as an integer, however it was written."""
    if value[:1] != _FLOAT:
        return value
    number = msgspec.msgpack.decode(value)
    return msgspec.msgpack.encode(int(number)) if number % 1 == 0 and -(2**63) <= number < 2**64 else value


def _rates_of(event: RatesSet | None) -> dict[str, list[str]]:
    """Return the rates of a card by metric, in a form that can be compared."""
    found: dict[str, list[str]] = {}
    for rate in () if event is None else event.card.rates:
        match = sorted((name, bytes(_named_plainly(msgspec.msgpack.encode(value)))) for name, value in rate.match)
        found.setdefault(rate.metric, []).append(repr((match, rate.credits, rate.per)))
    return {metric: sorted(rates) for metric, rates in found.items()}


def _rank_of(listed: tuple[tuple[int, int, bool, int, int, int], PlainGrant]) -> tuple[int, int, bool, int, int, int]:
    return listed[0]


def _positive(amount: int) -> None:
    if amount <= 0:
        raise Difference(f"an amount of {amount}")


def _cut(parts: Parts, amount: int) -> tuple[Parts, Parts]:
    """Return the first ``amount`` of ``parts``, and the rest."""
    first: list[tuple[int, int]] = []
    rest: list[tuple[int, int]] = []
    for number, part in parts:
        taken = max(0, min(part, amount))
        amount -= taken
        if taken:
            first.append((number, taken))
        if part > taken:
            rest.append((number, part - taken))
    return tuple(first), tuple(rest)


_RULES: Final[dict[type[Any], Callable[[PlainPool, Any], None]]] = {
    Opened: PlainPool._opened,
    Granted: PlainPool._granted,
    Activated: PlainPool._activated,
    Expired: PlainPool._expired,
    Lapsed: PlainPool._lapsed,
    Trimmed: PlainPool._trimmed,
    Voided: PlainPool._voided,
    Updated: PlainPool._updated,
    Debited: PlainPool._debited,
    Held: PlainPool._held,
    Extended: PlainPool._extended,
    Captured: PlainPool._captured,
    Released: PlainPool._released,
    Reversed: PlainPool._reversed,
    MovedOut: PlainPool._moved_out,
    MovedIn: PlainPool._moved_in,
    BudgetSet: PlainPool._budget_set,
    BudgetRemoved: PlainPool._budget_removed,
    AllowanceSet: PlainPool._allowance_set,
    AllowanceRemoved: PlainPool._allowance_removed,
    RecurringSet: PlainPool._recurring_set,
    RecurringEnded: PlainPool._recurring_ended,
    RechargeRequested: PlainPool._recharge_requested,
    RechargeClosed: PlainPool._recharge_closed,
    Alerted: PlainPool._alerted,
    AlertsSet: PlainPool._said,
    RatesSet: PlainPool._rates_set,
}
