"""What a program without Solvent's client gets: an answer to everything, with a code, and a pool left as it was."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client as RawNats
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from solvent import Engine, TooLarge, connect
from solvent.transports.wire.batches import BATCH_COMMANDS_MAX
from solvent.transports.wire.bodies import BODY_BYTES_MAX
from tests.one_task import in_one_task

from .conftest import DEADLINE_S, error_of, nats_process, raw_connection, served_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = itertools.count()


class Wire:
    """A served engine with one funded customer for each test, and a plain NATS connection."""

    def __init__(self, engine: Engine, url: str, raw: RawNats) -> None:
        self.engine = engine
        self.url = url
        self.raw = raw
        self.customer = ""

    async def fund(self) -> None:
        self.customer = f"customer-{next(numbers)}"
        await self.engine.grant(self.customer, "100", key="first")
        await self.engine.debit(self.customer, "1", key="used")

    async def ask(
        self, operation: str, payload: bytes, *, customer: str | None = None, environment: str = "default"
    ) -> Msg:
        subject = f"solvent.v1.{environment}.{self.customer if customer is None else customer}.{operation}"
        return await self.raw.request(subject, payload, timeout=DEADLINE_S)

    async def refusal(self, operation: str, payload: bytes, **where: Any) -> dict[str, object]:
        answer = await self.ask(operation, payload, **where)
        return error_of(answer.data, answer.headers)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    directory = tmp_path_factory.mktemp("wire") / "journal"
    async with in_one_task(served_in(directory)) as served, raw_connection(served.url) as raw:
        yield Wire(served.engine, served.url, raw)


@pytest_asyncio.fixture(loop_scope="module")
async def wire(service: Wire) -> AsyncIterator[Wire]:
    """The wire, and the promise that what a test asks for changes nothing in its customer's pools."""
    await service.fund()
    before = await service.engine.balance(service.customer)
    yield service
    assert await service.engine.balance(service.customer) == before
    assert len((await service.engine.pools(service.customer)).pools) == 1


def body(**fields: Any) -> bytes:
    return json.dumps({"amount": "1", "key": "k", **fields}).encode()


