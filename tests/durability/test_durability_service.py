"""The real service over a real nats-server: killed under load, and flooded."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import random
import signal
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import nats
import psutil
import pytest
from nats.aio.msg import Msg

from solvent import Engine, InsufficientCredits, LedgerEntry, Overloaded, Receipt, SolventError, Unavailable, connect
from solvent.engine.verify import verify_journal
from solvent.transports.nats.launcher import nats_server

KILLS = 20
POOLS = 12
CALLERS = 32
FLOOD = 100_000
FLOOD_GROWTH_MAX_MIB = 250


def _load(name: str) -> ModuleType:
    # Beside this file, and no test module: pytest's importlib mode gives it no package to import it from.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


service_process = _load("service_process").service_process


class Callers:
    """Debit over NATS for ever, and remember every reply."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}
        self.acknowledged: dict[str, Receipt] = {}
        self.refused: set[str] = set()
        self.in_doubt: set[str] = set()
        self.waiting = 0

    async def call(self, url: str, run: int) -> None:
        # A short deadline: what a kill strikes is given up here, so that its outcome is looked up in the journal.
        async with connect(url, timeout_s=1.0) as client:
            for pool in range(POOLS):
                await client.grant(f"customer/{pool}", "30", key=f"grant-{run}")
            await asyncio.gather(*(self._debit(client.debit, run, number) for number in range(CALLERS)))

    async def _debit(self, debit: object, run: int, number: int) -> None:
        assert callable(debit)
        for call in range(1_000_000):
            pool, key = f"customer/{(number * 5 + call) % POOLS}", f"{run}-{number}-{call}"
            self.asked[key] = pool
            self.waiting += 1
            try:
                self.acknowledged[key] = await debit(pool, "0.01", key=key, dimensions={"caller": number})
            except InsufficientCredits:
                self.refused.add(key)
            except Unavailable:
                self.in_doubt.add(key)
                return
            finally:
                self.waiting -= 1


async def whole_ledger(engine: Engine, pool: str) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    cursor: str | None = None
    while True:
        page = await engine.ledger(pool, limit=1_000, cursor=cursor, newest_first=False)
        entries += page.entries
        if (cursor := page.next_cursor) is None:
            return entries


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_reply_of_a_service_that_is_killed_twenty_times_is_in_the_journal(tmp_path: Path) -> None:
    dice, callers, struck = random.Random(20_261_123), Callers(), 0
    async with nats_server() as url:
        for run in range(KILLS):
            async with service_process(tmp_path, url) as service:
                calling = asyncio.create_task(callers.call(url, run))
                await asyncio.sleep(dice.uniform(0.05, 0.5))
                struck += callers.waiting > 0
                service.send_signal(signal.SIGKILL)
                await service.wait()
                with suppress(Unavailable):  # struck while it granted
                    await calling
            assert verify_journal(tmp_path).problems == []
    assert struck >= KILLS // 2, "the kills struck nothing that was in flight"
    assert len(callers.acknowledged) > 1_000
    assert callers.in_doubt

    async with Engine.open(tmp_path) as engine:
        found: dict[str, LedgerEntry] = {}
        for pool in range(POOLS):
            entries = await whole_ledger(engine, f"customer/{pool}")
            balance = await engine.balance(f"customer/{pool}")
            assert [entry.version for entry in entries] == list(range(1, balance.version + 1))
            assert sum((entry.change for entry in entries), Decimal(0)) == balance.available >= 0
            for entry in entries:
                if entry.kind == "debit":
                    assert entry.key is not None
                    assert entry.key not in found, "a key is in two debits"
                    assert callers.asked[entry.key] == f"customer/{pool}"
                    assert (entry.amount, entry.dimensions["caller"]) == (Decimal("0.01"), int(entry.key.split("-")[1]))
                    found[entry.key] = entry
        for key, receipt in callers.acknowledged.items():
            entry = found[key]
            assert (entry.id, entry.version, entry.balance, entry.allocations) == (
                receipt.id,
                receipt.version,
                receipt.balance,
                receipt.allocations,
            )
        assert set(found) - set(callers.acknowledged) <= callers.in_doubt, "a debit is there that nobody waits for"
        assert not callers.refused & set(found), "a refused debit is in the ledger"
        for key in dice.sample(sorted(callers.acknowledged), 200):
            again = await engine.debit(
                callers.asked[key], "0.01", key=key, dimensions={"caller": int(key.split("-")[1])}
            )
            assert (again.replayed, again.id) == (True, callers.acknowledged[key].id)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_flood_is_refused_in_bounded_memory_while_another_pool_is_answered(tmp_path: Path) -> None:
    async with nats_server() as url, service_process(tmp_path, url) as service, connect(url) as client:
        await client.grant("hot", 1_000_000, key="g")
        await client.grant("calm", 1, key="g")
        memory = psutil.Process(service.pid)
        before = most = memory.memory_info().rss
        codes: dict[str, int] = {}
        answered = asyncio.Event()
        flooder = await nats.connect(url)
        inbox = flooder.new_inbox()

        async def receive(message: Msg) -> None:
            body = json.loads(message.data)
            code = body["error"]["code"] if "error" in body else "granted"
            codes[code] = codes.get(code, 0) + 1
            if sum(codes.values()) == FLOOD:
                answered.set()

        await flooder.subscribe(f"{inbox}.*", cb=receive)

        async def flood() -> None:
            for number in range(FLOOD):
                body = b'{"amount":1,"key":"k%d"}' % number
                await flooder.publish("solvent.v1.default.hot.debit", body, reply=f"{inbox}.{number}")
                if number % 1_000 == 0:
                    await asyncio.sleep(0)
            await flooder.flush(60)

        waits: list[float] = []
        flooding = asyncio.create_task(flood())
        while not answered.is_set():
            began = time.perf_counter()
            assert (await client.balance("calm")).available == 1
            waits.append(time.perf_counter() - began)
            most = max(most, memory.memory_info().rss)
            await asyncio.sleep(0.05)
        await flooding
        await flooder.close()
        assert sum(codes.values()) == FLOOD
        assert set(codes) <= {"granted", "overloaded"}
        assert (await client.balance("hot")).spent == codes["granted"]
        assert max(waits) < 1.0, f"a balance of another pool took {max(waits):.2f} s"
        assert len(waits) > 10
        grown = (most - before) / 2**20
        print(f"memory grew by {grown:.0f} MiB, {codes}, a balance took {max(waits) * 1e3:.0f} ms at most")
        assert grown < FLOOD_GROWTH_MAX_MIB


async def test_what_is_beyond_the_mailbox_is_refused_with_a_type(tmp_path: Path) -> None:
    async with nats_server() as url, service_process(tmp_path, url), connect(url) as client:
        await client.grant("hot", 1_000_000, key="g")

        async def debit(number: int) -> Receipt | SolventError:
            try:
                return await client.debit("hot", 1, key=f"k{number}")
            except SolventError as error:
                return error

        answers = await asyncio.gather(*(debit(number) for number in range(20_000)))
        granted = sum(isinstance(answer, Receipt) for answer in answers)
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        assert granted + len(refused) == 20_000
        assert refused
        assert all(answer.retry_after > 0 for answer in refused)
        assert (await client.balance("hot")).spent == granted
