"""The short way of a debit does what the rules say, or nothing."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.engine.api.requests import GrantRequest, SetAllowanceRequest, SetBudgetRequest
from solvent.engine.rules.checking import check, debit_command
from solvent.engine.rules.commands import Debit, Grant, PoolCommand, SetAllowance, SetBudget, SettingCommand
from solvent.engine.rules.decide import decide
from solvent.engine.rules.due import pass_time
from solvent.engine.rules.evolve import fold
from solvent.engine.rules.pool import Pool, clone
from solvent.engine.rules.short_debit import debit_plainly

SECOND = 1_000_000
Step: TypeAlias = tuple[object, ...]

grants = st.builds(
    lambda amount, lasts, priority: ("grant", amount, lasts, priority),
    st.integers(1, 30),
    st.none() | st.integers(1, 20),
    st.integers(0, 2),
)
debits = st.builds(
    lambda amount, partial, dims, ago: ("debit", amount, partial, dims, ago),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([None, {"user": "u1"}, {"user": "u2", "model": "m"}]),
    st.sampled_from([None, None, None, 3]),
)
limits = st.sampled_from([("budget",), ("allowance",)])


def scripts_of(*steps: st.SearchStrategy[Step]) -> st.SearchStrategy[list[tuple[int, Step]]]:
    return st.lists(st.tuples(st.integers(0, 3), st.one_of(*steps)), min_size=5, max_size=40)


scripts = scripts_of(grants, debits, debits, debits) | scripts_of(grants, debits, debits, debits, limits)


def test_a_plain_debit_is_what_the_rules_make_of_it() -> None:
    ways: Counter[str] = Counter()

    @given(scripts)
    @settings(max_examples=1_000)
    def run(script: list[tuple[int, Step]]) -> None:
        _compare(script, ways)

    run()
    assert ways["plainly"] > 500, ways
    assert ways["by the rules"] > 500, ways


def _compare(script: list[tuple[int, Step]], ways: Counter[str]) -> None:
    pool, now = Pool(), 1_800_000_000 * SECOND
    for number, (seconds, step) in enumerate(script):
        now += seconds * SECOND
        pass_time(pool, now)
        command = _command(number, step, now)
        ruled = decide(pool, command, now)
        if isinstance(command, Debit):
            short = clone(pool)
            debited = debit_plainly(short, command, now)
            if debited is None:
                ways["by the rules"] += 1
                assert short == pool
            else:
                ways["plainly"] += 1
                assert ruled == (debited,)
                assert short == fold(pool, (debited,))
        if isinstance(ruled, tuple):
            pool = fold(pool, ruled)


def _command(number: int, step: Step, now: int) -> PoolCommand | SettingCommand:
    match step:
        case ("grant", int(amount), lasts, int(priority)):
            command = check(GrantRequest(pool="acme", amount=amount, key=f"k{number}", priority=priority), 6)
            assert isinstance(command, Grant)
            ends = now + lasts * SECOND if isinstance(lasts, int) else None
            return msgspec.structs.replace(command, expires_at=ends)
        case ("debit", int(amount), bool(partial), dims, ago) if dims is None or isinstance(dims, dict):
            debit = debit_command(scale=6, amount=amount, key=f"k{number}", partial=partial, dimensions=dims)
            occurred_at = now - ago * SECOND if isinstance(ago, int) else None
            return msgspec.structs.replace(debit, occurred_at=occurred_at)
        case ("budget",):
            command = check(SetBudgetRequest(pool="acme", name="b", amount=5, window="minute"), 6)
            assert isinstance(command, SetBudget)
            return command
        case _:
            command = check(SetAllowanceRequest(pool="acme", name="a", amount=2, window="hour"), 6)
            assert isinstance(command, SetAllowance)
            return command
