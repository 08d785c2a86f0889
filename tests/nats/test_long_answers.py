"""What was applied is never answered as refused: an answer that is too long for a message is cut, and says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from solvent import BudgetExceeded, DebitRequest, Engine, GrantRequest, InsufficientCredits, NotFound, Receipt, connect
from solvent.engine.api.receipts import Details
from solvent.requests import AllocationsRequest
from solvent.transports.nats.client import Client
from solvent.transports.wire.answers import ReceiptForm, encode_one
from solvent.transports.wire.cutting import ANSWER_BYTES_MAX, CutError, cut_receipt

from .conftest import DEADLINE_S, error_of, nats_process, raw_connection, served_in

MESSAGE_BYTES = 8_192
GRANTS = 400
FORMS: tuple[ReceiptForm, ...] = ("text", "units")


@asynccontextmanager
async def narrow(tmp_path: Path, size: int = MESSAGE_BYTES) -> AsyncIterator[tuple[Engine, Client, str]]:
    """A pool with many small grants, served where the receipt of a debit of all of them does not fit."""
    async with (
        nats_process(tmp_path, f"max_payload: {size}\n") as server,
        served_in(tmp_path / "journal", url=server.url) as served,
        connect(server.url) as client,
    ):
        grants = [GrantRequest(pool="acme", amount=1, key=f"g{number}") for number in range(GRANTS)]
        assert all(isinstance(answer, Receipt) for answer in await served.engine.batch(grants))
        yield served.engine, client, server.url


async def allocations(client: Client, entry: str, pool: str = "acme") -> list[Any]:
    return [each async for each in client.each(AllocationsRequest(pool=pool, entry=entry))]


async def test_a_debit_of_many_grants_has_a_receipt(tmp_path: Path) -> None:
    async with narrow(tmp_path) as (engine, client, _):
        receipt = await client.debit("acme", GRANTS - 10, key="d")
        assert (receipt.amount, receipt.balance, receipt.allocations) == (GRANTS - 10, 10, ())
        assert receipt.cut == ("allocations",)
        again = await client.debit("acme", GRANTS - 10, key="d")
        assert (again.replayed, again.id, again.cut) == (True, receipt.id, receipt.cut)
        whole = await engine.debit("acme", GRANTS - 10, key="d")
        assert whole.cut == ()
        assert tuple(await allocations(client, receipt.id)) == whole.allocations
        assert len(whole.allocations) == GRANTS - 10
        # The entry of the ledger is too long as well, and does not keep back those before it.
        page = await client.ledger("acme", limit=1)
        assert page.entries[0].cut == ("allocations",)
        assert (page.entries[0].key, page.entries[0].allocations) == ("d", ())
        assert len((await client.ledger("acme", limit=5, cursor=page.next_cursor)).entries) == 5
        small = await client.debit("acme", 2, key="small")
        assert (small.cut, len(small.allocations)) == ((), 2)


async def test_every_command_of_many_grants_has_a_receipt(tmp_path: Path) -> None:
    async with narrow(tmp_path) as (engine, client, _):
        hold = await client.hold("acme", GRANTS - 20, key="h")
        assert hold.receipt.cut == ("allocations",)
        (held,) = (await client.holds("acme")).holds
        assert (held.cut, held.amount) == (("allocations",), GRANTS - 20)
        assert len(await allocations(client, hold.id)) == GRANTS - 20
        captured = await hold.capture(GRANTS - 20)
        assert (captured.cut, captured.amount) == (("allocations",), GRANTS - 20)
        reversed_ = await client.reverse("acme", captured.id, key="r")
        assert (reversed_.cut, reversed_.balance) == (("allocations",), GRANTS)
        released = await (await client.hold("acme", GRANTS - 20, key="h2")).release()
        assert (released.cut, released.balance) == (("allocations",), GRANTS)
        verdict = await client.check("acme", GRANTS - 20)
        assert (verdict.allowed, verdict.cut, verdict.allocations) == (True, ("allocations",), ())
        moved = await client.transfer("acme", "acme/web", GRANTS - 20, key="t", open_pool=True)
        assert (moved.cut, moved.balance) == (("allocations",), 20)
        assert len(await allocations(client, moved.id)) == GRANTS - 20
        assert (await engine.balance("acme/web")).available == GRANTS - 20


async def test_the_answers_of_a_batch_are_cut_together(tmp_path: Path) -> None:
    async with narrow(tmp_path) as (engine, client, url), raw_connection(url) as raw:
        commands = [{"op": "debit", "amount": "39", "key": f"k{number}"} for number in range(10)]
        for body in ({"commands": commands}, {"commands": commands, "atomic": True}):
            reply = await raw.request("solvent.v1.default.acme.batch", json.dumps(body).encode(), timeout=DEADLINE_S)
            answers = json.loads(reply.data)["answers"]
            assert [answer["id"] for answer in answers] == [f"d{GRANTS + 2 + number}" for number in range(10)]
            assert {tuple(answer["cut"]) for answer in answers} == {("allocations",)}
        assert (await engine.balance("acme")).spent == Decimal(390)
        # The client of Python asks for another form.
        requests = [DebitRequest(pool="acme", amount="39", key=f"k{number}") for number in range(10)]
        again = await client.batch(requests)
        assert [answer.replayed for answer in again if isinstance(answer, Receipt)] == [True] * 10
        assert (await engine.balance("acme")).spent == Decimal(390)


async def test_more_commands_than_can_be_answered_are_refused_before_any_is_applied(tmp_path: Path) -> None:
    async with narrow(tmp_path) as (engine, client, url), raw_connection(url) as raw:
        most = MESSAGE_BYTES // ANSWER_BYTES_MAX
        many = [{"op": "debit", "amount": "0.1", "key": f"k{number}"} for number in range(most + 1)]
        before = await engine.balance("acme")
        events = [{"metric": "tokens", "quantity": 1, "key": f"k{number}"} for number in range(most + 1)]
        for operation, body in (("batch", {"commands": many}), ("report", {"events": events})):
            subject = f"solvent.v1.default.acme.{operation}"
            reply = await raw.request(subject, json.dumps(body).encode(), timeout=DEADLINE_S)
            error = error_of(reply.data, reply.headers)
            assert (error["code"], error["field"]) == ("too_large", "commands")
            assert f"at most {most} commands" in str(error["message"])
        assert (await engine.balance("acme")).version == before.version
        # The client makes its messages small enough, without asking in vain.
        sent = client.messages_sent
        requests = [DebitRequest(pool="acme", amount="0.1", key=f"k{number}") for number in range(100)]
        answers = await client.batch(requests)
        assert all(isinstance(answer, Receipt) for answer in answers)
        assert client.messages_sent - sent == -(-100 // most)


async def test_refusals_of_a_batch_are_cut_too(tmp_path: Path) -> None:
    """Long names of budgets and values in every answer."""
    async with narrow(tmp_path) as (engine, client, url), raw_connection(url) as raw:
        name, value = "\U0001f600" * 128, "\U0001f4a5" * 1_000
        await engine.set_budget("acme", name, "0.5", window="month", each="user")
        most = MESSAGE_BYTES // ANSWER_BYTES_MAX
        await engine.set_budget("acme", "warns" * 20, "0.1", window="month", mode="warn")
        commands: list[dict[str, Any]] = [
            {"op": "debit", "amount": "0.2", "key": f"k{number}", "dimensions": {"user": f"u{number}"}}
            for number in range(most - 1)
        ]
        await engine.debit("acme", "0.5", key="first", dimensions={"user": value})
        # One value is as much as fits into a message beside the others.
        await engine.set_budget("acme", name, "0.1", window="month", each="user")
        body = {"commands": [*commands, {"op": "capture" * 100}]}
        reply = await raw.request("solvent.v1.default.acme.batch", json.dumps(body).encode(), timeout=DEADLINE_S)
        answers = json.loads(reply.data)["answers"]
        assert len(reply.data) <= MESSAGE_BYTES
        assert [answer["error"]["code"] for answer in answers] == ["budget_exceeded"] * (most - 1) + ["invalid_request"]
        assert {answer["error"]["limit"] for answer in answers[:-1]} == {"0.1"}
        answers_again = await client.batch(
            [DebitRequest(pool="acme", amount="0.2", key=f"k{n}", dimensions={"user": f"u{n}"}) for n in range(most)]
        )
        assert all(isinstance(answer, BudgetExceeded) for answer in answers_again)


async def test_an_event_that_does_not_fit_keeps_back_no_other(tmp_path: Path) -> None:
    async with narrow(tmp_path, 2_048) as (engine, _, url), raw_connection(url) as raw:
        heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def note(message: Any) -> None:
            if not message.subject.endswith(".balance"):
                heard.put_nowait(json.loads(message.data))

        await raw.subscribe("solvent.v1.*.*.events.*", cb=note)
        await raw.flush()
        await engine.set_alerts("acme", low=[10], budget_percents=[50])
        await engine.set_budget("acme", "per user", 100, window="month", each="user")
        value = "\U0001f4a5" * 1_000
        await engine.debit("acme", 60, key="d", dimensions={"user": value})
        await engine.debit("acme", GRANTS - 65, key="d2")
        async with asyncio.timeout(DEADLINE_S):
            first, second = await heard.get(), await heard.get()
        assert (first["kind"], first["amount"], first["cut"]) == ("budget_reached", "60", ["value", "budget"])
        assert second["kind"] == "low"
        event = (await engine.past_events("acme", limit=1)).events[0]
        assert (event.value, event.position) == (value, first["position"])


async def test_the_allocations_of_what_is_no_entry_are_not_found(tmp_path: Path) -> None:
    async with narrow(tmp_path) as (_, client, _url):
        receipt = await client.debit("acme", 1, key="d")
        for wrong in (f"h{receipt.version}", "d999", "g1"):
            try:
                await client.allocations("acme", wrong)
            except NotFound as missing:
                assert missing.what == "entry"
            else:
                raise AssertionError(f"{wrong} was found")
        assert (await client.allocations("acme", "g2")).allocations == ()


def test_an_answer_that_is_cut_is_short_enough() -> None:
    """The bound that lets the answers of a batch be counted before it is applied."""
    units, number = 2**63 - 1, 10**15
    details = Details(
        hold=number,
        returned_units=units,
        lapsed_units=units,
        uncovered_units=units,
        warnings=("\U0001f600" * 128,) * 100,
        covers_units=(("\U0001f600" * 128, units // 100),) * 100,
    )
    receipt = Receipt(f"d{number}", number, False, 9, units, units, 10**15, ((number, units),) * 1_000, details)
    for form in FORMS:
        short = encode_one(cut_receipt(receipt, whole=True), form)
        assert len(short) < ANSWER_BYTES_MAX, short
        error = InsufficientCredits(
            requested=Decimal("9223372036.854775807"),
            available=Decimal("9223372036.854775807"),
            top_up=Decimal("9223372036.854775807"),
            covered=Decimal("9223372036.854775807"),
            resets_at=datetime.max.replace(tzinfo=UTC),
            allowance="\U0001f600" * 128,
            dimension="\U0001f600" * 32,
            value="\U0001f600" * 1_000,
        )
        assert len(encode_one(CutError(error), form)) < ANSWER_BYTES_MAX
    assert cut_receipt(receipt, whole=True).covered == receipt.covered
    assert cut_receipt(receipt, whole=True).cut == ("allocations", "allowances", "warnings")
