"""Server-sent events: they resume by position, and show what was asked for and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from solvent import Engine
from solvent.transports.http.server import serving_http

from .conftest import Api
from .test_operations import is_problem


class Sent(NamedTuple):
    """One event as it arrived."""

    kind: str
    id: str
    data: Any


@asynccontextmanager
async def stream(http: httpx.AsyncClient, path: str, **options: Any) -> AsyncIterator[AsyncIterator[Sent]]:
    async with http.stream("GET", f"/v1/default/{path}/events/stream", **options) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield parsed(answer.aiter_lines())


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[Sent]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Sent(fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "null")))
            fields = {}


async def take(events: AsyncIterator[Sent], kind: str) -> Sent:
    """Return the next event of a kind, and leave out others."""
    async with asyncio.timeout(20):
        async for event in events:
            if event.kind == kind:
                return event
    raise AssertionError("the stream has ended")


async def spend_to(api: Api, pool: str, left: str) -> None:
    available = (await api.engine.balance(pool)).available
    await api.engine.debit(pool, available - int(left), key=f"to-{left}")


async def prepare(api: Api, *pools: str) -> None:
    for pool in pools:
        await api.engine.grant(pool, "100", key="g")
        await api.engine.set_alerts(pool, low=["50", "20"])


async def test_an_alert_arrives_as_it_happens(api: Api) -> None:
    await prepare(api, "acme", "other")
    async with stream(api.http, "acme") as events:
        await spend_to(api, "other", "10")
        await spend_to(api, "acme", "40")
        low = await take(events, "low")
    assert (low.data["pool"], low.data["limit"], low.data["available"], low.id) == (
        *("acme", "50", "40"),
        low.data["position"],
    )


async def test_a_reader_that_comes_back_misses_nothing(api: Api) -> None:
    await prepare(api, "acme")
    async with stream(api.http, "acme") as events:
        first = await take(events, "")
        await spend_to(api, "acme", "40")
        low = await take(events, "low")
    await spend_to(api, "acme", "10")
    for options in ({"headers": {"last-event-id": low.id}}, {"params": {"after": low.id}}):
        async with stream(api.http, "acme", **options) as events:
            assert (await take(events, "low")).data["limit"] == "20"
    async with stream(api.http, "acme", headers={"last-event-id": first.id}) as events:
        assert [(await take(events, "low")).data["limit"] for _ in range(2)] == ["50", "20"]


async def test_balances_are_sent_when_they_change(api: Api) -> None:
    await prepare(api, "acme", "acme/web", "other")
    async with stream(api.http, "acme", params={"resource": "web"}) as events:
        await api.engine.debit("other", "1", key="k")
        await api.engine.debit("acme", "1", key="k")
        await api.engine.debit("acme/web", "1", key="k")
        balance = await take(events, "balance")
    assert (balance.data["pool"], balance.data["available"], balance.id) == ("acme/web", "99", "")


async def test_many_debits_are_one_balance(api: Api) -> None:
    await prepare(api, "acme")
    async with stream(api.http, "acme") as events:
        for number in range(40):
            await api.engine.debit("acme", "1", key=str(number))
        found = [await take(events, "balance")]
        while found[-1].data["available"] != "60":
            found.append(await take(events, "balance"))
    assert len(found) < 5


@pytest.mark.parametrize(
    ("path", "options", "field"),
    [
        ("acme", {"params": {"after": "nonsense"}}, "after"),
        ("acme", {"headers": {"last-event-id": "999999.1"}}, "after"),
        ("acme", {"params": {"ressource": "x"}}, "ressource"),
        ("-", {"params": {"resource": "web"}}, "customer"),
    ],
)
async def test_a_bad_question_is_refused_before_the_stream_begins(
    api: Api, path: str, options: Any, field: str
) -> None:
    answer = await api.get(f"{path}/events/stream", **options)
    assert is_problem(answer, 400, "invalid_request")["field"] == field


async def test_a_service_that_stops_ends_its_streams() -> None:
    async with Engine.open(":memory:") as engine, httpx.AsyncClient() as http, asyncio.timeout(20):
        async with serving_http(engine, "127.0.0.1:0") as url:
            await engine.grant("acme", "10", key="g")
            asked = http.build_request("GET", f"{url}/v1/default/acme/events/stream")
            answer = await http.send(asked, stream=True)
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("id: ")
        assert {line.partition(":")[0] async for line in lines} <= {"", "event", "data"}
