"""``verify`` against journals that somebody made up: each lie is found, and named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from solvent.engine.audit.verify import verify_journal
from solvent.engine.journal.frames import NO_HEAD, FrameBuilder, Head
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.rules.budgets import BudgetTerms, Charge
from solvent.engine.rules.events import (
    Activated,
    Alerted,
    BudgetSet,
    Captured,
    Cut,
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
    RechargeClosed,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Trimmed,
    Updated,
    Voided,
)
from solvent.engine.rules.recurring import RecurringTerms
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.engine.values.dimensions import NO_DIMENSIONS
from solvent.engine.values.times import DAY_US

ACME, WEB = "default@acme:credits", "default@acme/web:credits"


def granted(amount: int, balance: int, key: str = "g") -> Granted:
    return Granted(1, key, amount, balance, "paid", 50, None, None)


def debited(key: str, amount: int, balance: int, *parts: tuple[int, int]) -> Debited:
    return Debited(2, key, amount, balance, parts, amount, False)


def arrived(amount: int, key: str = "t") -> MovedIn:
    return MovedIn(2, ACME, 2, key, amount, amount, "paid", 50, 1, 1, None, None, None, None, NO_DIMENSIONS)


START: list[Event] = [Opened(1, 6), granted(5, 5)]
TWO: list[Event] = [*START, granted(5, 10, "g2")]
HELD: list[Event] = [*START, Held(2, "h", 3, 2, ((2, 3),), 99)]


TERMS = RecurringTerms("p", 5, "day", roll_over=3)
PERIOD = Granted(1, "\x01p", 5, 5, "paid", 50, 1, None, recurring=2, next_at=11, period_end=11)
PLAN: list[Event] = [Opened(1, 6), RecurringSet(1, 0, 0, TERMS, 1, 1), PERIOD]


def next_period(at: int) -> Granted:
    return msgspec.structs.replace(PERIOD, at=at, effective_at=at, key="next", balance=10)


LATE = Debited(9, "late", 1, 3, ((2, 1),), 1, False)
CHARGED = Debited(2, "d", 2, 3, ((2, 2),), 2, False, charges=(Charge(3, b"", 0),))


async def problems(directory: Path, *frames: dict[str, list[Event]]) -> list[str]:
    """What ``verify`` finds in a journal of these frames, which is chained as it should be."""
    directory.mkdir(exist_ok=True)
    journal = await SqliteJournal.open(directory / JOURNAL_NAME)
    heads: dict[str, Head] = {}
    try:
        for number, sections in enumerate(frames, 1):
            builder = FrameBuilder(number)
            for pool, events in sections.items():
                heads[pool] = builder.add(pool, heads.get(pool, NO_HEAD), events)
            await journal.append(builder.seal(number))
    finally:
        await journal.aclose()
    return verify_journal(directory).problems


async def test_an_honest_journal_has_no_problems(tmp_path: Path) -> None:
    honest: list[Event] = [
        *TWO,
        debited("d", 6, 4, (2, 5), (3, 1)),
        Held(3, "h", 2, 2, ((3, 2),), 99),
        Extended(3, "e", 5, 2, 500),
        Captured(4, 5, 3, 1, ((3, 2),), ((3, 1),), (), 0, 0),
        Reversed(5, "r", 4, 1, 2, ((3, 1),), 0),
        BudgetSet(6, 0, 2, BudgetTerms("b", 5, "day")),
        Voided(7, 3, 2, 0),
    ]
    assert await problems(tmp_path, {ACME: honest}) == []


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([*START, debited("d", 6, -1, (2, 6))], "overdraft"),
        ([*START, Held(2, "h", 6, -1, ((2, 6),), 99)], "overdraft"),
        ([*START, MovedOut(2, "t", 6, -1, ((2, 6),), WEB)], "overdraft"),
        ([*HELD, Captured(3, 3, 6, -1, ((2, 3),), ((2, 3),), (), 0, 0)], "overdraft"),
        ([*TWO, debited("d", 2, 8, (3, 2))], "burn order"),
        ([*TWO, Held(2, "h", 2, 8, ((3, 2),), 99)], "burn order"),
        ([*START, debited("d", 2, 4, (2, 2))], "gives the balance as"),
        ([*HELD, Released(3, 3, 3, 6, ((2, 3),), 0)], "gives the balance as"),
        ([*START, debited("d", 1, 4, (2, 1)), debited("d", 1, 3, (2, 1))], "second time"),
        ([*HELD, Released(3, 3, 3, 5, ((2, 3),), 0), Released(4, 3, 3, 8, ((2, 3),), 0)], ""),
        ([*START, Reversed(2, "r", 3, 1, 6, ((2, 1),), 0)], "no debit d3"),
        ([*START, Voided(2, 2, 6, -1)], "5 are left"),
        ([*START, debited("d", 1, 4, (2, 1)), Reversed(3, "r", 3, 2, 6, ((2, 2),), 0)], "1 are not yet"),
        ([*TWO, debited("d", 6, 4, (2, 5), (3, 1)), Reversed(3, "r", 4, 1, 5, ((2, 1),), 0)], "it was paid by"),
        ([*HELD, Captured(3, 3, 2, 2, ((2, 2),), (), (), 0, 0)], "and returned"),
        ([*HELD, Captured(100, 3, 3, 2, ((2, 3),), (), (), 0, 0)], "after it expired"),
        ([*HELD, Released(50, 3, 3, 5, ((2, 3),), 0, 99)], "does not expire then"),
        ([*HELD, Extended(3, "e", 3, 2, 500), Released(99, 3, 3, 5, ((2, 3),), 0, 99)], "does not expire then"),
        ([*HELD, Extended(3, "e", 3, 2, 98)], "cannot be extended"),
        ([*HELD, Extended(3, "e", 3, 2, DAY_US + 4)], "cannot be extended"),
        ([*HELD, Extended(3, "e", 3, 2, 500, 7)], "than was asked for"),
        ([*HELD, Extended(99, "e", 3, 2, 500)], "not open"),
        ([*HELD, Extended(3, "e", 9, 2, 500)], "not open"),
        ([*START, Expired(2, 2, 5, 0, 2)], "does not expire then"),
        ([Opened(1, 6), Granted(1, "g", 5, 5, "paid", 50, None, 9), Expired(9, 2, 4, 1, 9)], "5 are left"),
        ([Opened(1, 6), Granted(1, "g", 5, 5, "paid", 50, None, 9), debited("d", 1, 4, (2, 1)), LATE], "has ended"),
        ([Opened(1, 6), Granted(1, "g", 5, 0, "paid", 50, 9, None), Activated(5, 2, 5, 5, 9)], "cannot take effect"),
        ([*START, Lapsed(2, 2, 1, 4)], "which is not over"),
        ([*START, BudgetSet(2, 0, 5, BudgetTerms("b", 1, "day")), CHARGED], "would be passed"),
        ([*START, debited("d", 1, 4, (2, 1)), granted(5, 9, "late")], "dated before"),
        ([*START, Trimmed(2, 2, 1, 4)], "does not roll over"),
        ([*START, RecurringEnded(2, 7, 5, "p")], "no recurring grant"),
        ([*START, RechargeClosed(2, 9, 5, 5)], "not open"),
        ([*START, Lapsed(2, 9, 1, 4)], ""),
        ([*START, debited("d", 1, 4, (7, 1))], "burn order"),
        ([granted(5, 5)], "opened once, first"),
        ([*START, Debited(2, "d", 2, 3, ((2, 2),), 2, True, cut=Cut("budget", "b", 9))], "stopped it"),
        ([*START, Debited(2, "d", 2, 3, ((2, 2),), 4, True, cut=Cut("budget", "b", 2))], "stopped it"),
        ([*START, Granted(2, "again", 1, 6, "paid", 50, None, None, opened=True)], "opened the pool"),
        ([*START, granted(2**63 - 1, 2**63 + 4, "g2")], "more than 63 bits"),
        ([*PLAN, Alerted(2, "grant_skipped", 5, about=2, amount=7, moment=99)], "could grant 7"),
        ([*PLAN, RecurringSet(2, 2, 5, TERMS, 1, 2)], "a second time for the period until 11"),
        ([*PLAN, RecurringEnded(2, 2, 5, "p", until=11), RecurringSet(3, 2, 5, TERMS, 1, 3)], "a second time"),
        ([*PLAN, RecurringEnded(2, 2, 5, "p")], "does not say until when"),
        ([*PLAN, RecurringEnded(2, 2, 5, "p", until=12)], "does not end at 12"),
        ([*PLAN, next_period(4)], "grants at 4, not at 11"),
        ([*PLAN, next_period(11)], "5 of p2 stand"),
    ],
)  # fmt: skip
async def test_a_lie_in_a_pool_is_found(tmp_path: Path, events: list[Event], found: str) -> None:
    (problem, *_) = await problems(tmp_path, {ACME: events})
    assert "default@acme:credits" in problem
    assert found in problem


@pytest.mark.parametrize(
    "frames",
    [
        [{ACME: START}, {ACME: [MovedOut(2, "t", 3, 2, ((2, 3),), WEB)]}],
        [{ACME: START}, {WEB: [Opened(2, 6), arrived(3)]}],
        [{ACME: [*START, MovedOut(2, "t", 3, 2, ((2, 3),), WEB)], WEB: [Opened(2, 6), arrived(4)]}],
        [{ACME: [*START, MovedOut(2, "t", 3, 2, ((2, 3),), WEB)], WEB: [Opened(2, 6), arrived(3, "other")]}],
        [{ACME: [*START, MovedOut(2, "t", 3, 2, ((2, 3),), WEB)]}, {WEB: [Opened(2, 6), arrived(3)]}],
    ],
)
async def test_a_transfer_with_one_side_is_found(tmp_path: Path, frames: list[dict[str, list[Event]]]) -> None:
    assert any("one side only" in problem for problem in await problems(tmp_path, *frames))


async def test_a_transfer_with_both_sides_is_none(tmp_path: Path) -> None:
    both: dict[str, list[Event]] = {
        ACME: [*START, MovedOut(2, "t", 3, 2, ((2, 3),), WEB)],
        WEB: [Opened(2, 6), arrived(3)],
    }
    assert await problems(tmp_path, both) == []


@pytest.mark.parametrize("arrives_first", [False, True])
async def test_terms_that_change_later_in_the_frame_are_not_those_of_the_transfer(
    tmp_path: Path, arrives_first: bool
) -> None:
    left: list[Event] = [
        MovedOut(2, "t", 3, 2, ((2, 3),), WEB),
        Updated(2, "u", 2, 9, None, NO_DIMENSIONS, 2, ("priority",)),
    ]
    sides: list[tuple[str, list[Event]]] = [(ACME, [*START, *left]), (WEB, [Opened(2, 6), arrived(3)])]
    assert await problems(tmp_path / "honest", dict(sides[::-1] if arrives_first else sides)) == []
    sides[1] = (WEB, [Opened(2, 6), msgspec.structs.replace(arrived(3), priority=9)])
    found = await problems(tmp_path / "changed", dict(sides[::-1] if arrives_first else sides))
    assert any("other terms" in problem for problem in found)
