"""A debit is paid as a whole or refused, unless it may be partial; and it may be dated back, but only so far."""

from __future__ import annotations

import msgspec
import pytest

from solvent.engine.projections.snapshots import encode_pool
from solvent.engine.rules.commands import Debit, Grant
from solvent.engine.rules.decide import decide
from solvent.engine.rules.events import Debited, Granted
from solvent.engine.rules.limits import Limits
from solvent.engine.rules.outcomes import Insufficient, Unfit, UnknownPool
from solvent.engine.rules.pool import Pool

from .conftest import accepted

LIMITS = Limits(occurred_back_max_us=60, occurred_ahead_max_us=20)


def test_a_refusal_leaves_no_trace_and_does_not_use_up_its_key() -> None:
    pool = Pool()
    debit = Debit("d", 8)
    assert isinstance(decide(pool, debit, 50), UnknownPool)
    accepted(pool, Grant("g", 5), 100, Granted)
    before = encode_pool(pool)
    assert decide(pool, debit, 200) == Insufficient(8, 5)
    assert encode_pool(pool) == before
    accepted(pool, Grant("top-up", 3), 300, Granted)
    assert accepted(pool, debit, 400, Debited).amount == 8


def test_a_debit_is_all_or_nothing_unless_it_may_be_partial() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5), 100, Granted)
    accepted(pool, Grant("h", 2, priority=0), 100, Granted)
    assert decide(pool, Debit("d", 8), 100) == Insufficient(8, 7)
    partial = accepted(pool, Debit("d", 8, True), 100, Debited)
    assert (partial.amount, partial.requested, partial.balance, partial.parts) == (7, 8, 0, ((3, 2), (2, 5)))
    assert decide(pool, Debit("e", 8, True), 100) == Insufficient(8, 0)


@pytest.mark.parametrize(
    ("occurred_at", "fits"), [(939, False), (940, True), (1_000, True), (1_020, True), (1_021, False)]
)
def test_a_usage_event_lies_within_the_limits_of_the_pools_clock(occurred_at: int, fits: bool) -> None:
    pool = Pool()
    accepted(pool, Grant("g", 100), 1_000, Granted)
    for now in (1_000, 10):
        outcome = decide(pool, Debit("d", 1, occurred_at=occurred_at), now, limits=LIMITS)
        assert isinstance(outcome, tuple) == fits
        assert isinstance(outcome, Unfit) != fits


def test_backfill_lifts_the_limit_back_and_not_the_one_ahead() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 100), 1_000, Granted)
    old = Debit("d", 1, occurred_at=0, backfill=True)
    assert isinstance(decide(pool, msgspec.structs.replace(old, backfill=False), 1_000, limits=LIMITS), Unfit)
    assert isinstance(decide(pool, old, 1_000, limits=LIMITS), tuple)
    ahead = msgspec.structs.replace(old, occurred_at=1_021)
    assert isinstance(decide(pool, ahead, 1_000, limits=LIMITS), Unfit)


def test_the_usual_limits_are_400_days_back_and_5_minutes_ahead() -> None:
    limits = Limits()
    assert limits.occurred_back_max_us == 400 * 24 * 3600 * 10**6
    assert limits.occurred_ahead_max_us == 5 * 60 * 10**6
