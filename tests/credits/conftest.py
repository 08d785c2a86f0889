"""The implementations of ``Credits``, so that one suite can ask the same of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from solvent import Credits, Engine, connect
from solvent.engine.engine import system_clock_us
from solvent.transports.http.client import connect_http
from solvent.transports.http.server import serving_http
from solvent.transports.nats.launcher import nats_server
from solvent.transports.nats.service import serving
from tests.one_task import in_one_task


class Clock:
    """The machine's clock, which a test can set forward."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def now_us(self) -> int:
        return system_clock_us() + self._ahead // timedelta(microseconds=1)

    def advance(self, **span: float) -> None:
        """By so many ``days``, ``hours``, ..."""
        self._ahead += timedelta(**span)

    def advance_to(self, moment: datetime) -> None:
        self._ahead += moment - self.now()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def opened(kind: str, directory: Path, clock: Clock) -> AsyncIterator[Credits]:
    """The credits of an empty journal: an engine in this process, or a client of one over a real nats-server."""
    async with Engine.open(directory, currencies={"tokens": 0}, now_us=clock.now_us) as engine:
        if kind == "embedded":
            yield engine
        elif kind == "http":
            async with serving_http(engine, "127.0.0.1:0") as url, connect_http(url) as client:
                yield client
        else:
            async with nats_server() as url, serving(engine, url), connect(url) as client:
                yield client


@pytest.fixture(params=["embedded", "nats", "http"])
async def credits(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Credits]:
    """Opened and closed by one task, which is what task groups ask for and what fixtures do not do by themselves."""
    async with in_one_task(opened(request.param, tmp_path / "journal", clock)) as credits:
        yield credits
