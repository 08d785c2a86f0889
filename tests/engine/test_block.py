"""The block of an engine: what leaves it, and how."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from solvent import Engine, InsufficientCredits


async def test_an_exception_of_the_block_leaves_it_as_it_is(tmp_path: Path) -> None:
    async def overdraw() -> None:
        async with Engine.open(tmp_path) as engine:
            await engine.grant("acme", 1, key="g")
            await engine.debit("acme", 2, key="d")

    with pytest.raises(InsufficientCredits):
        await overdraw()
    with pytest.raises(KeyError, match="mine"):
        async with Engine.open(tmp_path):
            raise KeyError("mine")
    async with Engine.open(tmp_path) as engine:
        assert (await engine.balance("acme")).available == 1


async def test_a_cancelled_block_lets_go_of_the_journal(tmp_path: Path) -> None:
    granted = asyncio.Event()

    async def stay() -> None:
        async with Engine.open(tmp_path) as engine:
            await engine.grant("acme", 1, key="g")
            granted.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stay())
    await granted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with Engine.open(tmp_path) as engine:
        assert (await engine.balance("acme")).available == 1
