"""One pool, recomputed from its ledger and from what callers asked for: the rules, once more, as plainly as can be.

Shares no code with the engine. Amounts are whole units of the smallest amount, times microseconds since 1970. An entry
that no correct engine can have written is ``Illegal``. Left out: allowances that count a metric's quantity, windows of
other time zones, rates by dimension; the tests of the rules have them.

Why it is not the model in tests/model: that gets every command, in order and with its time, and predicts what the
journal must have. Here callers race, requests are lost and repeated, and nobody knows which of several commands was
done, or when. So this goes the other way: it takes the ledger as it is read, entry by entry, and asks whether some of
the commands that were made can be behind it. It also has amounts of millions of units, where the model has an object
for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import msgspec

from solvent import CardList, LedgerEntry

from .history import Command

NEVER = 1 << 63
UNITS = 1_000_000
MINUTE, DAY = 60_000_000, 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Parts: TypeAlias = list[tuple[int, int]]
"""(number of a grant, units), in the order in which they were taken."""
Terms: TypeAlias = list[dict[str, Any]]
"""What the terms may be: one, or several if nobody heard which of several requests it was."""


class Illegal(Exception):
    """What a correct engine cannot have answered."""


class Grant(msgspec.Struct):
    """A block of credits."""

    number: int
    amount: int
    left: int
    priority: int
    expires: int
    is_paid: bool
    effective: int
    created: int
    state: str = "live"
    held: int = 0
    recurring: int = 0

    def rank(self) -> tuple[int, int, bool, int, int, int]:
        return self.priority, self.expires, self.is_paid, self.effective, self.created, self.number

    def is_over(self, at: int) -> bool:
        return self.state == "voided" or self.expires <= at


class Budget(msgspec.Struct):
    name: str
    terms: Terms
    start: int = 0
    used: dict[Any, int] = {}
    holds: dict[Any, int] = {}


class Allowance(msgspec.Struct):
    name: str
    terms: Terms
    used: dict[tuple[int, Any], int] = {}
    """By the beginning of a window, or of the step of a rolling one, and value."""


Charge: TypeAlias = tuple[Budget, Any, int]
"""Which count of which budget: value, beginning of the window."""
Cover: TypeAlias = tuple[Allowance, Any, int, int]
"""What an allowance paid: value, where it is counted, units."""


class Paid(msgspec.Struct):
    """What is left of a debit that could be reversed: it goes back from the end."""

    covers: list[Cover]
    parts: Parts
    charged: list[tuple[int, list[Charge]]]
    """Units, and the budgets they count for."""


class Hold(msgspec.Struct):
    parts: Parts
    expires: int
    covers: list[Cover]
    charges: list[Charge]
    dimensions: dict[str, Any]


class Recurring(msgspec.Struct):
    name: str
    terms: dict[str, Any]
    moments: list[int] = []
    first: int = 0
    """When it grants first."""
    anchor: int = 0
    until: int = 0
    """When the period ends that was granted last under this name."""


class Request(msgspec.Struct):
    """A recharge that was asked for."""

    amount: int
    at: int
    state: str = "open"


class Totals(msgspec.Struct, frozen=True):
    """What a balance says."""

    available: int
    held: int
    spent: int


def units(amount: Decimal | str | int) -> int:
    whole = Decimal(amount) * UNITS
    if whole != int(whole):
        raise Illegal(f"{amount} has more places than the currency")
    return int(whole)


def micros(moment: datetime | str) -> int:
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return (when - EPOCH) // timedelta(microseconds=1)


def price_of(cards: CardList, number: int, quantity: str) -> int:
    """What ``quantity`` costs by a card: rounded once, half to even, to units."""
    rate = next(card for card in cards.cards if card.number == number).rates[0]
    return round(Fraction(quantity) * Fraction(rate.credits) * UNITS / Fraction(rate.per))


def _split(parts: Parts, amount: int) -> tuple[Parts, Parts]:
    """The first ``amount`` of ``parts``, and the rest."""
    first: Parts = []
    rest: Parts = []
    for number, part in parts:
        taken = min(part, amount)
        amount -= taken
        if taken:
            first.append((number, taken))
        if part - taken:
            rest.append((number, part - taken))
    return first, rest


def _split_covers(covers: list[Cover], amount: int) -> tuple[list[Cover], list[Cover]]:
    first: list[Cover] = []
    rest: list[Cover] = []
    for allowance, value, start, part in covers:
        taken = min(part, amount)
        amount -= taken
        if taken:
            first.append((allowance, value, start, taken))
        if part - taken:
            rest.append((allowance, value, start, part - taken))
    return first, rest


def _sum(parts: Parts) -> int:
    return sum(part for _, part in parts)


def _sum_covers(covers: list[Cover]) -> int:
    return sum(part for *_, part in covers)


def _merged(parts: Parts) -> Parts:
    """With one part per grant."""
    merged: dict[int, int] = {}
    for number, part in parts:
        merged[number] = merged.get(number, 0) + part
    return list(merged.items())


def _by_name(covers: list[Cover]) -> dict[str, int]:
    named: dict[str, int] = {}
    for allowance, _, _, part in covers:
        named[allowance.name] = named.get(allowance.name, 0) + part
    return named


NAMED_BY: Mapping[str, str] = {
    "capture": "hold",
    "release": "hold",
    "void": "grant",
    "grant_recharge": "recharge",
    "refuse_recharge": "recharge",
    "set_budget": "name",
    "remove_budget": "name",
    "set_allowance": "name",
    "remove_allowance": "name",
    "set_recurring": "name",
    "cancel_recurring": "name",
}
"""Commands that have no key: what they are about. They may be asked by several callers, or several times."""
SETTINGS = frozenset(
    {
        "open",
        "set_alerts",
        "set_budget",
        "remove_budget",
        "set_allowance",
        "remove_allowance",
        "set_recurring",
        "cancel_recurring",
        "set_rates",
    }
)
"""Commands that say how things shall be: said again, they may change things again, if somebody else did meanwhile."""


class Book:
    """A pool. ``step`` applies its ledger entry by entry, and raises ``Illegal``."""

    def __init__(
        self,
        pool: str,
        ledger: Sequence[LedgerEntry],
        commands: Sequence[Command],
        books: Mapping[str, Book],
        cards: CardList,
    ) -> None:
        self.pool = pool
        self._ledger = ledger
        self._commands: dict[tuple[str, str], list[Command]] = {}
        """What may be behind an entry. A hold may be captured by several callers: the first settles it."""
        self._set_by: dict[int, Command] = {}
        """By version: the commands that were told that they made it."""
        for command in commands:
            name = str(command.args[NAMED_BY[command.kind]]) if command.kind in NAMED_BY else command.key
            self._commands.setdefault((command.kind, name), []).append(command)
            if command.kind in SETTINGS:
                for attempt in command.attempts:
                    if attempt.receipt is not None and attempt.receipt.id:
                        self._set_by[attempt.receipt.version] = command
        self._alerts = [command.args for command in commands if command.kind == "set_alerts"]
        self._rules: list[dict[str, Any] | None] = [None]
        """The recharge rule that is set, or those that may be; ``None``: perhaps there is none."""
        self._pause_until = 0
        """Until when, after a refusal, nothing may be asked for."""
        self._asks_from = 0
        """From when on, after a refusal, it must be."""
        self._done: set[tuple[str, str]] = set()
        self._books = books
        self._cards = cards
        self.grants: dict[int, Grant] = {}
        self._holds: dict[str, Hold] = {}
        self._debits: dict[str, Paid] = {}
        self._budgets: dict[str, Budget] = {}
        self._allowances: dict[str, Allowance] = {}
        self._recurring: dict[int, Recurring] = {}
        self.requests: dict[int, Request] = {}
        self._spent = 0
        self.clock = 0
        self.entries: dict[int, LedgerEntry] = {}
        self.totals: list[Totals] = [Totals(0, 0, 0)]
        """By version."""
        self.settled: dict[str, tuple[int, str]] = {}
        """How holds ended: version, and the word for it."""
        self.counts: dict[tuple[str, Any], list[tuple[int, int, frozenset[int]]]] = {}
        """By budget and value: since which version how much was used of which limit."""
        self.hold_counts: dict[tuple[str, Any], list[tuple[int, int, frozenset[int]]]] = {}
        """The same for open holds."""
        self.sent: dict[str, deque[Grant]] = {}
        """What left for each pool, in order, as it was then."""

    # The ledger

    def step(self) -> bool:
        """Apply the next entry, if there is one and what it waits for has happened."""
        version = self._version
        if version > len(self._ledger):
            return False
        entry = self._ledger[version - 1]
        if entry.version != version:
            raise Illegal(f"{self.pool}: entry {entry.version} stands where {version} should")
        if entry.kind == "transfer_in" and not self._is_sent(entry):
            return False
        at = micros(entry.recorded_at)
        if at < self.clock:
            raise Illegal(f"{self.pool}: entry {version} is dated before the one before it")
        if at > self.clock:
            # All that was done in one step has one date.
            self.check_that_it_asks(self.clock)
        self.clock = at
        apply = getattr(self, f"_{entry.kind}", None)
        if apply is None:
            raise Illegal(f"{self.pool}: nobody asked for the {entry.kind} at {version}")
        apply(entry, at)
        available = sum(grant.left for grant in self.grants.values())
        held = sum(grant.held for grant in self.grants.values())
        if units(entry.balance) != available:
            raise Illegal(f"{self.pool}: entry {version} says {entry.balance} is left, {available} units are")
        if min((min(grant.left, grant.held) for grant in self.grants.values()), default=0) < 0:
            raise Illegal(f"{self.pool}: a grant is below zero at version {version}")
        self.entries[version] = entry
        self.totals.append(Totals(available, held, self._spent))
        return True

    @property
    def _version(self) -> int:
        """Of the entry that is next."""
        return len(self.totals)

    @property
    def is_done(self) -> bool:
        return len(self.totals) > len(self._ledger)

    def did(self, command: Command) -> bool:
        """Whether the ledger has what ``command``, which has a key, asked for."""
        return (command.kind, command.key) in self._done

    def outstanding(self, debit: str) -> int:
        """Units of a debit that were not reversed."""
        paid = self._debits.get(debit)
        return 0 if paid is None else _sum(paid.parts) + _sum_covers(paid.covers)

    def _asked(self, entry: LedgerEntry, kind: str, name: str | None) -> dict[str, Any]:
        """The request behind an entry: there is one, and no entry has had it before."""
        return self._all_asked(entry, kind, name)[0]

    def _all_asked(self, entry: LedgerEntry, kind: str, name: str | None) -> Terms:
        commands = self._commands.pop((kind, str(name)), None)
        if commands is None:
            raise Illegal(f"{self.pool}: the {kind} {name} at {entry.version} was never asked for, or is there twice")
        self._done.add((kind, str(name)))
        return [command.args for command in commands]

    def _set(self, entry: LedgerEntry, kind: str) -> Terms:
        """The terms that an entry may be about."""
        told = self._set_by.get(entry.version)
        if told is not None and told.kind == kind and told.args["name"] == entry.about:
            return [told.args]
        commands = self._commands.get((kind, str(entry.about)))
        if commands is None:
            raise Illegal(f"{self.pool}: the {kind} {entry.about} at {entry.version} was never asked for")
        return [command.args for command in commands]

    # Grants

    def _opened(self, entry: LedgerEntry, at: int) -> None:
        if entry.version != 1:
            raise Illegal(f"{self.pool}: opened a second time at {entry.version}")

    def _grant(self, entry: LedgerEntry, at: int) -> None:
        key = str(entry.key)
        if key.startswith("\x01recurring:"):
            self._recurring_grant(entry, at, *map(int, key.split(":")[1:]))
        elif key.startswith("\x01recharge:"):
            self._recharge_grant(entry, at, int(key.split(":")[1]))
        else:
            args = self._asked(entry, "grant", entry.key)
            starts = micros(args["effective_at"]) if args.get("effective_at") else at
            expires = micros(args["expires_at"]) if args.get("expires_at") else NEVER
            self._add(entry, units(args["amount"]), args["priority"], expires, args["category"], max(0, starts), at)

    def _add(
        self, entry: LedgerEntry, amount: int, priority: int, expires: int, category: str, starts: int, at: int
    ) -> Grant:
        is_pending = starts > at
        self._expect(entry, amount, 0 if is_pending else amount)
        grant = Grant(
            entry.version, amount, 0 if is_pending else amount, priority, expires, category == "paid", starts, at
        )
        grant.state = "pending" if is_pending else "live"
        self.grants[entry.version] = grant
        return grant

    def _activation(self, entry: LedgerEntry, at: int) -> None:
        grant = self._about_grant(entry)
        if grant.state != "pending" or grant.effective > at:
            raise Illegal(f"{self.pool}: {entry.about} takes effect at {entry.version}, before its time or again")
        self._expect(entry, grant.amount, grant.amount)
        grant.left, grant.state = grant.amount, "live"

    def _update(self, entry: LedgerEntry, at: int) -> None:
        args = self._asked(entry, "update", entry.key)
        grant = self._about_grant(entry)
        if entry.about != args["grant"] or grant.is_over(at):
            raise Illegal(
                f"{self.pool}: {entry.about} is changed at {entry.version}: another grant, or one that is over"
            )
        grant.priority = args.get("priority", grant.priority)
        if "expires_at" in args:
            grant.expires = micros(args["expires_at"]) if args["expires_at"] else NEVER

    def _void(self, entry: LedgerEntry, at: int) -> None:
        grant = self._about_grant(entry)
        cancelled = grant.recurring and any(
            args["at_once"]
            for command in self._commands.get(("cancel_recurring", self._recurring[grant.recurring].name), ())
            for args in (command.args,)
        )
        if not cancelled:
            self._all_asked(entry, "void", entry.about)
        if grant.is_over(at):
            raise Illegal(f"{self.pool}: {entry.about} is voided at {entry.version}, but it is over")
        if grant.state == "pending":
            self._expect(entry, grant.amount, 0)
        else:
            self._expect(entry, grant.left, -grant.left)
        grant.left, grant.state = 0, "voided"

    def _expiry(self, entry: LedgerEntry, at: int) -> None:
        grant = self._ended(entry, at)
        self._expect(entry, grant.left, -grant.left)
        grant.left = 0

    def _lapse(self, entry: LedgerEntry, at: int) -> None:
        # What came back to a grant that is over goes at once, part by part.
        grant, amount = self._ended(entry, at), units(entry.amount)
        if not 0 < amount <= grant.left:
            raise Illegal(f"{self.pool}: {entry.amount} lapses at {entry.version}, {grant.left} units came back")
        grant.left -= amount

    def _ended(self, entry: LedgerEntry, at: int) -> Grant:
        grant = self._about_grant(entry)
        if not grant.is_over(at) or not grant.left:
            raise Illegal(
                f"{self.pool}: {entry.about} expires at {entry.version}, before its time or with nothing left"
            )
        return grant

    def _about_grant(self, entry: LedgerEntry) -> Grant:
        grant = self.grants.get(int(str(entry.about)[1:]))
        if grant is None:
            raise Illegal(f"{self.pool}: {entry.kind} at {entry.version} is about {entry.about}, which is not there")
        return grant

    # Spending

    def _debit(self, entry: LedgerEntry, at: int) -> None:
        if entry.card:
            args = self._asked(entry, "report", entry.key)
            wanted = price_of(self._cards, entry.card, args["quantity"])
        else:
            args = self._asked(entry, "debit", entry.key)
            wanted = units(args["amount"])
        dimensions = args["dimensions"]
        if entry.dimensions != dimensions:
            raise Illegal(f"{self.pool}: {entry.id} has the dimensions {entry.dimensions}, not {dimensions}")
        covers = self._cover(entry, dimensions, wanted, at)
        rest, amount, available = wanted - _sum_covers(covers), units(entry.amount), self.totals[-1].available
        expected = {rest}
        if args["partial"]:
            rooms = self._rooms(dimensions, at)
            expected = {min(rest, available, room) for room in rooms}
        if amount not in expected or not (amount or covers or not wanted):
            raise Illegal(
                f"{self.pool}: {amount} of {wanted} units debited at {entry.version}, {available} were there, "
                f"{_sum_covers(covers)} were free"
            )
        self._expect(entry, amount, -amount)
        charges = self._charge(entry, dimensions, amount, at)
        self._debits[entry.id] = Paid(covers, self._take(entry, amount), [(amount, charges)])
        self._count_covers(covers)
        self._spent += amount

    def _hold(self, entry: LedgerEntry, at: int) -> None:
        args = self._asked(entry, "hold", entry.key)
        dimensions = args["dimensions"]
        covers = self._cover(entry, dimensions, units(args["amount"]), at)
        amount = units(args["amount"]) - _sum_covers(covers)
        self._expect(entry, amount, -amount)
        charges = self._charge(entry, dimensions, amount, at, hold=True)
        parts = self._take(entry, amount)
        self._count_covers(covers)
        for number, part in parts:
            self.grants[number].held += part
        self._holds[entry.id] = Hold(parts, at + args["ttl_s"] * UNITS, covers, charges, dimensions)

    def _capture(self, entry: LedgerEntry, at: int) -> None:
        hold = self._settle(entry, at, "captured")
        asked = sorted({units(args["amount"]) for args in self._all_asked(entry, "capture", entry.about)})
        held, kept = _sum(hold.parts), _sum_covers(hold.covers)
        for wanted in asked:
            free_covers, returned_covers = _split_covers(hold.covers, min(wanted, kept))
            paid, returned = _split(hold.parts, min(max(0, wanted - kept), held))
            beyond = max(0, wanted - kept - held)
            more = self._plan_covers(hold.dimensions, beyond, at)
            rest = beyond - _sum_covers(more)
            extra: Parts = []
            if rest <= self.totals[-1].available and rest <= max(self._rooms(hold.dimensions, at)):
                extra = self._planned(rest)
            else:
                more = []
            if self._said(entry) == _merged(paid + extra) and self._said_covers(entry) == _by_name(free_covers + more):
                break
        else:
            raise Illegal(f"{self.pool}: {entry.id} captured {self._said(entry)}: none of {asked} units would")
        for number, part in hold.parts:
            self.grants[number].held -= part
        for number, part in returned:
            self.grants[number].left += part
        for number, part in extra:
            self.grants[number].left -= part
        self._uncharge(hold.charges, _sum(returned), hold=True)
        charges = self._charge(entry, hold.dimensions, _sum(extra), at) if extra else []
        self._count_covers(returned_covers, -1)
        self._count_covers(more)
        amount = _sum(paid) + _sum(extra)
        if units(entry.amount) != amount:
            raise Illegal(f"{self.pool}: {entry.amount} captured at {entry.version}, not {amount} units")
        self._debits[entry.id] = Paid(
            free_covers + more, paid + extra, [(_sum(paid), hold.charges), (_sum(extra), charges)]
        )
        self._spent += amount

    def _release(self, entry: LedgerEntry, at: int) -> None:
        hold = self._settle(entry, at, "released")
        self._all_asked(entry, "release", entry.about)
        self._give_back(entry, hold)

    def _hold_expiry(self, entry: LedgerEntry, at: int) -> None:
        hold = self._holds.pop(str(entry.about), None)
        if hold is None or hold.expires > at:
            raise Illegal(f"{self.pool}: the hold {entry.about} expires at {entry.version}, before its time or again")
        self.settled[str(entry.about)] = (entry.version, "expired")
        self._give_back(entry, hold)

    def _settle(self, entry: LedgerEntry, at: int, word: str) -> Hold:
        hold = self._holds.pop(str(entry.about), None)
        if hold is None:
            raise Illegal(f"{self.pool}: the hold {entry.about} is settled at {entry.version}, but not open")
        if hold.expires <= at:
            raise Illegal(f"{self.pool}: the hold {entry.about} is settled at {entry.version}, after it expired")
        self.settled[str(entry.about)] = (entry.version, word)
        return hold

    def _give_back(self, entry: LedgerEntry, hold: Hold) -> None:
        for number, part in hold.parts:
            self.grants[number].held -= part
            self.grants[number].left += part
        amount = _sum(hold.parts)
        self._uncharge(hold.charges, amount, hold=True)
        self._count_covers(hold.covers, -1)
        self._expect(entry, amount, amount)

    def _reversal(self, entry: LedgerEntry, at: int) -> None:
        args = self._asked(entry, "reverse", entry.key)
        debit = self._debits.get(args["debit"])
        if entry.about != args["debit"] or debit is None:
            raise Illegal(f"{self.pool}: {entry.about} is reversed at {entry.version}, {args['debit']} should be")
        free, paid = _sum_covers(debit.covers), _sum(debit.parts)
        wanted = units(args["amount"]) if args.get("amount") else free + paid
        if not 0 < wanted <= free + paid:
            raise Illegal(
                f"{self.pool}: {wanted} units of {args['debit']} reversed at {entry.version}: more than it was"
            )
        # The last that was taken comes back first.
        amount = min(wanted, paid)
        self._expect(entry, amount, amount)
        debit.parts, back = _split(debit.parts, paid - amount)
        debit.covers, covers = _split_covers(debit.covers, free - (wanted - amount))
        if self._said(entry) != _merged(back) or self._said_covers(entry) != _by_name(covers):
            raise Illegal(f"{self.pool}: {entry.id} gives back {self._said(entry)}, it was paid by {back}")
        for number, part in back:
            self.grants[number].left += part
        self._count_covers(covers, -1)
        left = amount
        for place in reversed(range(len(debit.charged))):
            part, charges = debit.charged[place]
            undone = min(part, left)
            left -= undone
            debit.charged[place] = (part - undone, charges)
            self._uncharge(charges, undone)
        self._spent -= amount

    def _transfer_out(self, entry: LedgerEntry, at: int) -> None:
        args = self._asked(entry, "transfer", entry.key)
        amount = units(args["amount"])
        self._expect(entry, amount, -amount)
        if entry.about != args["target"]:
            raise Illegal(f"{self.pool}: moved to {entry.about} at {entry.version}, not to {args['target']}")
        line = self.sent.setdefault(args["target"], deque())
        for number, part in self._take(entry, amount):
            line.append(msgspec.structs.replace(self.grants[number], amount=part, left=part, held=0, recurring=0))

    def _is_sent(self, entry: LedgerEntry) -> bool:
        source = self._books.get(str(entry.about))
        return source is not None and bool(source.sent.get(self.pool))

    def _transfer_in(self, entry: LedgerEntry, at: int) -> None:
        grant = self._books[str(entry.about)].sent[self.pool].popleft()
        self._expect(entry, grant.amount, grant.amount)
        grant.number = entry.version
        self.grants[entry.version] = grant

    # Budgets and allowances

    def _budget_set(self, entry: LedgerEntry, at: int) -> None:
        terms, name = self._set(entry, "set_budget"), str(entry.about)
        budget = self._budgets.get(name)
        if budget is None:
            # A budget that was taken away counts from nothing.
            for counts in (self.counts, self.hold_counts):
                for key in [key for key in counts if key[0] == name]:
                    counts[key].append((entry.version, 0, frozenset()))
            budget = self._budgets[name] = Budget(name, terms, used={}, holds={})
        budget.terms = terms
        for value in {None, *budget.used, *budget.holds}:
            self._note_count(budget, value)

    def _budget_removed(self, entry: LedgerEntry, at: int) -> None:
        self._commands_named(entry, "remove_budget")
        if self._budgets.pop(str(entry.about), None) is None:
            raise Illegal(f"{self.pool}: there is no budget {entry.about} to remove at {entry.version}")

    def _allowance_set(self, entry: LedgerEntry, at: int) -> None:
        terms = self._set(entry, "set_allowance")
        self._allowances.setdefault(str(entry.about), Allowance(str(entry.about), terms, used={})).terms = terms

    def _allowance_removed(self, entry: LedgerEntry, at: int) -> None:
        self._commands_named(entry, "remove_allowance")
        if self._allowances.pop(str(entry.about), None) is None:
            raise Illegal(f"{self.pool}: there is no allowance {entry.about} to remove at {entry.version}")

    def _commands_named(self, entry: LedgerEntry, kind: str) -> None:
        if (kind, str(entry.about)) not in self._commands:
            raise Illegal(f"{self.pool}: the {kind} {entry.about} at {entry.version} was never asked for")

    def _matching(self, dimensions: Mapping[str, Any]) -> list[tuple[Budget, Any]]:
        found: list[tuple[Budget, Any]] = []
        for budget in self._budgets.values():
            terms = budget.terms[0]
            if _matches(terms, dimensions):
                found.append((budget, dimensions[terms["each"]] if terms["each"] else None))
        return found

    @staticmethod
    def _window_of(terms: Mapping[str, Any], at: int) -> int:
        return at - at % MINUTE if terms["window"] == "minute" else 0

    def _used(self, budget: Budget, value: Any, at: int) -> int:
        return budget.used.get(value, 0) if budget.start == self._window_of(budget.terms[0], at) else 0

    def _rooms(self, dimensions: Mapping[str, Any], at: int) -> set[int]:
        """How much the budgets that block may let pass: several amounts, where it is not known which terms one has."""
        rooms = {NEVER}
        for budget, value in self._matching(dimensions):
            used = self._used(budget, value, at)
            each = {max(0, units(terms["amount"]) - used) if _blocks(terms) else NEVER for terms in budget.terms}
            rooms = {min(room, other) for room in rooms for other in each}
        return rooms

    def _charge(
        self, entry: LedgerEntry, dimensions: Mapping[str, Any], amount: int, at: int, *, hold: bool = False
    ) -> list[Charge]:
        charges: list[Charge] = []
        for budget, value in self._matching(dimensions):
            start, used = self._window_of(budget.terms[0], at), self._used(budget, value, at)
            if amount and all(_blocks(terms) and used + amount > units(terms["amount"]) for terms in budget.terms):
                raise Illegal(
                    f"{self.pool}: entry {entry.version} goes beyond the budget {budget.name}: {used} before it"
                )
            if start > budget.start:
                budget.start = start
                for other in list(budget.used):
                    budget.used[other] = 0
                    self._note_count(budget, other)
            if start == budget.start:
                budget.used[value] = budget.used.get(value, 0) + amount
            if hold:
                count = budget.holds.get(value, 0)
                if all(_blocks(terms) and count >= (terms["holds_max"] or NEVER) for terms in budget.terms):
                    raise Illegal(f"{self.pool}: {entry.id} is one hold too many for the budget {budget.name}")
                budget.holds[value] = count + 1
            charges.append((budget, value, start))
            self._note_count(budget, value)
        return charges

    def _uncharge(self, charges: list[Charge], amount: int, *, hold: bool = False) -> None:
        for budget, value, start in charges:
            if start == budget.start:
                budget.used[value] = budget.used.get(value, 0) - amount
            if hold:
                budget.holds[value] = budget.holds.get(value, 0) - 1
            if self._budgets.get(budget.name) is budget:
                self._note_count(budget, value)

    def _note_count(self, budget: Budget, value: Any) -> None:
        limits = frozenset(units(terms["amount"]) for terms in budget.terms)
        most = frozenset(terms["holds_max"] for terms in budget.terms if terms["holds_max"])
        key, version = (budget.name, value), self._version
        self.counts.setdefault(key, []).append((version, budget.used.get(value, 0), limits))
        self.hold_counts.setdefault(key, []).append((version, budget.holds.get(value, 0), most))

    def limits_of(self, name: str) -> set[int]:
        """What the limit of a budget may ever have been."""
        return {units(command.args["amount"]) for command in self._commands.get(("set_budget", name), ())}

    def _plan_covers(self, dimensions: Mapping[str, Any], amount: int, at: int) -> list[Cover]:
        """What the allowances pay of ``amount``, in the order in which they were set first."""
        covers: list[Cover] = []
        for allowance in self._allowances.values():
            terms = allowance.terms[0]
            if not amount or not _matches(terms, dimensions):
                continue
            value = dimensions[terms["each"]] if terms["each"] else None
            start, used = self._covered(allowance, value, at)
            part = min(amount, max(0, units(terms["amount"]) - used))
            amount -= part
            if part:
                covers.append((allowance, value, start, part))
        return covers

    @staticmethod
    def _covered(allowance: Allowance, value: Any, at: int) -> tuple[int, int]:
        """Where usage is counted now, and how much is used."""
        terms = allowance.terms[0]
        if terms["rolling_s"] is None:
            start = at - at % (60 * MINUTE)
            return start, allowance.used.get((start, value), 0)
        length = terms["rolling_s"] * UNITS
        step = length // 60
        start = at - at % step
        # What was used comes back a step late rather than early.
        return start, sum(
            used for (begun, whose), used in allowance.used.items() if whose == value and begun + step + length > at
        )

    def _cover(self, entry: LedgerEntry, dimensions: Mapping[str, Any], amount: int, at: int) -> list[Cover]:
        """What allowances paid of an entry, which must be what they would."""
        covers = self._plan_covers(dimensions, amount, at)
        if self._said_covers(entry) != _by_name(covers):
            raise Illegal(
                f"{self.pool}: {self._said_covers(entry)} is free of {entry.id}, not {_by_name(covers)} of {amount}"
            )
        return covers

    @staticmethod
    def _count_covers(covers: list[Cover], sign: int = 1) -> None:
        for allowance, value, start, part in covers:
            allowance.used[start, value] = max(0, allowance.used.get((start, value), 0) + sign * part)

    @staticmethod
    def _said_covers(entry: LedgerEntry) -> dict[str, int]:
        named: dict[str, int] = {}
        for each in entry.covered:
            named[each.allowance] = named.get(each.allowance, 0) + units(each.amount)
        return named

    # Recurring grants, alerts, recharge

    def _recurring_set(self, entry: LedgerEntry, at: int) -> None:
        (terms,) = self._set(entry, "set_recurring")
        if any(each.name == entry.about for each in self._live_recurring()):
            raise Illegal(f"{self.pool}: the recurring grant {entry.about} is set at {entry.version}, as it was")
        starts = micros(terms["starts_at"]) if terms["starts_at"] else 0
        before = [each for each in self._recurring.values() if each.name == entry.about]
        until = before[-1].until if before else 0
        if until > at:
            # Set again in the period that it granted last: it goes on with the next.
            first, anchor = max(until, starts if starts > at else 0), before[-1].anchor
        else:
            first = anchor = starts or at
        self._recurring[entry.version] = Recurring(str(entry.about), terms, [], first, anchor, until)

    def _recurring_ended(self, entry: LedgerEntry, at: int) -> None:
        self._commands_named(entry, "cancel_recurring")
        live = [each for each in self._live_recurring() if each.name == entry.about]
        if not live:
            raise Illegal(f"{self.pool}: the recurring grant {entry.about} ends at {entry.version}, but is not there")
        live[0].moments.append(NEVER)

    def _live_recurring(self) -> list[Recurring]:
        return [each for each in self._recurring.values() if NEVER not in each.moments]

    def _recurring_grant(self, entry: LedgerEntry, at: int, number: int, moment: int) -> None:
        recurring = self._recurring.get(number)
        if recurring is None or recurring not in self._live_recurring():
            raise Illegal(f"{self.pool}: {entry.id} is of a recurring grant that is not there")
        terms = recurring.terms
        expected = recurring.until if recurring.moments else recurring.first
        if moment != expected or moment > at:
            raise Illegal(f"{self.pool}: {entry.id} recurs at {moment}, not at {expected}")
        recurring.moments.append(moment)
        recurring.until = recurring.anchor + ((moment - recurring.anchor) // DAY + 1) * DAY
        if terms["roll_over"] not in ("none", "all"):
            rolled = sum(grant.left for grant in self.grants.values() if grant.recurring == number)
            if rolled > units(terms["roll_over"]):
                raise Illegal(f"{self.pool}: {rolled} units roll over at {entry.version}, not {terms['roll_over']}")
        expires = recurring.until if terms["roll_over"] == "none" else NEVER
        grant = self._add(entry, units(terms["amount"]), 50, expires, terms["category"], moment, at)
        grant.recurring = number

    def _roll_over_expiry(self, entry: LedgerEntry, at: int) -> None:
        grant, amount = self._about_grant(entry), units(entry.amount)
        if not grant.recurring or not 0 < amount <= grant.left:
            raise Illegal(f"{self.pool}: {amount} units of {entry.about} do not roll over at {entry.version}")
        grant.left -= amount

    def _alerts_set(self, entry: LedgerEntry, at: int) -> None:
        if not self._alerts:
            raise Illegal(f"{self.pool}: nobody asked for the alerts at {entry.version}")
        told = self._set_by.get(entry.version)
        self._rules = [args["recharge"] for args in (self._alerts if told is None else [told.args])]

    def _alert(self, entry: LedgerEntry, at: int) -> None:
        if not any(each.kind == "alerts_set" for each in self.entries.values()):
            raise Illegal(f"{self.pool}: an alert at {entry.version}, but there were none set")

    def _recharge_requested(self, entry: LedgerEntry, at: int) -> None:
        if any(request.state == "open" for request in self.requests.values()):
            raise Illegal(f"{self.pool}: a second recharge is asked for at {entry.version}")
        if at < self._pause_until:
            raise Illegal(f"{self.pool}: a recharge is asked for at {entry.version}, too soon after one was refused")
        amount, available = units(entry.amount), self.totals[-1].available
        rules = [rule for rule in self._rules if rule]
        if not any(available < units(rule["below"]) and amount == units(rule["target"]) - available for rule in rules):
            raise Illegal(f"{self.pool}: {amount} units are asked for at {entry.version}, with {available} there")
        self.requests[entry.version] = Request(amount, at)

    def _recharge_grant(self, entry: LedgerEntry, at: int, number: int) -> None:
        request = self._close(entry, number, "granted")
        asked = self._commands.get(("grant_recharge", f"q{number}"), [])
        amounts = {request.amount, *(units(each.args["amount"]) for each in asked if each.args.get("amount"))}
        if units(entry.amount) not in amounts:
            raise Illegal(f"{self.pool}: {entry.amount} is granted at {entry.version}, asked for were {amounts} units")
        self._add(entry, units(entry.amount), 50, NEVER, "paid", at, at)

    def _recharge_refused(self, entry: LedgerEntry, at: int) -> None:
        self._close(entry, int(str(entry.about)[1:]), "refused")
        self._commands_of_recharge(entry)
        # Without a rule there is no pause.
        pauses = [rule["timeout_s"] * UNITS if rule else 0 for rule in self._rules]
        self._pause_until = max(self._pause_until, at + min(pauses))
        self._asks_from = max(self._asks_from, at + max(pauses))

    def _commands_of_recharge(self, entry: LedgerEntry) -> None:
        if ("refuse_recharge", str(entry.about)) not in self._commands:
            raise Illegal(f"{self.pool}: nobody refused {entry.about}")

    def _recharge_timed_out(self, entry: LedgerEntry, at: int) -> None:
        request = self._close(entry, int(str(entry.about)[1:]), "timed_out")
        if at < request.at + min(args["recharge"]["timeout_s"] for args in self._alerts if args["recharge"]) * UNITS:
            raise Illegal(f"{self.pool}: {entry.about} times out at {entry.version}, before its time")

    def _close(self, entry: LedgerEntry, number: int, state: str) -> Request:
        request = self.requests.get(number)
        if request is None or request.state != "open":
            raise Illegal(f"{self.pool}: q{number} is {state} at {entry.version}, but it is not open")
        request.state = state
        return request

    def check_that_it_asks(self, now: int) -> None:
        """Raise ``Illegal`` if credits were to be asked for at ``now``, and nobody has."""
        available = self.totals[-1].available
        is_low = all(rule and available < units(rule["below"]) for rule in self._rules)
        if is_low and now >= self._asks_from and not any(each.state == "open" for each in self.requests.values()):
            raise Illegal(f"{self.pool}: {available} units are there at {now}, and no recharge was asked for")

    # What the rules have in common

    def _take(self, entry: LedgerEntry, amount: int) -> Parts:
        if amount > self.totals[-1].available:
            raise Illegal(
                f"{self.pool}: an overdraft at {entry.version}: {amount} of {self.totals[-1].available} units"
            )
        parts = self._planned(amount)
        if self._said(entry) != parts:
            raise Illegal(f"{self.pool}: entry {entry.version} took {self._said(entry)}, the burn order says {parts}")
        for number, part in parts:
            self.grants[number].left -= part
        return parts

    def _planned(self, amount: int) -> Parts:
        """What ``amount`` is taken from, in burn order."""
        parts: Parts = []
        for grant in sorted(self.grants.values(), key=Grant.rank):
            part = min(grant.left, amount)
            if not part:
                continue
            if grant.is_over(self.clock):
                raise Illegal(f"{self.pool}: g{grant.number} is spent after it ended")
            amount -= part
            parts.append((grant.number, part))
        return parts

    @staticmethod
    def _said(entry: LedgerEntry) -> Parts:
        return [(int(each.grant[1:]), units(each.amount)) for each in entry.allocations]

    def _expect(self, entry: LedgerEntry, amount: int, change: int) -> None:
        if (units(entry.amount), units(entry.change)) != (amount, change):
            raise Illegal(
                f"{self.pool}: the {entry.kind} at {entry.version} is {entry.amount} ({entry.change}), "
                f"not {amount} ({change}) units"
            )


def _matches(terms: Mapping[str, Any], dimensions: Mapping[str, Any]) -> bool:
    if terms["each"] and terms["each"] not in dimensions:
        return False
    return all(dimensions.get(name) == value for name, value in (terms["match"] or {}).items())


def _blocks(terms: Mapping[str, Any]) -> bool:
    return bool(terms["mode"] == "block")
