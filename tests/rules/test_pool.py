"""The rules of a pool, against a model that is a list of grants and a sort.

The model shares no code with the pool: it keeps no totals, no order and no schedule, and works everything out anew
from its grants whenever it is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.commands import Debit, Grant
from solvent.engine.rules.decide import decide
from solvent.engine.rules.due import due
from solvent.engine.rules.events import Activated, Debited, Event, Expired, Granted, Opened
from solvent.engine.rules.evolve import apply, evolve, fold
from solvent.engine.rules.limits import Limits
from solvent.engine.rules.outcomes import Insufficient, KeyTaken, Outcome, Prior, Repeat, Unfit, UnknownPool
from solvent.engine.rules.pool import BrokenInvariant, Pool, check_books, check_totals, clone
from solvent.engine.rules.views.balances import balance_of, grants_of
from solvent.engine.rules.views.ledger import entry_of
from solvent.engine.values.amounts import UNITS_MAX
from solvent.engine.values.dimensions import encode_dimensions

Command: TypeAlias = Grant | Debit
"""What this file asks; the other commands have theirs."""

LIMITS = Limits(occurred_back_max_us=60, occurred_ahead_max_us=20)
FAR = 10**15
NO_DIMENSIONS = encode_dimensions({}, "dimensions")


@dataclass
class Credit:
    """A grant as the model sees it."""

    number: int
    amount: int
    priority: int
    category: str
    created: int
    starts: int
    ends: int | None
    pending: bool
    left: int = 0
    spent: int = 0
    expired: int = 0


@dataclass
class Model:
    """Design section 2, word by word and slow."""

    clock: int = 0
    version: int = 0
    credits: list[Credit] = field(default_factory=list)
    keys: dict[str, tuple[object, int]] = field(default_factory=dict)

    @property
    def available(self) -> int:
        return sum(credit.left for credit in self.credits)

    def burn_order(self) -> list[Credit]:
        """Priority; end, never last; promotional first; start; creation; the journal's order."""
        return sorted(
            (credit for credit in self.credits if credit.left > 0),
            key=lambda credit: (
                credit.priority,
                float("inf") if credit.ends is None else credit.ends,
                ["promotional", "paid"].index(credit.category),
                credit.starts,
                credit.created,
                credit.number,
            ),
        )

    def pass_time(self, now: int) -> list[tuple[Any, ...]]:
        """What time does, moment by moment: (what, at, grant, amount, balance after it, when it was due)."""
        facts: list[tuple[Any, ...]] = []
        at = max(self.clock, now)
        moments = {credit.starts for credit in self.credits} | {credit.ends for credit in self.credits} - {None}
        for moment in sorted(moment for moment in moments if moment is not None and moment <= at):
            for credit in self.credits:
                if credit.pending and credit.starts == moment:
                    credit.pending, credit.left = False, credit.amount
                    facts.append(("activated", at, credit.number, credit.amount, self.available, moment))
                elif credit.ends == moment and credit.left:
                    lost, credit.left = credit.left, 0
                    credit.expired += lost
                    facts.append(("expired", at, credit.number, lost, self.available, moment))
        if facts:
            self.clock = at
            self.version += len(facts)
        return facts

    def ask(self, command: Command, now: int) -> tuple[Any, ...]:
        request = _request(command)
        if command.key in self.keys:
            first, version = self.keys[command.key]
            return ("repeat", version) if first == request else ("key taken", version)
        at = max(self.clock, now)
        answer = self._debit(command, at) if isinstance(command, Debit) else self._grant(command, at)
        if answer[0] in ("granted", "debited"):
            self.clock = at
            self.keys[command.key] = (request, self.version)
        return answer

    def _debit(self, command: Debit, at: int) -> tuple[Any, ...]:
        if self.version == 0:
            return ("unknown pool",)
        if command.occurred_at is not None:
            too_old = command.occurred_at < at - LIMITS.occurred_back_max_us and not command.backfill
            if too_old or command.occurred_at > at + LIMITS.occurred_ahead_max_us:
                return ("unfit", "occurred_at")
        wanted = command.amount
        if wanted > self.available:
            if not command.partial or self.available == 0:
                return ("insufficient", wanted, self.available)
            wanted = self.available
        missing, parts = wanted, []
        for credit in self.burn_order():
            if missing:
                part = min(missing, credit.left)
                credit.left -= part
                credit.spent += part
                missing -= part
                parts.append((credit.number, part))
        self.version += 1
        return ("debited", self.version, at, wanted, self.available, tuple(parts))

    def _grant(self, command: Grant, at: int) -> tuple[Any, ...]:
        starts = at if command.effective_at is None else command.effective_at
        if command.expires_at is not None and (command.expires_at <= at or command.expires_at <= starts):
            return ("unfit", "expires_at")
        if sum(credit.amount for credit in self.credits) + command.amount >= 2**63:
            return ("unfit", "amount")
        self.version += 1 if self.version else 2
        made = Credit(
            self.version,
            command.amount,
            command.priority,
            command.category,
            created=at,
            starts=starts,
            ends=command.expires_at,
            pending=starts > at,
            left=0 if starts > at else command.amount,
        )
        self.credits.append(made)
        return ("granted", self.version, at, command.amount, self.available)


