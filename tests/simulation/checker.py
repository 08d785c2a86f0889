"""Decides whether a history is legal: from requests and replies and, when all is quiet, the ledger anybody can read.

Legal means, per pool:

* linearizable: every entry has a version, and what was answered before another request was made has a lower one;
* nothing acknowledged is lost: every receipt is in the ledger, with the same numbers;
* nothing is applied twice: a command has one entry at most, and every entry of a command was asked for;
* no overdraft: every debit was covered by what was there, taken from the grants in burn order;
* a refusal was right at some moment between request and reply, a balance true;
* idempotent answers are equal.

The rules of a pool are written down here once more, in units of the smallest amount, as plainly as can be; they share
no code with the engine. Grants, debits, holds, captures, releases, reversals and transfers are known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from solvent import LedgerEntry, Receipt

from .history import Command, History

NEVER = float("inf")
UNITS = 1_000_000


Parts: TypeAlias = list[tuple[int, int]]
"""(number of a grant, units), in the order in which they were taken."""


class Illegal(Exception):
    """What a correct engine cannot have answered."""


class Grant(msgspec.Struct):
    """A block of credits."""

    number: int
    order: tuple[Any, ...]
    expires: float
    left: int
    held: int = 0
    pending: int = 0

    def is_over(self, at: float) -> bool:
        return self.expires <= at


class Hold(msgspec.Struct):
    parts: Parts
    expires: float


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


def seconds(moment: datetime | str) -> float:
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).timestamp()


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


def _merged(parts: Parts) -> Parts:
    """With one part per grant."""
    merged: dict[int, int] = {}
    for number, part in parts:
        merged[number] = merged.get(number, 0) + part
    return list(merged.items())


class Book:
    """One pool, recomputed from its ledger and from what was asked for."""

    def __init__(
        self, pool: str, ledger: Sequence[LedgerEntry], commands: Sequence[Command], books: Mapping[str, Book]
    ):
        self.pool = pool
        self._ledger = ledger
        self._commands: dict[tuple[str, str], list[Command]] = {}
        """What may be behind an entry. A hold may be captured by several callers: the first settles it."""
        for command in commands:
            self._commands.setdefault((command.kind, self._name_of(command)), []).append(command)
        self._books = books
        self._grants: dict[int, Grant] = {}
        self._holds: dict[str, Hold] = {}
        self._debits: dict[str, Parts] = {}
        self._spent = 0
        self.clock = 0.0
        self.entries: dict[int, LedgerEntry] = {}
        self.totals: list[Totals] = [Totals(0, 0, 0)]
        """By version."""
        self.sent: dict[str, deque[tuple[Grant, int]]] = {}
        """What left for each pool, in order."""

    @staticmethod
    def _name_of(command: Command) -> str:
        return str(command.args["hold"]) if command.kind in ("capture", "release") else command.key

    # The ledger

    def step(self) -> bool:
        """Apply the next entry, if there is one and what it waits for has happened."""
        version = len(self.totals)
        if version > len(self._ledger):
            return False
        entry = self._ledger[version - 1]
        if entry.version != version:
            raise Illegal(f"{self.pool}: entry {entry.version} stands where {version} should")
        if entry.kind == "transfer_in" and not self._is_sent(entry):
            return False
        at = seconds(entry.recorded_at)
        if at < self.clock:
            raise Illegal(f"{self.pool}: entry {version} is dated before the one before it")
        self.clock = at
        apply = getattr(self, f"_{entry.kind}", None)
        if apply is None:
            raise Illegal(f"{self.pool}: nobody asked for the {entry.kind} at {version}")
        apply(entry, at)
        available = sum(grant.left for grant in self._grants.values())
        held = sum(grant.held for grant in self._grants.values())
        if units(entry.balance) != available:
            raise Illegal(f"{self.pool}: entry {version} says {entry.balance} is left, {available} units are")
        if min((min(grant.left, grant.held) for grant in self._grants.values()), default=0) < 0:
            raise Illegal(f"{self.pool}: a grant is below zero at version {version}")
        self.entries[version] = entry
        self.totals.append(Totals(available, held, self._spent))
        return True

    @property
    def is_done(self) -> bool:
        return len(self.totals) > len(self._ledger)

    def _asked(self, entry: LedgerEntry, kind: str, name: str | None) -> dict[str, Any]:
        """The request behind an entry: there is one, and no entry has had it before."""
        return self._all_asked(entry, kind, name)[0]

    def _all_asked(self, entry: LedgerEntry, kind: str, name: str | None) -> list[dict[str, Any]]:
        commands = self._commands.pop((kind, str(name)), None)
        if commands is None:
            raise Illegal(f"{self.pool}: the {kind} {name} at {entry.version} was never asked for, or is there twice")
        return [command.args for command in commands]

    def _opened(self, entry: LedgerEntry, at: float) -> None:
        if entry.version != 1:
            raise Illegal(f"{self.pool}: opened a second time at {entry.version}")

    def _grant(self, entry: LedgerEntry, at: float) -> None:
        args = self._asked(entry, "grant", entry.key)
        amount = units(args["amount"])
        self._expect(entry, amount, amount)
        expires = seconds(args["expires_at"]) if args.get("expires_at") else NEVER
        order = (args["priority"], expires, args["category"] == "paid", at, at)
        self._grants[entry.version] = Grant(entry.version, order, expires, amount)

    def _debit(self, entry: LedgerEntry, at: float) -> None:
        args = self._asked(entry, "debit", entry.key)
        wanted, amount = units(args["amount"]), units(entry.amount)
        available = self.totals[-1].available
        if amount != wanted and not (args["partial"] and 0 < amount == available < wanted):
            raise Illegal(f"{self.pool}: {amount} of {wanted} units debited at {entry.version}, {available} were there")
        self._expect(entry, amount, -amount)
        self._debits[entry.id] = self._take(entry, amount)
        self._spent += amount

    def _hold(self, entry: LedgerEntry, at: float) -> None:
        args = self._asked(entry, "hold", entry.key)
        amount = units(args["amount"])
        self._expect(entry, amount, -amount)
        parts = self._take(entry, amount)
        for number, part in parts:
            self._grants[number].held += part
        self._holds[entry.id] = Hold(parts, at + args["ttl_s"])

    def _capture(self, entry: LedgerEntry, at: float) -> None:
        hold = self._settled(entry, at)
        asked = {units(args["amount"]) for args in self._all_asked(entry, "capture", entry.about)}
        held = sum(part for _, part in hold.parts)
        for number, part in hold.parts:
            self._grants[number].held -= part
        for wanted in sorted(asked):
            paid, returned = _split(hold.parts, min(wanted, held))
            beyond = wanted - held
            if 0 < beyond <= self.totals[-1].available:
                paid = paid + self._planned(beyond)
            if self._said(entry) == _merged(paid):
                break
        else:
            raise Illegal(f"{self.pool}: {entry.id} captured {self._said(entry)}: none of {asked} units would")
        for number, part in returned:
            self._grants[number].left += part
        for number, part in paid[len(hold.parts) :] if wanted > held else []:
            self._grants[number].left -= part
        amount = sum(part for _, part in paid)
        if units(entry.amount) != amount:
            raise Illegal(f"{self.pool}: {entry.amount} captured at {entry.version}, not {amount} units")
        self._debits[entry.id] = paid
        self._spent += amount

    def _release(self, entry: LedgerEntry, at: float) -> None:
        hold = self._settled(entry, at)
        self._asked(entry, "release", entry.about)
        self._give_back(entry, hold)

    def _hold_expiry(self, entry: LedgerEntry, at: float) -> None:
        hold = self._holds.pop(str(entry.about), None)
        if hold is None or hold.expires > at:
            raise Illegal(f"{self.pool}: the hold {entry.about} expires at {entry.version}, before its time or again")
        self._give_back(entry, hold)

    def _settled(self, entry: LedgerEntry, at: float) -> Hold:
        hold = self._holds.pop(str(entry.about), None)
        if hold is None:
            raise Illegal(f"{self.pool}: the hold {entry.about} is settled at {entry.version}, but not open")
        if hold.expires <= at:
            raise Illegal(f"{self.pool}: the hold {entry.about} is settled at {entry.version}, after it expired")
        return hold

    def _give_back(self, entry: LedgerEntry, hold: Hold) -> None:
        for number, part in hold.parts:
            self._grants[number].held -= part
            self._grants[number].left += part
        amount = sum(part for _, part in hold.parts)
        self._expect(entry, amount, amount)

    def _expiry(self, entry: LedgerEntry, at: float) -> None:
        grant = self._ended(entry, at)
        self._expect(entry, grant.left, -grant.left)
        grant.left = 0

    def _lapse(self, entry: LedgerEntry, at: float) -> None:
        # What came back to a grant that is over goes at once, part by part.
        grant, amount = self._ended(entry, at), units(entry.amount)
        if not 0 < amount <= grant.left:
            raise Illegal(f"{self.pool}: {entry.amount} lapses at {entry.version}, {grant.left} units came back")
        grant.left -= amount

    def _ended(self, entry: LedgerEntry, at: float) -> Grant:
        grant = self._grants[int(str(entry.about)[1:])]
        if not grant.is_over(at) or not grant.left:
            raise Illegal(
                f"{self.pool}: {entry.about} expires at {entry.version}, before its time or with nothing left"
            )
        return grant

    def _reversal(self, entry: LedgerEntry, at: float) -> None:
        args = self._asked(entry, "reverse", entry.key)
        if entry.about != args["debit"] or args["debit"] not in self._debits:
            raise Illegal(f"{self.pool}: {entry.about} is reversed at {entry.version}, {args['debit']} should be")
        outstanding = self._debits[args["debit"]]
        amount = units(args["amount"]) if args.get("amount") else sum(part for _, part in outstanding)
        if not 0 < amount <= sum(part for _, part in outstanding):
            raise Illegal(
                f"{self.pool}: {amount} units of {args['debit']} reversed at {entry.version}: more than it was"
            )
        self._expect(entry, amount, amount)
        rest: Parts = []
        left = amount
        # The last that was taken comes back first.
        for number, part in reversed(outstanding):
            back = min(part, left)
            left -= back
            self._grants[number].left += back
            if part - back:
                rest.append((number, part - back))
        self._debits[args["debit"]] = rest[::-1]
        self._spent -= amount

    def _transfer_out(self, entry: LedgerEntry, at: float) -> None:
        args = self._asked(entry, "transfer", entry.key)
        amount = units(args["amount"])
        self._expect(entry, amount, -amount)
        if entry.about != args["target"]:
            raise Illegal(f"{self.pool}: moved to {entry.about} at {entry.version}, not to {args['target']}")
        line = self.sent.setdefault(args["target"], deque())
        line.extend((self._grants[number], part) for number, part in self._take(entry, amount))

    def _is_sent(self, entry: LedgerEntry) -> bool:
        source = self._books.get(str(entry.about))
        return source is not None and bool(source.sent.get(self.pool))

    def _transfer_in(self, entry: LedgerEntry, at: float) -> None:
        grant, part = self._books[str(entry.about)].sent[self.pool].popleft()
        self._expect(entry, part, part)
        self._grants[entry.version] = Grant(entry.version, grant.order, grant.expires, part)

    def _take(self, entry: LedgerEntry, amount: int) -> Parts:
        if amount > self.totals[-1].available:
            raise Illegal(
                f"{self.pool}: an overdraft at {entry.version}: {amount} of {self.totals[-1].available} units"
            )
        parts = self._planned(amount)
        if self._said(entry) != parts:
            raise Illegal(f"{self.pool}: entry {entry.version} took {self._said(entry)}, the burn order says {parts}")
        for number, part in parts:
            self._grants[number].left -= part
        return parts

    def _planned(self, amount: int) -> Parts:
        """What ``amount`` is taken from, in burn order."""
        parts: Parts = []
        for grant in sorted(self._grants.values(), key=lambda grant: (grant.order, grant.number)):
            part = min(grant.left, amount)
            if not part:
                continue
            if grant.is_over(self.clock):
                raise Illegal(f"{self.pool}: g{grant.number} is spent after it expired")
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


def check(history: History, ledgers: Mapping[str, Sequence[LedgerEntry]]) -> None:
    """Raise ``Illegal`` unless ``history`` could be, given the whole ledgers of all pools as they are at its end."""
    books: dict[str, Book] = {}
    for pool, ledger in ledgers.items():
        commands = [command for command in history.commands if command.pool == pool]
        books[pool] = Book(pool, ledger, commands, books)
    moving = True
    while moving:
        moving = False
        for book in books.values():
            while book.step():
                moving = True
    for book in books.values():
        if not book.is_done:
            raise Illegal(f"{book.pool}: a transfer arrives at {len(book.totals)} that never left")
        if any(book.sent.values()):
            raise Illegal(f"{book.pool}: a transfer left that never arrived")
    for pool in {command.pool for command in history.commands} - set(ledgers):
        if any(command.receipt for command in history.commands if command.pool == pool):
            raise Illegal(f"{pool}: it was acknowledged, but there is no ledger")
    floors = _Floors(history)
    for command in history.commands:
        _check_command(command, books.get(command.pool), floors)
    for read in history.reads:
        book = books[read.pool]
        _check_order(read.balance.version, read.began, read.pool, floors, f"a balance at {read.began:.6f}")
        if read.balance.version >= len(book.totals):
            raise Illegal(f"{read.pool}: a balance speaks of version {read.balance.version}, which is lost")
        totals = book.totals[read.balance.version]
        said = Totals(units(read.balance.available), units(read.balance.held), units(read.balance.spent))
        if said != totals:
            raise Illegal(f"{read.pool}: a balance at version {read.balance.version} says {said}, it was {totals}")


class _Floors:
    """The highest version of each pool that somebody had heard of by a time."""

    def __init__(self, history: History) -> None:
        heard: dict[str, list[tuple[float, int]]] = {}
        for command in history.commands:
            for attempt in command.attempts:
                if attempt.receipt is not None and attempt.ended is not None:
                    heard.setdefault(command.pool, []).append((attempt.ended, attempt.receipt.version))
        for read in history.reads:
            heard.setdefault(read.pool, []).append((read.ended, read.balance.version))
        self._times: dict[str, list[float]] = {}
        self._versions: dict[str, list[int]] = {}
        for pool, pairs in heard.items():
            pairs.sort()
            highest, versions = 0, []
            for _, version in pairs:
                highest = max(highest, version)
                versions.append(highest)
            self._times[pool] = [ended for ended, _ in pairs]
            self._versions[pool] = versions

    def before(self, pool: str, moment: float) -> int:
        """What had been heard of before ``moment``."""
        place = bisect_left(self._times.get(pool, []), moment)
        return self._versions[pool][place - 1] if place else 0


def _check_order(version: int, began: float, pool: str, floors: _Floors, what: str, *, writes: bool = False) -> None:
    floor = floors.before(pool, began)
    if version < floor or (writes and version == floor):
        raise Illegal(f"{pool}: {what} is version {version}, but {floor} had been answered before it was asked")


def _check_command(command: Command, book: Book | None, floors: _Floors) -> None:
    first: Receipt | None = None
    fresh = 0
    has_key = command.kind not in ("capture", "release")
    what = f"{command.kind} {command.key}"
    for attempt in command.attempts:
        receipt = attempt.receipt
        if receipt is None:
            if attempt.error is not None and attempt.ended is not None:
                _check_refusal(command, attempt.began, attempt.error, book, floors, is_known=first is not None)
            continue
        fresh += not receipt.replayed
        same = msgspec.structs.replace(receipt, replayed=False)
        if first is not None and same != first:
            raise Illegal(f"{command.pool}: {what} was answered with {first} and with {same}")
        if first is None:
            first = same
            if has_key or not receipt.replayed:
                # Without a key, it may have been another caller's capture that is answered here.
                _check_order(receipt.version, command.attempts[0].began, command.pool, floors, what, writes=True)
            entry = None if book is None else book.entries.get(receipt.version)
            if entry is None or entry.id != receipt.id or entry.amount != receipt.amount:
                raise Illegal(f"{command.pool}: {what} was acknowledged as {receipt.id}, the ledger has {entry}")
            if seconds(entry.recorded_at) != seconds(receipt.recorded_at):
                raise Illegal(f"{command.pool}: {what} was acknowledged at another time than the ledger says")
    if fresh > 1:
        raise Illegal(f"{command.pool}: {what} was done {fresh} times")


def _check_refusal(
    command: Command, began: float, error: dict[str, Any], book: Book | None, floors: _Floors, *, is_known: bool
) -> None:
    what = f"{command.kind} {command.key}"
    if is_known:
        raise Illegal(f"{command.pool}: {what} was done, and then refused: {error}")
    if error["code"] == "idempotency_conflict":
        raise Illegal(f"{command.pool}: {what} is taken for another request")
    if error["code"] != "insufficient_credits":
        return
    requested, available = units(error["requested"]), units(error["available"])
    if available >= requested or requested != units(command.args["amount"]):
        raise Illegal(f"{command.pool}: {what} was refused with {available} of {requested} units")
    totals = [] if book is None else book.totals[floors.before(command.pool, began) :]
    if not any(each.available == available for each in totals):
        raise Illegal(f"{command.pool}: {what} was refused for {available} units, which the pool never had then")
