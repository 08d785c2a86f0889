"""A batch of an allowed size succeeds on an engine that does nothing else, whatever it is about."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from solvent import Credits, DebitRequest, Engine, GrantRequest, Overloaded, Receipt, Settings, TooLarge
from solvent.engine.api.credits import BATCH_COMMANDS_MAX
from solvent.transports.wire.batches import BATCH_COMMANDS_MAX as MESSAGE_COMMANDS_MAX


def debits(count: int, *, pools: int = 1, name: str = "d", words: str = "") -> list[DebitRequest]:
    return [
        DebitRequest(
            pool="acme" if pools == 1 else f"acme/{number % pools}",
            amount="0.001",
            key=f"{name} {number}",
            dimensions={"words": words} if words else None,
        )
        for number in range(count)
    ]


async def check(credits: Credits, requests: list[DebitRequest]) -> None:
    """All are done, and those of one pool in their order."""
    answers = await credits.batch(requests)
    assert [answer for answer in answers if not isinstance(answer, Receipt)] == []
    last: dict[str, int] = {}
    for request, answer in zip(requests, answers, strict=True):
        assert isinstance(answer, Receipt)
        pool = str(request.pool)
        assert answer.version > last.get(pool, 0)
        last[pool] = answer.version


@pytest.mark.parametrize("count", [5_000, BATCH_COMMANDS_MAX])
async def test_many_debits_of_one_pool_are_queued(credits: Credits, count: int) -> None:
    await credits.grant("acme", "100", key="g")
    await check(credits, debits(count))
    assert (await credits.balance("acme")).available * 1_000 == 100_000 - count


async def test_a_batch_for_many_pools_is_queued(credits: Credits) -> None:
    pools = 3_000
    opened = await credits.batch([GrantRequest(pool=f"acme/{number}", amount=1, key="g") for number in range(pools)])
    assert all(isinstance(each, Receipt) for each in opened)
    await check(credits, debits(BATCH_COMMANDS_MAX, pools=pools))


async def test_a_batch_of_many_bytes_is_queued(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await check(credits, debits(5_000, words="x" * 1_000))


async def test_several_batches_at_once_are_queued_one_after_another(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await asyncio.gather(*(check(credits, debits(5_000, name=name)) for name in "abc"))


async def test_more_than_a_batch_may_have_is_refused(credits: Credits) -> None:
    with pytest.raises(TooLarge):
        await credits.batch(debits(BATCH_COMMANDS_MAX + 1))


@pytest.mark.parametrize("mailbox_max", [1, 3, 16, 700])
async def test_a_small_mailbox_is_filled_as_often_as_it_takes(tmp_path: Path, mailbox_max: int) -> None:
    async with Engine.open(tmp_path / "journal", settings=Settings(mailbox_max=mailbox_max)) as engine:
        await engine.grant("acme", "100", key="g")
        await check(engine, debits(300 if mailbox_max < 100 else MESSAGE_COMMANDS_MAX))
        await check(engine, debits(50, name="fewer"))


async def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """Three batches are more than this engine lets wait: the first are done, and the last one is told so at once."""
    async with Engine.open(tmp_path / "journal", settings=Settings(mailbox_max=16, pending_max=1_000)) as engine:
        await engine.grant("acme", "100", key="g")
        found = await asyncio.gather(*(engine.batch(debits(600, name=name)) for name in "abc"))
        refused = [sum(isinstance(each, Overloaded) for each in answers) for answers in found]
        assert refused == [0, 600, 600]
        assert all(isinstance(each, Receipt) for each in found[0])
        await check(engine, debits(600, name="b"))
