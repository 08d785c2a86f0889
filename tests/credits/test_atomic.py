"""Transfers and atomic batches, asked of the embedded engine and of the clients over NATS and HTTP."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from solvent import (
    CaptureRequest,
    Credits,
    DebitRequest,
    GrantRequest,
    HoldRequest,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Receipt,
    ReportRequest,
    ReverseRequest,
    StateConflict,
)
from solvent.engine.api.requests import BatchRequest


async def test_a_transfer_moves_blocks_with_their_terms(credits: Credits) -> None:
    ends = datetime.now(UTC) + timedelta(days=9)
    await credits.grant("acme", "3", key="a", category="promotional", priority=7, expires_at=ends, metadata={"x": 1})
    await credits.grant("acme", "10", key="b", cost_basis=("0.01", "USD"), name="order")
    receipt = await credits.transfer("acme", "acme/web", "5", key="t", open_pool=True)
    assert (receipt.amount, receipt.balance) == (5, 8)
    assert [each.amount for each in receipt.allocations] == [3, 2]
    first, second = (await credits.grants("acme/web")).grants
    assert (first.amount, first.category, first.priority, first.expires_at) == (3, "promotional", 7, ends)
    assert (first.metadata, first.key) == ({"x": 1}, "t")
    assert (second.amount, second.cost_basis, second.name) == (2, {"per_credit": "0.01", "currency": "USD"}, "order")
    source, target = await credits.balance("acme"), await credits.balance("acme/web")
    assert (source.granted, source.moved_out, source.available) == (13, 5, 8)
    assert (target.granted, target.available) == (5, 5)
    kinds = [(entry.kind, entry.about) for entry in (await credits.ledger("acme/web")).entries]
    assert kinds == [("transfer_in", "acme"), ("transfer_in", "acme"), ("opened", None)]
    assert (await credits.ledger("acme", limit=1)).entries[0].about == "acme/web"

    again = await credits.transfer("acme", "acme/web", "5", key="t")
    assert (again.replayed, again.id) == (True, receipt.id)
    with pytest.raises(IdempotencyConflict):
        await credits.transfer("acme", "acme/other", "5", key="t")
    with pytest.raises(InsufficientCredits):
        await credits.transfer("acme", "acme/web", "9", key="t2")
    await credits.transfer("acme/web", "acme", "5", key="back")
    assert (await credits.balance("acme")).available == 13


async def test_a_transfer_opens_a_pool_only_if_that_is_asked_for_and_the_receipt_says_so(credits: Credits) -> None:
    first = await credits.grant("acme", "10", key="g")
    assert first.opened_pool
    assert not (await credits.grant("acme", "1", key="g2")).opened_pool
    assert (await credits.grant("acme", "10", key="g")).opened_pool, "the first receipt again"
    with pytest.raises(NotFound) as missing:
        await credits.transfer("acme", "acme/wbe", "5", key="t")
    assert (missing.value.what, missing.value.id) == ("pool", "acme/wbe")
    assert [pool.pool for pool in (await credits.pools("acme")).pools] == ["acme"]
    # The key is free, and whether the pool may be opened is no part of the request.
    moved = await credits.transfer("acme", "acme/web", "5", key="t", open_pool=True)
    assert (moved.opened_pool, moved.balance) == (True, 6)
    again = await credits.transfer("acme", "acme/web", "5", key="t")
    assert (again.replayed, again.opened_pool) == (True, True)
    assert not (await credits.transfer("acme", "acme/web", "1", key="t2")).opened_pool
    assert not (await credits.transfer("acme", "acme/web", "1", key="t3", open_pool=True)).opened_pool
    for receipt in (
        await credits.open_pool("acme/a"),
        await credits.set_allowance("acme/b", "free", "1", window="day"),
        await credits.set_recurring("acme/c", "plan", "1", period="day"),
    ):
        assert receipt.opened_pool
    assert not (await credits.grant("acme/a", "1", key="g")).opened_pool
    with pytest.raises(InvalidRequest) as invalid:
        await credits.transfer("acme", "acme/x", "1", key="t4", open_pool="yes")  # type: ignore[arg-type]
    assert invalid.value.field == "open_pool"


@pytest.mark.parametrize("target", ["other/web", "staging@acme", "acme:tokens", "acme"])
async def test_credits_stay_with_their_customer_and_currency(credits: Credits, target: str) -> None:
    await credits.grant("acme", "10", key="a")
    with pytest.raises(InvalidRequest) as invalid:
        await credits.transfer("acme", target, "5", key="t")
    assert invalid.value.field == "target"
    with pytest.raises(NotFound):
        await credits.transfer("acme/nothing", "acme", "5", key="t")


async def test_racing_transfers_in_both_directions_lose_and_make_nothing(credits: Credits) -> None:
    pools = ["acme", "acme/a", "acme/b"]
    for pool in pools:
        await credits.grant(pool, "20", key="g")
    dice = random.Random(7)

    async def move(number: int) -> None:
        source, target = dice.sample(pools, 2)
        try:
            await credits.transfer(source, target, dice.randint(1, 9), key=f"t{number}")
            await credits.debit(target, 1, key=f"d{number}")
        except InsufficientCredits:
            pass

    await asyncio.gather(*(move(number) for number in range(60)))
    balances = [await credits.balance(pool) for pool in pools]
    assert sum(balance.available + balance.spent for balance in balances) == 60
    for balance in balances:
        assert balance.granted == balance.available + balance.spent + balance.moved_out


async def test_an_atomic_batch_is_done_as_a_whole(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    requests: list[BatchRequest] = [
        GrantRequest(pool="acme/web", amount=4, key="g"),
        DebitRequest(pool="acme", amount="2.5", key="d1", dimensions={"user": "u"}),
        DebitRequest(pool="acme/web", amount=4, key="d2"),
        HoldRequest(pool="acme", amount=5, key="h"),
    ]
    answers = await credits.batch(requests, atomic=True)
    assert [type(answer) for answer in answers] == [Receipt] * 4
    assert [answer.balance for answer in answers if isinstance(answer, Receipt)] == [
        4,
        Decimal("7.5"),
        0,
        Decimal("2.5"),
    ]
    again = await credits.batch(requests, atomic=True)
    assert [answer.replayed for answer in again if isinstance(answer, Receipt)] == [True] * 4
    hold = answers[3]
    assert isinstance(hold, Receipt)
    more: list[BatchRequest] = [
        CaptureRequest(pool="acme", hold=hold.id, amount=1),
        ReverseRequest(pool="acme", debit="d3", key="r"),
        DebitRequest(pool="acme", amount=9, key="d3"),
    ]
    ends = await credits.batch(more, atomic=True)
    assert [type(answer) for answer in ends] == [Receipt] * 3
    assert (await credits.balance("acme")).available == 0


async def test_if_one_is_refused_none_is_done(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    answers = await credits.batch(
        [
            DebitRequest(pool="acme", amount=6, key="a"),
            GrantRequest(pool="acme/new", amount=1, key="g"),
            DebitRequest(pool="acme", amount=6, key="b"),
        ],
        atomic=True,
    )
    assert [type(answer) for answer in answers] == [StateConflict, StateConflict, InsufficientCredits]
    assert isinstance(answers[0], StateConflict)
    assert answers[0].reason == "batch_refused"
    bad = await credits.batch(
        [DebitRequest(pool="acme", amount=6, key="a"), DebitRequest(pool="acme", amount=0.5, key="b")],  # type: ignore[arg-type]
        atomic=True,
    )
    assert [type(answer) for answer in bad] == [StateConflict, InvalidRequest]
    mixed = await credits.batch(
        [DebitRequest(pool="acme", amount=1, key="a"), DebitRequest(pool="other", amount=1, key="b")], atomic=True
    )
    assert [type(answer) for answer in mixed] == [InvalidRequest] * 2
    assert await credits.batch([], atomic=True) == []
    with pytest.raises(NotFound):
        await credits.balance("acme/new")
    assert (await credits.balance("acme")).version == 2
    # A refusal uses up no key.
    assert (await credits.debit("acme", 6, key="a")).amount == 6


async def test_a_key_that_comes_twice_in_an_atomic_batch_is_done_once(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    same = DebitRequest(pool="acme", amount=3, key="a")
    first, second = await credits.batch([same, same], atomic=True)
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert (first.replayed, second.replayed, first.id == second.id) == (False, True, True)
    assert (await credits.balance("acme")).spent == 3
    clash = await credits.batch(
        [DebitRequest(pool="acme", amount=1, key="b"), DebitRequest(pool="acme", amount=2, key="b")], atomic=True
    )
    assert [type(answer) for answer in clash] == [StateConflict, IdempotencyConflict]


async def test_reports_are_priced_in_an_atomic_batch(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_rates([{"metric": "images", "credits": 2}])
    answers = await credits.batch(
        [ReportRequest(pool="acme", metric="images", quantity=n, key=f"k{n}") for n in (1, 2)], atomic=True
    )
    assert [answer.amount for answer in answers if isinstance(answer, Receipt)] == [2, 4]


async def test_atomic_batches_and_single_debits_race_without_an_overdraft(credits: Credits) -> None:
    for pool in ("acme", "acme/web"):
        await credits.grant(pool, "30", key="g")

    async def both(number: int) -> bool:
        answers = await credits.batch(
            [DebitRequest(pool=pool, amount=1, key=f"b{number}") for pool in ("acme", "acme/web")], atomic=True
        )
        return all(isinstance(answer, Receipt) for answer in answers)

    async def one(number: int) -> bool:
        try:
            await credits.debit("acme", 1, key=f"s{number}")
        except InsufficientCredits:
            return False
        return True

    done = await asyncio.gather(*(each(number) for number in range(25) for each in (both, one)))
    pairs, singles = sum(done[0::2]), sum(done[1::2])
    assert pairs + singles == 30
    assert (await credits.balance("acme/web")).spent == pairs
    assert (await credits.balance("acme")).available == 0
