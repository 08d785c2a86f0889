"""An engine that is served over HTTP, and an HTTP client that knows nothing of Solvent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from solvent import Engine
from solvent.engine.engine import system_clock_us
from solvent.transports.http.server import serving_http
from tests.one_task import in_one_task

DEADLINE_S = 30.0


class Api(NamedTuple):
    """A service, and a client of it."""

    engine: Engine
    url: str
    http: httpx.AsyncClient

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Post JSON to a path below the default environment."""
        if body is not None:
            options["json"] = body
        return await self.http.post(f"/v1/default/{path}", **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.http.get(f"/v1/default/{path}", **options)


class Clock:
    """The machine's clock, which a test can set forward."""

    ahead_us = 0

    def now_us(self) -> int:
        return system_clock_us() + self.ahead_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def served(clock: Clock) -> AsyncIterator[Api]:
    async with (
        Engine.open(":memory:", now_us=clock.now_us) as engine,
        serving_http(engine, "127.0.0.1:0") as url,
        httpx.AsyncClient(base_url=url, timeout=DEADLINE_S) as http,
    ):
        yield Api(engine, url, http)


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[Api]:
    async with in_one_task(served(clock)) as api:
        yield api
