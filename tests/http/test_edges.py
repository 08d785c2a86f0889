"""What lies at the edges of HTTP: headers that are there twice, bodies that do not come, streams that are not taken."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from solvent import Engine
from solvent.engine.values.errors import JournalError, NewerFormat, Unavailable
from solvent.engine.values.positions import parse_position
from solvent.transports.http import events, server
from solvent.transports.http.app import HttpApp
from solvent.transports.http.lines import SLICE, stream_answers
from solvent.transports.http.reading import Stopping
from solvent.transports.http.replies import problem
from solvent.transports.http.server import serving_http
from solvent.transports.wire.bodies import Address
from tests.one_task import in_one_task

from .conftest import Api, Clock, served
from .test_events import prepare, spend_to
from .test_operations import is_problem
from .test_server import connection, gone

Message = MutableMapping[str, Any]
HEAD = b"POST /v1/default/acme/debit HTTP/1.1\r\nHost: localhost\r\n"
BATCH = b"POST /v1/default/acme/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"


async def test_half_a_body_ends_its_connection(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came next would be taken for the rest of the body."""
    monkeypatch.setattr(HttpApp.__init__, "__kwdefaults__", {"local_only": False, "progress_s": 0.3})
    async with in_one_task(served(clock)) as api:
        reader, writer = await connection(api)
        writer.write(HEAD + b'Content-Length: 50\r\n\r\n{"amount"')
        found = await gone(reader, writer)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in found


async def test_a_body_that_is_not_wanted_is_not_asked_for(api: Api) -> None:
    reader, writer = await connection(api)
    writer.write(HEAD + b"Expect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n")
    found = await gone(reader, writer)
    assert found.startswith(b"HTTP/1.1 415 ")
    assert b"connection: close" in found


async def test_lines_are_asked_for_before_they_are_answered(api: Api) -> None:
    await api.engine.grant("acme", "10", key="g")
    line = b'{"op": "debit", "amount": "1", "key": "k"}\n'
    reader, writer = await connection(api)
    writer.write(BATCH + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(line))
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(line)
    found = await gone(reader, writer)
    assert found.startswith(b"HTTP/1.1 200 ")
    assert b'"id":"d3"' in found


