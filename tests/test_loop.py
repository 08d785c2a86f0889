"""The tests run on the event loop that was chosen: asyncio's own, or with ``--uvloop`` that of uvloop."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture
async def loop_of_fixtures() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_the_loop_is_the_chosen_one(
    request: pytest.FixtureRequest, loop_of_fixtures: asyncio.AbstractEventLoop
) -> None:
    loop = asyncio.get_running_loop()
    assert loop is loop_of_fixtures
    assert type(loop).__module__.startswith("uvloop") == request.config.getoption("--uvloop")
