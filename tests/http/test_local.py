"""Without keys, only programs on this machine are answered, and no page that a browser on it shows."""

from __future__ import annotations

import pytest

from solvent import Engine, InvalidRequest
from solvent.transports.http.local import is_loopback
from solvent.transports.http.server import serving_http

from .conftest import Api
from .test_operations import is_problem


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"host": "evil.example"}, "host"),
        ({"host": "localhost.evil.example:8080"}, "host"),
        ({"host": "127.0.0.1.nip.io"}, "host"),
        ({"host": "192.168.1.5"}, "host"),
        ({"host": ""}, "host"),
        ({"origin": "https://evil.example"}, "origin"),
        ({"origin": "null"}, "origin"),
        ({"origin": "http://localhost"}, "origin"),
        ({"forwarded": "for=10.0.0.1"}, "forwarded"),
        ({"x-forwarded-for": "127.0.0.1"}, "x-forwarded-for"),
    ],
)
async def test_what_comes_from_elsewhere_is_refused(api: Api, headers: dict[str, str], field: str) -> None:
    await api.engine.grant("acme", "10", key="g")
    for answer in (
        await api.get("acme/balance", headers=headers),
        await api.post("acme/debit", {"amount": "1", "key": "k"}, headers=headers),
        await api.get("acme/events/stream", headers=headers),
    ):
        assert is_problem(answer, 403, "not_local")["field"] == field
    assert (await api.engine.balance("acme")).spent == 0


async def test_our_own_names_and_origin_are_answered(api: Api) -> None:
    await api.engine.grant("acme", "10", key="g")
    port = api.url.rpartition(":")[2]
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"):
        headers = {"host": host, "origin": f"http://{host}"}
        assert (await api.get("acme/balance", headers=headers)).status_code == 200, host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "Localhost."])
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example", "2130706433"]
)
def test_other_names(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "10.0.0.1:8080", "example.com:80", "8080", ":8080", "127.0.0.1:x", "[::]:1"]
)
async def test_nothing_listens_elsewhere(address: str) -> None:
    async with Engine.open(":memory:") as engine:
        with pytest.raises(InvalidRequest) as refused:
            async with serving_http(engine, address):
                pass
        assert refused.value.field == "http"
