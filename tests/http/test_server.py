"""The server itself: half requests, many connections, TLS, a stop in the middle, and a mount in another application."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from solvent import Engine, InvalidRequest
from solvent.transports.http import server
from solvent.transports.http.app import HttpApp, http_app
from solvent.transports.http.errors import AddressInUse
from solvent.transports.http.server import serving_http
from tests.one_task import in_one_task

from .conftest import Api, Clock, served
from .test_operations import is_problem


async def connection(api: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = api.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return what arrives until the service closes the connection."""
    async with asyncio.timeout(20):
        try:
            found = await reader.read()
        except ConnectionError:
            found = b""
    writer.close()
    return found


@pytest.mark.parametrize("begun", [b"", b"GET /v1/default/acme/bal", b"GET / HTTP/1.1\r\nHost: local"])
async def test_half_a_head_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 0.3)
    reader, writer = await connection(api)
    writer.write(begun)
    assert await gone(reader, writer) == b""


async def test_half_a_second_head_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 0.3)
    reader, writer = await connection(api)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
    assert (await gone(reader, writer)).count(b"HTTP/1.1 200") == 1


async def test_half_a_body_is_answered_408(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpApp.__init__, "__kwdefaults__", {"local_only": False, "progress_s": 0.3})
    async with in_one_task(served(clock)) as api:
        reader, writer = await connection(api)
        head = b"POST /v1/default/acme/debit HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        writer.write(head + b'Content-Length: 50\r\n\r\n{"amount"')
        found = await gone(reader, writer)
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in found


async def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(api: Api) -> None:
    await api.engine.grant("acme", "10", key="g")
    _, writer = await connection(api)
    writer.write(b'POST /v1/default/acme/debit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"amount"')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await api.get("acme/balance")).json()["spent"] == "0"


async def test_no_http_at_all_is_answered_400(api: Api) -> None:
    reader, writer = await connection(api)
    writer.write(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
    assert (await gone(reader, writer)).startswith(b"HTTP/1.1 400 ")


async def test_too_many_connections_are_closed_and_the_others_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 5)
    held = [await connection(api) for _ in range(4)]
    assert (await api.get("acme/balance")).status_code == 404
    over = [await connection(api) for _ in range(3)]
    assert [await gone(*each) for each in over] == [b""] * 3
    assert (await api.get("acme/balance")).status_code == 404
    for _, writer in held:
        writer.close()
        await writer.wait_closed()


async def test_a_connection_is_used_again(api: Api) -> None:
    reader, writer = await connection(api)
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b'"ok"}')).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_stop_answers_what_is_under_way() -> None:
    async with Engine.open(":memory:") as engine, httpx.AsyncClient(timeout=20) as http:
        await engine.grant("acme", "1000", key="g")
        async with serving_http(engine, "127.0.0.1:0") as url:
            path = f"{url}/v1/default/acme/debit"
            asking = [
                asyncio.create_task(http.post(path, json={"amount": "1", "key": str(number)})) for number in range(50)
            ]
            while not (await engine.balance("acme")).spent:
                await asyncio.sleep(0.001)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        done = [each for each in answers if isinstance(each, httpx.Response)]
        assert {each.status_code for each in done} == {200}
        assert (await engine.balance("acme")).spent == len(done)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def test_it_speaks_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=cert)
    async with (
        Engine.open(":memory:") as engine,
        serving_http(engine, "localhost:0", certificate=cert, private_key=key) as url,
        httpx.AsyncClient(verify=trusting) as http,
    ):
        assert url.startswith("https://localhost:")
        assert (await http.get(f"{url}/healthz")).json() == {"status": "ok"}


async def test_a_wrong_certificate_is_refused(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    async with Engine.open(":memory:") as engine:
        for given, field in (((cert, None), "tls_key"), ((None, key), "tls_cert"), ((key, key), "tls_cert")):
            with pytest.raises(InvalidRequest) as refused:
                async with serving_http(engine, "127.0.0.1:0", certificate=given[0], private_key=given[1]):
                    pass
            assert refused.value.field == field


async def test_an_address_in_use_is_named(api: Api) -> None:
    with pytest.raises(AddressInUse, match=api.url.removeprefix("http://")):
        async with serving_http(api.engine, api.url.removeprefix("http://")):
            pass


async def test_it_is_mounted_in_another_application() -> None:
    """Which decides who may do what: it is not asked for a local name there. Ids with a slash survive the mount."""
    async with Engine.open(":memory:") as engine:
        outer = Starlette(routes=[Mount("/credits", http_app(engine))])
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as http:
            granted = await http.post("/credits/v1/default/a%2Fb/grant", json={"amount": "5", "key": "g"})
            assert granted.status_code == 200, granted.text
            assert (await http.get("/credits/v1/default/a%2Fb/balance")).json()["available"] == "5"
            is_problem(await http.get("/credits/v1/nothing"), 404, "unknown_path", root="/credits")
        assert (await engine.balance("a%2Fb")).available == 5
