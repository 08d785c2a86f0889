"""Alerts and recharge, asked of the embedded engine and of the clients over NATS and HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from solvent import Credits, InvalidRequest, NotFound, PoolEvent, StateConflict

from .conftest import Clock

WAIT_S = 10.0


async def said(credits: Credits, pool: str = "acme") -> list[PoolEvent]:
    """All that a pool has said so far."""
    return list((await credits.past_events(pool)).events)


async def kinds(credits: Credits, pool: str = "acme") -> list[str]:
    return [event.kind for event in await said(credits, pool)]


@asynccontextmanager
async def listening(credits: Credits, **scope: Any) -> AsyncIterator[asyncio.Queue[PoolEvent]]:
    """What is said while the block runs."""
    heard: asyncio.Queue[PoolEvent] = asyncio.Queue()

    async def listen() -> None:
        async for event in credits.events(**scope):
            heard.put_nowait(event)

    task = asyncio.create_task(listen())
    # Over NATS, a subscription is made by the first wait for it.
    await asyncio.sleep(0.2)
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_threshold_sounds_once_until_credits_are_added(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    set_ = await credits.set_alerts("acme", low=["20%", "10"])
    assert (set_.id, (await credits.set_alerts("acme", low=["20%", "10"])).replayed) == ("n3", True)
    await credits.debit("acme", "80", key="a")
    assert await said(credits) == []
    await credits.debit("acme", "5", key="b")
    await credits.debit("acme", "1", key="c")
    (low,) = await said(credits)
    assert (low.kind, low.pool, low.available, low.limit, low.percent) == ("low", "acme", 15, 20, 20)
    # What comes back from a hold does not arm it again.
    hold = await credits.hold("acme", "3", key="h")
    await hold.release()
    await credits.debit("acme", "12", key="d")
    assert [event.limit for event in await said(credits)] == [20, 10]
    await credits.debit("acme", "2", key="e")
    assert await kinds(credits) == ["low", "low", "depleted"]
    # Now 20% are 20% of 50.
    await credits.grant("acme", "50", key="g2")
    await credits.debit("acme", "41", key="f")
    assert [event.limit for event in await said(credits)] == [20, 10, None, 10, 10]


async def test_what_is_low_already_is_said_at_once(credits: Credits) -> None:
    await credits.grant("acme", "5", key="g")
    await credits.set_alerts("acme", low=["10"])
    assert await kinds(credits) == ["low"]
    await credits.set_alerts("acme")
    assert (await credits.alerts("acme")).low == ()
    await credits.debit("acme", "5", key="a")
    assert await kinds(credits) == ["low"]


async def test_events_are_told_as_they_happen_and_in_order(credits: Credits) -> None:
    for pool in ("acme", "acme/site", "other"):
        await credits.grant(pool, "100", key="g")
        await credits.set_alerts(pool, low=["90", "50"])
    async with (
        listening(credits) as everything,
        listening(credits, customer="acme") as of_acme,
        listening(credits, pool="acme/site") as of_site,
    ):
        for number in range(3):
            for pool in ("acme", "acme/site", "other"):
                await credits.debit(pool, "30", key=f"k{number}")
        heard = [await asyncio.wait_for(everything.get(), WAIT_S) for _ in range(6)]
        assert {event.pool for event in heard} == {"acme", "acme/site", "other"}
        for pool in ("acme", "acme/site", "other"):
            assert [event.limit for event in heard if event.pool == pool] == [90, 50]
        assert [(await asyncio.wait_for(of_acme.get(), WAIT_S)).pool for _ in range(4)] == [
            event.pool for event in heard if event.pool != "other"
        ]
        assert [(await asyncio.wait_for(of_site.get(), WAIT_S)).limit for _ in range(2)] == [90, 50]


async def test_the_past_is_read_in_pages(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_alerts("acme", low=[str(limit) for limit in range(1, 11)])
    for number in range(10):
        await credits.debit("acme", "9.95", key=f"k{number}")
    heard: list[PoolEvent] = []
    after = "0.0"
    while True:
        page = await credits.past_events("acme", after=after, limit=3)
        assert len(page.events) <= 3
        heard += page.events
        after = page.position
        if not page.more:
            break
    assert heard == await said(credits)
    assert len({event.position for event in heard}) == 10
    middle = heard[4].position
    assert list((await credits.past_events(after=middle)).events) == heard[5:]
    assert list((await credits.past_events(customer="other")).events) == []


async def test_a_grant_that_expires_soon_is_told_of_once(credits: Credits, clock: Clock) -> None:
    expires_at = clock.now() + timedelta(days=10)
    await credits.grant("acme", "5", key="g", expires_at=expires_at)
    await credits.grant("acme", "5", key="g2", effective_at=clock.now() + timedelta(hours=1), expires_at=expires_at)
    await credits.set_alerts("acme", expiring_within_s=86_400)
    clock.advance(days=8)
    await credits.balance("acme")
    assert await kinds(credits) == []
    clock.advance(days=1, hours=1)
    await credits.balance("acme")
    told = await said(credits)
    assert [(event.kind, event.grant, event.amount) for event in told] == [
        ("expiring_soon", "g2", 5), ("expiring_soon", "g3", 5)
    ]  # fmt: skip
    assert told[0].expires_at == expires_at
    await credits.debit("acme", "1", key="a")
    assert len(await said(credits)) == 2
    await credits.update_grant("acme", "g2", key="u", expires_at=expires_at + timedelta(days=9))
    clock.advance(days=9)
    await credits.balance("acme")
    assert [event.grant for event in await said(credits)] == ["g2", "g3", "g2"]


async def test_a_budget_that_is_nearly_used_up_is_told_of_once_a_window(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "1000", key="g")
    await credits.set_budget("acme", "user", "10", window="day", each="user")
    await credits.set_alerts("acme", budget_percents=[50, 100])
    for key in ("a", "b", "c"):
        await credits.debit("acme", "2", key=key, dimensions={"user": "ann"})
    (half,) = await said(credits)
    assert (half.kind, half.budget, half.value, half.amount, half.limit, half.percent) == (
        "budget_reached", "user", "ann", 6, 10, 50
    )  # fmt: skip
    await credits.hold("acme", "4", key="h", dimensions={"user": "ann"})
    await credits.debit("acme", "10", key="d", dimensions={"user": "bob"})
    assert [(event.value, event.percent) for event in await said(credits)] == [("ann", 50), ("ann", 100), ("bob", 100)]
    clock.advance(days=1)
    await credits.debit("acme", "6", key="e", dimensions={"user": "bob"})
    told = await said(credits)
    # The hold of ann expired meanwhile.
    assert [(event.kind, event.value) for event in told[3:]] == [("hold_expired", None), ("budget_reached", "bob")]
    assert (told[3].hold, told[3].amount) == ("h9", 4)


async def test_a_recharge_is_asked_for_once_and_granted(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_alerts("acme", recharge={"below": "20", "target": "100", "cost_basis": ("0.01", "USD")})
    for number in range(10):
        await credits.debit("acme", "9", key=f"k{number}")
    (asked,) = await said(credits)
    assert (asked.kind, asked.amount, asked.available, asked.granted) == ("recharge_requested", 81, 19, False)
    assert asked.recharge is not None
    open_ = (await credits.alerts("acme")).open_recharge
    assert open_ is not None
    assert (open_.id, open_.amount) == (asked.recharge, 81)
    granted = await credits.grant_recharge("acme", asked.recharge)
    assert (granted.amount, granted.balance) == (81, 91)
    assert (await credits.grant_recharge("acme", asked.recharge)).replayed
    with pytest.raises(StateConflict) as settled:
        await credits.refuse_recharge("acme", asked.recharge)
    assert settled.value.reason == "recharge_granted"
    grant = next(grant for grant in (await credits.grants("acme")).grants if grant.id == granted.id)
    assert (grant.name, grant.cost_basis) == ("recharge", {"per_credit": "0.01", "currency": "USD"})
    assert (await credits.alerts("acme")).open_recharge is None
    await credits.debit("acme", "80", key="more")
    assert [event.amount for event in await said(credits)] == [81, 89]


async def test_a_refused_or_forgotten_request_is_not_repeated_at_once(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.set_alerts("acme", recharge={"below": "50", "target": "100", "timeout_s": 3600})
    await credits.debit("acme", "60", key="a")
    (asked,) = await said(credits)
    assert asked.recharge is not None
    refused = await credits.refuse_recharge("acme", asked.recharge)
    assert (refused.replayed, (await credits.refuse_recharge("acme", asked.recharge)).replayed) == (False, True)
    with pytest.raises(StateConflict) as settled:
        await credits.grant_recharge("acme", asked.recharge)
    assert settled.value.reason == "recharge_refused"
    await credits.debit("acme", "1", key="b")
    assert await kinds(credits) == ["recharge_requested", "recharge_refused"]
    clock.advance(hours=1)
    await credits.debit("acme", "1", key="c")
    clock.advance(hours=1, seconds=1)
    await credits.balance("acme")
    told = await said(credits)
    # What timed out is asked for again, and now a request is open once more.
    assert [event.kind for event in told[2:]] == ["recharge_requested", "recharge_timed_out", "recharge_requested"]
    assert [event.amount for event in told[2:]] == [61, 61, 62]
    assert told[2].recharge is not None
    with pytest.raises(StateConflict) as settled:
        await credits.grant_recharge("acme", told[2].recharge)
    assert settled.value.reason == "recharge_timed_out"
    with pytest.raises(NotFound):
        await credits.grant_recharge("acme", "q999")


async def test_a_month_has_only_so_much_and_a_pool_may_grant_it_itself(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    rule = {"below": "10", "target": "10", "monthly_max": "25", "grants": True, "category": "promotional"}
    await credits.set_alerts("acme", recharge=rule)
    spent = Decimal(0)
    for number in range(60):
        receipt = await credits.debit("acme", "1", key=f"k{number}", partial=True) if number < 35 else None
        spent += receipt.amount if receipt is not None else 0
    assert spent == 35
    told = await said(credits)
    assert sum(event.amount or 0 for event in told if event.kind == "recharge_requested") == 25
    assert all(event.granted for event in told if event.kind == "recharge_requested")
    assert (await credits.balance("acme")).available == 0
    assert {grant.category for grant in (await credits.grants("acme")).grants} == {"paid", "promotional"}


async def heard_by_itself(credits: Credits, kinds_: list[str], pool: str = "acme") -> None:
    """Wait until a pool has said all of ``kinds_`` about recharges, without asking it anything."""
    told: list[str] = []
    for _ in range(int(WAIT_S / 0.05)):
        told = [event.kind for event in (await credits.past_events()).events if is_of_recharge(event, pool)]
        if len(told) >= len(kinds_):
            break
        await asyncio.sleep(0.05)
    assert told == kinds_


def is_of_recharge(event: PoolEvent, pool: str = "acme") -> bool:
    return event.pool == pool and event.kind.startswith("recharge_")


async def asked_for(credits: Credits) -> list[Decimal | None]:
    return [event.amount for event in await said(credits) if event.kind == "recharge_requested"]


async def test_a_pool_with_nothing_left_asks_again_when_nobody_answered_or_the_answer_was_no(
    credits: Credits, clock: Clock
) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_alerts("acme", recharge={"below": "5", "target": "10", "timeout_s": 3600})
    await credits.debit("acme", "10", key="a")
    said_ = ["recharge_requested"]
    await heard_by_itself(credits, said_)
    for _ in range(2):
        clock.advance(hours=1, seconds=1)
        said_ += ["recharge_timed_out", "recharge_requested"]
        await heard_by_itself(credits, said_)
        open_ = (await credits.alerts("acme")).open_recharge
        assert open_ is not None
        await credits.refuse_recharge("acme", open_.id)
        said_ += ["recharge_refused"]
        clock.advance(minutes=59)
        assert (await credits.alerts("acme")).open_recharge is None
        clock.advance(minutes=1, seconds=1)
        said_ += ["recharge_requested"]
        await heard_by_itself(credits, said_)


async def test_a_pause_that_ends_while_there_is_enough_is_not_the_end_of_asking(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "4", key="g")
    await credits.set_alerts("acme", recharge={"below": "5", "target": "10", "timeout_s": 3600})
    open_ = (await credits.alerts("acme")).open_recharge
    assert open_ is not None
    await credits.refuse_recharge("acme", open_.id)
    await credits.grant("acme", "6", key="g2")
    clock.advance(hours=2)
    await credits.balance("acme")
    assert await kinds(credits) == ["recharge_requested", "recharge_refused"]
    await credits.debit("acme", "6", key="a")
    assert [event.amount for event in await said(credits)] == [6, 6, 6]


async def test_what_a_grant_leaves_open_is_asked_for_again_and_the_month_has_what_was_granted(
    credits: Credits, clock: Clock
) -> None:
    clock.advance_to(next_month(clock))
    await credits.grant("acme", "10", key="g")
    await credits.set_alerts("acme", recharge={"below": "5", "target": "10", "monthly_max": "15"})
    await credits.debit("acme", "10", key="a")
    for amount in ("1", "2", "1.5"):
        open_ = (await credits.alerts("acme")).open_recharge
        assert open_ is not None
        granted = await credits.grant_recharge("acme", open_.id, amount=amount)
        again = await credits.grant_recharge("acme", open_.id, amount=amount)
        assert (granted.amount, again.id, again.replayed) == (Decimal(amount), granted.id, True)
    assert await asked_for(credits) == [10, 9, 7, Decimal("5.5")]
    open_ = (await credits.alerts("acme")).open_recharge
    assert open_ is not None
    # From the threshold on nothing is asked for, though the target is not reached.
    await credits.grant_recharge("acme", open_.id, amount="0.5")
    assert ((await credits.balance("acme")).available, (await credits.alerts("acme")).open_recharge) == (5, None)
    # 5 of 15 were granted: 10 are left.
    await credits.debit("acme", "4", key="b")
    await credits.debit("acme", "1", key="c")
    open_ = (await credits.alerts("acme")).open_recharge
    assert open_ is not None
    assert open_.amount == 9
    # More than was asked for counts as well.
    await credits.grant_recharge("acme", open_.id, amount="11")
    await credits.debit("acme", "11", key="d")
    assert (await credits.alerts("acme")).open_recharge is None
    clock.advance_to(next_month(clock))
    assert (await credits.alerts("acme")).open_recharge is not None


def next_month(clock: Clock) -> datetime:
    now = clock.now()
    first = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    return first + timedelta(seconds=1)


async def test_a_new_month_is_asked_for_though_nothing_happens_in_it(credits: Credits, clock: Clock) -> None:
    clock.advance_to(next_month(clock))
    rule = {"below": "10", "target": "10", "monthly_max": "15", "grants": True}
    await credits.grant("acme", "10", key="g")
    await credits.set_alerts("acme", recharge=rule)
    await credits.debit("acme", "10", key="a")
    await credits.debit("acme", "10", key="b")
    await credits.debit("acme", "5", key="c")
    assert await asked_for(credits) == [10, 5]
    # The month that was begun goes on when the rule changes, in whatever time zone.
    for zone in ("Pacific/Kiritimati", "Pacific/Honolulu", "UTC"):
        await credits.set_alerts("acme", recharge={**rule, "time_zone": zone})
    await credits.set_alerts("acme")
    await credits.set_alerts("acme", recharge=rule)
    assert (await credits.balance("acme")).available == 0
    clock.advance_to(next_month(clock) - timedelta(minutes=1))
    assert (await credits.balance("acme")).available == 0
    clock.advance(minutes=1)
    await heard_by_itself(credits, ["recharge_requested"] * 3)
    assert await asked_for(credits) == [10, 5, 10]
    assert (await credits.balance("acme")).available == 10


async def test_a_rule_that_is_set_when_credits_are_low_asks_at_once_but_not_in_a_pause(
    credits: Credits, clock: Clock
) -> None:
    await credits.open_pool("acme")
    rule = {"below": "5", "target": "10", "timeout_s": 3600}
    await credits.set_alerts("acme", recharge=rule)
    open_ = (await credits.alerts("acme")).open_recharge
    assert open_ is not None
    assert open_.amount == 10
    await credits.set_alerts("acme")
    await credits.set_alerts("acme", recharge={**rule, "target": "20"})
    # The request that was made before is open still.
    assert (await credits.alerts("acme")).open_recharge == open_
    await credits.refuse_recharge("acme", open_.id)
    await credits.set_alerts("acme", recharge={**rule, "target": "30"})
    assert (await credits.alerts("acme")).open_recharge is None
    clock.advance(hours=1, seconds=1)
    await heard_by_itself(credits, ["recharge_requested", "recharge_refused", "recharge_requested"])
    assert await asked_for(credits) == [10, 30]


async def test_resource_pools_recharge_by_themselves(credits: Credits) -> None:
    for pool in ("acme/a", "acme/b"):
        await credits.grant(pool, "10", key="g")
        await credits.set_alerts(pool, recharge={"below": "5", "target": "10", "grants": True})
    await credits.debit("acme/a", "9", key="d")
    assert (await credits.balance("acme/a")).available == 10
    assert (await credits.balance("acme/b")).available == 10
    assert (await kinds(credits, "acme/a"), await kinds(credits, "acme/b")) == (["recharge_requested"], [])


@pytest.mark.parametrize(
    ("alerts", "field"),
    [
        ({"low": ["0"]}, "low"),
        ({"low": ["101%"]}, "low"),
        ({"low": ["1"] * 21}, "low"),
        ({"low": [0.5]}, "low"),
        ({"expiring_within_s": 0}, "expiring_within_s"),
        ({"budget_percents": [0]}, "budget_percents"),
        ({"recharge": {"below": "5"}}, "recharge"),
        ({"recharge": {"below": "5", "target": "4"}}, "recharge.target"),
        ({"recharge": {"below": "5", "target": "6", "grants": 1}}, "recharge.grants"),
        ({"recharge": {"below": "5", "target": "6", "timeout_s": 1}}, "recharge.timeout_s"),
        ({"recharge": {"below": "5", "target": "6", "time_zone": "Mars"}}, "recharge.time_zone"),
        ({"recharge": {"below": 0.5, "target": "6"}}, "recharge.below"),
    ],
)
async def test_bad_alerts_name_their_field(credits: Credits, alerts: dict[str, Any], field: str) -> None:
    await credits.grant("acme", "1", key="g")
    with pytest.raises(InvalidRequest) as invalid:
        await credits.set_alerts("acme", **alerts)
    assert invalid.value.field == field


async def test_a_pool_that_is_not_there_has_no_alerts(credits: Credits) -> None:
    with pytest.raises(NotFound):
        await credits.set_alerts("nobody", low=["1"])
    with pytest.raises(InvalidRequest):
        await credits.past_events(after="yesterday")
    with pytest.raises(InvalidRequest):
        await credits.past_events(limit=0)


async def test_a_transfer_that_empties_a_pool_says_so(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_alerts("acme", low=["8"])
    receipt = await credits.transfer("acme", "acme/website-1", "5", key="t", open_pool=True)
    assert (receipt.id, receipt.balance) == ("t4", 5)
    assert await kinds(credits) == ["low"]
    assert (await credits.balance("acme/website-1")).available == 5


async def test_what_was_asked_for_this_month_is_not_forgotten_with_the_rule(credits: Credits) -> None:
    rule = {"below": "5", "target": "20", "monthly_max": "10", "grants": True}
    await credits.grant("acme", "6", key="g")
    await credits.set_alerts("acme", recharge=rule)
    await credits.debit("acme", "2", key="a")
    assert (await credits.balance("acme")).available == 14
    await credits.set_alerts("acme")
    await credits.debit("acme", "14", key="b")
    assert await kinds(credits) == ["recharge_requested"]
    await credits.set_alerts("acme", recharge=rule)
    assert "recharge_requested" not in (await kinds(credits))[1:]


async def test_cancelling_a_plan_at_once_answers_with_the_end_and_says_that_nothing_is_left(credits: Credits) -> None:
    await credits.set_recurring("acme", "plan", "10", period="day")
    await credits.set_alerts("acme", low=["5"])
    ended = await credits.cancel_recurring("acme", "plan", at_once=True)
    assert (ended.id[0], ended.balance) == ("p", 0)
    assert await kinds(credits) == ["low", "depleted"]
