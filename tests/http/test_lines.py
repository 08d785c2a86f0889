"""Streams of commands: a line each, answered a line each, however they arrive, and bounded however they are not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from solvent.transports.http.app import HttpApp
from solvent.transports.wire.bodies import BODY_BYTES_MAX
from tests.one_task import in_one_task

from .conftest import Api, Clock, served

NDJSON = {"content-type": "application/x-ndjson"}


def debit(number: int) -> bytes:
    return b'{"op": "debit", "amount": "1", "key": "k%d"}\n' % number


async def answers(api: Api, path: str, body: Any) -> list[dict[str, Any]]:
    answer = await api.post(path, content=body, headers=NDJSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_each_line_is_answered_in_its_order(api: Api) -> None:
    await api.engine.grant("acme", "100000", key="g")
    found = await answers(api, "acme/batch", b"".join(debit(number) for number in range(3_000)))
    assert [line["version"] for line in found] == list(range(3, 3_003))


async def test_a_bad_line_is_answered_in_its_place(api: Api) -> None:
    await api.engine.grant("acme", "10", key="g")
    long = b'{"op": "debit", "amount": "1", "key": "' + b"x" * (BODY_BYTES_MAX + 7) + b'"}\n'
    lines = [debit(1), b"nonsense\n", b"\r\n", b"\n", long, b'{"op": "debit", "key": "k2"}\n', debit(3).strip()]
    found = await answers(api, "acme/batch", b"".join(lines))
    assert [line.get("id") or line["error"]["field"] for line in found] == ["d3", "body", "line", "amount", "d4"]


@pytest.mark.parametrize("size", [1, 7, 65_536])
async def test_lines_do_not_have_to_arrive_whole(api: Api, size: int) -> None:
    await api.engine.grant("acme", "1000", key="g")
    body = b"".join(debit(number) for number in range(20 if size == 1 else 200))

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    found = await answers(api, "acme/batch", parts())
    assert [line["id"] for line in found] == [f"d{number + 3}" for number in range(body.count(b"\n"))]


async def test_usage_events_are_reported_as_lines(api: Api) -> None:
    await api.post("-/rates.set", {"rates": [{"metric": "tokens", "credits": "0.5", "per": "1"}]})
    await api.engine.grant("acme", "10", key="g")
    lines = [
        b'{"metric": "tokens", "quantity": 3, "key": "a"}\n',
        b'{"metric": "nothing", "quantity": 1, "key": "b"}\n',
    ]
    found = await answers(api, "acme/report", b"".join(lines))
    assert (found[0]["amount"], found[1]["error"]["code"]) == ("1.5", "not_found")


async def test_a_line_is_answered_before_the_next_is_sent(api: Api) -> None:
    """A stream may stay open, with a question whenever there is one."""
    await api.engine.grant("acme", "10", key="g")
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/default/acme/batch HTTP/1.1\r\nHost: {host}:{port}\r\nTransfer-Encoding: chunked\r\n"
    writer.write(f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode())
    for number in range(3):
        line = debit(number)
        writer.write(b"%x\r\n%b\r\n" % (len(line), line))
        async with asyncio.timeout(10):
            while b'"id"' not in (found := await reader.readline()):
                pass
        assert json.loads(found)["id"] == f"d{number + 3}"
    writer.write(b"0\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_takes_no_answers_is_cut_off_and_holds_nothing_up(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends and sends. The service stops reading when its answers pile up, and closes when nothing moves."""
    monkeypatch.setattr(HttpApp.__init__, "__kwdefaults__", {"local_only": False, "progress_s": 0.5})
    async with in_one_task(served(clock)) as api:
        await api.engine.grant("acme", "1000000", key="g")
        host, port = api.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1)
        head = f"POST /v1/default/acme/batch HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1000000000\r\n"
        writer.write(f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode())
        sent = 0

        async def send_for_ever() -> None:
            nonlocal sent
            while True:
                writer.write(b"".join(debit(sent + number) for number in range(1_000)))
                sent += 1_000
                await writer.drain()

        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):
                await send_for_ever()
        assert 0 < (await api.engine.balance("acme")).spent <= sent
        writer.close()
        with pytest.raises(ConnectionError):
            await writer.wait_closed()
