"""A cap on roll-over is a cap, on every way in which credits of ended periods come back."""

from __future__ import annotations

import msgspec
import pytest

from solvent.engine.audit.plain_rules import Difference, PlainPool
from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.commands import (
    CancelRecurring,
    Capture,
    Debit,
    Hold,
    OpenPool,
    Release,
    Reverse,
    SetRecurring,
    Transfer,
    VoidGrant,
)
from solvent.engine.rules.decide import decide
from solvent.engine.rules.decisions.debits import completed
from solvent.engine.rules.decisions.transfers import receive
from solvent.engine.rules.due import pass_time
from solvent.engine.rules.events import (
    Debited,
    Event,
    Granted,
    Held,
    MovedOut,
    RecurringEnded,
    RecurringSet,
    Released,
    Trimmed,
)
from solvent.engine.rules.evolve import apply, fold
from solvent.engine.rules.pool import Pool, check_books
from solvent.engine.rules.recurring import RecurringTerms
from solvent.engine.rules.views.ledger import entry_of
from solvent.engine.rules.views.receipts import receipt_of
from solvent.engine.values.times import DAY_US, SECOND_US

HOUR_US = 3_600 * SECOND_US
BEGIN = 20_000 * DAY_US


class Account:
    """A pool whose time a test lets pass, judged by the plain rules."""

    def __init__(self, name: str = "acme") -> None:
        self.name = name
        self.pool = Pool()
        self.plain = PlainPool()
        self.events: list[Event] = []
        self.now = BEGIN

    def passes(self, **span: float) -> int:
        """Let time pass, and return what is available then."""
        self.now += int(span.get("days", 0) * DAY_US + span.get("hours", 0) * HOUR_US)
        self.happened(pass_time(self.pool, self.now))
        return self.pool.available

    def ask(self, command: object) -> tuple[Event, ...]:
        self.passes()
        if isinstance(command, Reverse):
            command = completed(command, self.events[command.debit - 1])
        outcome = decide(self.pool, command, self.now)  # type: ignore[arg-type]
        assert isinstance(outcome, tuple), outcome
        for event in outcome:
            apply(self.pool, event)
        self.happened(outcome)
        self.passes()
        return outcome

    def happened(self, events: tuple[Event, ...] | list[Event]) -> None:
        for event in events:
            self.plain.happen(event, frame=1)
        self.events += events
        self.plain.finish()
        check_books(self.pool)
        assert encode_pool(fold(Pool(), self.events)) == encode_pool(self.pool)
        self.pool = decode_pool(encode_pool(self.pool))

    def move(self, other: Account, amount: int, key: str) -> tuple[Event, ...]:
        """Move credits to another account. Returns what happens there."""
        other.now = max(other.now, self.now)
        other.passes()
        moved = self.ask(Transfer(key, amount, other.name))[0]
        assert isinstance(moved, MovedOut)
        arrived = receive(other.pool, self.pool, self.name, moved, other.now, scale=6)
        assert isinstance(arrived, tuple)
        for event in arrived:
            apply(other.pool, event)
        other.happened(arrived)
        return arrived


def plan(
    roll_over: int | None = 30, *, name: str = "plan", amount: int = 100, ends_at: int | None = None
) -> SetRecurring:
    return SetRecurring(RecurringTerms(name, amount, "day", roll_over=roll_over, ends_at=ends_at))


@pytest.fixture
def account() -> Account:
    account = Account()
    account.ask(plan())
    return account


def test_everything_held_over_midnight_and_released_after_is_cut_to_the_cap(account: Account) -> None:
    account.passes(hours=23)
    for day in range(5):
        number = len(account.events) + 1
        account.ask(Hold(f"h{day}", account.pool.available, ttl=DAY_US))
        assert account.passes(hours=2) == 100
        released, *trimmed = account.ask(Release(number))
        assert isinstance(released, Released)
        assert account.pool.available == 130
        assert released.lapsed == sum(event.amount for event in trimmed if isinstance(event, Trimmed))
        receipt = receipt_of(released, 1, 0, replayed=False)
        assert (receipt.lapsed, receipt.balance) == (released.lapsed, 130)
        assert entry_of(trimmed[0], 1, 0).kind == "roll_over_expiry"
        account.passes(hours=22)


@pytest.mark.parametrize("captured", [1, 20])
def test_a_hold_over_midnight_of_which_a_part_is_captured(account: Account, captured: int) -> None:
    account.passes(hours=12)
    account.ask(Hold("h", 60, ttl=DAY_US))
    assert account.passes(hours=13) == 130
    account.ask(Capture(len(account.events) - 2, captured))
    assert account.pool.available == 130
    assert account.passes(days=1) == 130