def _request(command: Command) -> object:
    """What makes two requests the same: everything but ``backfill``."""
    values = msgspec.structs.asdict(command)
    values.pop("backfill", None)
    return (type(command), {name: bytes(v) if isinstance(v, msgspec.Raw) else v for name, v in values.items()})


def _fact(event: Event) -> tuple[Any, ...]:
    assert isinstance(event, (Activated, Expired))
    kind = "activated" if isinstance(event, Activated) else "expired"
    return (kind, event.at, event.grant, event.amount, event.balance, event.due_at)


def _said(outcome: Outcome, version: int) -> tuple[Any, ...]:
    """An outcome in the model's words. ``version`` is the pool's before it."""
    match outcome:
        case Repeat(_, first):
            return ("repeat", first)
        case KeyTaken(_, first):
            return ("key taken", first)
        case UnknownPool():
            return ("unknown pool",)
        case Insufficient(requested, available):
            return ("insufficient", requested, available)
        case Unfit(name):
            return ("unfit", name)
        case (*before, Debited() as event):
            assert not before
            return ("debited", version + 1, event.at, event.amount, event.balance, event.parts)
        case (*before, Granted() as event):
            assert [type(opened) for opened in before] == ([] if version else [Opened])
            return ("granted", version + 1 + len(before), event.at, event.amount, event.balance)
    raise AssertionError(outcome)


def everything(pool: Pool) -> tuple[Any, ...]:
    """All that can ever be seen of a pool, and what time will do to it. The heap's inner order is nobody's business."""
    scalars = {
        name: value
        for name, value in msgspec.structs.asdict(pool).items()
        if name not in ("blocks", "burn", "schedule")
    }
    blocks = [
        [bytes(value) if isinstance(value, msgspec.Raw) else value for value in msgspec.structs.astuple(block)]
        for block in pool.blocks.values()
    ]
    return (scalars, list(pool.blocks), blocks, [block.number for block in pool.burn], due(pool, FAR))


