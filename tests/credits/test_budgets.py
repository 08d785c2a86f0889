"""Budgets, asked of the embedded engine and of the NATS client alike."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from solvent import BudgetExceeded, Credits, InsufficientCredits, InvalidRequest, NotFound


async def used(credits: Credits, budget: str) -> dict[object, Decimal]:
    """What each value has used of a budget."""
    listed = {each.name: each for each in (await credits.budgets("acme")).budgets}
    return {each.value: each.used for each in listed[budget].counts}


async def test_a_budget_stops_one_value_of_a_dimension_and_no_other(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "script", "10", window="day", match={"user": "script"})
    await credits.debit("acme", "8", key="a", dimensions={"user": "script", "model": "m"})
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.debit("acme", "3", key="b", dimensions={"user": "script"})
    exceeded = stopped.value
    assert (exceeded.budget, exceeded.limit, exceeded.used, exceeded.counts) == ("script", 10, 8, "credits")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert exceeded.resets_at == midnight
    assert exceeded.status == 402
    await credits.debit("acme", "30", key="c", dimensions={"user": "ann"})
    await credits.debit("acme", "30", key="d")
    # The refusal did not use up the key: what fits is granted under it.
    await credits.debit("acme", "2", key="b", dimensions={"user": "script"})
    assert await used(credits, "script") == {None: 10}


async def test_each_value_has_a_counter_of_its_own_and_types_are_kept_apart(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "per user", "5", window="month", time_zone="Europe/Paris", each="user")
    for key, user in (("a", "1"), ("b", 1), ("c", True), ("d", "x")):
        await credits.debit("acme", "4", key=key, dimensions={"user": user})
        with pytest.raises(BudgetExceeded) as stopped:
            await credits.debit("acme", "2", key=f"{key}2", dimensions={"user": user})
        assert (stopped.value.value, type(stopped.value.value)) == (user, type(user))
        if user == 1 and user is not True:
            # However it is written, it is the same number.
            with pytest.raises(BudgetExceeded):
                await credits.debit("acme", "2", key=f"{key}3", dimensions={"user": 1.0})
            assert (await credits.debit("acme", "4", key=key, dimensions={"user": 1.0})).replayed
    await credits.debit("acme", "20", key="e", dimensions={"team": "red"})
    counts = (await credits.budgets("acme")).budgets[0].counts
    assert sorted((repr(each.value), each.used) for each in counts) == [
        ("'1'", 4), ("'x'", 4), ("1", 4), ("True", 4)
    ]  # fmt: skip


async def test_several_budgets_hold_at_once_and_one_that_warns_does_not_stop(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "company", "20", window="total")
    await credits.set_budget("acme", "team", "10", window="week", match={"team": "red"})
    await credits.set_budget("acme", "nudge", "1", window="hour", each="user", mode="warn")
    for amount, warned in (("1", ()), ("1.000001", ("nudge",)), ("30", ("nudge",))):
        verdict = await credits.check("acme", amount, dimensions={"team": "red", "user": "u"})
        assert verdict.warnings == warned
        assert verdict.allowed == (amount != "30")
    assert (await credits.check("acme", "9", dimensions={"team": "red"})).warnings == ()
    receipt = await credits.debit("acme", "9", key="a", dimensions={"team": "red", "user": "u"})
    assert receipt.warnings == ("nudge",)
    again = await credits.debit("acme", "9", key="a", dimensions={"team": "red", "user": "u"})
    assert (again.replayed, again.warnings) == (True, ("nudge",))
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.debit("acme", "2", key="b", dimensions={"team": "red"})
    assert stopped.value.budget == "team"
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.debit("acme", "12", key="c", dimensions={"team": "blue"})
    assert (stopped.value.budget, stopped.value.resets_at) == ("company", None)
    part = await credits.debit("acme", "12", key="d", partial=True, dimensions={"team": "red"})
    assert part.amount == 1
    with pytest.raises(BudgetExceeded):
        await credits.debit("acme", "12", key="e", partial=True, dimensions={"team": "red"})
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "1000", key="f")
    verdict = await credits.check("acme", "11")
    assert (verdict.allowed, verdict.available, verdict.top_up) == (False, 10, 0)
    assert verdict.stopped_by is not None
    assert (verdict.stopped_by.budget, verdict.stopped_by.used) == ("company", 10)
    assert (await credits.check("acme", "10")).allowed


async def test_what_no_window_lets_pass_does_not_say_when_to_ask_again(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "small", "10", window="hour")
    await credits.debit("acme", "4", key="a")
    for ask in (credits.debit("acme", "10.5", key="b"), credits.hold("acme", "10.5", key="c")):
        with pytest.raises(BudgetExceeded) as stopped:
            await ask
        refused = stopped.value
        assert (refused.limit, refused.used, refused.resets_at) == (10, 4, None)
        assert "used up" not in refused.message
    verdict = await credits.check("acme", "10.5")
    assert verdict.stopped_by is not None
    assert verdict.stopped_by.resets_at is None
    verdict = await credits.check("acme", "10")
    assert verdict.stopped_by is not None
    assert verdict.stopped_by.resets_at is not None


async def test_holds_count_and_what_comes_back_is_given_back(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "b", "10", window="total", match={"u": "x"}, holds_max=2)
    dimensions = {"u": "x"}
    first = await credits.hold("acme", "6", key="h1", dimensions=dimensions)
    assert await used(credits, "b") == {None: 6}
    with pytest.raises(BudgetExceeded):
        await credits.hold("acme", "5", key="h2", dimensions=dimensions)
    second = await credits.hold("acme", "4", key="h2", dimensions=dimensions)
    with pytest.raises(BudgetExceeded):
        await credits.debit("acme", "1", key="d0", dimensions=dimensions)
    await second.release()
    captured = await first.capture("2")
    assert await used(credits, "b") == {None: 2}
    # Beyond the hold, a capture must fit like a debit.
    third = await credits.hold("acme", "1", key="h3", dimensions=dimensions)
    over = await third.capture("9")
    assert (over.amount, over.uncovered) == (1, 8)
    fourth = await credits.hold("acme", "1", key="h4", dimensions=dimensions)
    assert (await fourth.capture("3")).amount == 3
    assert await used(credits, "b") == {None: 6}
    await credits.reverse("acme", captured.id, key="r")
    assert await used(credits, "b") == {None: 4}
    debit = await credits.debit("acme", "5", key="d", dimensions=dimensions)
    await credits.reverse("acme", debit.id, key="r2", amount="4")
    assert await used(credits, "b") == {None: 5}

    open_ = [await credits.hold("acme", "1", key=f"o{n}", dimensions=dimensions) for n in range(2)]
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.hold("acme", "1", key="o2", dimensions=dimensions)
    assert (stopped.value.counts, stopped.value.limit, stopped.value.used) == ("holds", 2, 2)
    await open_[0].release()
    await credits.hold("acme", "1", key="o2", dimensions=dimensions)


async def test_new_terms_go_on_counting_and_another_scope_begins_anew(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    first = await credits.set_budget("acme", "b", "10", window="day", match={"u": 1})
    again = await credits.set_budget("acme", "b", "10", window="day", match={"u": 1})
    assert (first.replayed, again.replayed, again.version) == (False, True, first.version)
    await credits.debit("acme", "9", key="a", dimensions={"u": 1})
    await credits.set_budget("acme", "b", "20", window="day", match={"u": 1})
    assert await used(credits, "b") == {None: 9}
    await credits.debit("acme", "11", key="b", dimensions={"u": 1})
    await credits.set_budget("acme", "b", "20", window="week", match={"u": 1})
    assert await used(credits, "b") == {}
    await credits.debit("acme", "20", key="c", dimensions={"u": 1})
    await credits.remove_budget("acme", "b")
    assert (await credits.remove_budget("acme", "b")).replayed
    assert (await credits.budgets("acme")).budgets == ()
    await credits.debit("acme", "20", key="d", dimensions={"u": 1})
    kinds = [entry.kind for entry in (await credits.ledger("acme")).entries]
    assert (kinds.count("budget_set"), kinds.count("budget_removed")) == (3, 2)


async def test_racing_callers_do_not_exceed_a_budget(credits: Credits) -> None:
    await credits.grant("acme", "1000", key="g")
    await credits.set_budget("acme", "b", "100", window="total", each="user")

    async def debit(number: int) -> bool:
        try:
            await credits.debit("acme", "3", key=f"k{number}", dimensions={"user": "one"})
        except BudgetExceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(debit(number) for number in range(64)))) == 33


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"window": "fortnight"}, "window"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"amount": 0.5}, "amount"),
        ({"amount": 0}, "amount"),
        ({"match": {"a": None}}, "match.a"),
        ({"each": ""}, "each"),
        ({"mode": "maybe"}, "mode"),
        ({"holds_max": -1}, "holds_max"),
        ({"name": "x" * 200}, "name"),
    ],
)
async def test_bad_terms_name_their_field(credits: Credits, terms: dict[str, object], field: str) -> None:
    await credits.grant("acme", "1", key="g")
    good = {"name": "b", "amount": 1, "window": "day"}
    with pytest.raises(InvalidRequest) as invalid:
        await credits.set_budget("acme", **{**good, **terms})  # type: ignore[arg-type]
    assert invalid.value.field == field
    assert (await credits.budgets("acme")).budgets == ()


async def test_a_pool_that_is_not_there_has_no_budgets(credits: Credits) -> None:
    with pytest.raises(NotFound):
        await credits.set_budget("nobody", "b", 1, window="day")
    with pytest.raises(NotFound):
        await credits.budgets("nobody")
