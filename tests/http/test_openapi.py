"""What the API says of itself: it is true, whole, and valid."""

from __future__ import annotations

import re
from typing import Any

import pytest

from solvent.transports.http.openapi import EXAMPLES
from solvent.transports.wire.operations import COMMANDS, READS

from .conftest import Api


async def described(api: Api) -> dict[str, Any]:
    answer = await api.http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    whole: dict[str, Any] = answer.json()
    return whole


async def test_every_operation_is_described(api: Api) -> None:
    whole = await described(api)
    assert whole["openapi"].startswith("3.1")
    for name, operation in {**COMMANDS, **READS}.items():
        path = whole["paths"][f"/v1/{{environment}}/{{customer}}/{name}"]
        assert path["post"]["operationId"] == name
        assert ("get" in path) == (operation.access == "read")
        for error in operation.errors:
            assert f"`{error.code}`" in path["post"]["responses"][str(error.status)]["description"]


async def test_every_reference_leads_somewhere_and_every_field_is_explained(api: Api) -> None:
    whole = await described(api)
    schemas = whole["components"]["schemas"]
    text = (await api.http.get("/openapi.json")).text
    assert set(re.findall(r'"#/components/schemas/([^"]*)"', text)) <= schemas.keys()
    bodies = {name: schema for name, schema in schemas.items() if name.endswith(("Body", "Request"))}
    bare = [
        (name, field)
        for name, schema in bodies.items()
        for field, each in schema.get("properties", {}).items()
        if "description" not in each
    ]
    assert bare == []


@pytest.mark.parametrize("name", EXAMPLES)
async def test_every_example_does_what_its_operation_says(api: Api, name: str) -> None:
    await api.engine.grant("acme", "10", key="g")
    answer = await api.post(f"acme/{name}", EXAMPLES[name])
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.text


async def test_the_pages_for_people_have_every_operation_and_every_error(api: Api) -> None:
    page = await api.http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    for name in (*COMMANDS, *READS, "batch", "events/stream"):
        assert f'<h2 id="{name}">' in page.text
    links = set(re.findall(r'href="#([^"]*)"', page.text))
    assert links <= set(re.findall(r' id="([^"]*)"', page.text))
    assert "<script" not in page.text
    refused = (await api.post("acme/debit", {"amount": "1", "key": "k"})).json()
    place, _, code = refused["type"].partition("#")
    assert f'<tr id="{code}">' in (await api.http.get(place)).text