async def test_a_stream_that_waits_for_lines_does_not_hold_up_a_stop() -> None:
    async with Engine.open(":memory:") as engine:
        async with serving_http(engine, "127.0.0.1:0") as url:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(BATCH + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"op"\r\n')
            await reader.readuntil(b"\r\n\r\n")
            begun = time.monotonic()
        assert time.monotonic() - begun < server.STOP_S / 2
        # Half a line is no line, and has no answer.
        assert await gone(reader, writer) == b"0\r\n\r\n"


def receiving(*parts: bytes) -> Callable[[], Awaitable[Message]]:
    """Return a ``receive`` that has a body at once, in these parts."""
    left = [{"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]]
    left.append({"type": "http.request", "body": parts[-1], "more_body": False})

    async def receive() -> Message:
        return left.pop(0)

    return receive


async def test_lines_that_are_all_bad_leave_turns_to_others(api: Api) -> None:
    slices = 20
    sent: list[Message] = []
    turns = 0

    async def send(message: Message) -> None:
        sent.append(message)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    receive = receiving(b"x\n" * SLICE * slices)
    address = Address("default", "acme")
    await stream_answers(api.engine.live, "batch", address, {"headers": []}, receive, send, 10, Stopping())
    counting.cancel()
    assert b"".join(each.get("body", b"") for each in sent).count(b"\n") == SLICE * slices
    assert turns >= slices


async def test_a_client_that_stalls_misses_no_event(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a server that cannot drop a connection, too: after an event that was not taken, there is none."""
    monkeypatch.setattr(events, "PROGRESS_S", 0.3)
    await prepare(api, "acme")
    sent: list[bytes] = []
    stalls = False

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if stalls:
            await asyncio.Event().wait()
        sent.append(message.get("body", b""))

    scope = {"headers": [], "query_string": b"balances=false"}
    address = Address("default", "acme")
    stream = asyncio.create_task(events.stream_events(api.engine, address, scope, receive, send, Stopping()))
    await spend_to(api, "acme", "40")
    async with asyncio.timeout(20):
        while not any(b"event: low" in part for part in sent):
            await asyncio.sleep(0.01)
        stalls = True
        await spend_to(api, "acme", "10")
        await stream
    assert b"".join(sent).count(b"event: low") == 1


async def test_ids_of_events_do_not_go_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life between two events has the id of the first: a reader that returns with it gets none twice."""
    monkeypatch.setattr(events, "BEAT_S", 0)
    await prepare(api, "acme")
    async with api.http.stream("GET", "/v1/default/acme/events/stream", params={"balances": "false"}) as answer:
        lines = answer.aiter_lines()
        ids = [(await anext(lines)).removeprefix("id: ")]
        await spend_to(api, "acme", "10")
        async with asyncio.timeout(20):
            alerts = 0
            async for line in lines:
                alerts += line.startswith("event: low")
                if line.startswith("id: "):
                    ids.append(line.removeprefix("id: "))
                    if alerts == 2:
                        break
    positions = [parse_position(each) for each in ids]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", ["content-type", "idempotency-key"])
async def test_a_header_that_is_there_twice_is_refused(api: Api, name: str) -> None:
    await api.engine.grant("acme", "10", key="g")
    headers = [("content-type", "application/json"), (name, "application/json"), ("idempotency-key", "k")]
    answer = await api.http.post("/v1/default/acme/debit", content=b'{"amount": "1"}', headers=headers)
    assert is_problem(answer, 400, "invalid_request")["field"] == name
    assert (await api.engine.balance("acme")).spent == 0


@pytest.mark.parametrize("key", [b'"\xff"', b"1e999", b'"\\ud800"', b"[", b"true", b"null"])
async def test_a_key_that_is_none_is_refused_next_to_the_header(api: Api, key: bytes) -> None:
    body = b'{"amount": "1", "key": %b}' % key
    answer = await api.http.post("/v1/default/acme/debit", content=body, headers={"idempotency-key": "k"})
    is_problem(answer, 400, "invalid_request")


async def test_several_tags_may_stand_in_several_headers(api: Api) -> None:
    await api.engine.grant("acme", "10", key="g")
    tag = (await api.get("acme/balance")).headers["etag"]
    headers = [("if-none-match", '"other"'), ("if-none-match", tag)]
    assert (await api.get("acme/balance", headers=headers)).status_code == 304


async def test_a_question_in_a_query_is_its_fields(api: Api) -> None:
    answer = await api.get("acme/usage", params={"question": "x"})
    assert is_problem(answer, 400, "invalid_request")["field"] == "question"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_picture_in_a_page_of_another_origin_is_refused(api: Api, site: str) -> None:
    """A browser sends no ``Origin`` for it."""
    answer = await api.get("acme/balance", headers={"sec-fetch-site": site})
    assert is_problem(answer, 403, "not_local")["field"] == "sec-fetch-site"
    for ours in ("same-origin", "none"):
        assert (await api.http.get("/docs", headers={"sec-fetch-site": ours})).status_code == 200


@pytest.mark.parametrize(
    "error",
    [
        JournalError("/srv/credits/journal.db: frame 5 could not be written: disk full"),
        Unavailable("the outcome is unknown: /srv/credits/journal.db: the process that writes it ended"),
        NewerFormat("/srv/credits/usage.db", found=3, known=2, cache=True),
    ],
)
def test_no_error_names_a_file_of_the_machine(error: JournalError) -> None:
    reply = problem(error)
    assert b"srv" not in reply.body
    assert json.loads(reply.body)["code"] == error.code


async def test_no_error_of_a_batch_names_a_file_of_the_machine(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit_all(asks: Any) -> None:
        for _, _, place in asks:
            place.set_result(Unavailable("the journal cannot be written: /srv/credits/journal.db"))

    monkeypatch.setattr(api.engine.live, "submit_all", submit_all)
    commands = [{"op": "debit", "amount": "1", "key": "k"}]
    for answer in (
        await api.post("acme/batch", {"commands": commands}),
        await api.post("acme/batch", content=json.dumps(commands[0]), headers={"content-type": "application/x-ndjson"}),
    ):
        assert '"code":"unavailable"' in answer.text
        assert "srv" not in answer.text
