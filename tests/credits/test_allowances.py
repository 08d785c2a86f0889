"""Allowances, asked of the embedded engine and of the clients over NATS and HTTP."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from solvent import (
    BudgetExceeded,
    Coverage,
    Credits,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Receipt,
)

from .conftest import Clock


async def left(credits: Credits, name: str) -> dict[object, Decimal]:
    """What each value that has used anything has left of an allowance."""
    listed = {each.name: each for each in (await credits.allowances("acme")).allowances}
    return {each.value: each.left for each in listed[name].counts}


def parts(receipt: Receipt) -> tuple[Decimal, Decimal]:
    """What a debit took from grants, and what allowances covered."""
    return receipt.amount, receipt.covered


async def test_a_pool_without_a_grant_spends_its_allowance_and_no_more(credits: Credits) -> None:
    opened = await credits.set_allowance("acme", "free", "10", window="day")
    assert (await credits.balance("acme")).granted == 0
    first = await credits.debit("acme", "6.5", key="a")
    assert parts(first) == (0, Decimal("6.5"))
    assert first.allowances == (Coverage("free", Decimal("6.5")),)
    assert (opened.id, first.allocations) == ("f2", ())
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "6", key="b")
    stopped = refused.value
    assert (stopped.requested, stopped.available, stopped.covered, stopped.top_up) == (
        6,
        0,
        Decimal("3.5"),
        Decimal("2.5"),
    )
    assert stopped.resets_at is not None
    await credits.grant("acme", stopped.top_up, key="g")
    second = await credits.debit("acme", "6", key="b")
    assert parts(second) == (Decimal("2.5"), Decimal("3.5"))
    assert (second.balance, (await credits.balance("acme")).spent) == (0, Decimal("2.5"))
    again = await credits.debit("acme", "6", key="b")
    assert (again.replayed, again.allowances, again.amount) == (True, second.allowances, second.amount)
    with pytest.raises(IdempotencyConflict):
        await credits.debit("acme", "2.5", key="b")


async def test_a_window_ends_and_the_quota_is_whole_again(credits: Credits, clock: Clock) -> None:
    await credits.set_allowance("acme", "free", "10", window="day", time_zone="Asia/Tokyo")
    await credits.debit("acme", "10", key="a")
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "1", key="b")
    assert refused.value.resets_at is not None
    clock.advance_to(refused.value.resets_at - timedelta(seconds=30))
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "1", key="b")
    clock.advance(seconds=31)
    assert parts(await credits.debit("acme", "1", key="b")) == (0, 1)
    assert await left(credits, "free") == {None: 9}


async def test_no_stretch_of_a_rolling_window_has_more_than_the_quota(credits: Credits, clock: Clock) -> None:
    await credits.set_allowance("acme", "burst", "10", rolling_s=5 * 3600)
    await credits.debit("acme", "4", key="a")
    clock.advance(hours=2)
    await credits.debit("acme", "6", key="b")
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "1", key="c")
    clock.advance(hours=2, minutes=58)
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "1", key="c")
    # It comes back a step of the window late at most: five minutes of five hours.
    assert refused.value.resets_at is not None
    assert timedelta(0) < refused.value.resets_at - clock.now() <= timedelta(minutes=8)
    clock.advance_to(refused.value.resets_at)
    await credits.debit("acme", "4", key="c")
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "1", key="d")


async def test_each_value_has_a_quota_and_only_what_matches_is_covered(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_allowance("acme", "seat", "5", window="month", each="user", match={"plan": "team"})
    for key, user in (("a", "1"), ("b", 1), ("c", True)):
        receipt = await credits.debit("acme", "7", key=key, dimensions={"user": user, "plan": "team"})
        assert parts(receipt) == (2, 5)
    assert parts(await credits.debit("acme", "7", key="d", dimensions={"user": "1"})) == (7, 0)
    assert parts(await credits.debit("acme", "7", key="e", dimensions={"plan": "team"})) == (7, 0)
    counts = (await credits.allowances("acme")).allowances[0].counts
    assert sorted(repr(each.value) for each in counts) == ["'1'", "1", "True"]


async def test_allowances_cover_in_order_and_a_metric_is_counted_by_its_quantity(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_allowance("acme", "tokens", "1000", window="day", metric="tokens")
    await credits.set_allowance("acme", "credits", "1", window="day")
    # 1,500 tokens for 9 credits: 1,000 are free, which is 6 of the 9; of the rest the other pays 1.
    receipt = await credits.debit("acme", "9", key="a", metric="tokens", quantity="1500")
    assert receipt.allowances == (Coverage("tokens", Decimal(6)), Coverage("credits", Decimal(1)))
    assert receipt.amount == 2
    assert await left(credits, "tokens") == {None: 0}
    # Another metric, or none, is not for this allowance.
    assert parts(await credits.debit("acme", "3", key="b", metric="images", quantity="1")) == (3, 0)
    # A third is not a whole number of units: it is rounded once, half-even.
    await credits.set_allowance("acme", "thirds", "1", window="day", metric="calls")
    third = await credits.debit("acme", "1", key="c", metric="calls", quantity="3")
    assert third.covered == Decimal("0.333333")
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.amount, entry.covered) == (Decimal("0.666667"), third.allowances)


async def test_budgets_count_what_grants_pay(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_allowance("acme", "free", "10", window="day")
    await credits.set_budget("acme", "cap", "5", window="day")
    assert parts(await credits.debit("acme", "12", key="a")) == (2, 10)
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.debit("acme", "4", key="b")
    assert stopped.value.used == 2
    assert parts(await credits.debit("acme", "4", key="c", partial=True)) == (3, 0)


async def test_part_of_what_was_asked_is_what_both_can_pay(credits: Credits) -> None:
    await credits.set_allowance("acme", "free", "10", window="day")
    assert parts(await credits.debit("acme", "12", key="a", partial=True)) == (0, 10)
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "12", key="b", partial=True)
    await credits.grant("acme", "1", key="g")
    assert parts(await credits.debit("acme", "12", key="b", partial=True)) == (1, 0)


async def test_holds_keep_and_give_back_what_allowances_cover(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_allowance("acme", "free", "5", window="day")
    hold = await credits.hold("acme", "8", key="h")
    assert parts(hold.receipt) == (3, 5)
    assert await left(credits, "free") == {None: 0}
    captured = await hold.capture("6")
    assert (parts(captured), captured.returned) == ((1, 5), 2)
    assert (await credits.capture("acme", hold.id, "6")).allowances == captured.allowances

    released = await credits.hold("acme", "1", key="h2")
    assert parts(released.receipt) == (1, 0)
    await released.release()
    await credits.reverse("acme", captured.id, key="r")
    assert await left(credits, "free") == {}
    assert (await credits.balance("acme")).available == 10

    less = await credits.hold("acme", "8", key="h3")
    assert parts(await less.capture("2")) == (0, 2)
    assert await left(credits, "free") == {None: 3}
    more = await credits.hold("acme", "3", key="h4")
    assert parts(await more.capture("20")) == (0, 3)
    assert (await credits.balance("acme")).available == 10
    assert parts(await credits.debit("acme", "10", key="all")) == (10, 0)


async def test_a_capture_beyond_its_hold_uses_allowances_first(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "4", key="h")
    await credits.set_allowance("acme", "free", "5", window="day")
    await credits.set_allowance("acme", "calls", "3", window="day", metric="calls")
    captured = await hold.capture("12", metric="calls", quantity="12")
    # 3 of 12 calls are free, 4 were held, of the 5 beyond the other allowance pays all.
    assert captured.allowances == (Coverage("calls", Decimal(3)), Coverage("free", Decimal(5)))
    assert (captured.amount, captured.uncovered, captured.balance) == (4, 0, 6)


async def test_a_reversal_gives_back_what_was_taken_last_first(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_allowance("acme", "free", "5", window="day")
    debit = await credits.debit("acme", "8", key="a")
    first = await credits.reverse("acme", debit.id, key="r1", amount="2")
    assert (first.amount, first.covered) == (2, 0)
    second = await credits.reverse("acme", debit.id, key="r2", amount="3")
    assert (second.amount, second.covered) == (1, 2)
    assert await left(credits, "free") == {None: 2}
    with pytest.raises(InvalidRequest):
        await credits.reverse("acme", debit.id, key="r3", amount="4")
    third = await credits.reverse("acme", debit.id, key="r3")
    assert (third.amount, third.covered) == (0, 3)
    assert await left(credits, "free") == {}


async def test_a_no_names_the_allowance_that_has_room_again_first(credits: Credits) -> None:
    await credits.set_allowance("acme", "month", "5", window="month")
    await credits.set_allowance("acme", "seat", "2", window="hour", each="user", time_zone="Asia/Kolkata")
    await credits.set_allowance("acme", "unused", "9", window="hour", match={"plan": "team"})
    for user in ("ann", 7, True):
        verdict = await credits.check("acme", "10", dimensions={"user": user})
        assert verdict.reset is not None
        assert (verdict.reset.allowance, verdict.reset.dimension) == ("seat", "user")
        assert (type(verdict.reset.value), verdict.reset.value) == (type(user), user)
        assert verdict.reset.resets_at == verdict.resets_at
        for ask in (credits.debit, credits.hold):
            with pytest.raises(InsufficientCredits) as refused:
                await ask("acme", "10", key="k", dimensions={"user": user})
            no = refused.value
            assert (no.allowance, no.dimension, no.value, no.resets_at) == ("seat", "user", user, verdict.resets_at)
            assert type(no.value) is type(user)
            assert f"allowance seat of user {user!r} has room again at" in no.message
    plain = await credits.check("acme", "6")
    assert plain.reset is not None
    assert (plain.reset.allowance, plain.reset.dimension, plain.reset.value) == ("month", None, None)
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "6", key="k")
    assert (refused.value.allowance, refused.value.dimension, refused.value.value) == ("month", None, None)
    assert "allowance month has room again at" in refused.value.message
    # Nothing is in the way of what is covered.
    assert (await credits.check("acme", "5")).reset is None
    await credits.remove_allowance("acme", "month")
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "6", key="k")
    assert (refused.value.allowance, refused.value.resets_at) == (None, None)


async def test_check_says_how_much_would_come_from_where(credits: Credits) -> None:
    await credits.grant("acme", "4", key="g")
    await credits.set_allowance("acme", "free", "5", window="day")
    await credits.set_allowance("acme", "calls", "1", window="day", metric="calls")
    yes = await credits.check("acme", "7")
    assert (yes.allowed, yes.available, yes.top_up) == (True, 9, 0)
    assert yes.covered == (Coverage("free", Decimal(5)),)
    assert [part.amount for part in yes.allocations] == [2]
    no = await credits.check("acme", "11")
    assert (no.allowed, no.available, no.top_up) == (False, 9, 2)
    assert no.resets_at is not None
    metered = await credits.check("acme", "11", metric="calls", quantity="2")
    # One of the two calls is free, which is 5.5 of the 6 that are left.
    assert (metered.allowed, metered.covered[1]) == (True, Coverage("calls", Decimal("5.5")))
    assert [part.amount for part in metered.allocations] == [Decimal("0.5")]


async def test_new_terms_go_on_counting_and_another_scope_begins_anew(credits: Credits) -> None:
    await credits.set_allowance("acme", "free", "10", window="day")
    assert (await credits.set_allowance("acme", "free", "10", window="day")).replayed
    await credits.debit("acme", "9", key="a")
    await credits.set_allowance("acme", "free", "20", window="day")
    assert await left(credits, "free") == {None: 11}
    await credits.set_allowance("acme", "free", "20", window="week")
    assert await left(credits, "free") == {}
    await credits.remove_allowance("acme", "free")
    assert (await credits.remove_allowance("acme", "free")).replayed
    assert (await credits.allowances("acme")).allowances == ()
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "1", key="b")


async def test_racing_callers_share_a_quota(credits: Credits) -> None:
    await credits.set_allowance("acme", "free", "100", window="month", each="user")

    async def debit(number: int) -> bool:
        try:
            await credits.debit("acme", "3", key=f"k{number}", dimensions={"user": "one"})
        except InsufficientCredits:
            return False
        return True

    assert sum(await asyncio.gather(*(debit(number) for number in range(64)))) == 33


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"window": "minute"}, "window"),
        ({"rolling_s": 3600}, "window"),
        ({"window": None}, "window"),
        ({"window": None, "rolling_s": 59}, "rolling_s"),
        ({"window": None, "rolling_s": 61}, "rolling_s"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"amount": 0.5}, "amount"),
        ({"match": {"a": None}}, "match.a"),
        ({"each": ""}, "each"),
        ({"metric": ""}, "metric"),
    ],
)
async def test_bad_terms_name_their_field(credits: Credits, terms: dict[str, object], field: str) -> None:
    await credits.open_pool("acme")
    good = {"name": "a", "amount": 1, "window": "day"}
    with pytest.raises(InvalidRequest) as invalid:
        await credits.set_allowance("acme", **{**good, **terms})  # type: ignore[arg-type]
    assert invalid.value.field == field
    assert (await credits.allowances("acme")).allowances == ()


async def test_a_pool_can_be_opened_by_itself(credits: Credits) -> None:
    with pytest.raises(NotFound):
        await credits.allowances("acme/site-1")
    opened = await credits.open_pool("acme/site-1")
    assert (opened.id, opened.replayed, (await credits.open_pool("acme/site-1")).replayed) == ("o1", False, True)
    assert [(pool.pool, pool.granted) for pool in (await credits.pools("acme")).pools] == [("acme/site-1", 0)]
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme/site-1", "1", key="a")