NOW = datetime.now(UTC)
UNDECODABLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "amount"),
    "no JSON": (b"not json", "body"),
    "half a JSON": (b'{"amount": "1", "key"', "body"),
    "two JSONs": (b'{"amount":"1","key":"k"}{}', "body"),
    "invalid UTF-8 in a value": (b'{"amount": "1", "key": "\xff"}', "body"),
    "invalid UTF-8 in a name": (b'{"amount": "1", "\xff": "k"}', "body"),
    "a lone surrogate": (b'{"amount": "1", "key": "\\ud800"}', "body"),
    "zeros": (bytes(100), "body"),
    "an array": (b'["amount", "1"]', "body"),
    "a string": (b'"amount"', "body"),
    "a number": (b"1", "body"),
    "null": (b"null", "body"),
    "brackets nested deeper than any decoder goes": (b"[" * 100_000, "body"),
    "dimensions nested deeper than any decoder goes": (
        b'{"amount":"1","key":"k","dimensions":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        "body",
    ),
    "an unknown field": (body(ammount="1"), "ammount"),
    "an unknown field with a name that no answer could repeat": (body(**{"n" * 1_000_000: 1}), "n" * 100),
    "a command of another kind": (body(op="grant"), "op"),
    "a kind that no answer could repeat": (body(op="x" * 1_000_000), "op"),
}
INVALID: dict[str, tuple[bytes, str]] = {
    "no key": (b'{"amount": "1"}', "key"),
    "a binary float": (b'{"amount": 1.5, "key": "k"}', "amount"),
    "a float without a fraction": (b'{"amount": 1.0, "key": "k"}', "amount"),
    "an amount with an exponent": (b'{"amount": 1e2, "key": "k"}', "amount"),
    "a boolean amount": (body(amount=True), "amount"),
    "no amount": (body(amount=None), "amount"),
    "an amount in a list": (body(amount=["1"]), "amount"),
    "a negative amount": (body(amount="-1"), "amount"),
    "a negative integer": (body(amount=-1), "amount"),
    "zero": (body(amount=0), "amount"),
    "zero as text": (body(amount="0.00"), "amount"),
    "not a number": (body(amount="NaN"), "amount"),
    "infinity": (body(amount="Infinity"), "amount"),
    "too many places": (body(amount="0.1234567"), "amount"),
    "more than 63 bits": (body(amount=2**63), "amount"),
    "more than 64 bits": (body(amount=10**30), "amount"),
    "digits that are no ASCII": (body(amount="١"), "amount"),
    "a number as key": (body(key=7), "key"),
    "an empty key": (body(key=""), "key"),
    "a key too long": (body(key="k" * 257), "key"),
    "a control character in the key": (body(key="a\x00b"), "key"),
    "a resource too long": (body(resource="r" * 129), "resource"),
    "an empty resource": (body(resource=""), "resource"),
    "a currency too long": (body(currency="c" * 129), "currency"),
    "another environment": (body(environment="staging"), "environment"),
    "another customer": (body(customer="somebody-else"), "customer"),
    "partial that is no boolean": (body(partial="yes"), "partial"),
    "a time without a zone": (body(occurred_at="2026-11-23T10:00:00"), "occurred_at"),
    "a time that is none": (body(occurred_at="yesterday"), "occurred_at"),
    "a time as a number": (body(occurred_at=1_795_443_249), "occurred_at"),
    "a time too far back": (body(occurred_at=(NOW - timedelta(days=401)).isoformat()), "occurred_at"),
    "a time too far ahead": (body(occurred_at=(NOW + timedelta(hours=1)).isoformat()), "occurred_at"),
    "a quantity as a float": (body(quantity=1.5), "quantity"),
    "a negative quantity": (body(quantity="-1"), "quantity"),
    "a metric too long": (body(metric="m" * 129), "metric"),
    "a dimension that is null": (body(dimensions={"model": None}), "dimensions.model"),
    "a dimension that is a list": (body(dimensions={"model": ["a"]}), "dimensions.model"),
    "a dimension without a name": (body(dimensions={"": "a"}), "dimensions"),
    "a dimension too long": (body(dimensions={"model": "x" * 1_025}), "dimensions.model"),
    "too many dimensions": (body(dimensions={f"d{number}": 1 for number in range(65)}), "dimensions"),
}


@pytest.mark.parametrize("case", [*UNDECODABLE, *INVALID])
async def test_a_bad_debit_is_answered_400_and_names_the_field(wire: Wire, case: str) -> None:
    payload, field = {**UNDECODABLE, **INVALID}[case]
    error = await wire.refusal("debit", payload)
    assert (error["status"], error["code"], error["field"]) == (400, "invalid_request", field)
    assert error["expected"]
    assert len(str(error["message"])) < 1_000


@pytest.mark.parametrize("case", INVALID)
async def test_a_bad_command_in_a_batch_is_answered_alone(wire: Wire, case: str) -> None:
    """The good ones beside it are for a pool that nobody knows, so that they are seen to be looked at."""
    payload, field = INVALID[case]
    good = b'{"op":"debit","resource":"unknown","amount":"1","key":"k"}'
    bad = b'{"op":"debit",' + payload[1:]
    answer = await wire.ask("batch", b'{"commands":[%b,%b,%b]}' % (good, bad, good))
    assert not answer.headers
    answers = [each["error"] for each in json.loads(answer.data)["answers"]]
    assert [each["code"] for each in answers] == ["not_found", "invalid_request", "not_found"]
    assert answers[1]["field"] == field


