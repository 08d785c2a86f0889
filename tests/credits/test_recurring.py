"""Recurring grants, asked of the embedded engine and of the NATS client alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from solvent import Credits, InvalidRequest, StateConflict

from .conftest import Clock


async def at(clock: Clock, moment: datetime) -> datetime:
    """Set the clock there, once for a test: it only ever goes forward."""
    clock.advance_to(moment)
    return moment


async def available(credits: Credits) -> Decimal:
    return (await credits.balance("acme")).available


async def test_a_plan_grants_its_credits_every_month_on_its_last_day_if_it_must(credits: Credits, clock: Clock) -> None:
    await at(clock, datetime(2099, 1, 31, 10, 0, tzinfo=UTC))
    receipt = await credits.set_recurring("acme", "plan", "100", period="month", time_zone="Europe/Paris")
    assert receipt.id == "p2"
    assert await available(credits) == 100
    await credits.debit("acme", "30", key="a")
    view = (await credits.recurring("acme")).recurring[0]
    assert view.next_at.astimezone(ZoneInfo("Europe/Paris")).date().isoformat() == "2099-02-28"
    assert (view.amount, view.roll_over, view.last_grant) == (100, "none", "g3")
    # What was left expires at the moment the next is granted, and each is in the ledger at its time.
    clock.advance_to(view.next_at + timedelta(seconds=1))
    balance = await credits.balance("acme")
    assert (balance.available, balance.expired, balance.spent, balance.granted) == (100, 70, 30, 200)
    view = (await credits.recurring("acme")).recurring[0]
    assert view.next_at.astimezone(ZoneInfo("Europe/Paris")).date().isoformat() == "2099-03-31"
    grants = (await credits.grants("acme")).grants
    assert [grant.name for grant in grants] == ["plan", "plan"]
    assert grants[0].expires_at == view.next_at


async def test_missed_periods_are_granted_once_each_when_the_pool_is_next_touched(
    credits: Credits, clock: Clock
) -> None:
    await credits.set_recurring("acme", "daily", "10", period="day", roll_over="all")
    await credits.set_recurring("acme", "gone", "1", period="day")
    assert await available(credits) == 11
    clock.advance(days=3, hours=1)
    balance = await credits.balance("acme")
    assert (balance.available, balance.expired) == (41, 3)
    assert (await credits.balance("acme")).version == balance.version
    entries = (await credits.ledger("acme")).entries
    assert len({entry.key for entry in entries if entry.kind == "grant"}) == 8
    assert (await credits.set_recurring("acme", "daily", "10", period="day", roll_over="all")).replayed


async def test_only_so_much_rolls_over(credits: Credits, clock: Clock) -> None:
    await credits.set_recurring("acme", "plan", "10", period="week", roll_over="4")
    await credits.debit("acme", "3", key="a")
    clock.advance(days=7)
    assert await available(credits) == 14
    await credits.debit("acme", "1", key="b")
    clock.advance(days=7)
    # 13 were left of both periods: 4 stay, the others expire, those first that would burn first.
    balance = await credits.balance("acme")
    assert (balance.available, balance.expired) == (14, 12)
    kinds = [entry.kind for entry in (await credits.ledger("acme")).entries]
    assert kinds.count("roll_over_expiry") == 3
    assert sum(line.expired for line in (await credits.costs("acme")).lines) == 12


async def test_a_first_period_that_is_not_whole_is_granted_in_part_if_asked(credits: Credits, clock: Clock) -> None:
    await at(clock, datetime(2099, 4, 21, 0, 0, tzinfo=UTC))
    await credits.set_recurring(
        "acme", "plan", "30", period="month", anchor="2099-01-01T00:00:00Z", prorate=True, cost_basis=("0.1", "USD")
    )
    part = await available(credits)
    # Ten of thirty days, less the moment that has passed since.
    assert Decimal("9.99") < part <= 10
    clock.advance(days=10)
    assert await available(credits) == 30
    await credits.set_recurring("acme/b", "plan", "30", period="month", anchor="2099-01-15T00:00:00Z")
    assert (await credits.balance("acme/b")).available == 30


async def test_it_starts_and_ends_when_it_was_told_to(credits: Credits, clock: Clock) -> None:
    now = clock.now()
    await credits.set_recurring(
        "acme",
        "trial",
        "5",
        period="day",
        starts_at=now + timedelta(days=1),
        ends_at=now + timedelta(days=3),
        category="promotional",
        priority=10,
    )
    assert await available(credits) == 0
    clock.advance(days=1, seconds=5)
    grant = (await credits.grants("acme")).grants[0]
    assert (grant.amount, grant.category, grant.priority) == (5, "promotional", 10)
    clock.advance(days=1)
    assert len((await credits.recurring("acme")).recurring) == 0
    assert await available(credits) == 5
    clock.advance(days=5)
    balance = await credits.balance("acme")
    assert (balance.granted, balance.available) == (10, 0)


async def test_a_cancelled_plan_ends_with_its_period_or_at_once(credits: Credits, clock: Clock) -> None:
    for name in ("a", "b"):
        await credits.set_recurring("acme", name, "10", period="month")
    assert await available(credits) == 20
    await credits.debit("acme", "4", key="d")
    await credits.cancel_recurring("acme", "a")
    assert await available(credits) == 16
    held = await credits.hold("acme", "8", key="h")
    cancelled = await credits.cancel_recurring("acme", "b", at_once=True)
    assert (cancelled.replayed, (await credits.cancel_recurring("acme", "b")).replayed) == (False, True)
    balance = await credits.balance("acme")
    # Of a, 10 were spent or are held; what is left of b goes.
    assert (balance.held, balance.voided, balance.available) == (8, 8, 0)
    assert (await held.release()).lapsed == 2
    voided = next(grant for grant in (await credits.grants("acme")).grants if grant.state == "voided")
    assert (await credits.void_grant("acme", voided.id)).replayed
    clock.advance(days=40)
    assert (await credits.balance("acme")).granted == 20


async def test_new_terms_count_from_the_next_grant_on_and_another_rhythm_from_its_next_period_on(
    credits: Credits, clock: Clock
) -> None:
    await credits.set_recurring("acme", "plan", "10", period="month")
    await credits.balance("acme")
    await credits.set_recurring("acme", "plan", "20", period="month")
    assert await available(credits) == 10
    clock.advance(days=32)
    assert await available(credits) == 20
    receipt = await credits.set_recurring("acme", "plan", "500", period="year")
    assert await available(credits) == 20
    (view,) = (await credits.recurring("acme")).recurring
    assert (view.period, view.amount, view.next_at) == ("year", 500, receipt.next_at)
    assert view.next_at > clock.now() + timedelta(days=300)
    receipt = await credits.set_recurring("acme", "plan", "30", period="week", start="now")
    assert (receipt.granted, receipt.amount, receipt.balance) == (30, 30, 50)
    assert await available(credits) == 50
    again = await credits.set_recurring("acme", "plan", "30", period="week", start="now")
    assert (again.id, again.granted, again.next_at) == ("", 0, receipt.next_at)
    assert await available(credits) == 50


async def test_what_is_read_can_be_written_back_and_changes_nothing(credits: Credits, clock: Clock) -> None:
    terms = {
        "period": "month",
        "time_zone": "Europe/Paris",
        "roll_over": "30",
        "category": "promotional",
        "priority": 7,
    }
    first = await credits.set_recurring("acme", "plan", "100", cost_basis=("0.5", "USD"), **terms)  # type: ignore[arg-type]
    assert (first.granted, first.balance) == (100, 100)
    (view,) = (await credits.recurring("acme")).recurring
    assert first.next_at == view.next_at
    names = (
        "name",
        "amount",
        "period",
        "every",
        "anchor",
        "ends_at",
        "time_zone",
        "category",
        "priority",
        "cost_basis",
    )
    said = {name: getattr(view, name) for name in (*names, "roll_over", "prorate")}
    for _ in range(3):
        receipt = await credits.set_recurring("acme", **said)
        assert (receipt.id, receipt.granted, receipt.next_at) == ("", 0, view.next_at)
    await credits.set_recurring("acme", "plan", "100", period="month", start="now")
    assert await available(credits) == 100
    assert (await credits.recurring("acme")).recurring == (view,)


@pytest.mark.parametrize(
    "words",
    [
        {"anchor": "2099-03-01T00:00:00Z"},
        {"anchor": "2026-01-01T00:00:00+00:00", "time_zone": "Etc/UTC"},
        {"time_zone": "Zulu"},
        {"anchor": "2100-01-01T01:00:00+01:00", "every": 1, "start": "now"},
        {},
    ],
)
async def test_the_same_rhythm_in_other_words_grants_nothing(
    credits: Credits, clock: Clock, words: dict[str, object]
) -> None:
    await at(clock, datetime(2099, 4, 21, 12, 0, tzinfo=UTC))
    first = await credits.set_recurring("acme", "plan", "100", period="month", anchor="2099-01-01T00:00:00Z")
    assert first.next_at == datetime(2099, 5, 1, tzinfo=UTC)
    clock.advance(days=3)
    again = await credits.set_recurring("acme", "plan", "100", period="month", **words)  # type: ignore[arg-type]
    assert (again.id, again.granted, again.next_at) == ("", 0, first.next_at)
    assert await available(credits) == 100
    # Another amount keeps the billing day.
    more = await credits.set_recurring("acme", "plan", "200", period="month", **words)  # type: ignore[arg-type]
    assert (more.granted, more.next_at) == (0, first.next_at)
    clock.advance(days=8)
    assert await available(credits) == 200
    assert (await credits.recurring("acme")).recurring[0].next_at == datetime(2099, 6, 1, tzinfo=UTC)


async def test_what_is_left_out_keeps_its_value(credits: Credits, clock: Clock) -> None:
    await credits.set_recurring(
        "acme", "plan", "100", period="day", every=2, roll_over="30", category="promotional", priority=3,
        time_zone="Europe/Paris", prorate=True, cost_basis=("1", "USD"), ends_at=clock.now() + timedelta(days=30),
    )  # fmt: skip
    (before,) = (await credits.recurring("acme")).recurring
    await credits.set_recurring("acme", "plan", "50", period="day")
    (after,) = (await credits.recurring("acme")).recurring
    assert after.amount == 50
    for name in set(before.__struct_fields__) - {"amount"}:
        assert getattr(after, name) == getattr(before, name), name
    await credits.set_recurring("acme", "plan", "50", period="day", ends_at=None, cost_basis=None)
    (last,) = (await credits.recurring("acme")).recurring
    assert (last.ends_at, last.cost_basis, last.roll_over) == (None, None, "30")


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_plan_that_is_cancelled_and_set_again_grants_once_a_period(
    credits: Credits, clock: Clock, at_once: bool
) -> None:
    first = await credits.set_recurring("acme", "plan", "100", period="month")
    for start in (None, "now", None):
        clock.advance(days=2)
        await credits.cancel_recurring("acme", "plan", at_once=at_once)
        again = await credits.set_recurring("acme", "plan", "100", period="month", start=start)
        assert (again.id[0], again.granted, again.next_at) == ("p", 0, first.next_at)
    assert await available(credits) == (0 if at_once else 100)
    clock.advance(days=30)
    assert await available(credits) == 100
    await credits.cancel_recurring("acme", "plan")
    clock.advance(days=40)
    # Its last period is over: it begins again.
    anew = await credits.set_recurring("acme", "plan", "70", period="month")
    assert (anew.granted, anew.balance) == (70, 70)


async def test_another_rhythm_can_start_with_its_part_at_once(credits: Credits, clock: Clock) -> None:
    await at(clock, datetime(2099, 4, 11, 0, 0, tzinfo=UTC))
    await credits.set_recurring("acme", "plan", "30", period="year", anchor="2099-01-01T00:00:00Z")
    receipt = await credits.set_recurring("acme", "plan", "30", period="month", prorate=True)
    assert Decimal("19.99") < receipt.granted <= 20
    assert receipt.next_at == datetime(2099, 5, 1, tzinfo=UTC)
    assert await available(credits) == 30 + receipt.granted


async def test_with_an_end_before_its_next_grant_a_plan_ends(credits: Credits, clock: Clock) -> None:
    await credits.set_recurring("acme", "plan", "30", period="month")
    await credits.set_recurring("acme", "plan", "30", period="month", ends_at=clock.now() + timedelta(days=3))
    assert (await credits.recurring("acme")).recurring == ()
    assert await available(credits) == 30
    clock.advance(days=40)
    assert await available(credits) == 0


async def test_a_roll_over_is_a_cap_when_a_plan_is_set_anew_under_its_name(credits: Credits, clock: Clock) -> None:
    for _ in range(3):
        await credits.set_recurring("acme", "plan", "100", period="day", roll_over="30")
        await credits.cancel_recurring("acme", "plan")
        clock.advance(days=2)
        assert await available(credits) == 30


async def test_it_keeps_the_wall_clock_over_a_change_of_clocks(credits: Credits, clock: Clock) -> None:
    paris = ZoneInfo("Europe/Paris")
    await at(clock, datetime(2030, 3, 30, 9, 30, tzinfo=paris).astimezone(UTC) - timedelta(seconds=20))
    starts = datetime(2030, 3, 30, 9, 30, tzinfo=paris)
    await credits.set_recurring("acme", "seat", "1", period="day", starts_at=starts, time_zone="Europe/Paris")
    clock.advance(hours=1)
    await credits.balance("acme")
    following = (await credits.recurring("acme")).recurring[0].next_at
    assert following.astimezone(paris) == datetime(2030, 3, 31, 9, 30, tzinfo=paris)
    assert following - starts.astimezone(UTC) == timedelta(hours=23)


async def test_a_pool_has_only_so_many(credits: Credits) -> None:
    starts = datetime.now(UTC) + timedelta(days=1)
    for number in range(100):
        await credits.set_recurring("acme", f"p{number}", 1, period="day", starts_at=starts)
    with pytest.raises(StateConflict) as refused:
        await credits.set_recurring("acme", "one more", 1, period="day", starts_at=starts)
    assert refused.value.reason == "too_many_recurring"
    for number in range(100):
        await credits.set_allowance("acme", f"a{number}", 1, window="day")
    with pytest.raises(StateConflict) as refused:
        await credits.set_allowance("acme", "one more", 1, window="day")
    assert refused.value.reason == "too_many_allowances"


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"period": "fortnight"}, "period"),
        ({"every": 0}, "every"),
        ({"every": True}, "every"),
        ({"anchor": "2026-01-01"}, "anchor"),
        ({"starts_at": "2020-01-01T00:00:00Z"}, "starts_at"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"starts_at": "2999-01-01T00:00:00Z", "ends_at": "2999-01-01T00:00:00Z"}, "ends_at"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"category": "free"}, "category"),
        ({"priority": 101}, "priority"),
        ({"roll_over": "some"}, "roll_over"),
        ({"roll_over": 0}, "roll_over"),
        ({"prorate": 1}, "prorate"),
        ({"amount": 0}, "amount"),
        ({"start": "soon"}, "start"),
        ({"start": "now", "starts_at": "2999-01-01T00:00:00Z"}, "start"),
    ],
)
async def test_bad_terms_name_their_field(credits: Credits, terms: dict[str, object], field: str) -> None:
    await credits.open_pool("acme")
    good = {"name": "a", "amount": 1, "period": "day"}
    with pytest.raises(InvalidRequest) as invalid:
        await credits.set_recurring("acme", **{**good, **terms})  # type: ignore[arg-type]
    assert invalid.value.field == field
    assert (await credits.recurring("acme")).recurring == ()
