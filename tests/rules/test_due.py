"""What time does to a pool: ranges are half-open, nothing happens twice, and no clock is set back."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine.rules.commands import Debit, Grant, Hold
from solvent.engine.rules.decide import decide
from solvent.engine.rules.due import due, pass_time
from solvent.engine.rules.events import Activated, Debited, Event, Expired, Granted
from solvent.engine.rules.evolve import fold
from solvent.engine.rules.outcomes import Unfit
from solvent.engine.rules.pool import Pool, check_books, clone

from .conftest import accepted

FAR = 10**15


def fact(event: Event) -> tuple[Any, ...]:
    """What happened to which grant, how much of it, what is left, and when it was due."""
    assert isinstance(event, (Activated, Expired))
    return type(event), event.at, event.grant, event.amount, event.balance, event.due_at


def test_ranges_are_half_open() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5, effective_at=200, expires_at=300), 100, Granted)
    assert due(pool, 199) == ()
    assert [type(event) for event in due(pool, 200)] == [Activated]
    accepted(pool, Debit("d1", 1), 200, Debited)
    accepted(pool, Debit("d2", 1), 299, Debited)
    assert due(pool, 299) == ()
    assert [fact(event) for event in due(pool, 300)] == [(Expired, 300, 2, 3, 0, 300)]


def test_a_grant_can_take_effect_and_expire_while_nobody_looked() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5, effective_at=200, expires_at=300), 100, Granted)
    facts = due(pool, 10_000)
    assert [fact(event) for event in facts] == [
        (Activated, 10_000, 2, 5, 5, 200),
        (Expired, 10_000, 2, 5, 0, 300),
    ]
    after = fold(pool, facts)
    check_books(after)
    assert (after.granted, after.expired, after.available, after.pending) == (5, 5, 0, 0)


def test_a_depleted_grant_does_not_expire() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5, expires_at=300), 100, Granted)
    accepted(pool, Debit("d", 5), 200, Debited)
    assert due(pool, FAR) == ()


def test_a_clock_that_is_set_back_does_not_set_the_pool_back() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5), 1_000, Granted)
    debit = accepted(pool, Debit("d", 1), 400, Debited)
    grant = accepted(pool, Grant("h", 5, effective_at=900, expires_at=1_001), 500, Granted)
    assert (debit.at, grant.at, pool.clock) == (1_000, 1_000, 1_000)
    assert pool.available == 9, "a grant that starts before the pool's own time is active at once"
    assert isinstance(decide(pool, Grant("i", 5, expires_at=1_000), 500), Unfit)


moments = st.none() | st.integers(1, 400)


@given(
    st.lists(st.tuples(st.integers(1, 9), moments, moments), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 400)), max_size=4),
    st.lists(st.integers(0, 300), min_size=1, max_size=6),
)
@settings(max_examples=100)
def test_time_in_one_leap_does_what_it_does_in_steps(
    grants: list[tuple[int, int | None, int | None]], holds: list[tuple[int, int]], pauses: list[int]
) -> None:
    pool = Pool()
    accepted(pool, Grant("first", 20), 100, Granted)
    for number, (amount, starts, lasts) in enumerate(grants):
        begins = 100 + (starts or 0)
        ends = None if lasts is None else begins + lasts
        accepted(pool, Grant(f"g{number}", amount, "paid", 50, begins, ends), 100, Granted)
    for number, (amount, ttl) in enumerate(holds):
        outcome = decide(pool, Hold(f"h{number}", amount, ttl), 100)
        if isinstance(outcome, tuple):
            pool = fold(pool, outcome)
    end = 100 + sum(pauses)
    leap = due(pool, end)
    walking, now, walked = clone(pool), 100, list[Event]()
    for pause in pauses:
        now += pause
        walked += pass_time(walking, now)
        assert due(walking, now) == (), "what is due happens once"
    assert places(walking) == places(fold(pool, leap))
    if not holds:
        # What comes back from a hold lapses in a leap, where it stays for a while in steps.
        assert [fact(event)[2:] for event in walked] == [fact(event)[2:] for event in leap]
        dates = [fact(event)[5] for event in leap]
        assert dates == sorted(dates)


def places(pool: Pool) -> list[tuple[int, ...]]:
    """Return where the credits of each grant are."""
    check_books(pool)
    return [
        (block.number, block.available, block.held, block.spent, block.expired, block.voided)
        for block in pool.blocks.values()
    ]
