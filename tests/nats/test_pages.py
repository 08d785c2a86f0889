"""Every list can be had whole over NATS, whatever the largest message is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from solvent import Credits, DebitRequest, Engine, GrantRequest, Receipt, connect
from solvent.engine.api.requests import Request
from solvent.requests import (
    AllowanceCountsRequest,
    AllowancesRequest,
    BudgetCountsRequest,
    BudgetsRequest,
    CostsRequest,
    GrantsRequest,
    HoldsRequest,
    LedgerRequest,
    PoolsRequest,
    RatesRequest,
    RecurringRequest,
    TotalsRequest,
)

from .conftest import nats_process, served_in

MESSAGE_BYTES = 8_192


@asynccontextmanager
async def narrow(tmp_path: Path) -> AsyncIterator[tuple[Engine, Credits]]:
    """An engine, and a client of it at a NATS server whose messages are small."""
    async with (
        nats_process(tmp_path, f"max_payload: {MESSAGE_BYTES}\n") as server,
        served_in(tmp_path / "journal", url=server.url) as served,
        connect(server.url) as client,
    ):
        yield served.engine, client


async def whole(credits: Credits, request: Request[Any]) -> list[Any]:
    return [row async for row in credits.each(request)]


async def test_grants_that_do_not_fit_into_a_message_are_read_page_by_page(tmp_path: Path) -> None:
    async with narrow(tmp_path) as (engine, client):
        grants = [GrantRequest(pool="acme", amount=1, key=f"g{number}") for number in range(3_000)]
        answers = [each for start in range(0, 3_000, 500) for each in await engine.batch(grants[start : start + 500])]
        assert all(isinstance(answer, Receipt) for answer in answers)
        await engine.debit("acme", 2_995, key="d")
        first = await client.grants("acme")
        assert 5 < len(first.grants) < 100
        assert first.next_cursor is not None
        assert [grant.state for grant in first.grants[:6]] == ["active"] * 5 + ["depleted"]
        found = await whole(client, GrantsRequest(pool="acme"))
        assert sorted(grant.key for grant in found) == sorted(grant.key for grant in grants)
        assert len(await whole(client, GrantsRequest(pool="acme", state="depleted"))) == 2_995
        assert len((await client.grants("acme", state="active")).grants) == 5


async def test_all_lists_are_the_same_as_in_the_engine(tmp_path: Path) -> None:
    async with narrow(tmp_path) as (engine, client):
        for number in range(60):
            name = f"n{number}"
            await engine.grant("acme", 10, key=name, cost_basis=(f"0.{number + 1}", "USD"), comment="x" * 100)
            await engine.grant(f"acme:c{number}", 1, key="g")
            await engine.set_budget("acme", name, 100, window="month", each="user")
            await engine.set_allowance("acme", name, 1, window="month", each="user", match={"of": name})
            await engine.set_recurring("acme", name, 1, period="month", starts_at="2990-01-01T00:00:00Z")
        debits = [
            DebitRequest(pool="acme", amount="1.5", key=f"d{n}", dimensions={"user": f"{n:>60}", "of": "n0"})
            for n in range(150)
        ]
        assert all(isinstance(answer, Receipt) for answer in await engine.batch(debits))
        for number in range(60):
            await engine.hold("acme", 1, key=f"h{number}", dimensions={"job": "x" * 100})
        for count in (3, 200):
            await engine.set_rates([{"metric": f"m{n}", "credits": 1, "match": {"of": "x" * 50}} for n in range(count)])
        lists: list[Request[Any]] = [
            GrantsRequest(pool="acme"),
            HoldsRequest(pool="acme"),
            BudgetCountsRequest(pool="acme", name="n7"),
            AllowanceCountsRequest(pool="acme", name="n0"),
            RecurringRequest(pool="acme"),
            LedgerRequest(pool="acme", limit=1_000),
            CostsRequest(pool="acme", limit=3),
            TotalsRequest(customer="acme"),
        ]
        for request in lists:
            expected = await whole(engine, request)
            assert len(expected) >= (8 if isinstance(request, CostsRequest) else 60)
            assert await whole(client, request) == expected, type(request).__name__
            first = await client.send(request)
            assert first.next_cursor is not None, type(request).__name__
        pools = [balance.pool for balance in await whole(engine, PoolsRequest(customer="acme"))]
        assert [balance.pool for balance in await whole(client, PoolsRequest(customer="acme", limit=1_000))] == pools
        # The counts inside a budget are cut where one budget alone would not fit, and say so.
        for request in (BudgetsRequest(pool="acme"), AllowancesRequest(pool="acme")):
            rows = await whole(client, request)
            assert [row.name for row in rows] == [f"n{number}" for number in range(60)]
            cut = [row for row in rows if row.counts_cut]
            assert cut
            assert all(row.counts for row in cut)
        cards = await whole(client, RatesRequest())
        assert [(card.number, rate.metric) for card in cards for rate in card.rates] == [
            (card.number, rate.metric) for card in await whole(engine, RatesRequest()) for rate in card.rates
        ]


@pytest.mark.parametrize("limit", [1, 1_000])
async def test_events_fit_too(tmp_path: Path, limit: int) -> None:
    async with narrow(tmp_path) as (engine, client):
        await engine.grant("acme", 1_000, key="g")
        await engine.set_alerts("acme", low=[500], budget_percents=list(range(1, 21)))
        await engine.set_budget("acme", "b" * 100, 100, window="month", each="user")
        for number in range(60):
            await engine.debit("acme", 5, key=f"d{number}", dimensions={"user": "x" * 200 + str(number)})
        expected = (await engine.past_events("acme", limit=1_000)).events
        found: list[Any] = []
        position = "0.0"
        while True:
            page = await client.past_events("acme", after=position, limit=limit)
            found += page.events
            position = page.position
            if not page.more:
                break
        assert tuple(found) == expected
        assert len(found) > 50
