"""Holds, reversals and changed grants, against a model that is a list of credits, of holds and of usages.

The model shares no code with the pool: it keeps no totals, no order and no schedule. What a hold or a usage has of a
credit is written there and nowhere else, and what is left of a credit is added up anew whenever it is asked.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solvent.engine.commands import (
    KEEP,
    Capture,
    Category,
    Debit,
    Grant,
    Hold,
    PoolCommand,
    Release,
    Reverse,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from solvent.engine.dimensions import encode_dimensions
from solvent.engine.events import (
    KEYED,
    Activated,
    Captured,
    Debited,
    Event,
    Expired,
    Granted,
    Held,
    Keyed,
    Lapsed,
    MovedOut,
    Opened,
    Parts,
    Released,
    Reversed,
    Updated,
    Voided,
)
from solvent.engine.pool import (
    Conflict,
    Insufficient,
    KeyTaken,
    Limits,
    Outcome,
    Pool,
    Prior,
    Repeat,
    Unfit,
    UnknownEntry,
    UnknownPool,
    apply,
    check_books,
    check_totals,
    clone,
    decide,
    due,
    fold,
    pass_time,
)
from solvent.engine.snapshots import decode_pool, encode_pool
from solvent.engine.views import grants_of

TIMES = os.environ.get("SOLVENT_TEST_EXAMPLES")
SCRIPTS = 160 * int(TIMES or "1")
STEPS = 72
"""Of one script: together more than 10,000 commands a run, those left out not counted."""

LIMITS = Limits(occurred_back_max_us=60, occurred_ahead_max_us=20)
FAR = 10**15
NOWHERE = 999_999
PLAIN = encode_dimensions({}, "dimensions")
LABELLED = encode_dimensions({"model": "m"}, "dimensions")


@dataclass
class Credit:
    """A grant as the model sees it, without what is held and spent of it."""

    number: int
    amount: int
    category: str
    priority: int
    created: int
    starts: int
    ends: int | None
    metadata: bytes
    pending: bool
    is_voided: bool = False
    expired: int = 0
    voided: int = 0
    moved_out: int = 0

    def is_over(self, at: int) -> bool:
        return self.is_voided or (self.ends is not None and self.ends <= at)


@dataclass
class Taken:
    """An open hold, or a debit or capture: what it has, in the order in which it took it."""

    number: int
    parts: Parts
    ends: int = FAR


@dataclass
class Model:
    """Design section 2, word by word and slow. Facts and answers are tuples that begin with a word."""

    clock: int = 0
    version: int = 0
    credits: list[Credit] = field(default_factory=list)
    holds: list[Taken] = field(default_factory=list)
    usages: list[Taken] = field(default_factory=list)
    keys: dict[str, tuple[object, int]] = field(default_factory=dict)
    settled: dict[int, tuple[str, int]] = field(default_factory=dict)
    voids: dict[int, int] = field(default_factory=dict)

    def left(self, credit: Credit) -> int:
        if credit.pending:
            return 0
        gone = credit.expired + credit.voided + credit.moved_out
        return credit.amount - gone - _of(credit, self.holds) - _of(credit, self.usages)

    @property
    def available(self) -> int:
        return sum(self.left(credit) for credit in self.credits)

    def burn_order(self) -> list[Credit]:
        """Priority; end, never last; promotional first; start; creation; the journal's order."""
        return sorted(
            (credit for credit in self.credits if self.left(credit) > 0),
            key=lambda credit: (
                credit.priority,
                float("inf") if credit.ends is None else credit.ends,
                ["promotional", "paid"].index(credit.category),
                credit.starts,
                credit.created,
                credit.number,
            ),
        )

    def payers(self, amount: int) -> Parts:
        """Who pays ``amount``, which is there."""
        units = [credit.number for credit in self.burn_order() for _ in range(self.left(credit))][:amount]
        return tuple((number, units.count(number)) for number in dict.fromkeys(units))

    def pass_time(self, now: int) -> list[tuple[Any, ...]]:
        """One thing after another: the earliest first, of those of one moment the oldest."""
        facts: list[tuple[Any, ...]] = []
        at = max(self.clock, now)
        while True:
            moments: list[tuple[int, int, Credit | Taken]] = [(hold.ends, hold.number, hold) for hold in self.holds]
            for credit in self.credits:
                if credit.pending:
                    moments.append((credit.starts, credit.number, credit))
                elif credit.ends is not None and self.left(credit):
                    moments.append((credit.ends, credit.number, credit))
            moment, number, first = min(moments, key=lambda each: each[:2], default=(FAR, 0, None))
            if first is None or moment > now:
                break
            if isinstance(first, Taken):
                self.holds.remove(first)
                self.settled[number] = ("expired", self.version + len(facts) + 1)
                balance, lapses = self.available, self._lapse(first.parts, at)
                total = sum(part for _, part in first.parts)
                facts += [("released", at, number, total, balance, first.parts, moment, _units(lapses)), *lapses]
            elif first.pending:
                first.pending = False
                facts.append(("activated", at, number, first.amount, self.available, moment))
            else:
                lost = self.left(first)
                first.expired += lost
                facts.append(("expired", at, number, lost, self.available, moment))
        if facts:
            self.clock = at
            self.version += len(facts)
        return facts

    def _lapse(self, parts: Parts, at: int) -> list[tuple[Any, ...]]:
        """What came back cannot stay where the credit is over."""
        facts: list[tuple[Any, ...]] = []
        for number, part in parts:
            credit = self.credit(number)
            if credit is not None and credit.is_over(at):
                credit.voided += part if credit.is_voided else 0
                credit.expired += 0 if credit.is_voided else part
                # The parts that follow are still counted as available: they are looked at one by one.
                facts.append(("lapsed", at, number, part, self.available))
        return facts

    def credit(self, number: int) -> Credit | None:
        return next((credit for credit in self.credits if credit.number == number), None)

    def ask(self, command: PoolCommand, now: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        """The facts that follow, or what is said instead."""
        if isinstance(command, (Capture, Release)) and command.hold in self.settled:
            how, version = self.settled[command.hold]
            asked = "captured" if isinstance(command, Capture) else "released"
            return ("repeat", version) if how == asked else ("conflict", f"hold_{how}")
        if isinstance(command, VoidGrant) and command.grant in self.voids:
            return ("repeat", self.voids[command.grant])
        if command.key in self.keys:
            first, version = self.keys[command.key]
            return ("repeat", version) if first == _request(command) else ("key taken", version)
        at = max(self.clock, now)
        if not self.version and not isinstance(command, Grant):
            return ("unknown pool",)
        match command:
            case Grant():
                answer = self._grant(command, at)
            case Debit():
                answer = self._debit(command, at)
            case Hold():
                answer = self._hold(command, at)
            case Capture():
                answer = self._capture(command, at)
            case Release():
                answer = self._release(command, at)
            case Reverse():
                answer = self._reverse(command, at)
            case UpdateGrant():
                answer = self._update(command, at)
            case VoidGrant():
                answer = self._void(command, at)
            case Transfer():
                answer = self._transfer(command, at)
        if isinstance(answer, list):
            self.clock = at
            if not isinstance(command, (Capture, Release, VoidGrant)):
                self.keys[command.key] = (_request(command), self.version + 1)
            self.version += len(answer)
        return answer

    def _grant(self, command: Grant, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        starts = at if command.effective_at is None else command.effective_at
        if command.expires_at is not None and (command.expires_at <= at or command.expires_at <= starts):
            return ("unfit", "expires_at")
        # The first grant makes version 2: version 1 opens the pool.
        self.version = self.version or 1
        credit = Credit(
            self.version + 1,
            command.amount,
            command.category,
            command.priority,
            at,
            starts,
            command.expires_at,
            bytes(command.metadata),
            starts > at,
        )
        self.credits.append(credit)
        return [("granted", at, credit.number, command.amount, self.available)]

    def _debit(self, command: Debit, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        if not _is_near(command.occurred_at, at, backfill=command.backfill):
            return ("unfit", "occurred_at")
        amount = min(command.amount, self.available) if command.partial else command.amount
        if amount > self.available or amount == 0:
            return ("insufficient", command.amount, self.available)
        self.usages.append(usage := Taken(self.version + 1, self.payers(amount)))
        return [("debited", at, usage.number, amount, self.available, usage.parts)]

    def _hold(self, command: Hold, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        if command.amount > self.available:
            return ("insufficient", command.amount, self.available)
        hold = Taken(self.version + 1, self.payers(command.amount), at + command.ttl)
        self.holds.append(hold)
        return [("held", at, hold.number, command.amount, self.available, hold.parts, hold.ends)]

    def _open_hold(self, number: int) -> Taken | None:
        return next((hold for hold in self.holds if hold.number == number), None)

    def _capture(self, command: Capture, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        hold = self._open_hold(command.hold)
        if hold is None:
            return ("unknown", "hold", command.hold)
        if not _is_near(command.occurred_at, at):
            return ("unfit", "occurred_at")
        parts, returned = _cut(hold.parts, command.amount)
        beyond = max(0, command.amount - sum(part for _, part in hold.parts))
        extra = self.payers(beyond) if beyond <= self.available else ()
        uncovered = 0 if extra else beyond
        self.holds.remove(hold)
        self.usages.append(Taken(self.version + 1, parts + extra))
        self.settled[hold.number] = ("captured", self.version + 1)
        balance, lapses = self.available, self._lapse(returned, at)
        spent = command.amount - uncovered
        fact = ("captured", at, hold.number, spent, balance, parts, extra, returned, uncovered, _units(lapses))
        return [fact, *lapses]

    def _release(self, command: Release, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        hold = self._open_hold(command.hold)
        if hold is None:
            return ("unknown", "hold", command.hold)
        self.holds.remove(hold)
        self.settled[hold.number] = ("released", self.version + 1)
        total = sum(part for _, part in hold.parts)
        balance, lapses = self.available, self._lapse(hold.parts, at)
        return [("released", at, hold.number, total, balance, hold.parts, None, _units(lapses)), *lapses]

    def _reverse(self, command: Reverse, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        usage = next((usage for usage in self.usages if usage.number == command.debit), None)
        if usage is None:
            return ("unknown", "debit", command.debit)
        total = sum(part for _, part in usage.parts)
        amount = total if command.amount is None else command.amount
        if total == 0:
            return ("conflict", "already_reversed")
        if amount > total:
            return ("unfit", "amount")
        usage.parts, back = _cut(usage.parts, total - amount)
        balance, lapses = self.available, self._lapse(back, at)
        return [("reversed", at, usage.number, amount, balance, back, _units(lapses)), *lapses]

    def _update(self, command: UpdateGrant, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        credit = self.credit(command.grant)
        if credit is None:
            return ("unknown", "grant", command.grant)
        if credit.is_over(at):
            return ("conflict", "grant_voided" if credit.is_voided else "grant_expired")
        if isinstance(command.expires_at, int) and not max(at, credit.starts) < command.expires_at:
            return ("unfit", "expires_at")
        if command.priority is not KEEP:
            credit.priority = cast("int", command.priority)
        if command.expires_at is not KEEP:
            credit.ends = cast("int | None", command.expires_at)
        if command.metadata is not KEEP:
            credit.metadata = bytes(cast("msgspec.Raw", command.metadata))
        terms = (credit.priority, credit.ends, credit.metadata)
        return [("updated", at, credit.number, self.available, *terms)]

    def _void(self, command: VoidGrant, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        credit = self.credit(command.grant)
        if credit is None:
            return ("unknown", "grant", command.grant)
        if credit.is_over(at):
            return ("conflict", "grant_expired")
        was_pending, credit.pending = credit.pending, False
        taken = self.left(credit)
        credit.voided += taken
        credit.is_voided = True
        self.voids[credit.number] = self.version + 1
        return [("voided", at, credit.number, taken, self.available, was_pending)]

    def _transfer(self, command: Transfer, at: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
        if command.amount > self.available:
            return ("insufficient", command.amount, self.available)
        parts = self.payers(command.amount)
        for credit in self.credits:
            credit.moved_out += dict(parts).get(credit.number, 0)
        return [("moved out", at, self.version + 1, command.amount, self.available, parts)]


def _of(credit: Credit, takers: list[Taken]) -> int:
    """What the takers have of a credit."""
    return sum(part for taker in takers for number, part in taker.parts if number == credit.number)


def _cut(parts: Parts, amount: int) -> tuple[Parts, Parts]:
    """The first ``amount`` units, and those after them, unit by unit."""
    places = [place for place, (_, part) in enumerate(parts) for _ in range(part)]

    def grouped(some: list[int]) -> Parts:
        return tuple((parts[place][0], some.count(place)) for place in dict.fromkeys(some))

    return grouped(places[:amount]), grouped(places[amount:])


def _units(lapses: list[tuple[Any, ...]]) -> int:
    return sum(lapse[3] for lapse in lapses)


def _is_near(occurred_at: int | None, at: int, *, backfill: bool = False) -> bool:
    if occurred_at is None:
        return True
    if occurred_at > at + LIMITS.occurred_ahead_max_us:
        return False
    return backfill or occurred_at >= at - LIMITS.occurred_back_max_us


def _request(command: PoolCommand) -> object:
    """What makes two requests the same: all that the caller says, but ``backfill``."""
    values = msgspec.structs.asdict(command)
    looked_up = ("paid", "dimensions", "charges") if isinstance(command, Reverse) else ("backfill",)
    plain = {name: bytes(v) if isinstance(v, msgspec.Raw) else v for name, v in values.items()}
    return (type(command), {name: value for name, value in plain.items() if name not in looked_up})


def _fact(event: Event, version: int) -> tuple[Any, ...]:
    """An event in the model's words. ``version`` is its own."""
    match event:
        case Granted():
            return ("granted", event.at, version, event.amount, event.balance)
        case Activated():
            return ("activated", event.at, event.grant, event.amount, event.balance, event.due_at)
        case Expired():
            return ("expired", event.at, event.grant, event.amount, event.balance, event.due_at)
        case Debited():
            return ("debited", event.at, version, event.amount, event.balance, event.parts)
        case Held():
            return ("held", event.at, version, event.amount, event.balance, event.parts, event.expires_at)
        case Captured():
            parts = (event.parts, event.extra, event.returned)
            head = ("captured", event.at, event.hold, event.amount, event.balance)
            return (*head, *parts, event.uncovered, event.lapsed)
        case Released():
            head = ("released", event.at, event.hold, event.amount, event.balance)
            return (*head, event.parts, event.due_at, event.lapsed)
        case Reversed():
            return ("reversed", event.at, event.debit, event.amount, event.balance, event.parts, event.lapsed)
        case Updated():
            terms = (event.priority, event.expires_at, bytes(event.metadata))
            return ("updated", event.at, event.grant, event.balance, *terms)
        case Voided():
            return ("voided", event.at, event.grant, event.amount, event.balance, event.pending)
        case MovedOut():
            return ("moved out", event.at, version, event.amount, event.balance, event.parts)
        case Lapsed():
            return ("lapsed", event.at, event.grant, event.amount, event.balance)
    raise AssertionError(event)


def _said(outcome: Outcome, version: int) -> list[tuple[Any, ...]] | tuple[Any, ...]:
    """An outcome in the model's words. ``version`` is the pool's before it."""
    match outcome:
        case Repeat(_, first):
            return ("repeat", first)
        case KeyTaken(_, first):
            return ("key taken", first)
        case UnknownPool():
            return ("unknown pool",)
        case UnknownEntry(what, number):
            return ("unknown", what, number)
        case Conflict(reason):
            return ("conflict", reason)
        case Insufficient(requested, available):
            return ("insufficient", requested, available)
        case Unfit(name):
            return ("unfit", name)
        case tuple():
            facts = list(enumerate(outcome, version + 1))
            if version == 0:
                assert isinstance(outcome[0], Opened)
                del facts[0]
            return [_fact(event, number) for number, event in facts]
    raise AssertionError(outcome)


def picture(pool: Pool) -> tuple[object, ...]:
    """All of a pool, to the byte."""
    return encode_pool(pool), [block.number for block in pool.burn], pool.schedule[:]


def future(pool: Pool) -> tuple[object, ...]:
    """All that can ever be seen of a pool, and what time will do to it. The heap's inner order is nobody's business."""
    return encode_pool(pool), [block.number for block in pool.burn], due(pool, FAR)


class Step(NamedTuple):
    """One command of a script, in numbers that mean something in every script: any step may be left out."""

    kind: str = "nothing"
    wait: int = 0
    pick: int = 0
    """Which entry it is about."""
    amount: int = 1
    terms: int = 0
    """Chooses among the rarer parts of a command, one after another."""
    key: int = 0
    """1 asks a former request again, 2 uses its key for this one."""


KINDS = {
    "nothing": 1,
    "grant": 7,
    "debit": 5,
    "hold": 8,
    "capture": 6,
    "release": 3,
    "reverse": 5,
    "update": 3,
    "void": 2,
    "transfer": 1,
}
steps = st.builds(
    Step,
    st.sampled_from([kind for kind, times in KINDS.items() for _ in range(times)]),
    st.sampled_from([0, 0, 1, 3, 10, 40, 150, -1, -30]),
    st.integers(0, 49),
    st.integers(1, 9) | st.integers(1, 60),
    st.integers(0, 2**16),
    st.sampled_from([0] * 16 + [1, 1, 1, 2]),
)


class Run:
    """A pool and its model, driven together and compared after every step."""

    def __init__(self) -> None:
        self.pool, self.model = Pool(), Model()
        self.twin: Pool | None = None
        self.now = 1_000
        self.journal: list[Event] = []
        self.priors: dict[str, Prior] = {}
        self.asked: list[PoolCommand] = []
        self.seen: Counter[str] = Counter()

    def play(self, script: list[Step], cut: int) -> None:
        for place, step in enumerate(script):
            if place == cut:
                self.twin = decode_pool(encode_pool(self.pool)) if self.pool.version else None
            self.now = max(0, self.now + step.wait)
            if step.kind != "nothing":
                self.ask(self.command(step))
        self.finish()

    def ask(self, command: PoolCommand) -> Outcome:
        self.pass_time()
        command = self._looked_up(command)
        pool, prior = self.pool, self.priors.get(command.key)
        before = picture(pool)
        outcome = decide(pool, command, self.now, prior=prior, limits=LIMITS)
        assert picture(pool) == before, "deciding must change nothing"
        if self.twin is not None:
            assert decide(self.twin, command, self.now, prior=prior, limits=LIMITS) == outcome
        said = _said(outcome, pool.version)
        assert said == self.model.ask(command, self.now)
        if isinstance(outcome, tuple):
            self._record(outcome)
        elif isinstance(outcome, Repeat):
            assert prior is not None
            assert outcome.event is prior[0]
            assert self.journal[outcome.version - 1] is outcome.event
        self._count(command, outcome)
        self.compare()
        return outcome

    def pass_time(self) -> None:
        before = picture(self.pool)
        facts = due(self.pool, self.now)
        assert picture(self.pool) == before, "to ask what is due must change nothing"
        passed = clone(self.pool)
        assert pass_time(passed, self.now) == list(facts)
        version = self.pool.version
        assert [_fact(fact, version + place) for place, fact in enumerate(facts, 1)] == self.model.pass_time(self.now)
        if facts:
            self._record(facts)
            assert future(passed) == future(self.pool)
            for fact in facts:
                self.seen[f"due {type(fact).__name__}"] += 1
            self.seen["several due at once"] += len(facts) > 1
        assert due(self.pool, self.now) == (), "what is due happens once"

    def command(self, step: Step) -> PoolCommand:
        """What a step means here."""
        key, terms = f"k{len(self.asked)}", step.terms
        if step.key and self.asked:
            former = self.asked[step.pick % len(self.asked)]
            if step.key == 1:
                return former
            if not isinstance(former, (Capture, Release, VoidGrant)):
                key = former.key

        def one_of(*choices: Any) -> Any:
            nonlocal terms
            terms, chosen = divmod(terms, len(choices))
            return choices[chosen]

        def moment() -> Any:
            return one_of(None, None, None, None, -70, -50, 0, 10, 30)

        match step.kind:
            case "grant":
                ends = one_of(None, 100, 30, 400, None, 5, 1, -1, 60, 200, None)
                starts = one_of(None, None, 30, None, 1, None, -50, None, 100)
                category: Category = one_of("paid", "promotional")
                command: PoolCommand = Grant(
                    key,
                    step.amount * one_of(3, 5, 1),
                    category,
                    one_of(50, 50, 0, 100),
                    None if starts is None else self.now + starts,
                    None if ends is None else self.now + ends,
                    metadata=one_of(PLAIN, LABELLED),
                )
            case "debit":
                partial, occurred = one_of(False, True, False), moment()
                occurred_at = None if occurred is None else self.now + occurred
                backfill, dimensions = one_of(False, False, True), one_of(PLAIN, LABELLED)
                command = Debit(key, step.amount, partial, occurred_at, dimensions=dimensions, backfill=backfill)
            case "hold":
                ttl, metric = one_of(60, 20, 200, 400, 5, 1_000), one_of(None, "tokens")
                command = Hold(key, step.amount, ttl, metric, one_of(PLAIN, LABELLED))
            case "capture" | "release":
                opened = [hold.number for hold in self.model.holds]
                settled = list(self.model.settled)
                choices = one_of(opened, opened, opened, settled, [2, NOWHERE]) or settled or [NOWHERE]
                hold = choices[step.pick % len(choices)]
                if step.kind == "release":
                    command = Release(hold)
                else:
                    units = sum(part for taken in self.model.holds if taken.number == hold for _, part in taken.parts)
                    amount = one_of(step.amount, step.amount, units or 1, units + step.amount, units // 2 or 1)
                    occurred = moment()
                    command = Capture(hold, amount, None if occurred is None else self.now + occurred)
            case "reverse":
                debits = [usage.number for usage in self.model.usages[-8:]]
                choices = one_of(debits, debits, debits, [2, NOWHERE]) or [NOWHERE]
                amount = one_of(None, step.amount, 1, 3)
                command = Reverse(key, choices[step.pick % len(choices)], amount)
            case "update":
                ends = one_of(KEEP, None, 50, 5, 300, 0)
                command = UpdateGrant(
                    key,
                    self._grant(step.pick, open_only=one_of(True, True, False)),
                    one_of(KEEP, 0, 50, 100),
                    self.now + ends if isinstance(ends, int) else ends,
                    one_of(KEEP, LABELLED, PLAIN),
                )
            case "void":
                command = VoidGrant(self._grant(step.pick, open_only=one_of(True, True, False)))
            case _:
                command = Transfer(key, step.amount, "elsewhere")
        return command

    def _grant(self, pick: int, *, open_only: bool) -> int:
        """A grant, or now and then what is none."""
        at = max(self.now, self.pool.clock)
        grants = [credit.number for credit in self.model.credits if not (open_only and credit.is_over(at))]
        return grants[-1 - pick % len(grants)] if grants and pick < 46 else 1 + NOWHERE * (pick % 2)

    def _looked_up(self, command: PoolCommand) -> PoolCommand:
        """What the actor does before it asks the pool."""
        self.asked.append(command)
        if not isinstance(command, Reverse) or not 0 < command.debit <= len(self.journal):
            return command
        found = self.journal[command.debit - 1]
        if not isinstance(found, (Debited, Captured)):
            return command
        return msgspec.structs.replace(command, paid=found.paid, dimensions=found.dimensions, charges=found.counted)

    def _record(self, events: tuple[Event, ...]) -> None:
        before = picture(self.pool)
        folded = fold(self.pool, events)
        assert picture(self.pool) == before, "fold must leave its argument alone"
        for event in events:
            assert event.at >= self.pool.clock, "the clock of a pool never runs backwards"
            apply(self.pool, event)
            check_totals(self.pool)
            if not isinstance(event, Opened):
                assert event.balance == self.pool.available
            self.journal.append(event)
            if isinstance(event, KEYED):
                assert event.key not in self.priors, "a key is used once"
                self.priors[event.key] = (event, self.pool.version)
            if self.twin is not None:
                apply(self.twin, event)
        assert picture(folded) == picture(self.pool)

    def _count(self, command: PoolCommand, outcome: Outcome) -> None:
        """What the scripts have come across."""
        self.seen["commands"] += 1
        self.seen["while the clock was set back"] += self.now < self.pool.clock
        name, seen = type(command).__name__, self.seen
        if not isinstance(outcome, tuple):
            said = _said(outcome, 1)
            detailed = isinstance(outcome, (Conflict, Unfit))
            seen[f"{name}: {said[0]} {said[1]}" if detailed else f"{name}: {said[0]}"] += 1
            return
        seen[name] += 1
        blocks = self.pool.blocks
        for event in outcome:
            match event:
                case Lapsed():
                    seen[f"{name}: lapsed to {'voided' if blocks[event.grant].voided else 'expired'}"] += 1
                case Debited():
                    seen["Debit: of several grants"] += len(event.parts) > 1
                    seen["Debit: a part"] += event.amount < event.requested
                case Captured():
                    seen["Capture: less"] += bool(event.returned)
                    seen["Capture: all"] += not (event.returned or event.extra or event.uncovered)
                    seen["Capture: more"] += bool(event.extra)
                    seen["Capture: uncovered"] += bool(event.uncovered)
                    seen["Capture: from one grant twice"] += len(dict(event.paid)) < len(event.paid)
                case Reversed():
                    seen["Reverse: of a capture"] += isinstance(self.journal[event.debit - 1], Captured)
                    seen["Reverse: the rest of a debit"] += event.amount < self.pool.reversed[event.debit]
                    seen["Reverse: of several grants"] += len(event.parts) > 1
                case Voided():
                    seen["VoidGrant: pending"] += event.pending
                    seen["VoidGrant: while held"] += blocks[event.grant].held > 0
                    seen["VoidGrant: while spent"] += blocks[event.grant].spent > 0
                case Updated():
                    seen["UpdateGrant: while held"] += blocks[event.grant].held > 0
                case _:
                    pass

    def compare(self) -> None:
        pool, model = self.pool, self.model
        check_books(pool)
        assert (pool.version, pool.clock) == (model.version, model.clock)
        assert pool.version == len(self.journal)
        assert list(pool.blocks) == [credit.number for credit in model.credits]
        for credit in model.credits:
            block = pool.blocks[credit.number]
            terms = (block.available, block.held, block.spent, block.expired, block.voided, block.moved_out)
            assert terms == (
                model.left(credit),
                _of(credit, model.holds),
                _of(credit, model.usages),
                credit.expired,
                credit.voided,
                credit.moved_out,
            ), credit
            assert min(terms) >= 0
            assert sum(terms) == (0 if credit.pending else block.amount)
            assert (block.priority, block.expires_at, bytes(block.metadata)) == (
                credit.priority,
                credit.ends,
                credit.metadata,
            )
        totals = (pool.available, pool.held, pool.spent, pool.expired, pool.voided, pool.moved_out)
        blocks = pool.blocks.values()
        assert totals == (
            sum(block.available for block in blocks),
            sum(block.held for block in blocks),
            sum(block.spent for block in blocks),
            sum(block.expired for block in blocks),
            sum(block.voided for block in blocks),
            sum(block.moved_out for block in blocks),
        )
        assert pool.granted == sum(totals)
        assert pool.granted == sum(credit.amount for credit in model.credits if not credit.pending)
        assert pool.pending == sum(credit.amount for credit in model.credits if credit.pending)
        assert [block.number for block in pool.burn] == [credit.number for credit in model.burn_order()]
        assert [(hold.number, hold.parts, hold.expires_at) for hold in pool.holds.values()] == [
            (hold.number, hold.parts, hold.ends) for hold in model.holds
        ]
        # What stands first on the schedule is real, or every command would sort it for nothing.
        assert not pool.schedule or due(pool, pool.schedule[0][0])

    def finish(self) -> None:
        """What was journalled is enough to get here again, and a snapshot has the same future."""
        expected = future(self.pool)
        assert future(fold(Pool(), self.journal)) == expected
        if self.pool.version:
            assert future(decode_pool(encode_pool(self.pool))) == expected
        if self.twin is not None:
            assert future(self.twin) == expected
        states = {view.id: view.state for view in grants_of(self.pool, "acme").grants}
        assert states == {f"g{credit.number}": self._state(credit) for credit in self.model.credits}

    def _state(self, credit: Credit) -> str:
        if credit.pending or credit.is_voided:
            return "pending" if credit.pending else "voided"
        if self.model.left(credit):
            return "active"
        if credit.expired:
            return "expired"
        return "active" if _of(credit, self.model.holds) else "depleted"


OFTEN = [
    "several due at once",
    "while the clock was set back",
    "Debit: of several grants",
    "Debit: a part",
    "Debit: insufficient",
    "Hold",
    "Hold: insufficient",
    "Capture: less",
    "Capture: all",
    "Capture: more",
    "Capture: uncovered",
    "Capture: from one grant twice",
    "Capture: repeat",
    "Capture: conflict hold_released",
    "Capture: conflict hold_expired",
    "Capture: unknown",
    "Capture: unfit occurred_at",
    "Release",
    "Release: repeat",
    "Release: conflict hold_captured",
    "Release: conflict hold_expired",
    "Reverse: of a capture",
    "Reverse: of several grants",
    "Reverse: the rest of a debit",
    "Reverse: conflict already_reversed",
    "Reverse: unfit amount",
    "Reverse: unknown",
    "Reverse: repeat",
    "Reverse: key taken",
    "UpdateGrant",
    "UpdateGrant: while held",
    "UpdateGrant: conflict grant_expired",
    "UpdateGrant: conflict grant_voided",
    "UpdateGrant: unfit expires_at",
    "VoidGrant: pending",
    "VoidGrant: while held",
    "VoidGrant: while spent",
    "VoidGrant: repeat",
    "VoidGrant: conflict grant_expired",
    "Transfer",
    "due Activated",
    "due Expired",
    "due Released",
    "due Lapsed",
    "Capture: lapsed to expired",
    "Release: lapsed to expired",
    "Capture: lapsed to voided",
    "Release: lapsed to voided",
    "Reverse: lapsed to expired",
    "Reverse: lapsed to voided",
]


@pytest.mark.timeout(600)  # A failing script is played many times, until it is short.
def test_scripts_of_all_commands_do_what_the_model_does() -> None:
    seen: Counter[str] = Counter()

    # The same scripts in every run, or new ones where more are asked for. Those that fail shrink to "nothing".
    @given(st.lists(steps, min_size=STEPS, max_size=STEPS), st.integers(0, STEPS))
    @settings(
        max_examples=SCRIPTS,
        derandomize=TIMES is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def play(script: list[Step], cut: int) -> None:
        run = Run()
        try:
            run.play(script, cut)
        except BaseException:
            played = [step for step in script if step.kind != "nothing"]
            hypothesis.note(f"{len(played)} steps at {run.now}, the last of {run.asked}")
            raise
        seen.update(run.seen)

    play()
    # The argument is only as good as the scripts: every answer and every event was among them, often.
    assert seen["commands"] >= 10_000
    for kind in OFTEN:
        assert seen[kind] >= 15, (kind, seen)