class Run:
    """A pool and its model, driven together and compared after every step."""

    def __init__(self) -> None:
        self.pool, self.model = Pool(), Model()
        self.journal: list[Event] = []
        self.priors: dict[str, Prior] = {}
        self.seen: Counter[str] = Counter()

    def step(self, now: int, command: Command) -> Outcome:
        facts = due(self.pool, now)
        assert [_fact(event) for event in facts] == self.model.pass_time(now)
        self._record(facts)
        before, version = everything(self.pool), self.pool.version
        outcome = decide(self.pool, command, now, prior=self.priors.get(command.key), limits=LIMITS)
        assert everything(self.pool) == before, "deciding must change nothing"
        said = _said(outcome, version)
        assert said == self.model.ask(command, now)
        self.seen[said[0] if said[0] != "debited" else f"debited from {min(len(said[5]), 3)}"] += 1
        if isinstance(outcome, tuple):
            self._record(outcome)
            self.priors[command.key] = (self._keyed(outcome), self.pool.version)
        elif isinstance(outcome, Repeat):
            assert outcome.event is self.priors[command.key][0]
            assert self.journal[outcome.version - 1] is outcome.event
        self.compare()
        return outcome

    def _keyed(self, events: tuple[Event, ...]) -> Granted | Debited:
        assert isinstance(events[-1], (Granted, Debited))
        return events[-1]

    def _record(self, events: tuple[Event, ...]) -> None:
        for event in events:
            assert event.at >= self.pool.clock, "the clock of a pool never runs backwards"
            before = everything(self.pool)
            evolved = evolve(self.pool, event)
            assert everything(self.pool) == before, "evolve must leave its argument alone"
            apply(self.pool, event)
            assert everything(evolved) == everything(self.pool)
            self.journal.append(event)
            self.seen[f"event {type(event).__name__}"] += 1

    def compare(self) -> None:
        pool, model = self.pool, self.model
        check_totals(pool)
        check_books(pool)
        live = [credit for credit in model.credits if not credit.pending]
        assert (pool.version, pool.clock) == (model.version, model.clock)
        assert pool.version == len(self.journal)
        assert pool.available == model.available
        assert pool.spent == sum(credit.spent for credit in model.credits)
        assert pool.expired == sum(credit.expired for credit in model.credits)
        assert pool.granted == sum(credit.amount for credit in live) <= UNITS_MAX
        assert pool.pending == sum(credit.amount for credit in model.credits if credit.pending)
        assert (pool.held, pool.voided, pool.moved_out) == (0, 0, 0)
        assert [block.number for block in pool.burn] == [credit.number for credit in model.burn_order()]
        assert [(block.number, block.available, block.spent, block.expired) for block in pool.blocks.values()] == [
            (credit.number, credit.left, credit.spent, credit.expired) for credit in model.credits
        ]
        # What stands first on the schedule is real, or every command would sort it for nothing.
        assert not pool.schedule or due(pool, pool.schedule[0][0])

    def finish(self, cut: int) -> None:
        """What was journalled is enough to get here again, with a snapshot made at any point of it."""
        expected = everything(self.pool)
        assert everything(fold(Pool(), self.journal)) == expected
        start = fold(Pool(), self.journal[:cut])
        saved = encode_pool(start)
        assert everything(fold(decode_pool(saved), self.journal[cut:])) == expected
        assert encode_pool(start) == saved, "fold must leave its argument alone"
        self._compare_views()

    def _compare_views(self) -> None:
        scale = Decimal(10) ** self.pool.scale
        balance = balance_of(self.pool, "acme")
        terms = balance.available + balance.held + balance.spent + balance.expired + balance.voided + balance.moved_out
        assert balance.granted == terms
        assert balance.available == self.model.available / scale
        total = Decimal(0)
        for version, event in enumerate(self.journal, 1):
            entry = entry_of(event, version, self.pool.scale)
            total += entry.change
            assert (entry.version, entry.balance) == (version, total)
        assert total == balance.available
        states = {view.id: view.state for view in grants_of(self.pool, "acme").grants}
        assert states == {f"g{credit.number}": _state(credit) for credit in self.model.credits}


def _state(credit: Credit) -> str:
    if credit.pending:
        return "pending"
    if credit.left:
        return "active"
    return "expired" if credit.expired else "depleted"


def script(random: Random, length: int) -> Iterable[tuple[int, Command]]:
    """Commands at times that mostly move on, with close times, amounts that often run out, and used keys."""
    now, huge = 1_000, random.random() < 0.2
    asked: list[Command] = []
    for number in range(length):
        now = max(0, now + random.choice([0, 0, 1, 3, 10, 40, 150, -1, -30]))
        how = random.random()
        if how < 0.1 and asked:
            command = random.choice(asked)
        else:
            key = random.choice(asked).key if how < 0.15 and asked else f"k{number}"
            command = random_command(random, key, now, huge=huge)
        asked.append(command)
        yield now, command


def random_command(random: Random, key: str, now: int, *, huge: bool) -> Command:
    def moment(likely: float) -> int | None:
        return now + random.choice([-50, -1, 0, 1, 5, 30, 100, 400]) if random.random() < likely else None

    if random.random() < 0.4:
        return Grant(
            key,
            random.choice([2**62, 2**63 - 1 - random.randrange(200)]) if huge else random.randint(1, 60),
            random.choice(["paid", "promotional"]),
            random.choice([0, 50, 50, 50, 100]),
            moment(0.4),
            moment(0.7),
        )
    return Debit(
        key,
        random.choice([1, 2, 5, 20, 80, 300]),
        random.random() < 0.3,
        moment(0.2),
        backfill=random.random() < 0.1,
        dimensions=random.choice([NO_DIMENSIONS, encode_dimensions({"model": "m"}, "dimensions")]),
    )


