"""What is asked of several pools at once is answered when it is durable, and never keeps a place it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from unittest import mock

import pytest

from solvent import DebitRequest, Engine, Receipt, Settings, SolventError, Unavailable
from solvent.engine.journal.frames import Frame
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.values.errors import JournalError


def _transfer(engine: Engine, amount: int, key: str) -> Awaitable[object]:
    return engine.transfer("acme", "acme/web", amount, key=key, open_pool=True)


def _batch(engine: Engine, amount: int, key: str) -> Awaitable[object]:
    requests = [DebitRequest(pool=pool, amount=amount, key=key) for pool in ("acme", "acme/web")]
    return engine.batch(requests, atomic=True)


@pytest.mark.parametrize("ask", [_transfer, _batch])
@pytest.mark.parametrize(("amount", "key"), [(6, "a"), (7, "b")], ids=["repeated", "refused"])
async def test_nothing_is_answered_that_rests_on_what_is_not_durable(
    tmp_path: Path, ask: type, amount: int, key: str
) -> None:
    append, begun, go_on = SqliteJournal.append, asyncio.Event(), asyncio.Event()

    async def held_up(self: SqliteJournal, frame: Frame) -> None:
        begun.set()
        await go_on.wait()
        raise JournalError("the flush failed")

    async with Engine.open(tmp_path) as engine:
        for pool in ("acme", "acme/web"):
            await engine.grant(pool, 10, key="g")
        with mock.patch.object(SqliteJournal, "append", held_up):
            first = asyncio.ensure_future(ask(engine, 6, "a"))
            await begun.wait()
            second = asyncio.ensure_future(ask(engine, amount, key))
            # Longer than it takes to decide it.
            done, _ = await asyncio.wait({first, second}, timeout=0.2)
            assert not done, "it was answered before the flush had ended"
            go_on.set()
            for told in await asyncio.gather(first, second, return_exceptions=True):
                answers = told if isinstance(told, list) else [told]
                assert all(isinstance(answer, Unavailable) for answer in answers), told
        assert SqliteJournal.append is append
        while True:
            try:
                assert (await engine.balance("acme")).available == 10
                break
            except SolventError:
                await asyncio.sleep(0.05)


def test_receipts_that_say_the_same_do_not_differ() -> None:
    receipt = Receipt("d1", 1, False, 6, 5_000_000, 0, 1)
    for same in (Receipt("d1", 1, False, 6, 5_000_000, 0, 1), Receipt("d1", 1, False, 9, 5_000_000_000, 0, 1)):
        assert receipt == same
        assert not receipt != same  # noqa: SIM202 - the other operator, which has a method of its own
    assert receipt != Receipt("d1", 1, True, 6, 5_000_000, 0, 1)


async def test_pools_that_wait_for_their_rate_card_leave_room_for_it(tmp_path: Path) -> None:
    settings, pools = Settings(resident_max=2, timeout_s=10.0), [f"acme/{number}" for number in range(6)]
    async with Engine.open(tmp_path) as engine:
        await engine.set_rates([{"metric": "images", "credits": 2}])
        for pool in pools:
            await engine.grant(pool, 10, key="g")
    # Nothing is in memory: every place is taken by a pool that has yet to read its prices.
    async with Engine.open(tmp_path, settings=settings) as engine:
        receipts = await asyncio.gather(*(engine.report(pool, "images", 1, key="k") for pool in pools))
        assert [receipt.amount for receipt in receipts if isinstance(receipt, Receipt)] == [2] * len(pools)


async def test_what_a_failed_flush_wrote_all_the_same_is_published(tmp_path: Path) -> None:
    append = SqliteJournal.append

    async def written_but_failed(self: SqliteJournal, frame: Frame) -> None:
        await append(self, frame)
        raise JournalError("the flush failed")

    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", 10, key="g")
        await engine.set_alerts("acme", low=["5"])
        events = aiter(engine.events("acme"))
        heard = asyncio.ensure_future(anext(events))
        # It listens, and there is nothing yet.
        await asyncio.sleep(0.1)
        with mock.patch.object(SqliteJournal, "append", written_but_failed), pytest.raises(Unavailable):
            await engine.debit("acme", 6, key="d")
        async with asyncio.timeout(10):
            assert (await heard).kind == "low"
        await events.aclose()  # type: ignore[attr-defined]
