"""A rate card that is set while the last one is being read: the next report is priced by the new one, at any step."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from solvent import Engine


@pytest.mark.parametrize("turns", range(16))
async def test_no_book_is_kept_that_lacks_the_newest_card(tmp_path: Path, turns: int) -> None:
    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", 100, key="g")
        await engine.set_rates([{"metric": "images", "credits": 1}])
        # Nothing is at hand: the report has to read the book. After so many turns of the loop the card changes.
        reporting = asyncio.create_task(engine.report("acme", "images", 1, key="first"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.set_rates([{"metric": "images", "credits": 2}])
        assert (await reporting).amount in (1, 2)
        assert (await engine.report("acme", "images", 1, key="second")).amount == 2