@pytest.mark.parametrize(
    ("operation", "payload", "field"),
    [
        ("balance", b'{"amount": 1}', "amount"),
        ("balance", b"[]", "body"),
        ("balance", b'{"customer": "somebody-else"}', "customer"),
        ("grants", b'{"environment": "staging"}', "environment"),
        ("grants", b'{"resource": 7}', "resource"),
        ("ledger", b'{"limit": 0}', "limit"),
        ("ledger", b'{"limit": 1001}', "limit"),
        ("ledger", b'{"limit": "many"}', "limit"),
        ("ledger", b'{"cursor": "somewhere"}', "cursor"),
        ("ledger", b'{"newest_first": 1}', "newest_first"),
        ("pools", b'{"limit": -1}', "limit"),
        ("pools", b'{"customer": "somebody-else"}', "customer"),
        ("pools", b'{"environment": "staging"}', "environment"),
        ("pools", b'{"cursor": "%%"}', "cursor"),
        ("totals", b'{"customer": "somebody-else"}', "customer"),
        ("totals", b'{"limit": 0}', "limit"),
        ("grant", b'{"amount": "1"}', "key"),
        ("grant", b'{"amount": 0.5, "key": "k"}', "amount"),
        ("grant", b'{"amount": "1", "key": "k", "priority": 101}', "priority"),
        ("grant", b'{"amount": "1", "key": "k", "priority": 1.5}', "priority"),
        ("grant", b'{"amount": "1", "key": "k", "category": "free"}', "category"),
        ("grant", b'{"amount": "1", "key": "k", "expires_at": "2001-01-01T00:00:00Z"}', "expires_at"),
        ("grant", b'{"amount": "1", "key": "k", "metadata": {"a": {"b": 1}}}', "metadata.a"),
        ("batch", b'{"commands": {}}', "body"),
        ("batch", b"{}", "commands"),
        ("batch", b"", "commands"),
        ("batch", b'{"commands": [], "also": 1}', "also"),
        ("batch", b'{"commands": [], "receipts": "gold"}', "receipts"),
    ],
)  # fmt: skip
async def test_other_operations_name_the_field_too(wire: Wire, operation: str, payload: bytes, field: str) -> None:
    error = await wire.refusal(operation, payload)
    assert (error["status"], error["code"], error["field"]) == (400, "invalid_request", field)


@pytest.mark.parametrize("operation", ["debit", "grant", "balance", "grants", "ledger"])
async def test_an_operation_on_one_pool_needs_a_customer_in_the_subject(wire: Wire, operation: str) -> None:
    payload = body(customer=wire.customer) if operation in ("debit", "grant") else b"{}"
    error = await wire.refusal(operation, payload, customer="-")
    assert (error["status"], error["field"]) == (400, "customer")


@pytest.mark.parametrize("token", ["a%2ea", "%61", "a%", "%FF"])
async def test_a_subject_in_another_spelling_is_refused(wire: Wire, token: str) -> None:
    for where, field in (({"customer": token}, "customer"), ({"environment": token}, "environment")):
        error = await wire.refusal("debit", body(), **where)
        assert (error["status"], error["field"]) == (400, field)


async def test_insufficient_credits_are_answered_402_with_the_numbers(wire: Wire) -> None:
    error = await wire.refusal("debit", body(amount="99.5"))
    assert error.pop("message")
    assert error == {
        "status": 402,
        "code": "insufficient_credits",
        "pool": wire.customer,
        "requested": "99.5",
        "available": "99",
        "top_up": "0.5",
    }


@pytest.mark.parametrize("operation", ["debit", "balance", "grants", "ledger"])
async def test_an_unknown_pool_is_answered_404_by_its_name(wire: Wire, operation: str) -> None:
    payload = body(resource="site 1") if operation == "debit" else b'{"resource": "site 1"}'
    error = await wire.refusal(operation, payload)
    assert (error["status"], error["code"], error["what"]) == (404, "not_found", "pool")
    assert error["id"] == f"{wire.customer}/site%201"


async def test_a_key_used_for_another_request_is_answered_409_with_its_entry(wire: Wire) -> None:
    error = await wire.refusal("debit", body(key="used", amount="2"))
    assert (error["status"], error["code"]) == (409, "idempotency_conflict")
    assert (error["key"], error["version"]) == ("used", 3)


async def test_the_same_key_and_request_is_answered_with_the_first_receipt(wire: Wire) -> None:
    answer = await wire.ask("debit", body(key="used"))
    assert not answer.headers
    receipt = json.loads(answer.data)
    assert receipt["recorded_at"].endswith("Z")
    del receipt["recorded_at"]
    assert receipt == {
        "id": "d3",
        "amount": "1",
        "allocations": [{"grant": "g2", "amount": "1"}],
        "balance": "99",
        "version": 3,
        "replayed": True,
    }


async def test_an_operation_that_nobody_knows_has_no_responders(wire: Wire) -> None:
    with pytest.raises(NoRespondersError):
        await wire.ask("withdraw", b"{}")