def test_a_hold_that_expires_by_itself_even_two_boundaries_later(account: Account) -> None:
    account.passes(hours=20)
    account.ask(Hold("h", 60, ttl=DAY_US))
    assert account.passes(hours=5) == 130
    assert account.passes(hours=20) == 130
    account.ask(Hold("two", 130, ttl=DAY_US))
    account.passes(days=1)
    assert account.passes(days=1) == 130


def test_a_reversal_after_midnight(account: Account) -> None:
    account.ask(Debit("d", 100))
    assert account.passes(days=1) == 100
    account.ask(Reverse("r", 4, amount=20))
    assert account.pool.available == 120
    account.ask(Reverse("s", 4))
    assert account.pool.available == 130


def test_what_fits_under_the_cap_comes_back(account: Account) -> None:
    account.ask(Debit("d", 95))
    account.ask(Hold("h", 5, ttl=DAY_US))
    account.passes(hours=25)
    # The hold has expired: its 5 stand, as they would have.
    assert account.pool.available == 105


@pytest.mark.parametrize("roll_over", [0, 10])
def test_a_lower_cap_holds_at_once_for_what_stands(account: Account, roll_over: int) -> None:
    assert account.passes(days=1) == 130
    account.ask(plan(roll_over))
    assert account.pool.available == 100 + roll_over
    assert account.passes(days=1) == 100 + roll_over
    assert account.passes(days=1) == 100 + roll_over


def test_all_then_a_number_then_none() -> None:
    account = Account()
    account.ask(plan(None))
    assert account.passes(days=2) == 300
    account.ask(plan(50))
    assert account.pool.available == 150
    account.ask(plan(0))
    assert account.pool.available == 100
    assert account.passes(days=1) == 100


def test_a_plan_that_is_cancelled_leaves_its_period_and_then_what_may_roll_over(account: Account) -> None:
    assert account.passes(days=1, hours=1) == 130
    account.ask(Hold("h", 40, ttl=DAY_US))
    account.ask(CancelRecurring("plan"))
    assert account.pool.available == 90
    assert account.passes(hours=23) == 30
    # The hold expires an hour later.
    assert account.passes(days=3) == 30


def test_a_plan_with_an_end_leaves_what_may_roll_over() -> None:
    account = Account()
    account.ask(plan(ends_at=BEGIN + 2 * DAY_US))
    assert account.passes(days=1) == 130
    assert account.passes(hours=23) == 130
    assert account.passes(hours=1) == 30


def test_a_plan_that_is_cancelled_with_nothing_left_has_nothing_to_come_back_to(account: Account) -> None:
    account.ask(Debit("d", 100))
    account.ask(CancelRecurring("plan"))
    account.passes(days=2)
    account.ask(Reverse("r", 4))
    assert account.pool.available == 30


def test_each_plan_has_its_own_cap(account: Account) -> None:
    account.ask(plan(10, name="seat", amount=20))
    account.ask(Hold("h", 120, ttl=DAY_US))
    number = len(account.events)
    account.passes(hours=1)
    account.passes(hours=23)
    assert number not in account.pool.holds
    assert account.pool.available == 160


def test_a_hold_of_several_periods_is_given_back_up_to_the_cap(account: Account) -> None:
    account.passes(days=1, hours=23)
    held = account.ask(Hold("h", 130, ttl=DAY_US))[0]
    assert isinstance(held, Held)
    assert [part for _, part in held.parts] == [30, 100]
    number = len(account.events)
    account.passes(hours=2)
    assert account.pool.available == 100
    _, *trimmed = account.ask(Release(number))
    assert [(event.grant, event.amount) for event in trimmed if isinstance(event, Trimmed)] == [(held.parts[1][0], 100)]
    assert account.pool.available == 130


def test_credits_of_a_grant_that_was_voided_stay_voided_and_do_not_count(account: Account) -> None:
    account.ask(Hold("h", 60, ttl=DAY_US))
    number = len(account.events)
    account.ask(VoidGrant(3))
    account.passes(hours=1)
    account.ask(Release(number))
    assert (account.pool.available, account.pool.voided) == (0, 100)


def test_moved_away_and_back_is_cut_to_the_cap(account: Account) -> None:
    other, third = Account("acme/other"), Account("acme/third")
    account.move(other, 100, "there")
    assert account.passes(days=1) == 100
    other.now = account.now
    assert other.passes() == 100
    other.move(third, 60, "on")
    arrived = third.move(account, 50, "home")
    assert account.pool.available == 130
    assert [event.amount for event in arrived if isinstance(event, Trimmed)] == [20]
    other.move(account, 40, "home too")
    assert account.pool.available == 130
    assert account.passes(days=1) == 130


