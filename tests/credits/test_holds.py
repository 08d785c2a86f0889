"""Holds, reversals, changed grants, questions: asked of the embedded engine and of the clients over NATS and HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from solvent import (
    CaptureRequest,
    Credits,
    HoldRequest,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Receipt,
    ReleaseRequest,
    ReverseRequest,
    StateConflict,
)

from .conftest import Clock


async def test_a_hold_sets_credits_aside_and_a_capture_spends_them(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "6", key="job", ttl_s=60, metric="tokens", dimensions={"model": "gpt-4"})
    assert (hold.receipt.amount, hold.receipt.balance) == (Decimal(6), Decimal(4))
    assert hold.receipt.expires_at == hold.receipt.recorded_at + timedelta(seconds=60)
    (listed,) = (await credits.holds("acme")).holds
    assert (listed.id, listed.amount, listed.metric, listed.dimensions) == (hold.id, 6, "tokens", {"model": "gpt-4"})
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "5", key="too much")

    receipt = await hold.capture("4.5", quantity="1500")
    assert (receipt.amount, receipt.returned, receipt.balance) == (Decimal("4.5"), Decimal("1.5"), Decimal("5.5"))
    assert (receipt.hold, receipt.uncovered, receipt.lapsed) == (hold.id, 0, 0)
    balance = await credits.balance("acme")
    assert (balance.available, balance.held, balance.spent) == (Decimal("5.5"), 0, Decimal("4.5"))
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.kind, entry.amount, entry.change, entry.about) == ("capture", receipt.amount, Decimal("1.5"), hold.id)
    assert (entry.metric, entry.quantity, entry.dimensions) == ("tokens", 1500, {"model": "gpt-4"})
    assert (await credits.holds("acme")).holds == ()


async def test_a_capture_beyond_the_hold_is_debited_if_it_fits(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    first = await credits.hold("acme", "2", key="a")
    receipt = await first.capture("5")
    assert (receipt.amount, receipt.uncovered, receipt.balance) == (5, 0, 5)
    second = await credits.hold("acme", "2", key="b")
    receipt = await second.capture("6")
    assert (receipt.amount, receipt.uncovered, receipt.balance) == (2, 4, 3)


async def test_a_settled_hold_stays_settled(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "4", key="a")
    first = await hold.capture("3")
    again = await credits.capture("acme", hold.id, "3.0")
    assert again.replayed
    assert (again.id, again.amount, again.balance, again.returned) == (first.id, 3, 7, 1)
    with pytest.raises(StateConflict) as conflict:
        await credits.release("acme", hold.id)
    assert conflict.value.reason == "hold_captured"

    other = await credits.hold("acme", "4", key="b")
    released = await other.release()
    assert (released.returned, released.balance) == (4, 7)
    assert (await credits.release("acme", other.id)).replayed
    with pytest.raises(StateConflict) as conflict:
        await other.capture("1")
    assert conflict.value.reason == "hold_released"
    with pytest.raises(NotFound) as unknown:
        await credits.capture("acme", "h99", "1")
    assert unknown.value.what == "hold"


async def test_twenty_racing_holds_of_75_on_500_grant_exactly_six(credits: Credits) -> None:
    await credits.grant("acme", "500", key="g")

    async def hold(number: int) -> bool:
        try:
            await credits.hold("acme", "75", key=f"h{number}")
        except InsufficientCredits:
            return False
        return True

    assert sum(await asyncio.gather(*(hold(number) for number in range(20)))) == 6
    assert (await credits.balance("acme")).held == 450


async def test_the_block_of_a_hold_releases_what_it_did_not_capture(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    async with credits.hold("acme", "5", key="a") as hold:
        await hold.capture("2")

    async def fail() -> None:
        async with credits.hold("acme", "5", key="b"):
            assert (await credits.balance("acme")).held == 5
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with credits.hold("acme", "5", key="c"):
        pass

    async def job() -> None:
        async with credits.hold("acme", "5", key="d"):
            await asyncio.sleep(60)

    task = asyncio.create_task(job())
    while not (await credits.balance("acme")).held:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    balance = await credits.balance("acme")
    assert (balance.available, balance.held, balance.spent) == (8, 0, 2)


async def test_leaving_the_block_of_a_hold_that_is_over_raises_nothing(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "10", key="g")
    async with credits.hold("acme", "5", key="a") as hold:
        await credits.capture("acme", hold.id, "2")
    async with credits.hold("acme", "5", key="b") as hold:
        await credits.release("acme", hold.id)
    async with credits.hold("acme", "5", key="c", ttl_s=60):
        clock.advance(minutes=2)
    balance = await credits.balance("acme")
    assert (balance.available, balance.held, balance.spent) == (8, 0, 2)


async def test_a_hold_expires_by_itself(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "4", key="a", ttl_s=1)
    assert (await credits.balance("acme")).held == 4
    await asyncio.sleep(1.05)
    balance = await credits.balance("acme")
    assert (balance.available, balance.held) == (10, 0)
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.kind, entry.about, entry.occurred_at) == ("hold_expiry", hold.id, hold.receipt.expires_at)
    with pytest.raises(StateConflict) as conflict:
        await hold.capture("1")
    assert conflict.value.reason == "hold_expired"


@pytest.mark.parametrize("ttl_s", [1, 59.25, Decimal("59.25"), Decimal("12345.678901"), Decimal("59.9999999"), 86_400])
async def test_a_time_to_live_is_a_number_of_any_kind(credits: Credits, ttl_s: float | Decimal) -> None:
    await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "1", key="a", ttl_s=ttl_s)
    (held,) = (await credits.holds("acme")).holds
    assert held.expires_at - held.created_at == timedelta(microseconds=int(Decimal(str(ttl_s)) * 1_000_000))
    again = await credits.batch([HoldRequest(pool="acme", amount=1, key="a", ttl_s=ttl_s)])
    assert [getattr(answer, "id", answer) for answer in again] == [hold.id]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": 86_401}, "ttl_s"),
        ({"ttl_s": float("nan")}, "ttl_s"),
        ({"ttl_s": "60"}, "ttl_s"),
        ({"ttl_s": True}, "ttl_s"),
        ({"ttl_s": Decimal("0.9999999")}, "ttl_s"),
        ({"ttl_s": Decimal("86400.000001")}, "ttl_s"),
        ({"ttl_s": Decimal("1e400")}, "ttl_s"),
        ({"ttl_s": Decimal("NaN")}, "ttl_s"),
        ({"amount": 0.5}, "amount"),
        ({"amount": 0}, "amount"),
        ({"metric": ""}, "metric"),
    ],
)
async def test_a_bad_hold_names_its_field(credits: Credits, fields: dict[str, object], field: str) -> None:
    await credits.grant("acme", "10", key="g")
    with pytest.raises(InvalidRequest) as invalid:
        await credits.hold("acme", **{"amount": 1, "key": "k", **fields})  # type: ignore[arg-type]
    assert invalid.value.field == field
    assert (await credits.balance("acme")).held == 0


@pytest.mark.parametrize("bad", ["7", "g7", "h0", "h", "", "h1x", "h٣", 7])
async def test_what_is_no_id_of_a_hold_is_refused(credits: Credits, bad: str) -> None:
    await credits.grant("acme", "10", key="g")
    with pytest.raises(InvalidRequest) as invalid:
        await credits.release("acme", bad)
    assert invalid.value.field == "hold"


async def test_the_same_hold_twice_is_one_hold(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    first = await credits.hold("acme", "4", key="a")
    again = await credits.hold("acme", "4", key="a")
    assert again.receipt.replayed
    assert again.id == first.id
    with pytest.raises(IdempotencyConflict):
        await credits.hold("acme", "5", key="a")
    with pytest.raises(IdempotencyConflict):
        await credits.debit("acme", "4", key="a")
    assert (await credits.balance("acme")).held == 4


async def test_a_reversal_unwinds_what_was_paid_the_last_first(credits: Credits) -> None:
    free = await credits.grant("acme", "3", key="free", category="promotional")
    paid = await credits.grant("acme", "10", key="paid")
    debit = await credits.debit("acme", "5", key="d", dimensions={"user": "u1"})
    # Burned before all others from now on: a reversal must not care.
    await credits.grant("acme", "1", key="first", priority=0)
    part = await credits.reverse("acme", debit.id, key="r1", amount="3")
    assert [(each.grant, each.amount) for each in part.allocations] == [(free.id, 1), (paid.id, 2)]
    assert (part.amount, part.returned, part.debit, part.balance) == (3, 3, debit.id, 12)
    again = await credits.reverse("acme", debit.id, key="r1", amount="3")
    assert (again.replayed, again.id) == (True, part.id)
    with pytest.raises(InvalidRequest) as invalid:
        await credits.reverse("acme", debit.id, key="r2", amount="2.1")
    assert invalid.value.field == "amount"
    rest = await credits.reverse("acme", debit.id, key="r3")
    assert [(each.grant, each.amount) for each in rest.allocations] == [(free.id, 2)]
    with pytest.raises(StateConflict) as conflict:
        await credits.reverse("acme", debit.id, key="r4")
    assert conflict.value.reason == "already_reversed"
    assert (await credits.balance("acme")).spent == 0
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.kind, entry.about, entry.change, entry.dimensions) == ("reversal", debit.id, 2, {"user": "u1"})


async def test_a_capture_can_be_reversed_and_what_is_no_debit_cannot(credits: Credits) -> None:
    grant = await credits.grant("acme", "10", key="g")
    hold = await credits.hold("acme", "5", key="h")
    capture = await hold.capture("7")
    assert (await credits.reverse("acme", capture.id, key="r")).balance == 10
    for unknown in ("d1", grant.id.replace("g", "d"), hold.id.replace("h", "d"), "d999999"):
        with pytest.raises(NotFound) as missing:
            await credits.reverse("acme", unknown, key="x")
        assert missing.value.what == "debit"


async def test_voiding_takes_what_is_left_and_what_comes_back_later(credits: Credits) -> None:
    grant = await credits.grant("acme", "10", key="g")
    debit = await credits.debit("acme", "2", key="d")
    hold = await credits.hold("acme", "3", key="h")
    voided = await credits.void_grant("acme", grant.id)
    assert (voided.amount, voided.balance) == (5, 0)
    assert (await credits.void_grant("acme", grant.id)).replayed
    captured = await hold.capture("1")
    assert (captured.returned, captured.lapsed, captured.balance) == (2, 2, 0)
    reversed_ = await credits.reverse("acme", debit.id, key="r")
    assert (reversed_.returned, reversed_.lapsed, reversed_.balance) == (2, 2, 0)
    balance = await credits.balance("acme")
    assert (balance.granted, balance.voided, balance.spent, balance.available) == (10, 9, 1, 0)
    assert (await credits.grants("acme")).grants[0].state == "voided"
    with pytest.raises(StateConflict) as conflict:
        await credits.update_grant("acme", grant.id, key="u", priority=1)
    assert conflict.value.reason == "grant_voided"
    with pytest.raises(NotFound):
        await credits.void_grant("acme", "g77")


async def test_an_update_moves_a_grant_in_the_burn_order(credits: Credits) -> None:
    first = await credits.grant("acme", "5", key="a")
    second = await credits.grant("acme", "5", key="b", metadata={"plan": "pro"})
    await credits.update_grant("acme", second.id, key="u1", priority=10)
    assert (await credits.debit("acme", "1", key="d1")).allocations[0].grant == second.id
    soon = datetime.now(UTC) + timedelta(hours=1)
    await credits.update_grant("acme", first.id, key="u2", priority=10, expires_at=soon, metadata={"note": "x"})
    assert (await credits.debit("acme", "1", key="d2")).allocations[0].grant == first.id
    changed = {grant.id: grant for grant in (await credits.grants("acme")).grants}
    assert (changed[first.id].expires_at, changed[first.id].metadata) == (soon, {"note": "x"})
    assert (changed[second.id].expires_at, changed[second.id].metadata) == (None, {"plan": "pro"})
    await credits.update_grant("acme", first.id, key="u3", expires_at=None)
    assert (await credits.grants("acme")).grants[0].expires_at is None
    assert (await credits.update_grant("acme", first.id, key="u3", expires_at=None)).replayed
    with pytest.raises(InvalidRequest) as invalid:
        await credits.update_grant("acme", first.id, key="u4", expires_at=datetime.now(UTC) - timedelta(1))
    assert invalid.value.field == "expires_at"
    with pytest.raises(InvalidRequest):
        await credits.update_grant("acme", first.id, key="u5")


async def test_a_question_is_answered_as_the_debit_would_be_and_writes_nothing(credits: Credits) -> None:
    await credits.grant("acme", "3", key="a", category="promotional")
    grant = await credits.grant("acme", "4", key="b")
    yes = await credits.check("acme", "5", dimensions={"user": "u1"})
    assert (yes.allowed, yes.available, yes.top_up) == (True, 7, 0)
    assert [(each.grant, each.amount) for each in yes.allocations] == [("g2", 3), (grant.id, 2)]
    no = await credits.check("acme", "8")
    assert (no.allowed, no.requested, no.available, no.top_up) == (False, 8, 7, 1)
    assert (await credits.balance("acme")).version == no.version == grant.version
    with pytest.raises(NotFound):
        await credits.check("nobody", 1)


async def test_a_balance_can_be_asked_as_of_a_moment(credits: Credits) -> None:
    before = datetime.now(UTC)
    ends = before + timedelta(seconds=1.2)
    first = await credits.grant("acme", "10", key="a", expires_at=ends)
    await asyncio.sleep(0.01)
    debit = await credits.debit("acme", "4", key="d")
    await asyncio.sleep(1.3)
    await credits.grant("acme", "1", key="b")
    at_first = await credits.balance("acme", as_of=first.recorded_at)
    assert (at_first.available, at_first.version) == (10, 2)
    assert (await credits.balance("acme", as_of=debit.recorded_at)).available == 6
    # Nobody had asked by then, and still it had expired.
    past = await credits.balance("acme", as_of=ends + timedelta(milliseconds=20))
    assert (past.available, past.expired, past.spent) == (0, 6, 4)
    assert (await credits.grants("acme", as_of=debit.recorded_at)).grants[0].available == 6
    assert (await credits.balance("acme")).available == 1
    with pytest.raises(NotFound):
        await credits.balance("acme", as_of=before)
    with pytest.raises(InvalidRequest) as invalid:
        await credits.balance("acme", as_of=datetime.now(UTC) + timedelta(hours=1))
    assert invalid.value.field == "as_of"


async def test_a_batch_takes_every_command(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    answers = await credits.batch([HoldRequest(pool="acme", amount=n, key=f"h{n}", ttl_s=60) for n in (1, 2, 3)])
    one, two, three = [answer.id for answer in answers if isinstance(answer, Receipt)]
    answers = await credits.batch(
        [
            CaptureRequest(pool="acme", hold=one, amount=1),
            ReleaseRequest(pool="acme", hold=two),
            ReleaseRequest(pool="acme", hold="h999"),
        ]
    )
    assert [type(answer) for answer in answers] == [Receipt, Receipt, NotFound]
    assert isinstance(answers[0], Receipt)
    (back,) = await credits.batch([ReverseRequest(pool="acme", debit=answers[0].id, key="r")])
    assert isinstance(back, Receipt)
    assert [hold.id for hold in (await credits.holds("acme")).holds] == [three]
    assert (await credits.balance("acme")).available == 7
