"""What pools say is published on NATS: at least once and in order, whatever is killed; balances once in a while."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from solvent import Engine, PoolEvent, SolventError, Unavailable, connect
from solvent.engine.audit.verify import verify_journal
from solvent.engine.values.positions import parse_position
from solvent.transports.nats.client import Client
from solvent.transports.nats.launcher import nats_server

from .conftest import Served, nats_process, raw_connection, served_in, service_process, until

KILLS = 12
POOLS = 6
SEED = 20_261_124


class Heard:
    """The events of a subscriber that knows nothing of Solvent but its subjects."""

    def __init__(self) -> None:
        self.messages = 0
        self.first: dict[str, list[str]] = defaultdict(list)
        """The positions of each pool's events, in the order in which each was first heard."""
        self.kinds: dict[str, tuple[str, str]] = {}
        """Pool and kind, by position."""

    async def take(self, message: Msg) -> None:
        kind = message.subject.rpartition(".")[2]
        if kind == "balance":
            return
        body = msgspec.json.decode(message.data)
        assert body["kind"] == kind
        assert message.subject.split(".")[3] == body["pool"]
        self.messages += 1
        if body["position"] not in self.kinds:
            self.first[body["pool"]].append(body["position"])
        self.kinds[body["position"]] = (body["pool"], kind)


async def prepare(client: Client, pool: str) -> None:
    """Have the pool say what ``insist`` makes of it. It says so at once, as it is empty."""
    await client.grant(pool, "1", key="first")
    await client.debit(pool, "1", key="first debit")
    await client.set_alerts(pool, low=["5"])


async def insist(client: Client, pool: str, number: int) -> None:
    """Fill the pool and empty it again, whatever is killed meanwhile: it says that it is low, and depleted."""
    for verb, amount in (("grant", "10"), ("debit", "6"), ("debit", "4")):
        while True:
            try:
                if verb == "grant":
                    await client.grant(pool, amount, key=f"{verb}-{number}")
                else:
                    await client.debit(pool, amount, key=f"{verb}-{amount}-{number}")
            except Unavailable:
                continue
            break


