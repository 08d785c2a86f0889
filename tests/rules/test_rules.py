"""All rules of a pool at once, against a model that moves single units of credit between lists.

The model shares no code with the pool: it keeps no totals, no order and no schedule. A debit is the list of grants its
units came from, one by one; what a budget has used is added up from everything that was ever asked.
"""

from __future__ import annotations

import os
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.budgets import BudgetTerms
from solvent.engine.rules.commands import (
    Capture,
    Debit,
    Grant,
    Hold,
    PoolCommand,
    Release,
    Reverse,
    SetBudget,
    UpdateGrant,
    VoidGrant,
)
from solvent.engine.rules.decide import decide
from solvent.engine.rules.decisions.debits import completed
from solvent.engine.rules.due import due, pass_time
from solvent.engine.rules.events import Captured, Debited, Event, Held, Reversed
from solvent.engine.rules.evolve import apply, fold
from solvent.engine.rules.outcomes import Conflict, Insufficient, OverBudget, Repeat, Unfit, UnknownEntry, UnknownPool
from solvent.engine.rules.pool import Pool, check_books, clone
from solvent.engine.values.dimensions import encode_dimensions
from solvent.engine.values.terms import KEEP

SCRIPTS = 120 * int(os.environ.get("SOLVENT_TEST_EXAMPLES", "1"))
COMMANDS = 100
"""Of one script: with 120 scripts 12,000 random commands a run."""
MINUTE = 60_000_000
USERS = ("a", "b", "c")


@dataclass
class Credit:
    """A grant."""

    number: int
    amount: int
    priority: int
    category: str
    created: int
    starts: int
    ends: int | None
    pending: bool
    voided_at_all: bool = False
    over: bool = False
    left: int = 0
    held: int = 0
    spent: int = 0
    expired: int = 0
    voided: int = 0


@dataclass
class Item:
    """What counts for budgets: an amount of a user, recorded at a time."""

    user: str
    at: int
    amount: int


