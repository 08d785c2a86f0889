"""The order in which grants burn. The rule is ``Block.burn_rank`` in engine/rules/pool.py.

Priority, lower first; then the sooner expiry, and what never expires last; then promotional before paid; then the
older: by when a grant took effect, by when it was made, and by its place in the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine.rules.commands import Debit, Grant
from solvent.engine.rules.events import Debited, Granted
from solvent.engine.rules.pool import Pool
from tests.model.pool import ModelPool
from tests.model.rules import ask

from .conftest import accepted


def burned(*grants: Grant, at: Iterable[int] = (), spend_at: int = 1_000) -> list[str]:
    """Return the keys of ``grants`` in the order in which they burn. ``at``: when each is granted, 100 if not given."""
    pool = Pool()
    times = list(at) or [100] * len(grants)
    for moment, grant in zip(times, grants, strict=True):
        accepted(pool, grant, moment, Granted)
    debit = accepted(pool, Debit("all", sum(grant.amount for grant in grants)), spend_at, Debited)
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


def test_what_took_effect_earlier_burns_before_what_was_made_earlier() -> None:
    assert burned(Grant("b", 1, effective_at=300), Grant("a", 1, effective_at=200), at=[100, 150]) == ["a", "b"]
    assert burned(Grant("b", 1), Grant("a", 1, effective_at=90), at=[100, 101]) == ["a", "b"]


def test_what_was_made_earlier_burns_before_and_then_the_journal_decides() -> None:
    later = Grant("later", 1, effective_at=500)
    earlier = Grant("earlier", 1, effective_at=500)
    assert burned(earlier, later, at=[100, 101]) == ["earlier", "later"]
    assert burned(Grant("x", 1), Grant("a", 1), Grant("m", 1)) == ["x", "a", "m"]


def test_a_grant_burns_to_its_end_before_the_next_begins() -> None:
    pool = Pool()
    for key, amount in (("a", 3), ("b", 4), ("c", 5)):
        accepted(pool, Grant(key, amount), 100, Granted)
    parts = [accepted(pool, Debit(f"d{number}", 2), 200, Debited).parts for number in range(5)]
    assert parts == [((2, 2),), ((2, 1), (3, 1)), ((3, 2),), ((3, 1), (4, 1)), ((4, 2),)]


def test_only_active_grants_burn() -> None:
    pool = Pool()
    accepted(pool, Grant("soon", 5, priority=0, effective_at=200), 100, Granted)
    accepted(pool, Grant("short", 5, priority=0, expires_at=150), 100, Granted)
    accepted(pool, Grant("plain", 5), 100, Granted)
    debit = accepted(pool, Debit("d", 2), 150, Debited)
    assert [pool.blocks[number].key for number, _ in debit.parts] == ["plain"]
    assert (pool.available, pool.expired, pool.pending) == (3, 5, 5)


grants = st.builds(
    lambda amount, category, priority, effective_at, expires_at: Grant(
        "", amount, category, priority, effective_at, expires_at
    ),
    st.integers(1, 3),
    st.sampled_from(["paid", "promotional"]),
    st.sampled_from([0, 50, 100]),
    st.none() | st.integers(80, 120),
    st.none() | st.integers(1_001, 1_003),
)


@given(st.lists(st.tuples(st.integers(0, 3), grants), min_size=1, max_size=8))
@settings(max_examples=200)
def test_grants_burn_in_the_order_in_which_the_model_sorts_them(steps: list[tuple[int, Grant]]) -> None:
    """The model sorts by a tuple of the words above: ``ModelPool.burn_order``."""
    pool, model, now = Pool(), ModelPool("acme", {}, Counter()), 100
    for number, (wait, grant) in enumerate(steps):
        now += wait
        command = msgspec.structs.replace(grant, key=f"k{number}", effective_at=min(now, grant.effective_at or now))
        accepted(pool, command, now, Granted)
        model.at = now
        ask(model, command)
    order = [block.number for block in model.burn_order()]
    assert [block.number for block in pool.burn] == order
    debit = accepted(pool, Debit("all", pool.available), 1_000, Debited)
    assert [number for number, _ in debit.parts] == order
