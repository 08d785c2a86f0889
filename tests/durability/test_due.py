"""What time does to a pool is written down in time, even when nobody asks, and whatever happens to the caches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from solvent import LedgerEntry
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import Engine
from solvent.engine.projections.index import Index
from solvent.engine.settings import Settings

LATE_MAX_S = 4.0
"""A sweep a second, a round of the projector every half, and a slow machine."""


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def nothing_due(engine: Engine) -> None:
    """Wait until the agenda is empty: no pool was asked anything."""
    index: Index = engine.live.services.partition.index
    for _ in range(200):
        if not await index.due(2**60, 10):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("something is due for ever")


async def lateness(engine: Engine, pool: str) -> dict[str, float]:
    """How late what was due was written down, by kind of entry."""
    entries = (await engine.ledger(pool)).entries
    return {
        entry.kind: (entry.recorded_at - entry.occurred_at).total_seconds()
        for entry in entries
        if entry.kind in ("expiry", "hold_expiry", "activation")
    }


@pytest.mark.parametrize("idle_after_s", [0.1, 60.0])
async def test_nobody_needs_to_ask(tmp_path: Path, idle_after_s: float) -> None:
    async with Engine.open(tmp_path, settings=Settings(idle_after_s=idle_after_s)) as engine:
        await engine.grant("acme", 5, key="a", effective_at=soon(0.5), expires_at=soon(2))
        await engine.grant("acme", 5, key="b")
        await engine.hold("acme", 3, key="h", ttl_s=1)
        await asyncio.sleep(0.7)
        await nothing_due(engine)
        await asyncio.sleep(1.5)
        late = await lateness(engine, "acme")
        assert set(late) == {"expiry", "hold_expiry", "activation"}
        assert max(late.values()) < LATE_MAX_S
        balance = await engine.balance("acme")
        assert (balance.available, balance.expired) == (5, 5)
    assert verify_journal(tmp_path).problems == []


@pytest.mark.parametrize("lost", [(), ("index.db",), ("index.db", "snapshots.db")])
async def test_what_falls_due_while_the_engine_is_closed_is_written_down_after_it_opens(
    tmp_path: Path, lost: tuple[str, ...]
) -> None:
    async with Engine.open(tmp_path) as engine:
        grant = await engine.grant("acme", 5, key="a", expires_at=soon(1.5))
        debit = await engine.debit("acme", 5, key="d")
        # Emptied and filled again: it is due once more.
        await engine.reverse("acme", debit.id, key="r")
        assert grant.amount == 5
    await asyncio.sleep(1.6)
    for name in lost:
        for path in tmp_path.glob(f"{name}*"):
            path.unlink()
    async with Engine.open(tmp_path) as engine:
        opened_at = datetime.now(UTC)
        await nothing_due(engine)
        (entry,) = [entry for entry in (await engine.ledger("acme")).entries if entry.kind == "expiry"]
        assert (entry.recorded_at - opened_at).total_seconds() < LATE_MAX_S
    assert verify_journal(tmp_path).problems == []


async def test_many_pools_fall_due_at_once(tmp_path: Path) -> None:
    async with Engine.open(tmp_path, settings=Settings(resident_max=50)) as engine:
        ends = soon(2)
        await asyncio.gather(*(engine.grant(f"customer-{n}", 1, key="g", expires_at=ends) for n in range(1_200)))
        await asyncio.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))
        await nothing_due(engine)
        late = [(await lateness(engine, f"customer-{n}"))["expiry"] for n in range(0, 1_200, 60)]
        assert max(late) < 10


@pytest.mark.parametrize("lost", [(), ("index.db",), ("index.db", "snapshots.db")])
async def test_a_period_that_begins_while_the_engine_is_closed_is_granted_once(
    tmp_path: Path, lost: tuple[str, ...]
) -> None:
    async with Engine.open(tmp_path) as engine:
        day_ago = datetime.now(UTC) - timedelta(days=1)
        await engine.set_recurring("acme", "plan", 10, period="day", anchor=day_ago + timedelta(seconds=1.5))
        await engine.debit("acme", 4, key="d")
    await asyncio.sleep(1.6)
    for name in lost:
        for path in tmp_path.glob(f"{name}*"):
            path.unlink()
    async with Engine.open(tmp_path) as engine:
        entries: Sequence[LedgerEntry] = ()
        for _ in range(100):
            entries = (await engine.ledger("acme", newest_first=False)).entries
            if sum(entry.kind == "grant" for entry in entries) > 1:
                break
            await asyncio.sleep(0.05)
        # The new credits come before the rest of the old ones goes: no pool runs dry between two periods.
        assert [(entry.kind, entry.amount) for entry in entries if entry.kind in ("grant", "expiry")] == [
            ("grant", 10),
            ("grant", 10),
            ("expiry", 6),
        ]
        assert (await engine.balance("acme")).available == 10
    async with Engine.open(tmp_path) as engine:
        assert (await engine.balance("acme")).available == 10
    assert verify_journal(tmp_path).problems == []


@pytest.mark.parametrize("lost", [(), ("index.db",), ("index.db", "snapshots.db")])
async def test_what_pools_said_is_read_again_and_not_said_again(tmp_path: Path, lost: tuple[str, ...]) -> None:
    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", 10, key="g")
        await engine.set_alerts("acme", low=["50%", 2], recharge={"below": "2", "target": "10"})
        await engine.debit("acme", 6, key="a")
        await engine.debit("acme", 3, key="b")
        first = (await engine.past_events("acme")).events
        await engine.feed.note_published("there", 2)
    for name in lost:
        for path in tmp_path.glob(f"{name}*"):
            path.unlink()
    async with Engine.open(tmp_path) as engine:
        await engine.debit("acme", "0.5", key="c")
        again = await engine.past_events("acme")
        assert again.events == first
        assert [event.kind for event in first] == ["low", "low", "recharge_requested"]
        assert (await engine.feed.published("there")).frame == 2
        assert (await engine.past_events("acme", after=again.position)).events == ()
        await engine.debit("acme", "0.5", key="d")
        (depleted,) = (await engine.past_events("acme", after=again.position)).events
        assert depleted.kind == "depleted"
