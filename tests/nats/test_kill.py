"""What the service acknowledged over NATS survives ``kill -9`` at any instant, and nothing else is half there.

The real process behind a real nats-server, killed and started again while 40 callers debit 20 pools. Every reply is
written down and compared with the journal that the kills left behind.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from solvent import Engine, InsufficientCredits, LedgerEntry, Receipt, SolventError, Unavailable, connect
from solvent.engine.audit.verify import verify_journal
from solvent.transports.nats.client import Client
from solvent.transports.nats.launcher import nats_server
from tests.ledgers import whole_ledger

from .conftest import DEADLINE_S, ServiceProcess, service_process

KILLS = 22
POOLS = 20
CALLERS = 40
AMOUNT = "0.5"
TOP_UP = "10"
"""Too little for what is debited between two top-ups, as a rule: so there are refusals in every pool."""
PLENTY = "150"
SCARCE = "1"
"""What the first pool is given each time: it runs out however slow the machine is."""
SEED = 20_261_123


class Record:
    """Every reply of every caller."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}
        """The pool of every key."""
        self.receipts: dict[str, Receipt] = {}
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        """Keys whose outcome was unknown at least once."""
        self.under_way: set[str] = set()
        self.errors: Counter[str] = Counter()
        self.pause_s = 0.0
        """Between two debits of a caller."""
        self.amount_on_top = TOP_UP

    async def debit_until(self, stop: asyncio.Event, client: Client, number: int) -> None:
        """Debit pool after pool. What stays without an answer is asked again with its key until it has one."""
        dice = random.Random(SEED + number)
        call = 0
        while not stop.is_set():
            key, pool = f"{number}-{call}", f"customer/{dice.randrange(POOLS)}"
            call += 1
            if self.pause_s:
                # Of different lengths, or callers that were answered together are away together.
                await asyncio.sleep(dice.uniform(0, 2 * self.pause_s))
            self.asked[key] = pool
            while True:
                self.under_way.add(key)
                try:
                    self.receipts[key] = await client.debit(pool, AMOUNT, key=key, dimensions={"caller": number})
                except InsufficientCredits:
                    self.refused.add(key)
                except Unavailable:
                    self.unknown.add(key)
                    continue
                except SolventError as error:
                    self.errors[type(error).__name__] += 1
                finally:
                    self.under_way.discard(key)
                break

    async def top_up(self, client: Client, turn: int) -> None:
        """Give every pool some credits, whatever happens to the service meanwhile."""

        async def grant(pool: int) -> None:
            amount = self.amount_on_top if pool else SCARCE
            while True:
                try:
                    await client.grant(f"customer/{pool}", amount, key=f"top-up-{turn}")
                except Unavailable:
                    continue
                return

        await asyncio.gather(*(grant(pool) for pool in range(POOLS)))


async def kill_and_start(record: Record, service: ServiceProcess, client: Client, dice: random.Random) -> list[int]:
    """How many requests were under way at each kill."""
    struck: list[int] = []
    for kill in range(1, KILLS + 1):
        # Every other time there is enough for debits until the kill: on a fast machine the rest finds only refusals.
        record.amount_on_top = PLENTY if kill % 2 else TOP_UP
        topping_up = asyncio.create_task(record.top_up(client, kill))
        await asyncio.sleep(dice.uniform(0.0, 0.2 if kill % 2 else 0.5))
        service.running.kill()
        struck.append(len(record.under_way))
        await service.kill()
        await service.start()
        await topping_up
    return struck


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_every_reply_is_true_after_kills_at_any_instant(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    record, dice = Record(), random.Random(SEED)
    stop = asyncio.Event()
    async with (
        nats_server() as url,
        service_process(journal, url) as service,
        # Half of the callers ask again by themselves, for half of them the client does it.
        connect(url, timeout_s=0.5) as impatient,
        connect(url, timeout_s=DEADLINE_S) as patient,
        asyncio.TaskGroup() as callers,
    ):
        await record.top_up(patient, 0)
        for number in range(CALLERS):
            callers.create_task(record.debit_until(stop, (impatient, patient)[number % 2], number))
        struck = await kill_and_start(record, service, patient, dice)
        stop.set()
    replayed = sum(receipt.replayed for receipt in record.receipts.values())
    print(
        f"{KILLS} kills, under way at each {min(struck)} to {max(struck)}; {len(record.asked)} asked, "
        f"{len(record.receipts)} receipts ({replayed} of them replayed: journalled before a kill, told after it), "
        f"{len(record.refused)} refused, {len(record.unknown)} unknown at first, errors {dict(record.errors)}"
    )
    assert sum(under_way > 0 for under_way in struck) >= KILLS // 2, "the kills found nothing under way"
    assert replayed > 0, "no kill came between the journal and the reply"
    assert record.refused, "nothing was refused, so refusals were not looked at"
    assert not record.errors
    assert record.asked.keys() == record.receipts.keys() | record.refused, "a caller has no answer"
    assert (await asyncio.to_thread(verify_journal, journal)).problems == []
    async with Engine.open(journal) as engine:
        await compare(record, engine, top_ups=KILLS + 1)
        for key in random.Random(SEED).sample(sorted(record.receipts), 200):
            caller = int(key.split("-")[0])
            again = await engine.debit(record.asked[key], AMOUNT, key=key, dimensions={"caller": caller})
            first = record.receipts[key]
            assert again.replayed
            assert (again.id, again.version, again.balance, again.allocations) == (
                first.id,
                first.version,
                first.balance,
                first.allocations,
            )


async def compare(record: Record, engine: Engine, *, top_ups: int) -> Decimal:
    """The ledgers of the engine against what the callers were told. Returns what was debited."""
    found: dict[str, LedgerEntry] = {}
    for pool in (f"customer/{number}" for number in range(POOLS)):
        entries, balance = await whole_ledger(engine, pool), await engine.balance(pool)
        assert [entry.version for entry in entries] == list(range(1, balance.version + 1))
        assert sum((entry.change for entry in entries), Decimal(0)) == balance.available >= 0
        grants = [entry.key for entry in entries if entry.kind == "grant"]
        assert sorted(map(str, grants)) == sorted(f"top-up-{turn}" for turn in range(top_ups))
        for entry in entries:
            if entry.kind != "debit":
                continue
            assert entry.key is not None
            assert entry.key not in found, "a key is in the ledgers twice"
            assert record.asked.get(entry.key) == pool, "nobody asked for this"
            assert (entry.amount, entry.dimensions) == (Decimal(AMOUNT), {"caller": int(entry.key.split("-")[0])})
            found[entry.key] = entry
        assert sum((entry.amount for entry in entries if entry.kind == "debit"), Decimal(0)) == balance.spent
    assert found.keys() == record.receipts.keys(), "the ledgers hold more or less than was acknowledged"
    assert not found.keys() & record.refused, "a refused debit is in the ledger"
    for key, receipt in record.receipts.items():
        entry = found[key]
        assert (entry.id, entry.version, entry.balance) == (receipt.id, receipt.version, receipt.balance)
        assert (entry.allocations, entry.recorded_at) == (receipt.allocations, receipt.recorded_at)
    return sum((entry.amount for entry in found.values()), Decimal(0))