def test_long_random_scripts_do_what_the_model_does() -> None:
    seen: Counter[str] = Counter()
    for seed in range(120):
        random, run = Random(seed), Run()
        for now, command in script(random, 120):
            try:
                run.step(now, command)
            except AssertionError as error:
                error.add_note(f"seed {seed}, at {now}: {command}")
                raise
        run.finish(random.randint(0, len(run.journal)))
        seen += run.seen
    # The argument is only as good as the scripts: every answer and every event was among them, often.
    for kind in [
        "granted",
        "debited from 1",
        "debited from 2",
        "debited from 3",
        "insufficient",
        "unfit",
        "repeat",
        "key taken",
        "event Activated",
        "event Expired",
    ]:
        assert seen[kind] >= 200, (kind, seen)


steps = st.tuples(
    st.integers(-40, 200),
    st.builds(
        Grant,
        st.sampled_from(["a", "b", "c", "d", "e"]),
        st.integers(1, 30) | st.sampled_from([UNITS_MAX, UNITS_MAX - 30]),
        st.sampled_from(["paid", "promotional"]),
        st.sampled_from([0, 50, 100]),
        st.none() | st.integers(0, 500),
        st.none() | st.integers(0, 500),
    )
    | st.builds(
        Debit,
        st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]),
        st.integers(1, 80),
        st.booleans(),
        st.none() | st.integers(0, 500),
        backfill=st.booleans(),
    ),
)


@given(st.lists(steps, max_size=15), st.integers(0, 40))
@settings(max_examples=100)
def test_short_scripts_that_can_be_shrunk_do_what_the_model_does(commands: list[tuple[int, Command]], cut: int) -> None:
    run, now = Run(), 0
    for step, command in commands:
        now = max(0, now + step)
        run.step(now, command)
    run.finish(cut)


@given(st.integers(0, 2**32), st.lists(st.integers(0, 800), min_size=1, max_size=6))
@settings(max_examples=60)
def test_time_in_one_leap_does_what_it_does_in_steps(seed: int, pauses: list[int]) -> None:
    run = Run()
    for now, command in script(Random(seed), 12):
        run.step(now, command)
    end = run.pool.clock + sum(pauses)
    leap = due(run.pool, end)
    walked, now = list[Event](), run.pool.clock
    pool = clone(run.pool)
    for pause in pauses:
        now += pause
        facts = due(pool, now)
        for fact in facts:
            apply(pool, fact)
        walked += facts
        assert due(pool, now) == (), "what is due happens once"
    assert [_fact(fact)[2:] for fact in walked] == [_fact(fact)[2:] for fact in leap]
    assert [_fact(fact)[5] for fact in leap] == sorted(_fact(fact)[5] for fact in leap)


# By hand, a fact of the design each.


def accepted(pool: Pool, command: Command, now: int) -> Granted | Debited:
    """Apply ``command`` to ``pool`` at ``now``; it must be accepted."""
    for fact in due(pool, now):
        apply(pool, fact)
    outcome = decide(pool, command, now)
    assert isinstance(outcome, tuple), outcome
    for event in outcome:
        apply(pool, event)
    check_books(pool)
    last = outcome[-1]
    assert isinstance(last, (Granted, Debited))
    return last


def burned(*grants: Grant, at: Iterable[int] = (), spend_at: int = 1_000) -> list[str]:
    """The keys of ``grants``, each granted at its time of ``at`` (default 100), in the order in which they burn."""
    pool = Pool()
    times = list(at) or [100] * len(grants)
    for moment, grant in zip(times, grants, strict=True):
        accepted(pool, grant, moment)
    total = sum(grant.amount for grant in grants)
    debit = accepted(pool, Debit("all", total), spend_at)
    assert isinstance(debit, Debited)
    assert pool.available == 0
    return [pool.blocks[number].key for number, _ in debit.parts]


