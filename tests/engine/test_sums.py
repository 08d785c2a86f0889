"""63 bits bound what a pool holds, not what went through it in its life."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from solvent import Engine, InvalidRequest
from solvent.engine.audit.verify import verify_journal
from tests.credits.conftest import Clock

MOST = 2**63 - 1
"""What a pool of a currency without decimal places can hold."""
POOL, OTHER = "acme:tokens", "acme/other:tokens"


async def test_more_than_63_bits_go_through_a_pool_and_everything_that_adds_up_knows_it(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Engine.open(folder, currencies={"tokens": 0}) as engine:
        await engine.open_pool(POOL)
        await engine.set_budget(POOL, "watched", 1, window="total", mode="warn")
        await engine.set_alerts(POOL, budget_percents=[100])
        for number in range(5):
            await engine.grant(POOL, MOST, key=f"g{number}", cost_basis=("0.5", "USD"))
            await engine.debit(POOL, MOST, key=f"d{number}", dimensions={"user": "ann"})
        await engine.grant(POOL, 1, key="small")
        with pytest.raises(InvalidRequest) as refused:
            await engine.grant(POOL, MOST, key="too much")
        assert str(MOST - 1) in refused.value.expected
        # What comes back has to fit as well.
        with pytest.raises(InvalidRequest) as refused:
            await engine.reverse(POOL, "d5", key="r")
        assert refused.value.field == "amount"
        await engine.debit(POOL, 1, key="last")
        await engine.reverse(POOL, "d5", key="r")
        await check(engine)
        assert (await engine.set_budget(POOL, "watched", 2, window="total", mode="warn")).id
        await engine.debit(POOL, 1, key="again")
        reached = [event for event in (await engine.past_events(POOL)).events if event.kind == "budget_reached"]
        assert [event.amount for event in reached] == [MOST, 2**64 - 1]
    # Snapshots, or the journal without them.
    for caches in (True, False):
        if not caches:
            for name in ("index.db", "snapshots.db", "usage.db"):
                for path in folder.glob(f"{name}*"):
                    path.unlink()
        async with Engine.open(folder, currencies={"tokens": 0}) as engine:
            balance = await engine.balance(POOL)
            assert (balance.granted, balance.available) == (5 * MOST + 1, MOST - 1)
    found = verify_journal(folder)
    assert found.problems == []
    assert found.granted == {"tokens": Decimal(5 * MOST + 1)}
    assert found.spent == {"tokens": Decimal(4 * MOST + 2)}


async def check(engine: Engine) -> None:
    balance = await engine.balance(POOL)
    assert (balance.granted, balance.spent, balance.available) == (5 * MOST + 1, 4 * MOST + 1, MOST)
    (total,) = (await engine.totals("acme")).totals
    assert (total.granted, total.spent) == (5 * MOST + 1, 4 * MOST + 1)
    (line, rest) = (await engine.costs(POOL)).lines
    assert (line.burned, line.value, rest.burned) == (4 * MOST, Decimal(2 * MOST), 1)
    usage = await engine.usage(customer="acme", currency="tokens", period="today", consistent=True)
    assert usage.total.credits == 4 * MOST + 1
    by_user = await engine.usage(customer="acme", currency="tokens", period="today", group_by=["user"])
    assert {line.group["user"]: line.credits for line in by_user.lines}["ann"] == 4 * MOST


async def test_the_same_credits_are_moved_to_and_fro_for_ever(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "journal", currencies={"tokens": 0}) as engine:
        await engine.grant(POOL, MOST, key="g")
        await engine.open_pool(OTHER)
        for number in range(6):
            source, target = (POOL, OTHER) if number % 2 == 0 else (OTHER, POOL)
            await engine.transfer(source, target, MOST, key=f"t{number}")
        balance = await engine.balance(POOL)
        assert (balance.available, balance.granted, balance.moved_out) == (MOST, 4 * MOST, 3 * MOST)
    assert verify_journal(tmp_path / "journal").problems == []


async def test_a_plan_that_cannot_grant_says_so_and_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    async with Engine.open(tmp_path / "journal", currencies={"tokens": 0}, now_us=clock.now_us) as engine:
        receipt = await engine.set_recurring(POOL, "plan", MOST - 5, period="day", roll_over="all")
        assert receipt.granted == MOST - 5
        clock.advance(days=1)
        assert (await engine.balance(POOL)).available == MOST - 5
        (event,) = (await engine.past_events(POOL)).events
        assert (event.kind, event.recurring, event.amount, event.limit) == ("grant_skipped", "plan", MOST - 5, 5)
        entry = (await engine.ledger(POOL)).entries[0]
        assert (entry.kind, entry.about) == ("alert", "grant_skipped")
        (view,) = (await engine.recurring(POOL)).recurring
        assert clock.now() < view.next_at < clock.now() + timedelta(days=1)
        # A plan that is set says it in its receipt.
        other = await engine.set_recurring(POOL, "another", 6, period="day")
        assert (other.id[0], other.granted, other.next_at is not None) == ("p", 0, True)
        await engine.debit(POOL, MOST - 5, key="d")
        clock.advance(days=1)
        assert (await engine.balance(POOL)).available == MOST - 5
        kinds = [event.kind for event in (await engine.past_events(POOL)).events]
        assert kinds == ["grant_skipped", "grant_skipped", "grant_skipped"]
    assert verify_journal(tmp_path / "journal").problems == []


async def test_a_plan_with_nine_decimal_places_grants_for_years(tmp_path: Path) -> None:
    clock = Clock()
    async with Engine.open(tmp_path / "journal", currencies={"fine": 9}, now_us=clock.now_us) as engine:
        await engine.set_recurring("acme:fine", "plan", 10**9, period="month")
        for _ in range(40):
            clock.advance(days=31)
            assert (await engine.balance("acme:fine")).available == 10**9
        assert (await engine.balance("acme:fine")).granted > 40 * 10**9
