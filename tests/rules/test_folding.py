"""The journal is enough: folded from the beginning or from any snapshot, it makes the pool that wrote it."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.commands import Debit, Grant
from solvent.engine.rules.due import due
from solvent.engine.rules.events import Debited, Event, Granted, Lapsed
from solvent.engine.rules.evolve import evolve, fold
from solvent.engine.rules.pool import Pool, clone
from tests.random_scripts.run import Run
from tests.random_scripts.script import script_of

from .conftest import accepted

SCRIPTS = 20


def everything(pool: Pool, far: int) -> tuple[Any, ...]:
    """Return all that can ever be seen of a pool, and what time will do to it. The inner order of the heap is free."""
    return encode_pool(pool), [block.number for block in pool.burn], due(pool, far)


def journals(seed: int) -> list[list[Event]]:
    """Return what a random script made of its pools."""
    run = Run()
    run.run(script_of(seed))
    return [pair.events for pair in run.pairs if pair.events]


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_a_journal_and_any_snapshot_of_it_make_the_same_pool(seed: int) -> None:
    dice = Random(seed)
    for events in journals(seed):
        far = events[-1].at + 10**12
        expected = everything(fold(Pool(), events), far)
        cut = dice.randrange(len(events))
        while isinstance(events[cut], Lapsed):
            # No pool is saved between credits that come back to a grant that has ended, and their end.
            cut -= 1
        start = fold(Pool(), events[:cut])
        saved = encode_pool(start)
        assert everything(fold(decode_pool(saved), events[cut:]), far) == expected
        assert encode_pool(start) == saved, "fold must leave its argument alone"


@pytest.mark.parametrize("seed", range(3))
def test_evolving_copies_a_pool_and_changes_nothing_of_it(seed: int) -> None:
    for events in journals(seed):
        pool, far = Pool(), events[-1].at + 10**12
        for number, event in enumerate(events, 1):
            before = encode_pool(pool)
            after = evolve(pool, event)
            assert encode_pool(pool) == before
            pool = after
            if number % 20 == 0:
                assert everything(pool, far) == everything(fold(Pool(), events[:number]), far)


def test_a_clone_shares_nothing_that_changes() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 10, expires_at=900), 100, Granted)
    before = msgspec.msgpack.encode(pool), pool.schedule.copy()
    copy = clone(pool)
    accepted(copy, Debit("d", 10), 200, Debited)
    accepted(copy, Grant("h", 10, effective_at=800), 200, Granted)
    assert (msgspec.msgpack.encode(pool), pool.schedule) == before