async def test_a_batch_for_no_customer_needs_one_in_every_command(wire: Wire) -> None:
    commands = [
        {"op": "debit", "customer": wire.customer, "amount": "1", "key": "used"},
        {"op": "debit", "amount": "1", "key": "k"},
        {"op": "debit", "customer": "nobody", "amount": "1", "key": "k"},
        {"op": "debit", "customer": wire.customer, "environment": "staging", "amount": "1", "key": "k"},
        {"op": "debit", "customer": "c" * 129, "amount": "1", "key": "k"},
        {"op": "levitate", "customer": wire.customer},
        7,
    ]
    answer = await wire.ask("batch", json.dumps({"commands": commands}).encode(), customer="-")
    answers = json.loads(answer.data)["answers"]
    assert answers[0]["replayed"] is True
    errors = [each["error"] for each in answers[1:]]
    assert [(each["code"], each.get("field")) for each in errors] == [
        ("invalid_request", "customer"),
        ("not_found", None),
        ("invalid_request", "environment"),
        ("invalid_request", "customer"),
        ("invalid_request", "op"),
        ("invalid_request", "body"),
    ]


async def test_a_batch_of_one_customer_cannot_reach_another(wire: Wire) -> None:
    commands = [{"op": "debit", "customer": wire.customer, "amount": "1", "key": "k"}]
    answer = await wire.ask("batch", json.dumps({"commands": commands}).encode(), customer="somebody-else")
    assert json.loads(answer.data)["answers"][0]["error"]["field"] == "customer"


async def test_a_batch_says_in_which_form_it_wants_its_receipts(service: Wire) -> None:
    await service.fund()
    commands = [
        {"op": "debit", "amount": "0.25", "key": "k", "dimensions": {"model": "gpt-4", "shard": 7}},
        {"op": "debit", "amount": "1000", "key": "too-much"},
        {"op": "hold", "amount": "2", "key": "h"},
    ]
    asked = [
        json.loads((await service.ask("batch", json.dumps({"commands": commands, **form}).encode())).data)["answers"]
        for form in ({"receipts": "units"}, {}, {"receipts": "text"})
    ]
    units, text, text_again = asked
    assert text == text_again
    assert units[1]["error"]["code"] == text[1]["error"]["code"] == "insufficient_credits"
    named, counted = text[0], units[0]
    assert counted[:2] == [named["id"], named["version"]]
    assert (counted[2], named["replayed"]) == (False, True)
    assert counted[3:6] == [6, 250_000, int(Decimal(named["balance"]) * 1_000_000)]
    recorded_at = datetime.fromisoformat(named["recorded_at"])
    assert timedelta(microseconds=counted[6]) == recorded_at - datetime(1970, 1, 1, tzinfo=UTC)
    assert counted[7] == [[int(named["allocations"][0]["grant"][1:]), 250_000]]
    assert counted[8] == {}
    assert units[2][8].keys() == {"expires_at_us", "state"}


async def test_an_empty_batch_has_no_answers(wire: Wire) -> None:
    assert json.loads((await wire.ask("batch", b'{"commands": []}')).data) == {"answers": []}


