"""The engine's clock, asked over each interface."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from solvent import Credits, Engine
from solvent.transports.http.client import connect_http
from solvent.transports.http.server import serving_http
from solvent.transports.nats.client import connect
from solvent.transports.nats.launcher import nats_server
from solvent.transports.nats.service import serving

YEAR_US = 365 * 86_400 * 1_000_000


async def test_the_clock_is_told(credits: Credits) -> None:
    status = await credits.clock()
    assert status.not_believed is None
    assert abs(status.wall_clock - status.time) < timedelta(minutes=1)
    again = await credits.confirm_clock()
    assert again.not_believed is None
    assert again.time >= status.time


async def test_an_operator_confirms_it_from_elsewhere(tmp_path: Path) -> None:
    now = [1_790_000_000_000_000]
    for kind in ("nats", "http"):
        async with Engine.open(tmp_path / kind, now_us=lambda: now[0], elapsed_us=lambda: 5) as engine:
            await engine.grant("acme", 10, key="g")
            now[0] += YEAR_US
            if kind == "nats":
                async with nats_server() as url, serving(engine, url), connect(url) as client:
                    await confirm(client)
            else:
                async with serving_http(engine, "127.0.0.1:0") as url, connect_http(url) as client:
                    await confirm(client)


async def confirm(client: Credits) -> None:
    status = await client.clock()
    assert (status.not_believed, status.wall_clock - status.time) == ("ahead", timedelta(days=365))
    confirmed = await client.confirm_clock()
    assert (confirmed.not_believed, confirmed.time) == (None, status.wall_clock)