@dataclass
class Model:
    credits: dict[int, Credit] = field(default_factory=dict)
    holds: dict[int, tuple[list[int], int, Item]] = field(default_factory=dict)
    """The grants of its units, when it ends, what it counts for."""
    debits: dict[int, tuple[list[int], Item]] = field(default_factory=dict)
    """The grants of its units that are not undone, the first taken first, and what it counts for."""
    items: list[Item] = field(default_factory=list)
    budgets: list[tuple[str, int, str | None, int]] = field(default_factory=list)
    """Name, amount, user (or none: each), minutes of its window (0: total)."""

    @property
    def available(self) -> int:
        return sum(credit.left for credit in self.credits.values())

    def order(self) -> list[Credit]:
        return sorted(
            (credit for credit in self.credits.values() if credit.left),
            key=lambda credit: (
                credit.priority,
                float("inf") if credit.ends is None else credit.ends,
                ["promotional", "paid"].index(credit.category),
                credit.starts,
                credit.created,
                credit.number,
            ),
        )

    def take(self, amount: int, where: str) -> list[int]:
        """Move units of the available grants, in burn order, one by one."""
        units: list[int] = []
        for _ in range(amount):
            credit = self.order()[0]
            credit.left -= 1
            setattr(credit, where, getattr(credit, where) + 1)
            units.append(credit.number)
        return units

    def come_back(self, units: list[int], where: str, now: int) -> int:
        """Give units back. Returns how many did not stay."""
        lapsed = 0
        for number in units:
            credit = self.credits[number]
            setattr(credit, where, getattr(credit, where) - 1)
            if credit.voided_at_all:
                credit.voided += 1
                lapsed += 1
            elif credit.ends is not None and credit.ends <= now:
                credit.expired += 1
                lapsed += 1
            else:
                credit.left += 1
        return lapsed

    def pass_time(self, now: int) -> None:
        """One thing after another, the earliest first, and of those of one moment the oldest."""
        while True:
            moments = [(ends, number) for number, (_, ends, _) in self.holds.items()]
            for credit in self.credits.values():
                if credit.pending and not credit.voided_at_all:
                    moments.append((credit.starts, credit.number))
                elif credit.ends is not None and credit.left:
                    moments.append((credit.ends, credit.number))
            if not moments or min(moments)[0] > now:
                return
            _, number = min(moments)
            if number in self.holds:
                units, _, item = self.holds.pop(number)
                self.come_back(units, "held", now)
                item.amount = 0
            elif self.credits[number].pending:
                self.credits[number].pending = False
                self.credits[number].left = self.credits[number].amount
            else:
                self.credits[number].expired += self.credits[number].left
                self.credits[number].left = 0

    def stopped(self, user: str, amount: int, now: int) -> str | None:
        """The first budget that does not let it pass."""
        for name, most, whose, minutes in self.budgets:
            if whose not in (None, user):
                continue
            window = None if not minutes else now // (minutes * MINUTE)
            used = sum(
                item.amount
                for item in self.items
                if item.user == user and (not minutes or item.at // (minutes * MINUTE) == window)
            )
            if used + amount > most:
                return name
        return None


class Run:
    """A pool and a model that are asked the same."""

    def __init__(self) -> None:
        self.pool, self.model = Pool(), Model()
        self.events: list[Event] = []
        self.now = 1_000
        self.clock = 0
        self.reversible: dict[int, Debited | Captured] = {}

    def ask(self, command: PoolCommand | SetBudget) -> Any:
        facts = due(self.pool, self.now)
        assert list(facts) == pass_time(self.pool, self.now)
        assert due(self.pool, self.now) == ()
        self.events += facts
        if facts:
            self.clock = max(self.clock, self.now)
        self.model.pass_time(max(self.clock, self.now))
        before = encode_pool(self.pool)
        outcome = decide(self.pool, command, self.now)
        assert encode_pool(self.pool) == before, "a question changed the pool"
        if isinstance(outcome, tuple):
            self.clock = max(self.clock, self.now)
            for event in outcome:
                apply(self.pool, event)
                if isinstance(event, (Debited, Captured)):
                    self.reversible[self.pool.version] = event
            self.events += outcome
        check_books(self.pool)
        return outcome

    def compare(self) -> None:
        pool, model = self.pool, self.model
        for number, credit in model.credits.items():
            block = pool.blocks[number]
            found = (block.available, block.held, block.spent, block.expired, block.voided)
            assert found == (credit.left, credit.held, credit.spent, credit.expired, credit.voided), credit
        assert pool.blocks.keys() == model.credits.keys()
        assert pool.holds.keys() == model.holds.keys()
        assert [block.number for block in pool.burn] == [credit.number for credit in model.order()]
        assert pool.available == model.available


def _grant(run: Run, dice: Random, key: str) -> None:
    pool, model, now = run.pool, run.model, max(run.clock, run.now)
    starts = dice.choice([None, None, None, now + dice.randint(1, 3 * MINUTE)])
    ends = dice.choice([None, now + dice.randint(1, 5 * MINUTE)])
    amount, category = dice.randint(1, 12), dice.choice(["paid", "promotional"])
    priority = dice.choice([50, 50, 10, 90])
    outcome = run.ask(Grant(key, amount, category, priority, starts, ends))  # type: ignore[arg-type]
    if ends is not None and starts is not None and ends <= starts:
        assert isinstance(outcome, Unfit)
        return
    at = run.clock
    begins = at if starts is None else starts
    pending = begins > at
    credit = Credit(pool.version, amount, priority, category, at, begins, ends, pending, left=0 if pending else amount)
    model.credits[pool.version] = credit


def _debit(run: Run, dice: Random, key: str) -> None:
    model, user, amount = run.model, dice.choice(USERS), dice.randint(1, 9)
    partial = dice.random() < 0.3
    outcome = run.ask(Debit(key, amount, partial, dimensions=encode_dimensions({"user": user}, "dimensions")))
    if not run.pool.version:
        assert isinstance(outcome, UnknownPool)
        return
    wanted = min(amount, model.available) if partial else amount
    if not wanted or wanted > model.available:
        assert isinstance(outcome, Insufficient)
        return
    at = max(run.clock, run.now)
    while wanted and (name := model.stopped(user, wanted, at)):
        if not partial or wanted == 1:
            assert isinstance(outcome, OverBudget)
            assert outcome.stop.budget in {each[0] for each in model.budgets}
            if not partial:
                assert outcome.stop.budget == name
            return
        wanted -= 1
    (event,) = outcome
    units = model.take(wanted, "spent")
    assert event.parts == tuple(_merged(units))
    item = Item(user, at, wanted)
    model.items.append(item)
    model.debits[run.pool.version] = (units, item)


def _hold(run: Run, dice: Random, key: str) -> None:
    model, user, amount = run.model, dice.choice(USERS), dice.randint(1, 9)
    ttl = dice.choice([MINUTE, 2 * MINUTE, 3 * MINUTE])
    outcome = run.ask(Hold(key, amount, ttl, None, encode_dimensions({"user": user}, "dimensions")))
    if isinstance(outcome, UnknownPool):
        assert not run.pool.version
        return
    if amount > model.available:
        assert isinstance(outcome, Insufficient)
        return
    at = max(run.clock, run.now)
    if name := model.stopped(user, amount, at):
        assert isinstance(outcome, OverBudget)
        assert outcome.stop.budget == name
        return
    (event,) = outcome
    assert isinstance(event, Held)
    units = model.take(amount, "held")
    assert event.parts == tuple(_merged(units))
    item = Item(user, at, amount)
    model.items.append(item)
    model.holds[run.pool.version] = (units, event.at + ttl, item)


def _settle(run: Run, dice: Random, key: str) -> None:
    run.model.pass_time(max(run.clock, run.now))
    number = dice.choice([*run.model.holds, 10**6])
    release = dice.random() < 0.3
    amount = dice.randint(1, 14)
    outcome = run.ask(Release(number) if release else Capture(number, amount))
    if not run.pool.version:
        assert isinstance(outcome, UnknownPool)
        return
    if number not in run.model.holds:
        assert isinstance(outcome, UnknownEntry)
        return
    units, _, item = run.model.holds.pop(number)
    at = max(run.clock, run.now)
    if release:
        assert outcome[0].lapsed == run.model.come_back(units, "held", at)
        item.amount = 0
        return
    event = outcome[0]
    assert isinstance(event, Captured)
    spent, back = units[:amount], units[amount:]
    beyond = max(0, amount - len(units))
    for each in spent:
        run.model.credits[each].held -= 1
        run.model.credits[each].spent += 1
    extra: list[int] = []
    if beyond and beyond <= run.model.available and run.model.stopped(item.user, beyond, at) is None:
        extra = run.model.take(beyond, "spent")
        run.model.items.append(Item(item.user, at, beyond))
    assert (event.amount, event.uncovered) == (len(spent) + len(extra), beyond - len(extra))
    assert event.lapsed == run.model.come_back(back, "held", at)
    item.amount = len(spent)
    run.model.debits[run.pool.version - len(outcome) + 1] = (spent + extra, item)


def _reverse(run: Run, dice: Random, key: str) -> None:
    run.model.pass_time(max(run.clock, run.now))
    if not run.reversible:
        assert isinstance(run.ask(Reverse(key, 3)), (UnknownEntry, UnknownPool))
        return
    number = dice.choice(list(run.reversible))
    event = run.reversible[number]
    amount = dice.choice([None, dice.randint(1, 6)])
    outcome = run.ask(completed(Reverse(key, number, amount), event))
    units, item = run.model.debits[number]
    if not units:
        assert isinstance(outcome, Conflict)
        return
    if amount is not None and amount > len(units):
        assert isinstance(outcome, Unfit)
        return
    count = len(units) if amount is None else amount
    undone = units[-count:]
    del units[-count:]
    reversal = outcome[0]
    assert isinstance(reversal, Reversed)
    # A capture may have taken from a grant twice: what was held, and what it spent beyond.
    parts: Counter[int] = Counter()
    for grant, part in reversal.parts:
        parts[grant] += part
    assert parts == Counter(undone)
    assert reversal.lapsed == run.model.come_back(undone, "spent", max(run.clock, run.now))
    item.amount -= count


def _change(run: Run, dice: Random, key: str) -> None:
    run.model.pass_time(max(run.clock, run.now))
    if not run.model.credits:
        return
    credit = dice.choice(list(run.model.credits.values()))
    at = max(run.clock, run.now)
    over = credit.voided_at_all or (credit.ends is not None and credit.ends <= at)
    if dice.random() < 0.3:
        outcome = run.ask(VoidGrant(credit.number))
        if over:
            assert isinstance(outcome, Conflict)
            return
        credit.voided += credit.amount if credit.pending else credit.left
        credit.left, credit.voided_at_all, credit.pending = 0, True, False
        return
    ends: Any = dice.choice([KEEP, None, at + dice.randint(1, 4 * MINUTE)])
    priority: Any = dice.choice([KEEP, 5, 50, 95]) if ends is not KEEP else dice.choice([5, 50, 95])
    outcome = run.ask(UpdateGrant(key, credit.number, priority, ends))
    if over:
        assert isinstance(outcome, Conflict)
        return
    if ends is not KEEP and ends is not None and ends <= max(at, credit.starts):
        assert isinstance(outcome, Unfit)
        return
    credit.priority = credit.priority if priority is KEEP else priority
    credit.ends = credit.ends if ends is KEEP else ends


def _merged(units: list[int]) -> list[tuple[int, int]]:
    return list(Counter(units).items())


def _set_budgets(run: Run, dice: Random) -> None:
    for name, whose, minutes in (("one", "a", 1), ("hourly", None, 60), ("all", None, 0)):
        if dice.random() < 0.5:
            most = dice.randint(5, 40)
            window: Any = {0: "total", 1: "minute", 60: "hour"}[minutes]
            match = () if whose is None else (("user", whose),)
            each = "user" if whose is None else None
            outcome = run.ask(SetBudget(BudgetTerms(name, most, window, "UTC", match, each)))
            assert isinstance(outcome, tuple)
            run.model.budgets.append((name, most, whose, minutes))


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_a_script_of_all_commands_does_what_the_model_does(seed: int) -> None:
    dice, run = Random(seed), Run()
    steps = (_grant, _grant, _debit, _debit, _debit, _hold, _hold, _settle, _settle, _reverse, _change)
    while not run.pool.version:
        _grant(run, dice, "first")
    _set_budgets(run, dice)
    for number in range(COMMANDS):
        # Time stands still, moves on, leaps, or a clock is set back.
        run.now += dice.choice([0, 0, 1, 500_000, 20_000_000, MINUTE, -5_000_000])
        dice.choice(steps)(run, dice, f"k{number}")
        run.model.pass_time(max(run.clock, run.now))
        run.events += pass_time(run.pool, run.now)
        if run.events:
            run.clock = max(run.clock, run.pool.clock)
        run.compare()
    # What the journal says is what the live pool is, and a snapshot has the same future.
    assert encode_pool(fold(Pool(), run.events)) == encode_pool(run.pool)
    restored = decode_pool(encode_pool(run.pool))
    end = run.now + 10 * MINUTE
    assert due(restored, end) == due(run.pool, end)
    ended = clone(run.pool)
    pass_time(ended, end)
    run.model.pass_time(end)
    run.pool = ended
    run.compare()


def test_a_repeat_is_answered_without_an_event() -> None:
    run = Run()
    run.ask(Grant("g", 10))
    (event,) = run.ask(Hold("h", 4))
    version = run.pool.version
    assert decide(run.pool, Hold("h", 4), run.now, prior=(event, version)) == Repeat(event, version)
    assert deepcopy(run.pool.holds).keys() == {version}
