"""``client.events``: nothing is missed and nothing repeated, whatever restarts; who is slow harms nobody."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from solvent import Engine, NotPermitted, PoolEvent, Unavailable, connect
from solvent.engine.audit.verify import verify_journal
from solvent.transports.nats.client import Client
from solvent.transports.nats.following import PAGE_EVENTS
from solvent.transports.nats.launcher import nats_server

from .conftest import Served, nats_process, served_in, service_process, until
from .test_events import insist, journalled, prepare

KILLS = 5
POOLS = ("customer-0", "customer-1", "customer-2/web")
SEED = 20_261_125


def streamed(client: Client, **scope: Any) -> aclosing[Any]:
    return aclosing(cast("Any", client.events(**scope)))


async def say(engine: Engine, pool: str, times: int, *, key: str = "k") -> None:
    """Have the pool say so many times that it is low, and that it is empty."""
    for number in range(times):
        await engine.grant(pool, "2", key=f"{key}g{number}")
        await engine.debit(pool, "2", key=f"{key}d{number}")


async def served_pool(engine: Engine, pool: str, times: int) -> list[PoolEvent]:
    """A pool that has said so ``times`` times, and what it said."""
    await engine.open_pool(pool)
    await say(engine, pool, 1, key="first")
    await engine.set_alerts(pool, low=["1"])
    await say(engine, pool, times - 1)
    events = await journalled(engine, pool)
    assert len(events) == 2 * times
    return events


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_stream_goes_through_kills_of_the_service_without_a_gap_or_a_repetition(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    dice, stop = random.Random(SEED), asyncio.Event()
    heard: dict[str, list[PoolEvent]] = {"all": [], "one": [], "parts": []}

    async def play(client: Client, pool: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await insist(client, pool, number)

    async def hear(client: Client, name: str, **scope: Any) -> None:
        async for event in client.events(**scope, after="0.0"):
            heard[name].append(event)

    async def hear_in_parts(client: Client) -> None:
        """As a reader that is restarted after each few events."""
        while True:
            parts = heard["parts"]
            async with streamed(client, after=parts[-1].position if parts else "0.0") as events:
                for _ in range(7):
                    parts.append(await anext(events))

    async with (
        nats_server() as url,
        service_process(journal, url) as service,
        connect(url, timeout_s=0.5) as client,
    ):
        for pool in POOLS:
            await prepare(client, pool)
        hearing = [
            asyncio.create_task(hear(client, "all")),
            asyncio.create_task(hear(client, "one", pool=POOLS[2])),
            asyncio.create_task(_insisting(lambda: hear_in_parts(client))),
        ]
        async with asyncio.TaskGroup() as players:
            for pool in POOLS:
                players.create_task(play(client, pool))
            for _ in range(KILLS):
                await asyncio.sleep(dice.uniform(0.1, 1.2))
                await service.kill()
                # Longer than a request is asked again by itself, now and then.
                await asyncio.sleep(dice.choice([0.0, 0.8]))
                await service.start()
            stop.set()
        for events in (heard["all"], heard["parts"]):
            await until(lambda events=events: _is_over(client, events))  # type: ignore[misc]
        await until(lambda: heard["one"][-1:] == [each for each in heard["all"] if each.pool == POOLS[2]][-1:])
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
    assert verify_journal(journal).problems == []
    async with Engine.open(journal) as engine:
        everything = await _all(engine)
        assert len(everything) > 2 * KILLS
        assert heard["all"] == everything
        assert heard["parts"] == everything
        assert heard["one"] == [event for event in everything if event.pool == POOLS[2]]


async def _insisting(work: Any) -> None:
    """A reader that begins with the first question may find nobody: it is told, and asks again."""
    while True:
        try:
            await work()
        except Unavailable:
            continue


async def _is_over(client: Client, events: list[PoolEvent]) -> bool:
    page = await client.past_events(after=events[-1].position if events else "0.0")
    return not page.events and not page.more


async def _all(engine: Engine) -> list[PoolEvent]:
    events: list[PoolEvent] = []
    after = "0.0"
    while True:
        page = await engine.past_events(after=after, limit=1_000)
        events += page.events
        after = page.position
        if not page.more:
            return events


async def test_what_is_said_while_nats_is_away_is_heard_once_it_is_back(tmp_path: Path) -> None:
    scratch = tmp_path / "nats"
    scratch.mkdir()
    async with nats_process(scratch) as server, served_in(tmp_path / "journal", url=server.url) as served:
        await served_pool(served.engine, "acme", 1)
        async with connect(server.url) as client, streamed(client, after="0.0") as events:
            first = [await anext(events), await anext(events)]
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            await server.kill()
            await say(served.engine, "acme", 2, key="away")
            await server.start()
            rest = [await waiting, *[await anext(events) for _ in range(3)]]
        assert first + rest == await journalled(served.engine, "acme")


async def test_who_is_slow_has_one_page_in_memory_and_misses_nothing(served: Served) -> None:
    pages = 4
    await served_pool(served.engine, "acme", 1)
    async with connect(served.url) as client, streamed(client, pool="acme", after="0.0") as events:
        heard = [await anext(events)]
        asked = client.messages_sent
        await say(served.engine, "acme", pages * PAGE_EVENTS // 2, key="many")
        # All of it was published, and this reader was told; it asks for nothing until it has dealt with what it has.
        await asyncio.sleep(0.3)
        assert client.messages_sent == asked
        expected = await journalled(served.engine, "acme")
        assert len(expected) > pages * PAGE_EVENTS
        while len(heard) < len(expected):
            heard.append(await anext(events))
        assert heard == expected
        assert client.messages_sent - asked <= len(expected) // 64


async def test_pages_are_made_to_fit_into_a_message(tmp_path: Path) -> None:
    scratch = tmp_path / "nats"
    scratch.mkdir()
    async with (
        nats_process(scratch, "max_payload: 8192") as server,
        served_in(tmp_path / "journal", url=server.url) as served,
    ):
        expected = await served_pool(served.engine, "acme", 100)
        async with connect(server.url) as client, streamed(client, pool="acme", after="0.0") as events:
            assert [await anext(events) for _ in expected] == expected


async def test_who_may_ask_for_one_customer_hears_of_no_other(tmp_path: Path) -> None:
    """NATS lets nothing of the others through, neither what is published nor what is asked for."""
    scratch = tmp_path / "nats"
    scratch.mkdir()
    allowed = (
        'publish: ["solvent.v1.default.acme.>"], subscribe: ["_INBOX.>", "solvent.v1.default.acme.events.>"]',
        'publish: ["solvent.v1.default.acme.>"], subscribe: ["_INBOX.>"]',
    )
    users = ", ".join(
        f'{{user: "{name}", password: "p", permissions: {{{permissions}}}}}'
        for name, permissions in zip(("reader", "asker"), allowed, strict=True)
    )
    config = f'authorization {{ users: [{{user: "service", password: "p"}}, {users}] }}'
    async with nats_process(scratch, config) as server:
        at = server.url.removeprefix("nats://")
        async with served_in(tmp_path / "journal", url=f"nats://service:p@{at}") as served:
            expected = await served_pool(served.engine, "acme", 2)
            await served_pool(served.engine, "globex", 2)
            for user in ("reader", "asker"):
                async with connect(f"nats://{user}:p@{at}", timeout_s=1.0) as client:
                    async with streamed(client, customer="acme", after="0.0") as events:
                        assert [await anext(events) for _ in expected] == expected
                        # One is told, the other looks now and then.
                        await say(served.engine, "globex", 1, key=user)
                        await say(served.engine, "acme", 1, key=user)
                        news = [await anext(events), await anext(events)]
                        assert {event.pool for event in news} == {"acme"}
                        expected += news
                    for scope in ({"customer": "globex"}, {"pool": "globex"}, {}):
                        with pytest.raises(NotPermitted):
                            async with streamed(client, **scope, after="0.0") as events:
                                await anext(events)


async def test_a_client_that_is_closed_ends_its_streams(served: Served) -> None:
    await served_pool(served.engine, "acme", 1)

    async def read(events: AsyncIterator[PoolEvent]) -> None:
        async for _ in events:
            pass

    async with connect(served.url) as client:
        reading = asyncio.create_task(read(client.events("acme")))
        await asyncio.sleep(0.2)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(reading, 5)
    with pytest.raises(Unavailable):
        await anext(client.events("acme"))


async def test_a_stream_that_is_left_leaves_nothing_behind(served: Served) -> None:
    await served_pool(served.engine, "acme", 1)
    async with connect(served.url) as client:
        before = len(client._nats._subs)
        for _ in range(20):
            async with streamed(client, pool="acme", after="0.0") as events:
                await anext(events)
        assert not client.requests.followers
        assert len(client._nats._subs) == before
