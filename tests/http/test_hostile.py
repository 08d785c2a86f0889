"""What a hostile client does to the server: it neither keeps a connection for nothing, nor fills the memory."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from solvent.transports.http import server

from .conftest import Api
from .test_events import prepare, spend_to
from .test_server import connection, gone

HEAD = b"POST /v1/default/acme/debit HTTP/1.1\r\nHost: localhost\r\n"


async def send_again_and_again(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send ``data`` without end. Raises ``ConnectionError`` when the connection is cut."""
    while True:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0)


async def is_cut(client: socket.socket) -> bool:
    """Return whether the other end has dropped the connection, without taking what it has sent."""
    await asyncio.sleep(0.1)
    try:
        client.send(b"\r\n")
    except ConnectionError:
        return True
    return False


async def test_a_head_of_any_size_is_not_kept(api: Api) -> None:
    reader, writer = await connection(api)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * server.HEAD_BYTES_MAX)
    writer.write(b"x" * 10)
    assert (await gone(reader, writer)).startswith(b"HTTP/1.1 431 ")


async def test_trailers_of_any_size_are_not_kept(api: Api) -> None:
    reader, writer = await connection(api)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionError):
            await send_again_and_again(writer, b"X-Long: " + b"x" * 1_000 + b"\r\n")
    assert await gone(reader, writer) == b""


async def test_a_large_body_is_no_large_head(api: Api) -> None:
    """Neither is the head that arrives right behind it."""
    await api.engine.grant("acme", "10", key="g")
    reader, writer = await connection(api)
    body = b'{"amount": "1", "key": "k"' + b" " * 900_000 + b"}"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    writer.write(HEAD + length + body + HEAD + b"Connection: close\r\n" + length + body)
    assert (await gone(reader, writer)).count(b"HTTP/1.1 200 ") == 2


async def test_line_ends_do_not_keep_an_idle_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 0.3)
    reader, writer = await connection(api)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b'"ok"}')
    writer.write(b"\r\n")
    assert await gone(reader, writer) == b""


async def test_the_rest_of_a_refused_body_does_not_keep_a_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 0.3)
    reader, writer = await connection(api)
    writer.write(HEAD + b"Content-Type: text/plain\r\nContent-Length: 100\r\n\r\nab")
    assert (await reader.readline()).startswith(b"HTTP/1.1 415 ")
    writer.write(b"cd")
    assert b"unsupported_media_type" in await gone(reader, writer)


async def test_a_connection_is_used_again_after_the_rest_of_a_refused_body(api: Api) -> None:
    reader, writer = await connection(api)
    writer.write(HEAD + b"Content-Type: text/plain\r\nContent-Length: 100\r\n\r\nab")
    await reader.readuntil(b"}")
    writer.write(b"x" * 98)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await gone(reader, writer)).startswith(b"HTTP/1.1 200 ")


async def test_half_a_head_behind_a_request_under_way_is_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read while an answer is under way."""
    monkeypatch.setattr(server, "HEADERS_S", 0.3)
    reader, writer = await connection(api)
    writer.write(b"GET /v1/default/acme/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
    await reader.readuntil(b"id: ")
    await asyncio.sleep(0.5)
    await prepare(api, "acme")
    await spend_to(api, "acme", "10")
    async with asyncio.timeout(10):
        await reader.readuntil(b"event: low")
    writer.close()


async def test_a_client_that_takes_no_answers_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are whole, and the service would keep them, and the connection, for as long as it lives."""
    monkeypatch.setattr(server, "TAKEN_S", 0.3)
    host, port = api.url.removeprefix("http://").split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect((host, int(port)))
        client.sendall(b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60)
        async with asyncio.timeout(60):
            while not await is_cut(client):
                pass


async def test_requests_ahead_are_bounded(api: Api) -> None:
    """Whoever sends them without end is cut off, and does not fill the memory."""
    reader, writer = await connection(api)
    writer.write(b"GET /v1/default/acme/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"id: ")
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * (server.AHEAD_MAX + 1))
    assert b"HTTP/1.1" not in await gone(reader, writer)


async def test_some_requests_ahead_are_answered_in_their_order(api: Api) -> None:
    await api.engine.grant("acme", "1000", key="g")
    reader, writer = await connection(api)
    for number in range(server.AHEAD_MAX):
        body = b'{"amount": "1", "key": "k%d"}' % number
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    found = re.findall(rb'"id":"d(\d+)"', await gone(reader, writer))
    assert [int(number) for number in found] == list(range(3, 3 + server.AHEAD_MAX))
