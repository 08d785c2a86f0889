"""The service as the tools of NATS see it (ADR-32), and as a second service sees it."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from solvent import Engine, InvalidRequest, NotFound, SolventError, connect
from solvent.transports.nats.discovery import AlreadyServed
from solvent.transports.nats.launcher import nats_server
from solvent.transports.nats.service import serving

from .conftest import DEADLINE_S, Served, raw_connection

SEMANTIC_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
NAME = re.compile(r"[A-Za-z0-9_-]+")


async def discover(url: str, subject: str) -> dict[str, Any]:
    async with raw_connection(url) as raw:
        answer: dict[str, Any] = msgspec.json.decode((await raw.request(subject, b"", timeout=DEADLINE_S)).data)
        return answer


async def endpoint(url: str, subject_end: str) -> dict[str, Any]:
    stats = await discover(url, "$SRV.STATS.solvent")
    (found,) = [each for each in stats["endpoints"] if each["subject"].endswith(f".{subject_end}")]
    return dict(found)


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_a_service_says_who_it_is_on_all_three_levels(served: Served, verb: str) -> None:
    general = await discover(served.url, f"$SRV.{verb}")
    by_name = await discover(served.url, f"$SRV.{verb}.solvent")
    by_id = await discover(served.url, f"$SRV.{verb}.solvent.{general['id']}")
    for answer in (general, by_name, by_id):
        assert answer["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
        assert answer["name"] == "solvent"
        assert NAME.fullmatch(answer["id"])
        assert SEMANTIC_VERSION.fullmatch(answer["version"])
        assert all(isinstance(value, str) for value in answer["metadata"].values())
    assert general["id"] == by_name["id"] == by_id["id"]


async def test_every_operation_is_an_endpoint_of_the_queue_group(served: Served) -> None:
    information = await discover(served.url, "$SRV.INFO.solvent")
    assert information["description"]
    subjects = {each["subject"].removeprefix("solvent.v1.*.*.") for each in information["endpoints"]}
    assert {"grant", "debit", "batch", "balance", "grants", "ledger", "pools"} <= subjects
    names = [each["name"] for each in information["endpoints"]]
    assert all(NAME.fullmatch(name) for name in names)
    assert len(names) == len(set(names))
    assert {each["queue_group"] for each in information["endpoints"]} == {"solvent"}


async def test_requests_and_errors_are_counted(served: Served) -> None:
    started = datetime.fromisoformat((await discover(served.url, "$SRV.STATS.solvent"))["started"])
    assert started.tzinfo is not None
    before = await endpoint(served.url, "debit")
    assert (before["num_requests"], before["num_errors"], before["last_error"]) == (0, 0, "")
    async with connect(served.url) as client:
        await client.grant("acme", "10", key="g")
        for number in range(3):
            await client.debit("acme", "1", key=f"k{number}")
        after = await endpoint(served.url, "debit")
        assert (after["num_requests"], after["num_errors"]) == (3, 0)
        assert after["processing_time"] > 0
        assert after["average_processing_time"] == after["processing_time"] // 3

        with pytest.raises(NotFound):
            await client.debit("nobody", "1", key="k")
        assert (await endpoint(served.url, "debit"))["last_error"] == "404:not_found"
        with pytest.raises(InvalidRequest):
            await client.debit("acme", "x", key="k")
        after = await endpoint(served.url, "debit")
        assert (after["num_requests"], after["num_errors"], after["last_error"]) == (5, 2, "400:invalid_request")

        await asyncio.gather(client.debit("acme", "1", key="a"), client.debit("acme", "1", key="b"))
        with pytest.raises(NotFound):
            await client.balance("nobody")
    batch, balance = await endpoint(served.url, "batch"), await endpoint(served.url, "balance")
    assert (batch["num_requests"], batch["num_errors"]) == (1, 0)
    assert (balance["num_requests"], balance["num_errors"]) == (1, 1)


async def test_statistics_tell_of_the_engine_too(served: Served) -> None:
    await served.engine.grant("acme", "10", key="g")
    data = [each["data"] for each in (await discover(served.url, "$SRV.STATS.solvent"))["endpoints"] if each["data"]]
    assert data[0]["events"] == 2


@pytest.mark.parametrize(
    ("first", "second", "admitted"),
    [
        ((), (), False),
        ((), ("staging",), False),
        (("staging",), (), False),
        (("production", "staging"), ("staging", "test"), False),
        (("production",), ("staging",), True),
        (("production", "a b.c"), ("staging", "a b"), True),
    ],
)
async def test_a_second_service_is_admitted_for_other_environments_only(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], admitted: bool
) -> None:
    """Two journals behind one subject would split every pool in two."""
    async with (
        nats_server() as url,
        Engine.open(tmp_path / "one") as one,
        Engine.open(tmp_path / "two") as two,
        serving(one, url, environments=first),
    ):
        if not admitted:
            with pytest.raises(AlreadyServed) as refused:
                async with serving(two, url, environments=second):
                    pytest.fail("two services share an environment")
            assert (await discover(url, "$SRV.PING.solvent"))["id"] in refused.value.message
            return
        async with serving(two, url, environments=second), connect(url) as client:
            for environment, engine, other in ((first[-1], one, two), (second[-1], two, one)):
                pool = f"{environment.replace(' ', '%20')}@acme"
                await client.grant(pool, "5", key="g")
                assert (await engine.balance(pool)).available == 5
                with pytest.raises(NotFound):
                    await other.balance(pool)


async def test_a_service_may_follow_one_that_has_stopped(tmp_path: Path) -> None:
    async with nats_server() as url:
        for number in range(2):
            async with Engine.open(tmp_path / "journal") as engine, serving(engine, url), connect(url) as client:
                await client.grant("acme", "1", key=f"g{number}")
        async with Engine.open(tmp_path / "journal") as engine:
            assert (await engine.balance("acme")).granted == 2


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b'{"id": 7}', b'{"id": "x", "metadata": null}', b'{"id": "x", "metadata": {"environments": 1}}'],
)
async def test_a_service_of_the_same_name_that_cannot_be_understood_is_not_joined(
    tmp_path: Path, answer: bytes
) -> None:
    async with nats_server() as url, raw_connection(url) as raw, Engine.open(tmp_path / "journal") as engine:
        pings = await raw.subscribe("$SRV.PING.solvent")
        await raw.flush()

        async def respond() -> None:
            await (await pings.next_msg(timeout=DEADLINE_S)).respond(answer)

        responding = asyncio.create_task(respond())
        with pytest.raises(AlreadyServed):
            async with serving(engine, url):
                pytest.fail("joined a service that it does not understand")
        await responding


async def test_environments_that_are_none_are_refused(tmp_path: Path) -> None:
    async with nats_server() as url, Engine.open(tmp_path / "journal") as engine:
        with pytest.raises(SolventError):
            async with serving(engine, url, environments=["", "b" * 129]):
                pytest.fail("served an environment that cannot be named")
