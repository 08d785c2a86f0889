"""Usage that lacks the dimension of which a budget or an allowance counts each value on its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from solvent import BudgetExceeded, Credits, InsufficientCredits, InvalidRequest

from .conftest import Clock


async def test_a_budget_counts_refuses_or_passes_what_lacks_its_dimension(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "users", "5", window="day", each="user", match={"kind": "chat"})
    chat = {"kind": "chat"}
    await credits.debit("acme", "20", key="passes", dimensions=chat)
    assert (await credits.budgets("acme")).budgets[0].counts == ()

    await credits.set_budget(
        "acme", "users", "5", window="day", each="user", match={"kind": "chat"}, missing="count together"
    )
    await credits.debit("acme", "3", key="a", dimensions=chat)
    await credits.debit("acme", "4", key="b", dimensions=chat | {"user": "u1"})
    with pytest.raises(BudgetExceeded) as exceeded:
        await credits.debit("acme", "3", key="c", dimensions=chat | {"model": "gpt-4"})
    assert (exceeded.value.value, exceeded.value.used, exceeded.value.limit) == (None, 3, 5)
    (view,) = (await credits.budgets("acme")).budgets
    assert view.missing == "count together"
    assert {each.value: each.used for each in view.counts} == {None: 3, "u1": 4}
    # What it does not match is not its business.
    await credits.debit("acme", "30", key="d", dimensions={"kind": "job"})

    await credits.set_budget("acme", "users", "5", window="day", each="user", match={"kind": "chat"}, missing="block")
    for asked in (
        credits.debit("acme", "1", key="e", dimensions=chat),
        credits.debit("acme", "1", key="e", dimensions=chat, partial=True),
        credits.hold("acme", "1", key="e", dimensions=chat),
    ):
        with pytest.raises(InvalidRequest) as invalid:
            await asked
        assert (invalid.value.field, '"user"' in invalid.value.expected) == ("dimensions", True)
    verdict = await credits.check("acme", "1", dimensions=chat)
    assert (verdict.allowed, verdict.missing) == (False, "user")
    assert (await credits.check("acme", "1", dimensions=chat | {"user": "u2"})).allowed
    await credits.debit("acme", "1", key="e", dimensions=chat | {"user": "u2"})
    await credits.debit("acme", "1", key="f")

    await credits.set_budget("acme", "users", "5", window="day", each="user", mode="warn", missing="block")
    assert (await credits.debit("acme", "9", key="h")).warnings == ("users",)


async def test_an_allowance_covers_refuses_or_passes_what_lacks_its_dimension(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_allowance("acme", "free", "5", window="day", each="user")
    assert (await credits.debit("acme", "3", key="a")).amount == 3
    await credits.set_allowance("acme", "free", "5", window="day", each="user", missing="count together")
    assert (await credits.debit("acme", "3", key="b")).covered == 3
    assert (await credits.debit("acme", "4", key="c", dimensions={"model": "m"})).covered == 2
    assert (await credits.debit("acme", "4", key="d", dimensions={"user": "u1"})).covered == 4
    (view,) = (await credits.allowances("acme")).allowances
    assert (view.missing, {each.value: each.used for each in view.counts}) == ("count together", {None: 5, "u1": 4})
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "1000", key="e")
    assert (refused.value.allowance, refused.value.dimension) == ("free", None)

    await credits.set_allowance("acme", "free", "5", window="day", each="user", missing="block")
    with pytest.raises(InvalidRequest) as invalid:
        await credits.debit("acme", "1", key="f")
    assert invalid.value.field == "dimensions"
    assert (await credits.debit("acme", "1", key="f", dimensions={"user": "u1"})).covered == 1


@pytest.mark.parametrize("fields", [{"missing": "block"}, {"missing": "refuse", "each": "user"}])
async def test_a_bad_word_for_what_is_missing_names_its_field(credits: Credits, fields: dict[str, str]) -> None:
    await credits.grant("acme", "100", key="g")
    for asked in (
        credits.set_budget("acme", "b", "5", window="day", **fields),  # type: ignore[arg-type]
        credits.set_allowance("acme", "b", "5", window="day", **fields),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRequest) as invalid:
            await asked
        assert invalid.value.field == "missing"


async def test_a_hold_counts_in_its_own_window_and_what_is_beyond_it_in_that_of_the_capture(
    credits: Credits, clock: Clock
) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "hourly", "10", window="hour")
    clock.advance_to((clock.now() + timedelta(hours=1)).replace(minute=59, second=0, microsecond=0))
    hold = await credits.hold("acme", "8", key="h")
    clock.advance(minutes=2)

    async def used() -> int:
        return sum(int(each.used) for each in (await credits.budgets("acme")).budgets[0].counts)

    assert await used() == 0
    await credits.debit("acme", "7", key="d")
    captured = await hold.capture("11")
    assert (captured.amount, captured.uncovered, await used()) == (11, 0, 10)
    clock.advance(hours=1)
    assert await used() == 0