def test_lower_priority_burns_before_everything_else() -> None:
    late = Grant("late", 1, "promotional", 51, 200, 2_000)
    assert burned(late, Grant("low", 1, "paid", 50)) == ["low", "late"]
    assert burned(Grant("100", 1, priority=100), Grant("0", 1, priority=0)) == ["0", "100"]


def test_what_expires_sooner_burns_sooner_and_what_never_expires_last() -> None:
    grants = [
        Grant("never", 1, "promotional"),
        Grant("late", 1, "promotional", expires_at=5_000),
        Grant("soon", 1, "paid", expires_at=4_999),
    ]
    assert burned(*grants) == ["soon", "late", "never"]


def test_promotional_burns_before_paid_when_both_expire_together() -> None:
    grants = [Grant("paid", 1, "paid", 50, 150, 5_000), Grant("gift", 1, "promotional", 50, 200, 5_000)]
    assert burned(*grants) == ["gift", "paid"]
    assert burned(Grant("paid", 1, "paid"), Grant("gift", 1, "promotional")) == ["gift", "paid"]


def test_what_took_effect_earlier_burns_before_what_was_created_earlier() -> None:
    assert burned(Grant("b", 1, effective_at=300), Grant("a", 1, effective_at=200), at=[100, 150]) == ["a", "b"]
    assert burned(Grant("b", 1), Grant("a", 1, effective_at=90), at=[100, 101]) == ["a", "b"]


def test_what_was_created_earlier_burns_before_and_then_the_journal_decides() -> None:
    later = Grant("later", 1, effective_at=500)
    earlier = Grant("earlier", 1, effective_at=500)
    assert burned(earlier, later, at=[100, 101]) == ["earlier", "later"]
    assert burned(Grant("x", 1), Grant("a", 1), Grant("m", 1)) == ["x", "a", "m"]


def test_only_active_grants_burn() -> None:
    pool = Pool()
    accepted(pool, Grant("soon", 5, priority=0, effective_at=200), 100)
    accepted(pool, Grant("short", 5, priority=0, expires_at=150), 100)
    accepted(pool, Grant("plain", 5), 100)
    debit = accepted(pool, Debit("d", 2), 150)
    assert isinstance(debit, Debited)
    assert [pool.blocks[number].key for number, _ in debit.parts] == ["plain"]
    assert (pool.available, pool.expired, pool.pending) == (3, 5, 5)


def test_ranges_are_half_open() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5, effective_at=200, expires_at=300), 100)
    assert due(pool, 199) == ()
    assert [type(fact) for fact in due(pool, 200)] == [Activated]
    accepted(pool, Debit("d1", 1), 200)
    accepted(pool, Debit("d2", 1), 299)
    assert due(pool, 299) == ()
    assert [_fact(fact) for fact in due(pool, 300)] == [("expired", 300, 2, 3, 0, 300)]


def test_a_grant_can_take_effect_and_expire_while_nobody_looked() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5, effective_at=200, expires_at=300), 100)
    facts = due(pool, 10_000)
    assert [_fact(fact) for fact in facts] == [
        ("activated", 10_000, 2, 5, 5, 200),
        ("expired", 10_000, 2, 5, 0, 300),
    ]
    after = fold(pool, facts)
    check_books(after)
    assert (after.granted, after.expired, after.available, after.pending) == (5, 5, 0, 0)


def test_a_depleted_grant_does_not_expire() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5, expires_at=300), 100)
    accepted(pool, Debit("d", 5), 200)
    assert due(pool, FAR) == ()


def test_a_clock_that_is_set_back_does_not_set_the_pool_back() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5), 1_000)
    debit = accepted(pool, Debit("d", 1), 400)
    grant = accepted(pool, Grant("h", 5, effective_at=900, expires_at=1_001), 500)
    assert (debit.at, grant.at, pool.clock) == (1_000, 1_000, 1_000)
    assert pool.available == 9, "a grant that starts before the pool's own time is active at once"
    assert isinstance(decide(pool, Grant("i", 5, expires_at=1_000), 500), Unfit)


