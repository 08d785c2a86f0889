"""A pool keeps its books, and notices when they do not balance."""

from __future__ import annotations

import pytest

from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.commands import Debit, Grant
from solvent.engine.rules.decide import decide
from solvent.engine.rules.due import due
from solvent.engine.rules.events import Debited, Granted, Opened
from solvent.engine.rules.evolve import fold
from solvent.engine.rules.outcomes import Unfit
from solvent.engine.rules.pool import BrokenInvariant, Pool, check_books, check_totals
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


def test_grants_stay_within_63_bits_together_even_those_that_are_spent_expired_or_pending() -> None:
    pool = Pool()
    accepted(pool, Grant("spent", 2**62), 100, Granted)
    accepted(pool, Debit("d", 2**62), 100, Debited)
    accepted(pool, Grant("expired", 2**61, expires_at=200), 100, Granted)
    accepted(pool, Grant("pending", 2**60, effective_at=10_000), 300, Granted)
    assert (pool.spent, pool.expired, pool.pending, pool.available) == (2**62, 2**61, 2**60, 0)
    room = 2**63 - 1 - 2**62 - 2**61 - 2**60
    refused = decide(pool, Grant("more", room + 1), 300)
    assert isinstance(refused, Unfit)
    assert refused.field == "amount"
    assert str(room) in refused.expected
    accepted(pool, Grant("more", room), 300, Granted)
    assert pool.granted + pool.pending == UNITS_MAX
    assert isinstance(decide(pool, Grant("one", 1), 300), Unfit)
    check_books(fold(pool, due(pool, 10_000)))
    assert decode_pool(encode_pool(pool)).granted == pool.granted


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
