"""Usage, asked of the embedded engine and of the NATS client alike."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from solvent import Credits, InsufficientCredits, InvalidRequest, NotFound, SolventError, Usage

from .conftest import Clock

D = Decimal


async def today(credits: Credits, *group_by: str, pool: str | None = "acme", **rest: Any) -> Usage:
    return await credits.usage(pool, group_by=group_by, **{"period": "last 3 days", "consistent": True, **rest})


async def fill(credits: Credits) -> None:
    """Two pools of one customer and one of another; 38 credits used in "acme"."""
    for pool in ("acme", "acme/website-1", "globex"):
        await credits.grant(pool, 100, key="g", cost_basis=("0.01", "USD"))
    await credits.grant("acme", 5, key="free", category="promotional", priority=0)
    for number, (user, model, amount) in enumerate(
        [("ann", "large", 20), ("ann", "small", 4), ("bob", "small", 2), (None, "small", 1), ("cy", None, 11)]
    ):
        dimensions = {name: value for name, value in (("user", user), ("model", model)) if value is not None}
        await credits.debit("acme", amount, key=f"d{number}", metric="calls", quantity=1, dimensions=dimensions)
    await credits.debit("acme/website-1", 7, key="d", metric="images", quantity="2.5", dimensions={"user": "ann"})
    await credits.debit("globex", 50, key="d", dimensions={"user": "zoe"})


def groups(usage: Usage) -> dict[tuple[Any, ...], Decimal]:
    return {("other",) if line.other else tuple(line.group.values()): line.credits for line in usage.lines}


async def test_where_the_credits_of_a_pool_went(credits: Credits) -> None:
    await fill(credits)
    usage = await today(credits, "user")
    assert groups(usage) == {("ann",): 24, ("cy",): 11, ("bob",): 2, (None,): 1}
    assert (usage.total.credits, usage.total.events, usage.total.quantities) == (38, 5, {"calls": 5})
    assert (await credits.balance("acme")).spent == usage.total.credits
    first = usage.lines[0]
    assert (first.debited, first.reversed, first.events, first.refused) == (24, 0, 2, 0)
    assert first.quantities == {"calls": 2}
    assert first.first_at is not None
    assert first.last_at is not None
    assert usage.start <= first.first_at <= first.last_at < usage.end
    both = await today(credits, "model", "user")
    assert groups(both)["small", "ann"] == 4
    assert groups(both)[None, "cy"] == 11
    assert groups(await today(credits)) == {(): 38}


async def test_an_event_that_two_grants_paid_counts_with_both_and_once_in_all(credits: Credits) -> None:
    await credits.grant("acme", 3, key="free", category="promotional")
    await credits.grant("acme", 100, key="order", cost_basis=("0.01", "USD"))
    await credits.grant("acme", 100, key="order-2", cost_basis=("0.01", "USD"))
    debit: dict[str, Any] = {"metric": "tokens", "dimensions": {"user": "ann"}}
    await credits.debit("acme", 5, key="a", quantity="1000", **debit)
    await credits.debit("acme", 100, key="b", quantity="0.000000001", **debit)
    await credits.debit("acme", 1, key="c", quantity="7", **debit)

    usage = await today(credits, "$category")
    lines = {line.group["$category"]: (line.credits, line.events, line.quantities["tokens"]) for line in usage.lines}
    # Both grants of category "paid" paid a part of "b": one event.
    assert lines == {"promotional": (3, 1, 600), "paid": (103, 3, D("407.000000001"))}
    assert (usage.total.credits, usage.total.events) == (106, 3)
    assert usage.total.quantities == {"tokens": D("1007.000000001")}
    by_grant = await today(credits, "$grant", "user")
    assert [(line.group["$grant"], line.events) for line in by_grant.lines] == [("g3", 2), ("g2", 1), ("g4", 2)]
    assert by_grant.total.events == 3
    paid = await today(credits, "user", filters={"$category": "paid"})
    assert (paid.lines[0].events, paid.total.events, paid.total.credits) == (3, 3, 103)
    for line in usage.lines:
        assert len((await credits.usage_entries(usage, line)).entries) == line.events

    # "a" and "b" have parts with two grants outside the top each, "c" with one.
    top = await today(credits, "$grant", top=1, order="name")
    assert [(line.other, line.events) for line in top.lines] == [(False, 1), (True, 3)]
    compared = await credits.compare_usage(top, order="name", top=1)
    assert [(each.other, each.events, each.events_before) for each in compared.changes] == [(False, 1, 0), (True, 3, 0)]
    assert (compared.total.events, compared.total.events_before) == (3, 0)
    two = await credits.compare_usage(top, order="name", top=2)
    assert [(each.group["$grant"], each.events) for each in two.changes] == [("g2", 1), ("g3", 2), (None, 2)]


async def test_pools_customers_and_environments_are_told_apart(credits: Credits) -> None:
    await fill(credits)
    await credits.grant("staging@acme", 9, key="g")
    await credits.debit("staging@acme", 9, key="d")
    await credits.grant("acme:tokens", 900, key="g")
    await credits.debit("acme:tokens", 300, key="d")
    assert (await today(credits, pool="acme/website-1")).total.credits == 7
    whole = await today(credits, "$resource", pool=None, customer="acme")
    assert groups(whole) == {(None,): 38, ("website-1",): 7}
    assert whole.total.quantities == {"calls": 5, "images": D("2.5")}
    everybody = await today(credits, "$customer", pool=None)
    assert groups(everybody) == {("globex",): 50, ("acme",): 45}
    assert (await today(credits, pool=None, environment="staging")).total.credits == 9
    assert (await today(credits, pool="acme:tokens")).total.credits == 300
    assert (await today(credits, pool=None, customer="acme", currency="tokens")).total.credits == 300
    assert (await today(credits, pool="nobody")).total.credits == 0


async def test_what_the_credits_were(credits: Credits) -> None:
    await fill(credits)
    assert groups(await today(credits, "$category")) == {("paid",): 33, ("promotional",): 5}
    assert groups(await today(credits, "$cost_basis")) == {("0.01 USD",): 33, (None,): 5}
    assert groups(await today(credits, "$grant")) == {("g2",): 33, ("g3",): 5}
    assert groups(await today(credits, "$metric", pool=None, customer="acme")) == {("calls",): 38, ("images",): 7}
    # The event that two grants paid is counted once.
    assert (await today(credits, "$category")).total.events == 5


async def test_filters(credits: Credits) -> None:
    await fill(credits)

    async def total(filters: Any) -> Decimal:
        return (await today(credits, filters=filters)).total.credits

    assert await total({"user": "ann"}) == 24
    assert await total({"user": ["ann", "bob"]}) == 26
    assert await total({"user": ["ann", None]}) == 25
    assert await total({"user": None}) == 1
    assert await total({"user": "ann", "model": "small"}) == 4
    assert await total([{"field": "user", "op": "not in", "values": ["ann"]}]) == 14
    assert await total([{"field": "model", "op": "prefix", "value": "s"}]) == 7
    assert await total([{"field": "model", "op": "missing"}]) == 11
    assert await total({"nobody has this": 1}) == 0
    assert await total({"$metric": "calls", "$category": "promotional"}) == 5


async def test_the_top_and_the_others(credits: Credits) -> None:
    await fill(credits)
    usage = await today(credits, "user", top=2)
    assert groups(usage) == {("ann",): 24, ("cy",): 11, ("other",): 3}
    assert usage.lines[-1].group == {"user": None}
    by_name = await today(credits, "user", top=1, order="name")
    assert groups(by_name) == {("ann",): 24, ("other",): 14}
    fewest = await today(credits, "user", top=1, order="events", descending=False)
    assert groups(fewest) == {("bob",): 2, ("other",): 36}


async def test_values_are_told_apart_by_type(credits: Credits) -> None:
    await credits.grant("acme", 100, key="g")
    values: list[str | int | float] = [1, True, "1", "true", 0.5, -3]
    for number, value in enumerate(values):
        await credits.debit("acme", number + 1, key=str(number), dimensions={"v": value})
    usage = await today(credits, "v")
    found = {(type(line.group["v"]), line.group["v"]): line.credits for line in usage.lines}
    assert found == {(type(value), value): number + 1 for number, value in enumerate(values)}
    # However it is written, it is the same number.
    await credits.debit("acme", 10, key="1.0", dimensions={"v": 1.0})
    for one in (1, 1.0):
        assert (await today(credits, filters={"v": one})).total.credits == 11
    (line,) = (await today(credits, "v", filters={"v": 1})).lines
    assert (line.group["v"], line.credits) == (1, 11)


HOSTILE = [
    '"; drop table usage; --',
    "' or 1=1 --",
    "nul\0inside",
    "🏴‍☠️",
    "amount",
    "select",
    "$metric",
    "x" * 128,
    "\\",
    "%_",
]


async def test_hostile_names_and_values_are_data(credits: Credits) -> None:
    await credits.grant("acme", 1_000, key="g")
    for number, text in enumerate(HOSTILE):
        await credits.debit("acme", number + 1, key=f"n{number}", dimensions={text: text})
    for number, text in enumerate(HOSTILE):
        field = f"${text}" if text.startswith("$") else text
        usage = await today(credits, field, filters={field: text})
        assert [(line.group[field], line.credits) for line in usage.lines] == [(text, number + 1)]
    with pytest.raises(InvalidRequest, match="dimensions"):
        await credits.debit("acme", 1, key="long", dimensions={"a": "x" * 10_000})
    with pytest.raises(InvalidRequest):
        await today(credits, "x" * 10_000)


async def test_reversals_captures_and_late_events_count_when_they_happen(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", 100, key="g")
    debit = await credits.debit(
        "acme", 10, key="late", occurred_at=clock.now() - timedelta(days=2), dimensions={"a": 1}
    )
    await credits.reverse("acme", debit.id, key="r", amount=4)
    hold = await credits.hold("acme", 30, key="h", dimensions={"a": 2})
    await hold.capture(12)
    usage = await today(credits, "a", period="last 3 days", window="day", fill_empty=True)
    by_day = [
        [(line.group["a"], line.credits, line.events) for line in usage.lines if line.start == start]
        for start in sorted({line.start for line in usage.lines})
    ]
    assert by_day == [[(2, 0, 0), (1, 10, 1)], [(2, 0, 0), (1, 0, 0)], [(2, 12, 1), (1, -4, 0)]]
    assert usage.total.credits == (await credits.balance("acme")).spent == 18


async def test_buckets_are_days_of_the_time_zone(credits: Credits, clock: Clock) -> None:
    clock.advance_to(datetime(2027, 3, 29, 12, tzinfo=UTC))
    await credits.grant("acme", 100, key="g")
    for number, hour in enumerate(("2027-03-27T23:30", "2027-03-28T00:30", "2027-03-28T21:59", "2027-03-28T22:00")):
        await credits.debit("acme", number + 1, key=hour, occurred_at=f"{hour}:00Z")
    usage = await today(credits, period="2027-03-28", window="hour", time_zone="Europe/Paris", fill_empty=True)
    assert len(usage.lines) == 23
    assert usage.total.credits == 6
    days = await today(credits, period="last 3 days", window="day", time_zone="Europe/Paris")
    assert [(line.start.isoformat(), line.credits) for line in days.lines] == [
        ("2027-03-27T23:00:00+00:00", 6),
        ("2027-03-28T22:00:00+00:00", 4),
    ]
    exact = await today(credits, period=None, start="2027-03-28T00:30:00Z", end="2027-03-28T00:30:00.000001Z")
    assert exact.total.credits == 2


async def test_what_was_refused_is_counted_beside_the_ledger(credits: Credits) -> None:
    await credits.grant("acme", 10, key="g")
    await credits.set_budget("acme", "script", 1, window="total", match={"user": "script"})
    for number in range(3):
        with suppress(InsufficientCredits):
            await credits.debit("acme", 50, key=f"a{number}", metric="calls", dimensions={"user": "ann"})
    with suppress(SolventError):
        await credits.hold("acme", 2, key="b", dimensions={"user": "script"})
    await credits.debit("acme", 1, key="c", dimensions={"user": "bob"})
    usage = await today(credits, "user", order="refused")
    assert [(line.group["user"], line.refused, line.events, line.credits) for line in usage.lines] == [
        ("ann", 3, 0, 0),
        ("script", 1, 0, 0),
        ("bob", 0, 1, 1),
    ]
    assert usage.total.refused == 4
    assert (await credits.usage_entries(usage, usage.lines[0])).entries == ()


async def test_down_to_the_entries(credits: Credits) -> None:
    await fill(credits)
    usage = await today(credits, "user", top=1, window="day", pool=None, customer="acme")
    ann, others = usage.lines
    page = await credits.usage_entries(usage, ann)
    assert [(entry.pool, entry.credits, entry.entry.key) for entry in page.entries] == [
        ("acme", 20, "d0"),
        ("acme", 4, "d1"),
        ("acme/website-1", 7, "d"),
    ]
    entry = page.entries[0].entry
    assert entry in (await credits.ledger("acme")).entries
    assert [each.entry.key for each in (await credits.usage_entries(usage, others)).entries] == ["d2", "d3", "d4"]
    found, cursor = [], None
    while True:
        page = await credits.usage_entries(usage, limit=2, cursor=cursor)
        found += [each.entry.key for each in page.entries]
        # What comes meanwhile is not in the answer that is looked into.
        await credits.debit("acme", 1, key=f"meanwhile-{len(found)}", dimensions={"user": "ann"})
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(map(str, found)) == ["d", "d0", "d1", "d2", "d3", "d4"]
    with pytest.raises(InvalidRequest, match="cursor"):
        await credits.usage_entries(usage, cursor="made up")


async def test_one_period_against_another(credits: Credits, clock: Clock) -> None:
    clock.advance_to(datetime(2027, 5, 10, 12, tzinfo=UTC))
    await credits.grant("acme", 1_000, key="g")
    spent = [("2027-04-03", "a", 10), ("2027-04-20", "b", 20), ("2027-05-02", "a", 25), ("2027-05-05", "c", 1)]
    for day, user, amount in spent:
        await credits.debit(
            "acme", amount, key=f"{day}{user}", occurred_at=f"{day}T10:00:00Z", dimensions={"user": user}
        )
    usage = await today(credits, "user", period="this month")
    compared = await credits.compare_usage(usage)
    changes = [(each.group["user"], each.before, each.credits, each.change, each.relative) for each in compared.changes]
    assert changes == [("b", 20, 0, -20, -1), ("a", 10, 25, 15, D("1.5")), ("c", 0, 1, 1, None)]
    assert (compared.total.before, compared.total.credits, compared.total.relative) == (30, 26, D("-0.1333"))
    assert (compared.before_start, compared.before_end) == (
        datetime(2027, 4, 1, tzinfo=UTC),
        datetime(2027, 5, 1, tzinfo=UTC),
    )
    top = await credits.compare_usage(usage, "2027-04-03", order="credits", top=1)
    assert [(each.group["user"], each.other, each.before, each.credits) for each in top.changes] == [
        ("a", False, 10, 25),
        (None, True, 0, 1),
    ]
    year = await credits.compare_usage(usage, "year before")
    assert (year.before_start, year.total.before) == (datetime(2026, 5, 1, tzinfo=UTC), 0)
    with pytest.raises(InvalidRequest, match="against"):
        await credits.compare_usage(usage, "whenever")


async def test_sums_that_need_more_than_64_bits_are_compared_and_searched(credits: Credits, clock: Clock) -> None:
    clock.advance_to(datetime(2027, 5, 10, 12, 30, tzinfo=UTC))
    most = D("9223372036854.775807")
    pools = [f"whale/{number}" for number in range(5)]
    for pool in pools:
        await credits.grant(pool, most, key="g")
        await credits.debit(pool, most - 20, key="d", occurred_at="2027-05-10T09:00:00Z")
        await credits.debit(pool, 1, key="e", occurred_at="2027-05-09T09:00:00Z")
    for hour in range(9):
        await credits.debit("whale/0", 1, key=f"h{hour}", occurred_at=f"2027-05-10T0{hour}:10:00Z")
    usage = await today(credits, pool=None, customer="whale", period="today", window="hour")
    (change,) = (await credits.compare_usage(await today(credits, pool=None, customer="whale", period="today"))).changes
    assert (change.before, change.credits) == (5, 5 * (most - 20) + 9)
    spikes = (await credits.usage_spikes(usage)).spikes
    assert max(spike.line.credits for spike in spikes) == 5 * (most - 20)


async def test_a_script_that_ran_wild_at_night_is_found_with_its_entries(credits: Credits, clock: Clock) -> None:
    clock.advance_to(datetime(2027, 5, 10, 12, tzinfo=UTC))
    await credits.grant("acme", 100_000, key="g")
    night = datetime(2027, 5, 10, 3, 20, tzinfo=UTC)
    events = [(night - timedelta(hours=hour), f"u{hour % 4}", 5 + hour % 3) for hour in range(1, 60)]
    events += [(night + timedelta(minutes=minute), "script", 40) for minute in range(30)]
    await asyncio.gather(
        *(
            credits.debit("acme", amount, key=str(number), occurred_at=at, dimensions={"user": user})
            for number, (at, user, amount) in enumerate(events)
        )
    )
    usage = await today(credits, "user", period="today", window="hour", top=20)
    found = await credits.usage_spikes(usage)
    (spike,) = found.spikes
    assert spike.line.group == {"user": "script"}
    assert (spike.line.start, spike.line.credits, spike.expected) == (night.replace(minute=0), 1_200, 0)
    assert spike.score >= 3.5
    assert (found.start, found.usage.end) == (usage.start, usage.end)
    assert found.usage.start < found.start
    page = await credits.usage_entries(found.usage, spike.line)
    assert len(page.entries) == 30
    assert sum(entry.credits for entry in page.entries) == 1_200
    with pytest.raises(InvalidRequest, match="window"):
        await credits.usage_spikes(await today(credits, "user"))


async def test_when_a_pool_runs_dry(credits: Credits, clock: Clock) -> None:
    clock.advance_to(datetime(2027, 5, 10, 12, tzinfo=UTC))
    now = clock.now()
    await credits.grant("acme", 70, key="soon", priority=0)
    for day in range(7):
        await credits.debit("acme", 10, key=str(day), occurred_at=now - timedelta(days=day, hours=1))
    await credits.grant("acme", 30, key="a", expires_at=now + timedelta(days=1), priority=1)
    await credits.grant("acme", 20, key="b")
    last = f"{(now - timedelta(days=7)).isoformat()}..{now.isoformat()}"
    forecast = await credits.forecast("acme", period=last)
    assert (forecast.available, forecast.per_day) == (50, 10)
    # Of the 30, 10 are used before they expire.
    assert forecast.runs_dry_at is not None
    assert abs(forecast.runs_dry_at - (now + timedelta(days=3))) < timedelta(minutes=5)
    assert 19 < forecast.expiring < 21
    with pytest.raises(NotFound):
        await credits.forecast("nobody")


async def test_a_new_usage_file_says_the_same(credits: Credits) -> None:
    await fill(credits)
    before = await today(credits, "user", "model", period="today")
    await credits.rebuild_usage()
    while (await credits.usage_status()).rebuilt is not None:
        await asyncio.sleep(0.05)
    after = await today(credits, "user", "model", period="today")
    assert after.lines == before.lines
    status = await credits.usage_status()
    assert status.position == status.journal


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("period", {"period": "sometime"}),
        ("period", {"start": "2027-01-01T00:00:00Z"}),
        ("start", {"period": None, "start": "yesterday"}),
        ("end", {"period": None, "start": "2027-01-02T00:00:00Z", "end": "2027-01-01T00:00:00Z"}),
        ("window", {"window": "fortnight"}),
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("group_by", {"group_by": ["$amount"]}),
        ("group_by", {"group_by": ["a", "a"]}),
        ("filters.0.op", {"filters": [{"field": "a", "op": "like", "value": "x"}]}),
        ("filters.0.values", {"filters": [{"field": "a", "op": "in", "values": []}]}),
        ("top", {"top": 0, "group_by": ["a"]}),
        ("top", {"top": 3}),
        ("order", {"order": "amount"}),
        ("customer", {"customer": "acme"}),
        ("window", {"window": "minute", "period": "2025"}),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong(credits: Credits, field: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await credits.usage("acme", **{"period": "today", **wrong})
    assert refusal.value.field == field


async def test_quantities_of_any_size_are_told(credits: Credits) -> None:
    await credits.grant("acme", 10, key="g")
    for number in range(2):
        await credits.debit("acme", 1, key=f"a{number}", metric="tokens", quantity="99999999999.000000001")
    await credits.debit("acme", 1, key="b", metric="images", quantity="3")
    usage = await today(credits, "$metric")
    assert {line.group["$metric"]: line.quantities for line in usage.lines} == {
        "tokens": {"tokens": Decimal("199999999998.000000002")},
        "images": {"images": 3},
    }
    assert usage.total.quantities == {"tokens": Decimal("199999999998.000000002"), "images": 3}


async def test_answers_turn_into_columns(credits: Credits) -> None:
    await credits.grant("acme", 10, key="g")
    await credits.debit("acme", 1, key="a", dimensions={"user": "ann", "start": "here"})
    await credits.debit("acme", 2, key="b", metric="tokens", quantity=5, dimensions={"user": "bob"})
    usage = await today(credits, "user", "start")
    assert usage.lines == tuple(usage.lines)
    assert len(usage.lines[:1]) == 1
    columns = usage.columns()
    assert (columns["user"], columns["dimension.start"], columns["credits"]) == (["bob", "ann"], [None, "here"], [2, 1])
    assert (columns["quantities"], columns["first_at"][1]) == ([{"tokens": 5}, {}], usage.lines[1].first_at)
    assert [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] == usage.records()
    nothing = await today(credits, "user", filters={"user": "nobody"})
    assert (list(nothing.lines), nothing.columns()["credits"], nothing.records()) == ([], [], [])


async def test_records_are_flat(credits: Credits) -> None:
    await credits.grant("acme", 10, key="g")
    await credits.debit("acme", 1, key="a", dimensions={"user": "ann", "start": "here"})
    (record,) = (await today(credits, "user", "start")).records()
    assert (record["user"], record["dimension.start"], record["credits"]) == ("ann", "here", 1)
    assert isinstance(record["start"], datetime)