@pytest.mark.parametrize("command", [b'{"op":"debit","amount":"1","key":"used"}', b"1"], ids=["good", "bad"])
async def test_a_batch_of_too_many_commands_is_answered_413_at_once(wire: Wire, command: bytes) -> None:
    many = min(BATCH_COMMANDS_MAX * 200, BODY_BYTES_MAX // (len(command) + 1) - 10)
    async with asyncio.timeout(2):
        error = await wire.refusal("batch", b'{"commands":[%b]}' % b",".join([command] * many))
    assert (error["status"], error["code"], error["field"]) == (413, "too_large", "commands")


async def test_a_page_that_does_not_fit_into_a_message_comes_with_fewer_entries(service: Wire) -> None:
    await service.fund()
    dimensions = {f"d{number}": "x" * 1_000 for number in range(8)}
    for number in range(130):
        await service.engine.debit(service.customer, "0.1", key=f"long-{number}", dimensions=dimensions)
    page = json.loads((await service.ask("ledger", b'{"limit": 200}')).data)
    assert 90 < len(page["entries"]) < 130
    rest = {"limit": 200, "cursor": page["next_cursor"]}
    following = json.loads((await service.ask("ledger", json.dumps(rest).encode())).data)
    versions = [entry["version"] for entry in (*page["entries"], *following["entries"])]
    assert versions == list(range(versions[0], 0, -1))
    assert following["next_cursor"] is None


async def test_a_request_without_a_reply_subject_is_done_all_the_same(service: Wire) -> None:
    await service.fund()
    await service.raw.publish(f"solvent.v1.default.{service.customer}.debit", body(amount="2"))
    await service.raw.publish(f"solvent.v1.default.{service.customer}.debit", b"nonsense")
    # Requests of one connection are heard in order, so this answer comes after the two.
    await service.refusal("debit", b"nonsense")
    assert (await service.engine.balance(service.customer)).spent == Decimal(3)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
FIELDS = """key resource currency customer environment op commands partial occurred_at metric quantity dimensions
    backfill category priority effective_at expires_at cost_basis name comment metadata limit cursor newest_first hold
    ttl_s as_of grant debit id match each window mode events atomic to_resource rates"""
NAMES = st.sampled_from(FIELDS.split())
WRONG_AMOUNTS: tuple[Any, ...] = (None, 0, -1, 1.5, "-1", "0", "x", "", "1e999999999", [], {}, True, 2**64, "0.0000001")
NO_AMOUNT: st.SearchStrategy[Any] = st.sampled_from(WRONG_AMOUNTS)
NEARLY: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda fields, amount: {**fields, "amount": amount}, st.dictionaries(NAMES, JUNK, max_size=6), NO_AMOUNT
)
PAYLOADS = (
    st.binary(max_size=200)
    | JUNK.map(lambda value: json.dumps(value).encode())
    | NEARLY.map(lambda fields: json.dumps(fields).encode())
)
BATCHES = st.lists(NEARLY | JUNK, max_size=5).map(lambda commands: json.dumps({"commands": commands}).encode())


async def test_whatever_is_sent_is_answered_and_changes_nothing(wire: Wire) -> None:
    """Every operation that the service says it has, with bytes, with JSON, and with what is nearly a command."""
    information = msgspec.json.decode((await wire.raw.request("$SRV.INFO.solvent", b"", timeout=DEADLINE_S)).data)
    operations = [each["subject"].split(".", 4)[4] for each in information["endpoints"]]
    assert {"debit", "grant", "batch", "balance", "ledger"} <= set(operations)
    loop = asyncio.get_running_loop()
    outcomes: list[str] = []

    async def send(operation: str, customer: str, payload: bytes) -> None:
        answer = await wire.ask(operation, payload, customer=customer)
        if answer.headers:
            error = error_of(answer.data, answer.headers)
            status = error["status"]
            assert isinstance(status, int)
            assert 400 <= status < 500, error
            outcomes.append("refused")
        elif operation == "batch":
            assert all("error" in each for each in json.loads(answer.data)["answers"])
            outcomes.append("batch")
        else:
            # Some operations only read, and need nothing to be said.
            outcomes.append("read")

    @settings(max_examples=400)
    @given(
        st.tuples(st.sampled_from(operations), PAYLOADS) | st.tuples(st.just("batch"), BATCHES),
        st.sampled_from(["", "-", "acme", "%2D"]),
    )
    def everything(request: tuple[str, bytes], customer: str) -> None:
        operation, payload = request
        asyncio.run_coroutine_threadsafe(send(operation, customer or wire.customer, payload), loop).result(DEADLINE_S)

    await asyncio.to_thread(everything)
    assert min(outcomes.count("refused"), outcomes.count("batch")) > 20


