"""A pool keeps its books, and notices when they do not balance."""

from __future__ import annotations

import pytest

from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.commands import Debit, Grant, Hold
from solvent.engine.rules.decide import decide
from solvent.engine.rules.due import due
from solvent.engine.rules.events import Debited, Granted, Held, Opened
from solvent.engine.rules.evolve import fold
from solvent.engine.rules.outcomes import Unfit
from solvent.engine.rules.pool import BrokenInvariant, Pool, check_books, check_totals, room_of
from solvent.engine.values.amounts import UNITS_MAX

from .conftest import accepted


def test_the_first_grant_opens_the_pool_in_its_scale_and_later_ones_keep_it() -> None:
    outcome = decide(Pool(), Grant("g", 5), 7, scale=3)
    assert isinstance(outcome, tuple)
    assert [type(event) for event in outcome] == [Opened, Granted]
    pool = fold(Pool(), outcome)
    assert (pool.scale, pool.version) == (3, 2)
    again = decide(pool, Grant("h", 5), 8, scale=9)
    assert isinstance(again, tuple)
    assert [type(event) for event in again] == [Granted]


def test_what_a_pool_holds_stays_within_63_bits_and_what_is_gone_does_not_count() -> None:
    pool = Pool()
    accepted(pool, Grant("spent", UNITS_MAX), 100, Granted)
    accepted(pool, Debit("d", UNITS_MAX), 100, Debited)
    accepted(pool, Grant("expired", 2**62, expires_at=200), 100, Granted)
    accepted(pool, Grant("pending", 2**60, effective_at=10_000), 300, Granted)
    accepted(pool, Grant("held", 2**59), 300, Granted)
    accepted(pool, Hold("h", 2**59, ttl=10**9), 300, Held)
    assert (pool.spent, pool.expired, pool.pending, pool.held) == (UNITS_MAX, 2**62, 2**60, 2**59)
    room = UNITS_MAX - 2**60 - 2**59
    assert room_of(pool) == room
    refused = decide(pool, Grant("more", room + 1), 300)
    assert isinstance(refused, Unfit)
    assert refused.field == "amount"
    assert str(room) in refused.expected
    accepted(pool, Grant("more", room), 300, Granted)
    assert isinstance(decide(pool, Grant("one", 1), 300), Unfit)
    check_books(fold(pool, due(pool, 10_000)))
    assert decode_pool(encode_pool(pool)).granted == pool.granted == UNITS_MAX + 2**62 + 2**59 + room


@pytest.mark.parametrize("term", ["available", "held", "spent", "expired", "voided", "moved_out", "granted", "pending"])
@pytest.mark.parametrize("by", [1, -1, -1_000])
def test_books_that_do_not_balance_are_noticed(term: str, by: int) -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10), 100, Granted)
    accepted(pool, Grant("h", 10, effective_at=500), 100, Granted)
    accepted(pool, Debit("d", 3), 100, Debited)
    setattr(pool, term, getattr(pool, term) + by)
    with pytest.raises(BrokenInvariant):
        check_books(pool)
    if term != "pending" or pool.pending < 0:
        with pytest.raises(BrokenInvariant):
            check_totals(pool)


@pytest.mark.parametrize("term", ["available", "spent", "expired", "amount", "held"])
def test_a_grant_that_does_not_balance_is_noticed_even_if_the_pool_does(term: str) -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10), 100, Granted)
    accepted(pool, Grant("h", 10), 100, Granted)
    for block, by in zip(pool.blocks.values(), (1, -1), strict=True):
        setattr(block, term, getattr(block, term) + by)
    check_totals(pool)
    with pytest.raises(BrokenInvariant):
        check_books(pool)


def test_a_wrong_burn_order_is_noticed() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10), 100, Granted)
    accepted(pool, Grant("h", 10), 100, Granted)
    pool.burn.reverse()
    with pytest.raises(BrokenInvariant):
        check_books(pool)