def test_what_comes_back_within_its_period_is_whole(account: Account) -> None:
    other = Account("acme/other")
    account.move(other, 100, "there")
    other.move(account, 100, "back")
    assert account.pool.available == 100
    assert account.passes(days=1) == 130


def test_a_plan_of_an_older_version_is_cut_from_its_next_grant_on() -> None:
    """Its grants do not say when their periods end."""
    old: list[Event] = [
        *decided(OpenPool()),
        RecurringSet(BEGIN, 0, 0, plan(30).terms, BEGIN, BEGIN),
        granted(2, 100, BEGIN, BEGIN + DAY_US),
    ]
    account = Account()
    for event in old:
        apply(account.pool, event)
        account.plain.happen(event, frame=1, rules=1)
    account.events += old
    account.ask(Hold("h", 100, ttl=DAY_US))
    account.passes(hours=30)
    assert account.pool.available == 130
    account.ask(CancelRecurring("plan"))
    assert account.passes(days=1) == 30


def test_a_plan_of_an_older_version_that_is_cancelled_before_its_next_grant() -> None:
    account = Account()
    old = [*decided(OpenPool()), RecurringSet(BEGIN, 0, 0, plan(30).terms, BEGIN, BEGIN)]
    for event in [*old, granted(2, 100, BEGIN, BEGIN + DAY_US)]:
        apply(account.pool, event)
        account.plain.happen(event, frame=1, rules=1)
        account.events.append(event)
    (ended,) = account.ask(CancelRecurring("plan"))
    assert isinstance(ended, RecurringEnded)
    assert ended.until == BEGIN + DAY_US
    assert account.passes(days=1) == 30


def test_what_an_older_version_cancelled_stays_as_it_was() -> None:
    account = Account()
    old = [*decided(OpenPool()), RecurringSet(BEGIN, 0, 0, plan(30).terms, BEGIN, BEGIN)]
    cancelled = RecurringEnded(BEGIN, 2, 100, "plan")
    for event in [*old, granted(2, 100, BEGIN, BEGIN + DAY_US), cancelled]:
        apply(account.pool, event)
        account.plain.happen(event, frame=1, rules=1)
        account.events.append(event)
    assert account.passes(days=9) == 100


def decided(command: OpenPool) -> tuple[Event, ...]:
    outcome = decide(Pool(), command, BEGIN)
    assert isinstance(outcome, tuple)
    return outcome


def granted(plan: int, amount: int, at: int, next_at: int) -> Granted:
    """As an older version granted it."""
    key = f"\x01recurring:{plan}:{at}"
    return Granted(at, key, amount, amount, "paid", 50, at, None, recurring=plan, next_at=next_at)


@pytest.mark.parametrize("lie", ["kept", "cut too much", "cut too early"])
def test_the_plain_rules_find_a_journal_that_breaks_the_rule(account: Account, lie: str) -> None:
    account.ask(Hold("h", 60, ttl=DAY_US))
    number = len(account.events)
    if lie == "cut too early":
        with pytest.raises(Difference, match="no roll-over to be cut to"):
            account.plain.happen(Trimmed(account.now, 3, 1, 39), frame=1)
        return
    events = list(account.events)
    late = BEGIN + DAY_US + 1
    released = Released(late, number, 60, 190, ((3, 60),), 0)
    plain = PlainPool()
    hold = events[number - 1]
    assert isinstance(hold, Held)
    events[number - 1] = msgspec.structs.replace(hold, expires_at=late + 1)
    for event in events:
        plain.happen(event, frame=1)
    grant = msgspec.structs.replace(granted(2, 100, BEGIN + DAY_US, BEGIN + 2 * DAY_US), period_end=BEGIN + 2 * DAY_US)
    plain.happen(Trimmed(BEGIN + DAY_US, 3, 10, 30), frame=1)
    plain.happen(msgspec.structs.replace(grant, balance=130), frame=1)
    plain.happen(released, frame=1)
    if lie == "kept":
        with pytest.raises(Difference, match="90 of p2 stand from ended periods, 30 may"):
            plain.happen(Debited(late, "d", 1, 189, ((3, 1),), 1, False), frame=1)
        return
    with pytest.raises(Difference, match="61 are cut, 90 stand"):
        plain.happen(Trimmed(late, 3, 61, 129), frame=1)