async def test_a_poisoned_message_does_not_make_the_service_deaf(tmp_path: Path) -> None:
    """nats-py would stop reading for ever at the first of these."""
    async with served_in(tmp_path / "journal") as served:
        await served.engine.grant("acme", "10", key="g")
        poisons = [
            b"PUB solvent.v1.default.\xff.debit inbox.x 2\r\n{}\r\n",
            b"PUB solvent.v1.default.\xff.balance inbox.x 2\r\n{}\r\n",
            b"HPUB solvent.v1.default.acme.debit inbox.x 18 20\r\nNATS/1.0 \xff\xff\xff\r\n\r\n\r\n{}\r\n",
            b"HPUB solvent.v1.default.acme.debit inbox.x 12 14\r\nNATS/1.0\r\n\r\n{}\r\n",
            b"HPUB solvent.v1.default.acme.debit inbox.x 8 10\r\nNATS/1.0{}\r\n",
        ]
        unanswerable = b"PUB solvent.v1.default.acme.debit inbox.\xff 2\r\n{}\r\n"
        for poison in poisons:
            assert b"Nats-Service-Error-Code: 400" in await raw_exchange(served.url, poison)
        await raw_exchange(served.url, unanswerable, answers=0)
        async with connect(served.url, timeout_s=DEADLINE_S) as client:
            assert (await client.debit("acme", "1", key="after")).balance == Decimal(9)
            assert (await client.balance("acme")).spent == Decimal(1)


async def raw_exchange(url: str, protocol: bytes, *, answers: int = 1) -> bytes:
    """Speak the NATS protocol by hand. Gives what came back to ``inbox.x``."""
    host, port = url.removeprefix("nats://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(DEADLINE_S):
            await reader.readline()
            writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB inbox.x 1\r\n')
            writer.write(protocol + b"PING\r\n")
            said = b""
            while b"PONG\r\n" not in said or said.count(b'"error"') < answers:
                piece = await reader.read(65_536)
                assert piece, f"the NATS server hung up: {said!r}"
                said += piece
    finally:
        writer.close()
    assert b"-ERR" not in said, said
    return said


async def test_what_is_larger_than_the_nats_server_takes_is_refused_by_the_client(service: Wire) -> None:
    await service.fund()
    async with connect(service.url) as client:
        with pytest.raises(TooLarge) as refused:
            await client.debit(service.customer, "1" + "0" * 2_000_000, key="k")
        assert refused.value.field == "body"
        assert (await client.debit(service.customer, "1", key="k")).balance == Decimal(98)


async def test_what_is_larger_than_the_service_takes_is_answered_413(tmp_path: Path) -> None:
    async with (
        nats_process(tmp_path, "max_payload: 8MB") as server,
        served_in(tmp_path / "journal", url=server.url) as served,
        raw_connection(server.url) as raw,
    ):
        await served.engine.grant("acme", "10", key="g")
        before = await served.engine.balance("acme")
        for operation in ("debit", "batch", "grant", "balance"):
            answer = await raw.request(f"solvent.v1.default.acme.{operation}", b" " * (2 << 20), timeout=DEADLINE_S)
            error = error_of(answer.data, answer.headers)
            assert (error["status"], error["code"], error["field"]) == (413, "too_large", "body")
        assert await served.engine.balance("acme") == before


async def test_commands_of_one_turn_are_split_into_messages_that_the_service_takes(tmp_path: Path) -> None:
    """The NATS server would take one message of 3 MB, the service does not."""
    async with (
        nats_process(tmp_path, "max_payload: 8MB") as server,
        served_in(tmp_path / "journal", url=server.url),
        connect(server.url) as client,
    ):
        await client.grant("acme", "10000", key="g")
        dimensions = {"text": "x" * 1_000, "more": "y" * 1_000}
        debits = [client.debit("acme", "1", key=f"k{number}", dimensions=dimensions) for number in range(1_500)]
        receipts = await asyncio.gather(*debits)
        assert not any(receipt.replayed for receipt in receipts)
        assert (await client.balance("acme")).spent == Decimal(1_500)


async def test_answers_that_do_not_fit_into_one_message_are_asked_for_in_parts(service: Wire) -> None:
    """One debit over 150 grants has a receipt of 5 kB; 400 of them come to 2 MB."""
    pool = f"customer-{next(numbers)}"
    for number in range(150):
        await service.engine.grant(pool, "1", key=f"g{number}")
    first = await service.engine.debit(pool, "150", key="same")
    async with connect(service.url) as client:
        receipts = await asyncio.gather(*(client.debit(pool, "150", key="same") for _ in range(400)))
    assert len(first.allocations) == 150
    assert {receipt.id for receipt in receipts} == {first.id}
    assert all(receipt.replayed for receipt in receipts)