def test_a_refusal_leaves_no_trace_and_does_not_use_up_its_key() -> None:
    pool = Pool()
    debit = Debit("d", 8)
    assert isinstance(decide(pool, debit, 50), UnknownPool)
    accepted(pool, Grant("g", 5), 100)
    before = encode_pool(pool)
    assert decide(pool, debit, 200) == Insufficient(8, 5)
    assert encode_pool(pool) == before
    accepted(pool, Grant("top-up", 3), 300)
    assert accepted(pool, debit, 400).amount == 8


def test_a_debit_is_all_or_nothing_unless_it_may_be_partial() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5), 100)
    accepted(pool, Grant("h", 2, priority=0), 100)
    assert decide(pool, Debit("d", 8), 100) == Insufficient(8, 7)
    partial = accepted(pool, Debit("d", 8, True), 100)
    assert isinstance(partial, Debited)
    assert (partial.amount, partial.requested, partial.balance, partial.parts) == (7, 8, 0, ((3, 2), (2, 5)))
    assert decide(pool, Debit("e", 8, True), 100) == Insufficient(8, 0)


def test_a_partial_debit_repeated_after_a_top_up_answers_as_the_first_time() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5), 100)
    request = Debit("d", 8, True)
    first = accepted(pool, request, 100)
    prior = (first, pool.version)
    accepted(pool, Grant("top-up", 100), 200)
    assert decide(pool, request, 300, prior=prior) == Repeat(first, 3)


FIRST_GRANT = Grant("k", 5, "paid", 50, 100, 900, None, "name", "comment", encode_dimensions({"a": 1}, "m"))
FIRST_DEBIT = Debit("k", 5, False, 100, "tokens", "1.5", encode_dimensions({"a": 1}, "d"))


@pytest.mark.parametrize(
    ("first", "changed"),
    [
        (FIRST_GRANT, {"amount": 6}),
        (FIRST_GRANT, {"category": "promotional"}),
        (FIRST_GRANT, {"priority": 51}),
        (FIRST_GRANT, {"effective_at": None}),
        (FIRST_GRANT, {"effective_at": 101}),
        (FIRST_GRANT, {"expires_at": None}),
        (FIRST_GRANT, {"expires_at": 901}),
        (FIRST_GRANT, {"cost_basis": ("1", "USD")}),
        (FIRST_GRANT, {"name": None}),
        (FIRST_GRANT, {"comment": "other"}),
        (FIRST_GRANT, {"metadata": encode_dimensions({"a": True}, "m")}),
        (FIRST_DEBIT, {"amount": 4}),
        (FIRST_DEBIT, {"partial": True}),
        (FIRST_DEBIT, {"occurred_at": None}),
        (FIRST_DEBIT, {"occurred_at": 101}),
        (FIRST_DEBIT, {"metric": None}),
        (FIRST_DEBIT, {"quantity": "1.6"}),
        (FIRST_DEBIT, {"dimensions": encode_dimensions({"a": 1.0}, "d")}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else type(value).__name__,
)
def test_a_key_answers_for_exactly_one_request(first: Command, changed: dict[str, Any]) -> None:
    pool = Pool()
    accepted(pool, Grant("enough", 100), 100)
    event = accepted(pool, first, 100)
    prior = (event, pool.version)
    copy = msgspec.structs.replace(first)
    assert decide(pool, copy, 5_000, prior=prior) == Repeat(event, pool.version)
    other = msgspec.structs.replace(first, **changed)
    assert decide(pool, other, 100, prior=prior) == KeyTaken("k", pool.version)
    swapped: Command = Grant("k", first.amount) if isinstance(first, Debit) else Debit("k", first.amount)
    assert decide(pool, swapped, 100, prior=prior) == KeyTaken("k", pool.version)


def test_a_backfilled_debit_is_the_same_request_without_the_flag() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 100), 10**9)
    old = Debit("d", 1, occurred_at=0, backfill=True)
    tight = Limits(occurred_back_max_us=10, occurred_ahead_max_us=10)
    assert isinstance(decide(pool, msgspec.structs.replace(old, backfill=False), 10**9, limits=tight), Unfit)
    outcome = decide(pool, old, 10**9, limits=tight)
    assert isinstance(outcome, tuple)
    event = outcome[0]
    assert isinstance(event, Debited)
    plain = msgspec.structs.replace(old, backfill=False)
    assert decide(pool, plain, 10**9, prior=(event, 3), limits=tight) == Repeat(event, 3)


