"""A nats-server that dies, hangs or sends its clients away is ridden out: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from solvent import Engine, Receipt, SolventError, Unavailable, connect
from solvent.transports.nats.client import Client
from solvent.transports.nats.service import serving
from tests.ledgers import whole_ledger

from .conftest import DEADLINE_S, nats_process, raw_connection, served_in, until

CALLERS = 64
DEBITS_EACH = 40


class Callers:
    """Each debits one after another, and again with the same key after an error, until it has a receipt."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.receipts: dict[str, Receipt] = {}
        self.errors: list[SolventError] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLERS):
                tasks.create_task(self._call(number))

    async def _call(self, number: int) -> None:
        for call in range(DEBITS_EACH):
            key = f"{number}-{call}"
            while key not in self.receipts:
                try:
                    receipt = await self._client.debit("acme", "1", key=key)
                except SolventError as error:
                    assert error.retry_safe, error
                    self.errors.append(error)
                else:
                    self.receipts[key] = receipt
            await asyncio.sleep(number % 16 * 0.002)

    async def check(self, engine: Engine) -> None:
        """Compare with the engine itself, every key and every number."""
        assert len(self.receipts) == CALLERS * DEBITS_EACH
        debits = {entry.key: entry for entry in await whole_ledger(engine, "acme") if entry.kind == "debit"}
        balance = await engine.balance("acme")
        assert balance.version == len(debits) + 2, "a key is in the ledger twice"
        assert debits.keys() == self.receipts.keys()
        assert balance.spent == Decimal(CALLERS * DEBITS_EACH)
        for key, receipt in self.receipts.items():
            entry = debits[key]
            assert (entry.id, entry.version, entry.balance) == (receipt.id, receipt.version, receipt.balance)


@pytest.mark.slow
@pytest.mark.parametrize("timeout_s", [10.0, 0.4], ids=["patient", "impatient"])
async def test_debits_ride_out_a_nats_server_that_is_killed(tmp_path: Path, timeout_s: float) -> None:
    """With the usual timeout nobody notices; with a short one each caller asks again with its key."""
    dice = random.Random(11)
    async with (
        nats_process(tmp_path) as server,
        served_in(tmp_path / "journal", url=server.url) as served,
        connect(server.url, timeout_s=timeout_s) as client,
    ):
        await served.engine.grant("acme", "1000000", key="g")
        callers = Callers(client)
        calling = asyncio.create_task(callers.run())
        for kill in range(3):
            seen = len(callers.receipts)
            await until(lambda seen=seen: len(callers.receipts) > seen + CALLERS)  # type: ignore[misc]
            await asyncio.sleep(dice.uniform(0, 0.05))
            # All callers may be between two debits: a kill has to find something under way.
            await until(lambda: client.requests._outstanding > 0 or calling.done())
            assert not calling.done(), f"kill {kill} came after the last debit"
            await server.kill()
            await asyncio.sleep(dice.uniform(0.1, 0.8))
            await server.start()
        async with asyncio.timeout(DEADLINE_S):
            await calling
        if timeout_s == 10.0:
            assert callers.errors == []
        else:
            assert callers.errors
            assert all(isinstance(error, Unavailable) for error in callers.errors), Counter(map(type, callers.errors))
        await callers.check(served.engine)


@pytest.mark.slow
async def test_debits_ride_out_a_nats_server_that_hangs(tmp_path: Path) -> None:
    async with (
        nats_process(tmp_path) as server,
        served_in(tmp_path / "journal", url=server.url) as served,
        connect(server.url) as client,
    ):
        await served.engine.grant("acme", "1000000", key="g")
        callers = Callers(client)
        calling = asyncio.create_task(callers.run())
        for _ in range(2):
            seen = len(callers.receipts)
            await until(lambda seen=seen: len(callers.receipts) > seen + CALLERS)  # type: ignore[misc]
            server.signal(signal.SIGSTOP)
            await asyncio.sleep(0.7)
            server.signal(signal.SIGCONT)
        async with asyncio.timeout(DEADLINE_S):
            await calling
        assert callers.errors == []
        await callers.check(served.engine)


async def test_a_connection_that_the_server_ends_with_an_error_is_made_anew(tmp_path: Path) -> None:
    """As when somebody puts a wrong password into the server's configuration, and then takes it back."""
    right = 'authorization { users = [ {user: "solvent", password: "right"} ] }\n'
    wrong = 'authorization { users = [ {user: "solvent", password: "wrong"} ] }\n'
    async with nats_process(tmp_path, right) as server:
        url = server.url.replace("nats://", "nats://solvent:right@")
        async with served_in(tmp_path / "journal", url=url) as served, connect(url) as client:
            await client.grant("acme", "10", key="g")
            server.reload(wrong)
            await until(lambda: not client._nats.is_connected)
            asking = asyncio.create_task(client.debit("acme", "1", key="k"))
            server.reload(right)
            async with asyncio.timeout(DEADLINE_S):
                assert (await asking).balance == Decimal(9)
                assert (await client.balance("acme")).spent == Decimal(1)
            assert (await served.engine.balance("acme")).spent == Decimal(1)