async def journalled(engine: Engine, pool: str) -> list[PoolEvent]:
    events: list[PoolEvent] = []
    after = "0.0"
    while True:
        page = await engine.past_events(pool, after=after, limit=1_000)
        events += page.events
        after = page.position
        if not page.more:
            return events


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_every_alert_is_heard_in_order_whatever_is_killed(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    dice, heard, stop = random.Random(SEED), Heard(), asyncio.Event()
    pools = [f"customer-{number}" for number in range(POOLS)]
    rounds: dict[str, int] = dict.fromkeys(pools, 0)

    async def play(client: Client, pool: str) -> None:
        while not stop.is_set():
            rounds[pool] += 1
            await insist(client, pool, rounds[pool])

    async with nats_server() as url, raw_connection(url) as listener:
        await listener.subscribe("solvent.v1.default.*.events.>", cb=heard.take)
        await listener.flush()
        async with service_process(journal, url) as service, connect(url, timeout_s=0.5) as client:
            for pool in pools:
                await prepare(client, pool)
            async with asyncio.TaskGroup() as players:
                for pool in pools:
                    players.create_task(play(client, pool))
                for _ in range(KILLS):
                    # Long enough for a note of what was published to be among what is interrupted.
                    await asyncio.sleep(dice.uniform(0.1, 1.6))
                    await service.kill()
                    await service.start()
                stop.set()
            # Set on an empty pool, the alerts say both at once; then each round says both.
            expected = {pool: 2 + 2 * rounds[pool] for pool in pools}
            await until(lambda: all(len(heard.first[pool]) >= expected[pool] for pool in pools))
    print(f"{KILLS} kills, {len(heard.kinds)} events, {heard.messages - len(heard.kinds)} heard again")
    assert heard.messages > len(heard.kinds), "no kill came between a publication and its note"
    assert verify_journal(journal).problems == []
    async with Engine.open(journal) as engine:
        for pool in pools:
            events = await journalled(engine, pool)
            assert [event.kind for event in events][-2:] == ["low", "depleted"]
            assert heard.first[pool] == [event.position for event in events]
            assert all(heard.kinds[event.position] == (pool, event.kind) for event in events)


async def test_what_is_said_while_nats_is_away_is_published_when_it_is_back(tmp_path: Path) -> None:
    config = f'jetstream {{ store_dir: "{tmp_path / "streams"}" }}'
    scratch = tmp_path / "nats"
    scratch.mkdir()
    async with nats_process(scratch, config) as server:
        async with raw_connection(server.url) as connection:
            # Keeps every message, also for a listener that is away: what the documentation says to do.
            await connection.jetstream().add_stream(StreamConfig("events", subjects=["solvent.v1.*.*.events.>"]))
        async with served_in(tmp_path / "journal", url=server.url) as served:
            await served.engine.grant("acme", "10", key="g")
            await served.engine.set_alerts("acme", low=["5"])
            await served.engine.debit("acme", "6", key="a")
            assert await _collected(server.url, 1) == ["low"]
            await server.kill()
            await served.engine.debit("acme", "4", key="b")
            await asyncio.sleep(1.5)
            await server.start()
            assert (await _collected(server.url, 2))[-1] == "depleted"
            # It says the same after the position is noted and the service has begun anew.
            noted = (await journalled(served.engine, "acme"))[-1]
            await until(lambda: _is_noted(served.engine, noted))
        async with served_in(tmp_path / "journal", url=server.url) as served:
            await served.engine.grant("acme", "10", key="g2")
            await served.engine.debit("acme", "6", key="c")
            kinds = await _collected(server.url, 3)
    assert kinds[-1] == "low"
    assert kinds.count("depleted") >= 1


async def _is_noted(engine: Engine, event: PoolEvent) -> bool:
    return await engine.feed.published("nats") >= parse_position(event.position)


async def _collected(url: str, count: int) -> list[str]:
    """The kinds of the alerts in the stream, when it has at least ``count``."""
    kinds: list[str] = []
    async with raw_connection(url) as connection:
        jetstream = connection.jetstream()

        async def enough() -> bool:
            kinds.clear()
            last = (await jetstream.stream_info("events")).state.last_seq
            for number in range(1, last + 1):
                subject = (await jetstream.get_msg("events", number)).subject
                assert subject is not None
                kinds.append(subject.rpartition(".")[2])
            while "balance" in kinds:
                kinds.remove("balance")
            return len(kinds) >= count

        await until(enough)
    return kinds


async def test_balances_are_published_now_and_then_and_the_last_is_true(served: Served) -> None:
    balances: dict[str, list[dict[str, object]]] = defaultdict(list)

    async def take(message: Msg) -> None:
        body = msgspec.json.decode(message.data)
        balances[body["pool"]].append(body)

    async with raw_connection(served.url) as connection, connect(served.url) as client:
        await connection.subscribe("solvent.v1.default.*.events.balance", cb=take)
        await connection.flush()
        await client.grant("acme", "1000", key="g")
        await client.grant("acme/website-1", "5", key="g")
        for turn in range(10):
            await asyncio.gather(*(client.debit("acme", "0.5", key=f"{turn}-{number}") for number in range(50)))
            await asyncio.sleep(0.2)
        last = await client.balance("acme")
        await until(lambda: bool(balances["acme"]) and balances["acme"][-1]["version"] == last.version)
    assert Decimal(str(balances["acme"][-1]["available"])) == last.available == 750
    assert len(balances["acme"]) < 20, "a balance is published for every debit"
    versions = [int(str(body["version"])) for body in balances["acme"]]
    assert all(earlier < later for earlier, later in pairwise(versions))
    assert [body["available"] for body in balances["acme/website-1"]] == ["5"]


async def test_a_listener_of_one_customer_hears_of_no_other(served: Served) -> None:
    heard: list[PoolEvent] = []
    async with connect(served.url) as client:

        async def listen() -> None:
            async for event in client.events(customer="acme"):
                heard.append(event)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0.2)
        for customer in ("globex", "acme"):
            await client.grant(f"{customer}/a.b", "1", key="g")
            await client.set_alerts(f"{customer}/a.b", low=["5"])
        await until(lambda: bool(heard))
        listening.cancel()
        with pytest.raises((asyncio.CancelledError, SolventError)):
            await listening
    assert [(event.pool, event.kind) for event in heard] == [("acme/a.b", "low")]