@pytest.mark.parametrize(
    ("occurred_at", "fits"), [(939, False), (940, True), (1_000, True), (1_020, True), (1_021, False)]
)
def test_a_usage_event_lies_within_the_limits_of_the_pools_clock(occurred_at: int, fits: bool) -> None:
    pool = Pool()
    accepted(pool, Grant("g", 100), 1_000)
    for now in (1_000, 10):
        outcome = decide(pool, Debit("d", 1, occurred_at=occurred_at), now, limits=LIMITS)
        assert isinstance(outcome, tuple) == fits
        assert isinstance(outcome, Unfit) != fits


def test_the_usual_limits_are_400_days_back_and_5_minutes_ahead() -> None:
    limits = Limits()
    assert limits.occurred_back_max_us == 400 * 24 * 3600 * 10**6
    assert limits.occurred_ahead_max_us == 5 * 60 * 10**6


def test_grants_stay_within_63_bits_together_even_those_that_are_spent_expired_or_pending() -> None:
    pool = Pool()
    accepted(pool, Grant("spent", 2**62), 100)
    accepted(pool, Debit("d", 2**62), 100)
    accepted(pool, Grant("expired", 2**61, expires_at=200), 100)
    accepted(pool, Grant("pending", 2**60, effective_at=10_000), 300)
    assert (pool.spent, pool.expired, pool.pending, pool.available) == (2**62, 2**61, 2**60, 0)
    room = 2**63 - 1 - 2**62 - 2**61 - 2**60
    refused = decide(pool, Grant("more", room + 1), 300)
    assert isinstance(refused, Unfit)
    assert refused.field == "amount"
    assert str(room) in refused.expected
    accepted(pool, Grant("more", room), 300)
    assert pool.granted + pool.pending == UNITS_MAX
    assert isinstance(decide(pool, Grant("one", 1), 300), Unfit)
    check_books(fold(pool, due(pool, 10_000)))
    assert decode_pool(encode_pool(pool)).granted == pool.granted


def test_the_first_grant_opens_the_pool_in_its_scale_and_later_ones_keep_it() -> None:
    pool = Pool()
    outcome = decide(pool, Grant("g", 5), 7, scale=3)
    assert isinstance(outcome, tuple)
    assert [type(event) for event in outcome] == [Opened, Granted]
    pool = fold(pool, outcome)
    assert (pool.scale, pool.version) == (3, 2)
    again = decide(pool, Grant("h", 5), 8, scale=9)
    assert isinstance(again, tuple)
    assert [type(event) for event in again] == [Granted]


@pytest.mark.parametrize("term", ["available", "held", "spent", "expired", "voided", "moved_out", "granted", "pending"])
@pytest.mark.parametrize("by", [1, -1, -1_000])
def test_books_that_do_not_balance_are_noticed(term: str, by: int) -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10), 100)
    accepted(pool, Grant("h", 10, effective_at=500), 100)
    accepted(pool, Debit("d", 3), 100)
    setattr(pool, term, getattr(pool, term) + by)
    with pytest.raises(BrokenInvariant):
        check_books(pool)
    if term != "pending" or pool.pending < 0:
        with pytest.raises(BrokenInvariant):
            check_totals(pool)


@pytest.mark.parametrize("term", ["available", "spent", "expired", "amount", "held"])
def test_a_grant_that_does_not_balance_is_noticed_even_if_the_pool_does(term: str) -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10), 100)
    accepted(pool, Grant("h", 10), 100)
    for block, by in zip(pool.blocks.values(), (1, -1), strict=True):
        setattr(block, term, getattr(block, term) + by)
    check_totals(pool)
    with pytest.raises(BrokenInvariant):
        check_books(pool)


def test_a_wrong_burn_order_is_noticed() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10), 100)
    accepted(pool, Grant("h", 10), 100)
    pool.burn.reverse()
    with pytest.raises(BrokenInvariant):
        check_books(pool)


def test_a_clone_shares_nothing_that_changes() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10, expires_at=900), 100)
    before = everything(pool)
    copy = clone(pool)
    accepted(copy, Debit("d", 10), 200)
    accepted(copy, Grant("h", 10, effective_at=800), 200)
    assert everything(pool) == before
