"""Decides whether a history is legal: from requests and replies and, when all is quiet, the ledger anybody can read.

Legal means, per pool:

* linearizable: every entry has a version, and what was answered before another request was made has a lower one;
* nothing acknowledged is lost: every receipt is in the ledger, with the same numbers;
* nothing is applied twice: a command has one entry at most, and every entry of a command was asked for;
* no overdraft: every debit was covered by what was there, taken from allowances and then from the grants in burn order,
  within every budget;
* a refusal was right at some moment between request and reply, a balance true;
* an atomic batch is done as a whole or not at all;
* a pool that needs credits by its recharge rule has asked for them, unless it may not yet;
* idempotent answers are equal.

The rules by which entries are judged are in ``book``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from solvent import CardList, LedgerEntry, PoolEvent, Receipt
from solvent.engine.api.receipts import Details

from .book import NAMED_BY, SETTINGS, Book, Illegal, Totals, micros, price_of, units
from .history import Attempt, Command, History

NO_CARDS = CardList(())
UNFIT: Mapping[str, tuple[str, ...]] = {
    "grant": ("expires_at",),
    "update": ("expires_at",),
    "set_recurring": ("starts_at",),
    "reverse": ("amount",),
}
"""What may have become unfit while a request was under way."""


def check(
    history: History,
    ledgers: Mapping[str, Sequence[LedgerEntry]],
    cards: CardList = NO_CARDS,
    *,
    is_quiet: bool = True,
    now_us: int = 0,
) -> None:
    """Raise ``Illegal`` unless ``history`` could be, given the whole ledgers of all pools as they are at its end.

    ``is_quiet``: the last attempt of every command was made when no other copy of it was under way. ``now_us`` is a
    time by the service's clock before the ledgers were read.
    """
    books = _recompute(history, ledgers, cards)
    for book in books.values():
        book.check_that_it_asks(max(book.clock, now_us))
    for pool in {command.pool for command in history.commands if command.kind != "set_rates"} - set(ledgers):
        if any(command.receipt for command in history.commands if command.pool == pool):
            raise Illegal(f"{pool}: it was acknowledged, but there is no ledger")
    bounds = _Bounds(history)
    for command in history.commands:
        if command.kind == "set_rates":
            _check_rates(command, cards)
            continue
        _Judge(command, books.get(command.pool), bounds, cards).judge(is_quiet=is_quiet)
    _check_groups(history)
    for read in history.reads:
        book = books[read.pool]
        bounds.check(read.balance.version, read.began, read.pool, f"a balance at {read.began:.6f}")
        if read.balance.version >= len(book.totals):
            raise Illegal(f"{read.pool}: a balance speaks of version {read.balance.version}, which is lost")
        totals = book.totals[read.balance.version]
        said = Totals(units(read.balance.available), units(read.balance.held), units(read.balance.spent))
        if said != totals:
            raise Illegal(f"{read.pool}: a balance at version {read.balance.version} says {said}, it was {totals}")


def check_told(told: Sequence[PoolEvent], ledgers: Mapping[str, Sequence[LedgerEntry]]) -> None:
    """Raise ``Illegal`` unless everything that pools had to say was published, in order, and nothing else.

    What was published twice is: at least once is what is promised.
    """
    for pool, ledger in ledgers.items():
        expected = [entry.version for entry in ledger if entry.kind == "alert" or entry.kind.startswith("recharge_")]
        # Time may have made more of it since the ledger was read.
        heard = (event.version for event in told if event.pool == pool and event.version <= len(ledger))
        said = list(dict.fromkeys(heard))
        if said != expected:
            raise Illegal(f"{pool}: it said {expected}, and {said} was published")


def _recompute(history: History, ledgers: Mapping[str, Sequence[LedgerEntry]], cards: CardList) -> dict[str, Book]:
    books: dict[str, Book] = {}
    for pool, ledger in ledgers.items():
        commands = [command for command in history.commands if command.pool == pool]
        books[pool] = Book(pool, ledger, commands, books, cards)
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
    return books


class _Bounds:
    """Between which versions of a pool an answer can have been given."""

    def __init__(self, history: History) -> None:
        heard: dict[str, list[tuple[float, int]]] = {}
        begun: dict[str, list[tuple[float, int]]] = {}
        for command in history.commands:
            for attempt in command.attempts:
                if attempt.receipt is not None and attempt.ended is not None:
                    heard.setdefault(command.pool, []).append((attempt.ended, attempt.receipt.version))
            first = command.receipt
            if first is not None and command.kind not in NAMED_BY and command.kind not in SETTINGS:
                begun.setdefault(command.pool, []).append((command.attempts[0].began, first.version))
        for read in history.reads:
            heard.setdefault(read.pool, []).append((read.ended, read.balance.version))
        self._floors = {pool: _running(sorted(pairs), max) for pool, pairs in heard.items()}
        self._ceilings = {pool: _running(sorted(pairs, reverse=True), min) for pool, pairs in begun.items()}

    def before(self, pool: str, moment: float) -> int:
        """The highest version that somebody had heard of before ``moment``."""
        times, versions = self._floors.get(pool, ([], []))
        place = bisect_left(times, moment)
        return versions[place - 1] if place else 0

    def after(self, pool: str, moment: float) -> int | None:
        """The lowest version of which is known that it was asked for after ``moment``."""
        times, versions = self._ceilings.get(pool, ([], []))
        place = bisect_left(times, -moment, key=lambda began: -began)
        return versions[place - 1] if place else None

    def check(self, version: int, began: float, pool: str, what: str, *, writes: bool = False) -> None:
        floor = self.before(pool, began)
        if version < floor or (writes and version == floor):
            raise Illegal(f"{pool}: {what} is version {version}, but {floor} had been answered before it was asked")


def _running(pairs: Sequence[tuple[float, int]], best: Any) -> tuple[list[float], list[int]]:
    versions: list[int] = []
    for _, version in pairs:
        versions.append(best(versions[-1], version) if versions else version)
    return [moment for moment, _ in pairs], versions


def _check_rates(command: Command, cards: CardList) -> None:
    (asked,) = command.args["rates"]
    told = {(rate.metric, rate.credits, rate.per) for card in cards.cards for rate in card.rates}
    if command.receipt is not None and (asked["metric"], asked["credits"], str(asked["per"])) not in told:
        raise Illegal(f"the rate card {asked} was acknowledged, but is not there")


def _check_groups(history: History) -> None:
    """What was asked for as a whole was done as a whole."""
    groups: dict[str, list[Command]] = {}
    for command in history.commands:
        if command.group is not None:
            groups.setdefault(command.group, []).append(command)
    for name, commands in groups.items():
        done = [command.key for command in commands if command.receipt is not None]
        if done and len(done) != len(commands):
            raise Illegal(f"of the atomic batch {name} only {done} were done")
        for attempts in zip(*(command.attempts for command in commands), strict=True):
            told = {each.receipt.replayed for each in attempts if each.receipt is not None}
            if len(told) > 1:
                raise Illegal(f"of the atomic batch {name} a part had been done before, and a part had not")


class _Judge:
    """All that was answered to one command."""

    def __init__(self, command: Command, book: Book | None, bounds: _Bounds, cards: CardList) -> None:
        self._command = command
        self._pool = command.pool
        self._book = book
        self._bounds = bounds
        self._cards = cards
        self._what = f"{command.kind} {command.key}"
        self._has_key = command.kind not in NAMED_BY and command.kind not in SETTINGS

    def _illegal(self, why: str) -> Illegal:
        return Illegal(f"{self._pool}: {self._what} {why}")

    def judge(self, *, is_quiet: bool) -> None:
        if self._command.kind in SETTINGS:
            for attempt in self._command.attempts:
                if attempt.receipt is not None:
                    self._check_setting(attempt, attempt.receipt)
                elif attempt.error is not None:
                    self._check_refusal(attempt, attempt.error, is_known=False)
            return
        first: Receipt | None = None
        fresh = 0
        for attempt in self._command.attempts:
            receipt = attempt.receipt
            if receipt is None:
                if attempt.error is not None and attempt.ended is not None:
                    self._check_refusal(attempt, attempt.error, is_known=first is not None)
                continue
            fresh += not receipt.replayed
            same = msgspec.structs.replace(receipt, replayed=False)
            if receipt.state is not None:
                same = msgspec.structs.replace(same, details=self._first_details(receipt))
            if first is not None and same != first:
                raise self._illegal(f"was answered with {first} and with {same}")
            if first is None:
                first = same
                self._check_receipt(receipt)
        if fresh > 1:
            raise self._illegal(f"was done {fresh} times")
        if is_quiet and first is None and self._has_key and self._book is not None and self._book.did(self._command):
            raise self._illegal("was refused at last, but the ledger has it")

    def _first_details(self, receipt: Receipt) -> Details:
        """The details of a hold as they were at first: when it is asked for again, they say what became of it."""
        if receipt.state != "open":
            _, word = (0, "") if self._book is None else self._book.settled.get(receipt.id, (0, ""))
            if word != receipt.state:
                raise self._illegal(f"is {receipt.state}, it was told; the ledger has {word!r}")
        return msgspec.structs.replace(
            receipt.details,
            state="open",
            settled_units=None,
        )

    def _check_receipt(self, receipt: Receipt) -> None:
        if self._has_key or not receipt.replayed:
            # Without a key, it may have been another caller's capture that is answered here.
            began = self._command.attempts[0].began
            self._bounds.check(receipt.version, began, self._pool, self._what, writes=True)
        entry = None if self._book is None else self._book.entries.get(receipt.version)
        if entry is None or entry.id != receipt.id or entry.amount != receipt.amount:
            raise self._illegal(f"was acknowledged as {receipt.id}, the ledger has {entry}")
        if entry.recorded_at != receipt.recorded_at:
            raise self._illegal("was acknowledged at another time than the ledger says")
        if receipt.balance_units < 0:
            raise self._illegal(f"left {receipt.balance} behind")

    def _check_setting(self, attempt: Attempt, receipt: Receipt) -> None:
        self._bounds.check(receipt.version, attempt.began, self._pool, self._what, writes=bool(receipt.id))
        if not receipt.id:
            return
        entry = None if self._book is None else self._book.entries.get(receipt.version)
        if entry is None or entry.id != receipt.id or entry.about not in (None, self._command.args.get("name")):
            raise self._illegal(f"was acknowledged as {receipt.id}, the ledger has {entry}")

    # Refusals

    def _check_refusal(self, attempt: Attempt, error: dict[str, Any], *, is_known: bool) -> None:
        if is_known:
            raise self._illegal(f"was done, and then refused: {error}")
        judge = getattr(self, f"_{error['code']}", None)
        if judge is None:
            raise self._illegal(f"was answered {error}")
        judge(attempt, error)

    def _versions(self, attempt: Attempt) -> range:
        """The versions of the pool of which the answer may speak."""
        floor = self._bounds.before(self._pool, attempt.began)
        last = 1 if self._book is None else len(self._book.totals)
        if attempt.ended is not None and (ceiling := self._bounds.after(self._pool, attempt.ended)) is not None:
            last = min(last, ceiling)
        return range(floor, last)

    def _insufficient_credits(self, attempt: Attempt, error: dict[str, Any]) -> None:
        requested, available = units(error["requested"]), units(error["available"])
        covered = units(error.get("covered") or 0)
        if available + covered >= requested or requested not in self._requested():
            raise self._illegal(f"was refused with {available} and {covered} free of {requested} units")
        if self._command.group is not None:
            # What there is left by the others of its batch, of which none was done.
            return
        totals = [] if self._book is None else self._book.totals
        if not any(totals[version].available == available for version in self._versions(attempt)):
            raise self._illegal(f"was refused for {available} units, which the pool never had then")

    def _requested(self) -> set[int]:
        args = self._command.args
        if self._command.kind == "report":
            return {price_of(self._cards, card.number, args["quantity"]) for card in self._cards.cards}
        return {units(args["amount"])}

    def _budget_exceeded(self, attempt: Attempt, error: dict[str, Any]) -> None:
        if self._book is None:
            raise self._illegal(f"was refused by a budget of a pool that is not there: {error}")
        counts_holds = error["counts"] == "holds"
        used = int(error["used"]) if counts_holds else units(error["used"])
        limit = int(error["limit"]) if counts_holds else units(error["limit"])
        counts = self._book.hold_counts if counts_holds else self._book.counts
        changes = counts.get((error["budget"], error.get("value")), [])
        if self._command.group is not None:
            # With what the others of its batch would have used, of which none was done.
            return
        if not counts_holds and not used:
            # Of a window or a value of which nothing is counted yet.
            if limit not in self._book.limits_of(error["budget"]) or limit >= max(self._requested()):
                raise self._illegal(f"was refused by {error}, but that fits")
            return
        versions = self._versions(attempt)
        for place, (since, count, limits) in enumerate(changes):
            until = changes[place + 1][0] if place + 1 < len(changes) else versions.stop
            if count == used and limit in limits and since < versions.stop and until > versions.start:
                break
        else:
            raise self._illegal(f"was refused by {error}, which the budget never said then: {changes}")
        if not counts_holds and used + max(self._requested()) <= limit:
            raise self._illegal(f"was refused by {error}, but it fits")

    def _not_found(self, attempt: Attempt, error: dict[str, Any]) -> None:
        if error["what"] == "pool":
            if self._bounds.before(self._pool, attempt.began):
                raise self._illegal("was told that there is no such pool, but there was")
            return
        if error["what"] == "rate card" and self._command.kind == "report":
            # A card takes effect by the service's clock, which may be set back after it was set.
            return
        # What is asked for was told by a receipt or an answer: it was there.
        raise self._illegal(f"was told that {error} is not there")

    def _idempotency_conflict(self, attempt: Attempt, error: dict[str, Any]) -> None:
        raise self._illegal("is taken for another request")

    def _invalid_request(self, attempt: Attempt, error: dict[str, Any]) -> None:
        if error["field"] not in UNFIT.get(self._command.kind, ()):
            raise self._illegal(f"was taken for nonsense: {error}")

    def _state_conflict(self, attempt: Attempt, error: dict[str, Any]) -> None:
        reason = error["reason"]
        args, book = self._command.args, self._book
        if self._command.group is not None and reason in ("batch_refused", "already_reversed"):
            # Of a batch that came to nothing: another of its commands may have reversed the same debit.
            return
        if book is None:
            raise self._illegal(f"was answered {error}, but there is no such pool")
        if reason in ("hold_captured", "hold_released", "hold_expired"):
            version, word = book.settled.get(args.get("hold", ""), (0, ""))
            right = reason == f"hold_{word}" and version < self._versions(attempt).stop
        elif reason in ("grant_expired", "grant_voided"):
            grant = book.grants.get(int(args.get("grant", "g0")[1:]))
            # When it was asked only the service knows: time may have passed without an entry.
            right = grant is not None and (reason == "grant_expired" or grant.state == "voided")
        elif reason == "already_reversed":
            right = not book.outstanding(args.get("debit", ""))
        elif reason.startswith("recharge_"):
            request = book.requests.get(int(args.get("recharge", "q0")[1:]))
            right = request is not None and reason == f"recharge_{request.state}"
        else:
            right = False
        if not right:
            raise self._illegal(f"was answered {error}, which is not so")


__all__ = ["Illegal", "check", "micros"]