async def test_the_sockets_of_attempts_that_the_server_refuses_are_closed(tmp_path: Path) -> None:
    """nats-py forgets them; a socket that the collector finds open is a ResourceWarning, which fails the test."""
    right = 'authorization { users = [ {user: "solvent", password: "right"} ] }\n'
    wrong = 'authorization { users = [ {user: "solvent", password: "wrong"} ] }\n'
    async with nats_process(tmp_path, right) as server:
        url = server.url.replace("nats://", "nats://solvent:right@")
        async with connect(url) as client:
            connection = client._nats
            server.reload(wrong)
            await until(lambda: connection._current_server is not None and connection._current_server.reconnects >= 4)
            gc.collect()
            server.reload(right)
            await until(lambda: connection.is_connected)


async def test_a_service_that_stops_answers_what_it_has_taken(tmp_path: Path) -> None:
    answered = 0
    async with nats_process(tmp_path) as server, Engine.open(tmp_path / "journal") as engine:
        await engine.grant("acme", "1000000", key="g")
        async with raw_connection(server.url) as raw:
            inbox = raw.new_inbox()
            replies: list[tuple[bool, bytes]] = []

            async def note(message: object) -> None:
                headers, data = getattr(message, "headers", None), getattr(message, "data", b"")
                replies.append((headers is None, data))

            await raw.subscribe(inbox, cb=note)
            async with serving(engine, server.url):
                for number in range(1_000):
                    payload = b'{"amount": "1", "key": "k%d"}' % number
                    await raw.publish("solvent.v1.default.acme.debit", payload, reply=inbox)
                for _ in range(100):
                    await raw.publish("solvent.v1.default.acme.ledger", b'{"limit": 500}', reply=inbox)
                # The server has all of them; the service has begun with some, and is told to stop.
                await raw.flush()
            await until(lambda: len(replies) == 1_100)
            answered = sum(good for good, _ in replies)
        balance = await engine.balance("acme")
        receipts = sum(b'"id":"d' in data and b"recorded_at" in data for good, data in replies if good)
    assert answered == 1_100, "the service left requests without an answer"
    assert balance.spent == Decimal(1_000)
    assert receipts >= 1_000


async def test_a_service_stops_promptly_when_the_nats_server_is_gone(tmp_path: Path) -> None:
    async with nats_process(tmp_path) as server, Engine.open(tmp_path / "journal") as engine:
        loop = asyncio.get_running_loop()
        async with serving(engine, server.url), connect(server.url) as client:
            await client.grant("acme", "10", key="g")
            await server.kill()
            await until(lambda: not client._nats.is_connected)
            asking = asyncio.create_task(client.debit("acme", "1", key="k"))
            await asyncio.sleep(0.2)
            start = loop.time()
        assert loop.time() - start < 5
        with pytest.raises(Unavailable):
            await asking


async def test_a_client_that_was_sending_much_closes_cleanly_when_the_nats_server_is_gone(tmp_path: Path) -> None:
    async with nats_process(tmp_path) as server:
        async with connect(server.url) as client:
            asking = [asyncio.ensure_future(client.debit("acme", "1", key="k" * 200 + str(n))) for n in range(20_000)]
            await until(lambda: client.messages_sent > 0)
            await server.kill()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}


async def test_while_nats_is_away_no_more_waits_than_the_limit(tmp_path: Path) -> None:
    """16 MB of requests: what does not fit into the connection's buffer is sent when there is room."""
    async with (
        nats_process(tmp_path) as server,
        served_in(tmp_path / "journal", url=server.url) as served,
        connect(server.url, timeout_s=DEADLINE_S) as client,
    ):
        await served.engine.grant("acme", "1000000", key="g")
        await server.kill()
        await until(lambda: not client._nats.is_connected)
        dimensions = {f"d{number}": "x" * 1_000 for number in range(8)}
        debits = [client.debit("acme", "1", key=f"k{number}", dimensions=dimensions) for number in range(2_000)]
        asking = asyncio.gather(*debits)
        await asyncio.sleep(0.3)
        assert client._nats.pending_data_size < 10 << 20
        await server.start()
        async with asyncio.timeout(DEADLINE_S):
            receipts = await asking
        assert len({receipt.id for receipt in receipts}) == 2_000
        assert (await served.engine.balance("acme")).spent == Decimal(2_000)
