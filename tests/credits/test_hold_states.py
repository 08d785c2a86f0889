"""What became of a hold: asked for again, entered again, extended, captured by a rate card, left by cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest

from solvent import (
    Credits,
    HoldRequest,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    OpenHold,
    Receipt,
    StateConflict,
)

from .conftest import Clock

LONG_S = 86_400


async def became(credits: Credits, key: str) -> tuple[object, ...]:
    """What a hold of 5 that is asked for again says of itself."""
    receipt = (await credits.hold("acme", "5", key=key)).receipt
    assert receipt.replayed
    end = receipt.settlement
    return (receipt.state, *(() if end is None else (end.entry, end.captured, end.returned, end.lapsed, end.uncovered)))


async def test_a_hold_asked_for_again_says_what_became_of_it(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "20", key="g", expires_at=clock.now() + timedelta(days=2))
    first = await credits.hold("acme", "5", key="a")
    assert (first.state, first.receipt.state, first.receipt.replayed) == ("open", "open", False)
    assert await became(credits, "a") == ("open",)
    captured = await first.capture("3.5")
    assert await became(credits, "a") == ("captured", captured.id, Decimal("3.5"), Decimal("1.5"), 0, 0)

    over = await (await credits.hold("acme", "5", key="b")).capture("100")
    assert await became(credits, "b") == ("captured", over.id, 5, 0, 0, 95)
    released = await (await credits.hold("acme", "5", key="c")).release()
    assert await became(credits, "c") == ("released", released.id, 0, 5, 0, 0)

    late = await credits.hold("acme", "5", key="d", ttl_s=LONG_S)
    clock.advance(days=3)
    ended = (await credits.hold("acme", "5", key="d", ttl_s=LONG_S)).receipt
    assert ended.settlement is not None
    assert (ended.state, ended.settlement.captured, ended.settlement.lapsed) == ("expired", 0, 5)
    # All else is what it was.
    assert msgspec.structs.replace(ended, replayed=False, details=late.receipt.details) == late.receipt
    assert late.state == "open", "an object knows what was done through it"
    # Each the same by any way.
    requests = [HoldRequest(pool="acme", amount=5, key=key) for key in "abc"]
    for atomic in (False, True):
        answers = [each for each in await credits.batch(requests, atomic=atomic) if isinstance(each, Receipt)]
        assert [each.state for each in answers] == ["captured", "captured", "released"]
        ends = [each.settlement.captured for each in answers if each.settlement is not None]
        assert ends == [Decimal("3.5"), 5, 0]


async def test_a_settled_hold_cannot_be_entered(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "20", key="g")
    calls = 0
    for _ in range(5):
        with suppress(StateConflict):
            async with credits.hold("acme", "5", key="req-1") as hold:
                calls += 1
                await hold.capture("2")
    assert calls == 1
    released = await credits.hold("acme", "5", key="req-2")
    await released.release()
    expired = await credits.hold("acme", "5", key="req-3", ttl_s=1)
    by_id = await credits.hold("acme", "5", key="req-4")
    await credits.capture("acme", by_id.id, "1")
    clock.advance(seconds=2)
    ended = {"req-1": "captured", "req-2": "released", "req-3": "expired", "req-4": "captured"}
    for key, how in ended.items():
        again = await credits.hold("acme", "5", key=key, ttl_s=1 if key == "req-3" else None)
        assert (again.state, again.settled) == (how, True)
        for entered in (again, credits.hold("acme", "5", key=key, ttl_s=1 if key == "req-3" else None)):
            with pytest.raises(StateConflict) as conflict:
                async with entered:
                    calls += 1
            assert conflict.value.reason == f"hold_{how}"
            assert how in conflict.value.message
    # Those objects were made when the holds were open, and have not seen how they ended.
    for held, how in ((expired, "expired"), (by_id, "captured")):
        assert held.state == "open"
        with pytest.raises(StateConflict) as conflict:
            async with held:
                calls += 1
        assert (conflict.value.reason, held.state) == (f"hold_{how}", how)
    assert calls == 1
    balance = await credits.balance("acme")
    assert (balance.available, balance.spent, balance.held) == (17, 3, 0)


async def test_an_awaited_hold_can_be_entered_later(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "5", key="a")
    async with hold as entered:
        assert entered is hold
        assert (await hold.capture("2")).amount == 2
    assert hold.state == "captured"
    other = await credits.hold("acme", "5", key="b")
    async with other:
        assert (await credits.balance("acme")).held == 5
    assert other.state == "released"
    balance = await credits.balance("acme")
    assert (balance.available, balance.held, balance.spent) == (8, 0, 2)


async def test_a_hold_that_is_still_open_is_entered_again_after_a_restart(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.hold("acme", "5", key="a")
    async with credits.hold("acme", "5", key="a") as hold:
        assert hold.receipt.replayed
        await hold.capture("1")
    assert (await credits.balance("acme")).spent == 1


async def test_a_capture_of_another_amount_is_a_conflict(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "4", key="a", metric="tokens")
    first = await hold.capture("3", quantity=100)
    same: dict[str, Any]
    for same in ({}, {"quantity": "100"}, {"metric": "tokens"}):
        assert (await credits.capture("acme", hold.id, "3.0", **same)).id == first.id
    others: list[tuple[str, dict[str, Any]]] = [
        ("1", {}),
        ("3.000001", {}),
        ("3", {"quantity": 7}),
        ("3", {"metric": "calls"}),
    ]
    for amount, other in others:
        with pytest.raises(StateConflict) as conflict:
            await credits.capture("acme", hold.id, amount, **other)
        assert conflict.value.reason == "hold_captured"
        assert "with 3 credits" in conflict.value.message
    beyond = await credits.hold("acme", "1", key="b")
    over = await beyond.capture("50")
    assert (await beyond.capture("50")).id == over.id
    with pytest.raises(StateConflict):
        await beyond.capture("1")
    assert (await credits.balance("acme")).spent == 4


# -- Extending


async def test_an_open_hold_can_be_extended(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "4", key="a", ttl_s=60)
    clock.advance(seconds=50)
    extended = await hold.extend(key="a+1", ttl_s=3_600)
    assert (extended.hold, extended.id[0], extended.balance, extended.expires_at) == (hold.id, "e", 6, hold.expires_at)
    clock.advance(seconds=3_000)
    again = await credits.extend("acme", hold.id, key="a+1", ttl_s=3_600)
    assert (again.replayed, again.id, again.expires_at) == (True, extended.id, extended.expires_at)
    (listed,) = (await credits.holds("acme")).holds
    assert listed.expires_at == extended.expires_at
    assert (await credits.hold("acme", "4", key="a", ttl_s=60)).expires_at == extended.expires_at
    with pytest.raises(IdempotencyConflict):
        await hold.extend(key="a+1", ttl_s=3_601)
    with pytest.raises(IdempotencyConflict):
        await hold.extend(key="a", ttl_s=7_200)
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.kind, entry.about, entry.change, entry.key) == ("extension", hold.id, 0, "a+1")
    assert (await hold.capture("4")).amount == 4
    # The first answer stands, whatever became of the hold since.
    assert (await credits.extend("acme", hold.id, key="a+1", ttl_s=3_600)).replayed
    with pytest.raises(StateConflict) as conflict:
        await credits.extend("acme", hold.id, key="x", ttl_s=60)
    assert conflict.value.reason == "hold_captured"
    with pytest.raises(NotFound) as missing:
        await credits.extend("acme", "h99", key="y", ttl_s=60)
    assert missing.value.what == "hold"


async def test_an_extended_hold_expires_at_its_new_time(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "4", key="a", ttl_s=60)
    ends = clock.now() + timedelta(hours=5)
    await hold.extend(key="e", expires_at=ends)
    clock.advance(hours=4)
    assert (await credits.balance("acme")).held == 4
    clock.advance(hours=1, seconds=1)
    balance = await credits.balance("acme")
    assert (balance.available, balance.held) == (10, 0)
    with pytest.raises(StateConflict) as conflict:
        await hold.extend(key="late", ttl_s=60)
    assert conflict.value.reason == "hold_expired"
    assert (await credits.extend("acme", hold.id, key="e", expires_at=ends)).replayed


async def test_a_hold_lasts_24_hours_from_now_and_7_days_from_its_start_at_most(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "4", key="a", ttl_s=LONG_S)
    start = hold.receipt.recorded_at
    unfit: list[tuple[dict[str, Any], str]] = [
        ({"ttl_s": 60}, "ttl_s"),
        ({"ttl_s": LONG_S + 1}, "ttl_s"),
        ({"ttl_s": 0}, "ttl_s"),
        ({}, "ttl_s"),
        ({"ttl_s": 60, "expires_at": start + timedelta(days=1)}, "ttl_s"),
        ({"expires_at": start + timedelta(hours=1)}, "expires_at"),
        ({"expires_at": start + timedelta(days=1, hours=1)}, "expires_at"),
    ]
    for fields, field in unfit:
        with pytest.raises(InvalidRequest) as invalid:
            await hold.extend(key="bad", **fields)
        assert invalid.value.field == field
    for day in range(1, 7):
        clock.advance(hours=23, minutes=59)
        await hold.extend(key=f"day {day}", ttl_s=LONG_S)
    clock.advance(hours=23, minutes=50)
    with pytest.raises(InvalidRequest) as invalid:
        await hold.extend(key="day 7", ttl_s=LONG_S)
    assert "7 days" in invalid.value.expected
    last = start + timedelta(days=7)
    assert (await hold.extend(key="day 7", expires_at=last)).expires_at == last


# -- expires_at in place of ttl_s


async def test_the_time_of_expiry_can_be_given_and_a_retry_is_no_conflict(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "10", key="g")
    ends = clock.now() + timedelta(hours=2)
    hold = await credits.hold("acme", "4", key="a", expires_at=ends)
    assert hold.receipt.expires_at == ends
    clock.advance(minutes=30)
    again = await credits.hold("acme", "4", key="a", expires_at=ends.isoformat())
    assert (again.receipt.replayed, again.id) == (True, hold.id)
    others: list[dict[str, Any]] = [{"expires_at": ends + timedelta(seconds=1)}, {"ttl_s": 7_200}, {}]
    for other in others:
        with pytest.raises(IdempotencyConflict):
            await credits.hold("acme", "4", key="a", **other)
    clock.advance(hours=2)
    assert (await credits.hold("acme", "4", key="a", expires_at=ends)).state == "expired"
    for bad in (clock.now() - timedelta(seconds=1), clock.now() + timedelta(hours=25)):
        with pytest.raises(InvalidRequest) as invalid:
            await credits.hold("acme", "1", key="b", expires_at=bad)
        assert invalid.value.field == "expires_at"
    with pytest.raises(InvalidRequest) as invalid:
        await credits.hold("acme", "1", key="b", ttl_s=60, expires_at=clock.now() + timedelta(hours=1))
    assert invalid.value.field == "expires_at"


# -- Captured by the rate card


async def test_a_hold_is_captured_by_metric_and_quantity(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "10", key="g")
    with pytest.raises(NotFound) as missing:
        await credits.capture("acme", "h9", metric="tokens", quantity=1)
    assert missing.value.what == "hold"
    await credits.set_rates(
        [
            {"metric": "tokens", "credits": "1", "per": 1_000},
            {"metric": "tokens", "match": {"model": "gpt-4"}, "credits": "3", "per": 1_000},
            {"metric": "pings", "credits": "0.000000001"},
        ]
    )
    hold = await credits.hold("acme", "5", key="a", metric="tokens", dimensions={"model": "gpt-4"})
    captured = await hold.capture(quantity=640)
    assert (captured.amount, captured.returned, captured.card) == (Decimal("1.92"), Decimal("3.08"), 1)
    clock.advance(seconds=1)
    await credits.set_rates([{"metric": "tokens", "credits": "9", "per": 1_000}])
    again = await credits.capture("acme", hold.id, metric="tokens", quantity="640")
    assert (again.replayed, again.amount, again.card) == (True, Decimal("1.92"), 1)
    for amount, quantity in ((None, 641), ("1.92", 640)):
        with pytest.raises(StateConflict) as conflict:
            await credits.capture("acme", hold.id, amount, quantity=quantity)
        assert conflict.value.reason == "hold_captured"
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.kind, entry.metric, entry.quantity, entry.card) == ("capture", "tokens", 640, 1)
    plain = await credits.hold("acme", "5", key="b")
    unfit: list[tuple[dict[str, Any], str]] = [
        ({}, "amount"),
        ({"metric": "tokens"}, "amount"),
        ({"quantity": 3}, "metric"),
    ]
    for fields, field in unfit:
        with pytest.raises(InvalidRequest) as invalid:
            await plain.capture(**fields)
        assert invalid.value.field == field
    with pytest.raises(NotFound) as missing:
        await plain.capture(metric="videos", quantity=1)
    assert missing.value.what == "rate"
    # At the price of when it happened.
    assert (await plain.capture(metric="tokens", quantity=100)).amount == Decimal("0.9")


async def test_what_costs_nothing_is_captured_too(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_rates([{"metric": "pings", "credits": "0"}])
    hold = await credits.hold("acme", "5", key="a", metric="pings")
    captured = await hold.capture(quantity=3)
    assert (captured.amount, captured.returned, captured.balance) == (0, 5, 10)
    assert (await hold.capture(quantity=3)).replayed


# -- Cancellation


async def left(credits: Credits) -> Decimal:
    """What is spent, once no hold is open."""
    balance = await credits.balance("acme")
    assert (balance.held, (await credits.holds("acme")).holds) == (0, ())
    return balance.spent


async def test_whenever_a_task_is_cancelled_no_hold_stays_open_and_nothing_is_captured_twice(credits: Credits) -> None:
    await credits.grant("acme", "1000", key="g")
    begun: list[int] = []
    captured: list[int] = []

    async def entered(number: int) -> None:
        async with credits.hold("acme", "2", key=f"entered {number}") as hold:
            await asyncio.sleep(0)
            begun.append(number)
            await hold.capture("1")
            captured.append(number)

    async def awaited(number: int) -> None:
        hold = await credits.hold("acme", "2", key=f"awaited {number}")
        async with hold:
            await asyncio.sleep(0)
            if number % 2:
                begun.append(number)
                await hold.capture("1")
                captured.append(number)

    for number in range(48):
        job = asyncio.create_task((entered, awaited)[number % 2](number))
        if number < 32:
            for _ in range(number // 2):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep((number - 32) * 0.0004)
        for _ in range(1 + number % 3):
            # Cancelled once more while it releases what it has.
            job.cancel()
            await asyncio.sleep(0)
        with suppress(asyncio.CancelledError):
            await job
        assert len(captured) <= await left(credits) <= len(begun)
    kinds = [entry.kind for entry in (await credits.ledger("acme", limit=1_000)).entries]
    assert kinds.count("hold") == kinds.count("capture") + kinds.count("release")


async def test_a_capture_that_was_begun_is_done_in_a_scope_that_is_cancelled(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    for key, captures in (("a", True), ("b", False)):
        hold = await credits.hold("acme", "4", key=key)
        with anyio.CancelScope() as scope:
            async with hold:
                try:
                    scope.cancel()
                    await anyio.sleep(60)
                finally:
                    if captures:
                        await hold.capture("3")
        assert hold.state == ("captured" if captures else "released")
        assert await left(credits) == 3


async def test_a_stream_whose_reader_hangs_up_is_captured(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")

    async def stream(hold: OpenHold) -> AsyncIterator[int]:
        sent = 0
        async with hold:
            try:
                while True:
                    sent += 1
                    yield sent
                    await asyncio.sleep(0)
            finally:
                await hold.capture(sent)

    async def serve(hold: OpenHold) -> None:
        async for token in stream(hold):
            if token == 3:
                # The server is told that the client is gone.
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

    hold = await credits.hold("acme", "5", key="a")
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(serve(hold))
    # The generator itself is ended by the loop, as soon as nobody holds it.
    while (await credits.balance("acme")).held:
        await asyncio.sleep(0.01)
    assert (hold.state, await left(credits)) == ("captured", 3)
    generator = stream(await credits.hold("acme", "5", key="b"))
    assert await anext(generator) == 1
    await generator.aclose()  # type: ignore[attr-defined]
    assert await left(credits) == 4


async def test_a_time_limit_around_a_hold_is_kept(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), credits.hold("acme", "4", key="a"):
            await asyncio.sleep(60)
    assert await left(credits) == 0
