"""Equal numbers are one value of a dimension, also where an entry of an older version has one as it was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from solvent.engine.audit.plain_rules import Difference, PlainPool
from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.alerts import AlertTerms
from solvent.engine.rules.allowances import AllowanceTerms, Cover
from solvent.engine.rules.budgets import BudgetTerms, Charge
from solvent.engine.rules.commands import Debit, Grant, OpenPool, SetAlerts, SetAllowance, SetBudget
from solvent.engine.rules.decide import decide
from solvent.engine.rules.events import Alerted, Debited, Event
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.outcomes import OverBudget
from solvent.engine.rules.pool import Pool
from solvent.engine.values.dimensions import encode_dimensions

HOUR = 3_600_000_000


def of_then(value: Any) -> bytes:
    """A value as an older version encoded it: as it was given."""
    return msgspec.msgpack.encode(value)


def told(pool: Pool, command: Any) -> list[Event]:
    outcome = decide(pool, command, HOUR)
    assert isinstance(outcome, tuple), outcome
    for event in outcome:
        apply(pool, event)
    return list(outcome)


def debit(key: str, amount: int, value: Any) -> Debit:
    return Debit(key, amount, dimensions=encode_dimensions({"user": value}, "dimensions"))


def old_debit(key: str, amount: int, balance: int, value: Any, *, budget: int = 0, allowance: int = 0) -> Debited:
    """The entry of a debit that an older version wrote at ``HOUR``."""
    return Debited(
        HOUR,
        key,
        0 if allowance else amount,
        balance,
        () if allowance else ((2, amount),),
        amount,
        partial=False,
        dimensions=msgspec.Raw(of_then({"user": value})),
        charges=(Charge(budget, of_then(value), HOUR),) if budget else (),
        covers=(Cover(allowance, of_then(value), HOUR, amount, amount, "a"),) if allowance else (),
    )


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1.0, 1), (0, -0.0), (2.0**60, 2**60)])
def test_entries_of_older_versions_count_as_one_value_in_a_budget(one: Any, other: Any) -> None:
    pool = Pool()
    journal = [*told(pool, OpenPool()), *told(pool, Grant("g", 100))]
    journal += told(pool, SetBudget(BudgetTerms("b", 10, "hour", each="user")))
    for event in (old_debit("d1", 4, 96, one, budget=3), old_debit("d2", 5, 91, other, budget=3)):
        apply(pool, event)
        journal.append(event)
    for each in (pool, decode_pool(encode_pool(pool))):
        assert each.budgets[3].used == {of_then(int(one)): 9}
        for value in (one, other):
            stopped = decide(each, debit("d3", 2, value), HOUR)
            assert isinstance(stopped, OverBudget)
            assert stopped.stop.used == 9
        for others in (True, str(int(one))):
            assert isinstance(decide(each, debit("d3", 10, others), HOUR), tuple)


def test_an_alert_of_an_older_version_is_not_raised_again_for_the_same_number() -> None:
    pool = Pool()
    told(pool, OpenPool())
    told(pool, Grant("g", 100))
    told(pool, SetBudget(BudgetTerms("b", 10, "hour", each="user")))
    told(pool, SetAlerts(AlertTerms(budget_percents=(50, 100))))
    apply(pool, old_debit("d1", 6, 94, 1.0, budget=3))
    apply(pool, Alerted(HOUR, "budget_reached", 94, about=3, value=of_then(1.0), amount=6, percent=50, moment=HOUR))
    assert [type(event).__name__ for event in told(pool, debit("d2", 1, 1))] == ["Debited"]
    assert [type(event).__name__ for event in told(pool, debit("d3", 3, 1))] == ["Debited", "Alerted"]


def test_entries_of_older_versions_count_as_one_value_in_an_allowance() -> None:
    pool = Pool()
    told(pool, OpenPool())
    told(pool, Grant("g", 100))
    told(pool, SetAllowance(AllowanceTerms("a", 10, "hour", each="user")))
    for key, value in (("d1", 1), ("d2", 1.0)):
        apply(pool, old_debit(key, 4, 100, value, allowance=3))
    (event,) = told(pool, debit("d3", 5, 1))
    assert isinstance(event, Debited)
    assert (sum(cover.units for cover in event.covers), event.amount) == (2, 3)


def test_what_an_older_budget_matches_by_a_float_is_the_whole_number() -> None:
    for wanted, value, counts in (
        (1.0, 1, True),
        (1, 1.0, True),
        (1, True, False),
        (1.0, "1", False),
        (True, 1, False),
    ):
        pool = Pool()
        told(pool, OpenPool())
        told(pool, Grant("g", 100))
        told(pool, SetBudget(BudgetTerms("b", 1, "hour", match=(("user", wanted),))))
        assert isinstance(decide(pool, debit("d", 2, value), HOUR), OverBudget) == counts


def test_verify_judges_each_entry_by_the_rules_of_its_time() -> None:
    """Two spellings that each fit were two values, and are one too many for an entry of now."""
    pool = Pool()
    journal = [*told(pool, OpenPool()), *told(pool, Grant("g", 100))]
    journal += told(pool, SetBudget(BudgetTerms("b", 5, "hour", each="user")))
    first, second = old_debit("d1", 4, 96, 1, budget=3), old_debit("d2", 4, 92, 1.0, budget=3)
    then, now = PlainPool(), PlainPool()
    for event in (*journal, first):
        then.happen(event, 1, rules=1)
        now.happen(event, 1, rules=1)
    then.happen(second, 2, rules=1)
    then.finish()
    with pytest.raises(Difference, match="budget b3 of 5 would be passed: 8"):
        now.happen(second, 2, rules=2)
