"""Usage events over the wire: one in a message, or many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nats

from solvent import Engine
from solvent.transports.nats.launcher import nats_server
from solvent.transports.nats.service import serving


async def test_one_event_or_many_in_a_message(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine, nats_server() as url, serving(engine, url):
        await engine.grant("acme", 100, key="g")
        await engine.set_rates([{"metric": "images", "credits": 2}])
        raw = await nats.connect(url)

        async def ask(customer: str, body: Any) -> dict[str, Any]:
            reply = await raw.request(f"solvent.v1.default.{customer}.report", json.dumps(body).encode(), timeout=5)
            answer: dict[str, Any] = json.loads(reply.data)
            return answer

        try:
            one = await ask("acme", {"metric": "images", "quantity": 3, "key": "events", "dimensions": {"events": "x"}})
            assert (one["amount"], one["card"]) == ("6", 1)
            events = [{"metric": "images", "quantity": n, "key": f"k{n}"} for n in (1, 2)]
            bad = {"metric": "images", "quantity": -1, "key": "bad"}
            answers = (await ask("acme", {"events": [*events, bad]}))["answers"]
            assert [answer["amount"] for answer in answers[:2]] == ["2", "4"]
            assert answers[2]["error"]["field"] == "quantity"
            # With "-" in the subject each event says whose it is.
            answers = (await ask("-", {"events": [{**events[0], "customer": "acme"}, events[0]]}))["answers"]
            assert answers[0]["replayed"] is True
            assert answers[1]["error"]["field"] == "customer"
            assert (await ask("acme", {"events": 7}))["error"]["code"] == "invalid_request"
            both = await ask("acme", {"events": [], "metric": "images", "quantity": 1, "key": "z"})
            assert both["error"]["field"] == "events"
            assert (await engine.balance("acme")).spent == 12
        finally:
            await raw.close()


async def test_who_speaks_for_one_customer_cannot_set_the_prices_of_all(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine, nats_server() as url, serving(engine, url):
        raw = await nats.connect(url)
        try:
            body = json.dumps({"rates": [{"metric": "images", "credits": 0}]}).encode()
            for operation, payload in (("rates.set", body), ("rates", b"{}")):
                reply = await raw.request(f"solvent.v1.default.acme.{operation}", payload, timeout=5)
                assert json.loads(reply.data)["error"]["field"] == "customer"
            assert (await engine.rates()).cards == ()
            reply = await raw.request("solvent.v1.default.-.rates.set", body, timeout=5)
            assert json.loads(reply.data)["id"] == "c2"
        finally:
            await raw.close()
