"""Every operation over plain HTTP: where it is, what it takes, and how it says no."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from solvent.transports.wire.operations import COMMANDS, READS

from .conftest import Api, Clock

FLAT = [name for name, read in READS.items() if read.access == "read" and not name.startswith("usage")]


def is_problem(response: httpx.Response, status: int, code: str, *, root: str = "") -> dict[str, Any]:
    """Check that an answer is a problem document, and return it."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, Any] = response.json()
    assert (document["status"], document["code"], document["type"]) == (status, code, f"{root}/docs/errors#{code}")
    assert document["title"]
    assert document["detail"]
    return document


async def test_a_debit_is_posted_and_its_balance_read(api: Api) -> None:
    granted = await api.post("acme/grant", {"amount": "10.50", "key": "order-1"})
    assert (granted.status_code, granted.headers["content-type"]) == (200, "application/json")
    debit = (await api.post("acme/debit", {"amount": "0.25", "key": "req-1"})).json()
    assert (debit["id"], debit["amount"], debit["balance"], debit["replayed"]) == ("d3", "0.25", "10.25", False)
    balance = (await api.get("acme/balance")).json()
    assert (balance["pool"], balance["available"], balance["spent"]) == ("acme", "10.25", "0.25")
    assert balance["available"] == str((await api.engine.balance("acme")).available)


@pytest.mark.parametrize("name", [*COMMANDS, *READS])
async def test_every_operation_of_the_table_has_a_path(api: Api, name: str) -> None:
    """An empty body is answered, or refused for a field of that operation: never as a path that is not there."""
    customer = "-" if name.startswith("rates") or name in ("usage.status", "usage.rebuild") else "acme"
    answer = await api.post(f"{customer}/{name}", {})
    if answer.status_code == 200:
        return
    document = is_problem(answer, answer.status_code, answer.json()["code"])
    assert document["code"] in ("invalid_request", "not_found")
    assert document.get("what") != "operation"


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command_is_only_posted(api: Api, name: str) -> None:
    answer = await api.get(f"acme/{name}")
    assert is_problem(answer, 405, "method_not_allowed")["allowed"] == "POST"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("name", ["transfer", "rates.set", "usage.rebuild"])
async def test_what_changes_something_is_not_read_with_get(api: Api, name: str) -> None:
    is_problem(await api.get(f"-/{name}"), 405, "method_not_allowed")


@pytest.mark.parametrize("name", FLAT)
async def test_a_read_answers_the_same_to_get_and_post(api: Api, name: str) -> None:
    await api.post("acme/grant", {"amount": "10", "key": "g"})
    await api.post("-/rates.set", {"rates": [{"metric": "tokens", "credits": "0.001", "per": "1"}]})
    fields: dict[str, str] = {
        "check": {"amount": "1"},
        "estimate": {"metric": "tokens", "quantity": "1000"},
        "ledger": {"limit": "1", "newest_first": "true"},
    }.get(name, {})
    customer = "-" if name == "rates" else "acme"
    read = await api.get(f"{customer}/{name}", params=fields)
    sent = {
        key: {"1": 1, "true": True}.get(value, value) if name == "ledger" else value for key, value in fields.items()
    }
    posted = await api.post(f"{customer}/{name}", sent)
    assert (read.status_code, posted.status_code) == (200, 200)
    assert read.json() == posted.json()


async def test_usage_is_read_with_get(api: Api) -> None:
    await api.post("acme/grant", {"amount": "10", "key": "g"})
    for user in ("u1", "u2", "u2"):
        key = f"{user}-{datetime.now(UTC).timestamp()}"
        await api.post("acme/debit", {"amount": "1", "key": key, "dimensions": {"user": user, "model": "m"}})
    answer = await api.get(
        "acme/usage", params={"period": "today", "group_by": ["user", "model"], "consistent": "true"}
    )
    lines = {line["group"]["user"]: line["credits"] for line in answer.json()["lines"]}
    assert lines == {"u1": "1", "u2": "2"}
    where = await api.get("acme/usage", params={"where": "user=u1"})
    assert is_problem(where, 400, "invalid_request")["field"] == "where"


async def test_a_refusal_has_its_numbers(api: Api) -> None:
    await api.post("acme/grant", {"amount": "3", "key": "g"})
    document = is_problem(await api.post("acme/debit", {"amount": "5", "key": "k"}), 402, "insufficient_credits")
    assert (document["requested"], document["available"], document["top_up"]) == ("5", "3", "2")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("acme/debit", {"amount": 1.5, "key": "k"}, "amount"),
        ("acme/debit", {"amount": "x", "key": "k"}, "amount"),
        ("acme/debit", {"amount": "1"}, "key"),
        ("acme/debit", {"amount": "1", "key": "k", "ammount": "2"}, "ammount"),
        ("acme/debit", {"amount": "1", "key": "k", "customer": "other"}, "customer"),
        ("acme/debit", {"amount": "1", "key": "k", "environment": "live"}, "environment"),
        ("-/debit", {"amount": "1", "key": "k"}, "customer"),
        ("acme/ledger", {"limit": 0}, "limit"),
        ("%FF/balance", {}, "customer"),
        ("acme/debit", [], "body"),
    ],
)
async def test_bad_input_names_the_field_and_does_nothing(api: Api, path: str, body: Any, field: str) -> None:
    await api.engine.grant("acme", "10", key="g")
    assert is_problem(await api.post(path, body), 400, "invalid_request")["field"] == field
    assert (await api.engine.balance("acme")).version == 2


@pytest.mark.parametrize("query", ["limit=x", "limit=1&limit=2", "nothing=1", "limit=%FF", "newest_first=perhaps"])
async def test_a_bad_query_names_the_field(api: Api, query: str) -> None:
    await api.engine.grant("acme", "10", key="g")
    document = is_problem(await api.http.get(f"/v1/default/acme/ledger?{query}"), 400, "invalid_request")
    assert document["field"] in (query.partition("=")[0], "query")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/default/acme", "/v2/default/acme/balance", "/v1/default/acme/a/b/c"])
async def test_another_path_is_unknown(api: Api, path: str) -> None:
    is_problem(await api.http.get(path), 404, "unknown_path")


async def test_an_unknown_operation_is_named(api: Api) -> None:
    assert is_problem(await api.post("acme/debitt", {}), 404, "not_found")["id"] == "debitt"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson"])
async def test_a_body_of_another_type_is_refused(api: Api, kind: str) -> None:
    """Also because a page of another origin may send these types without asking."""
    await api.engine.grant("acme", "10", key="g")
    body = b'{"amount": "1", "key": "k"}'
    answer = await api.post("acme/debit", content=body, headers={"content-type": kind})
    assert is_problem(answer, 415, "unsupported_media_type")["expected"] == "application/json"
    assert (await api.engine.balance("acme")).spent == 0


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_of_more_than_a_mebibyte_is_refused(api: Api, told: bool) -> None:
    body = b'{"amount": "1", "key": "k", "metric": "' + b"x" * (1 << 20) + b'"}'

    async def parts() -> Any:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    answer = await api.post("acme/debit", content=body if told else parts())
    assert is_problem(answer, 413, "too_large")["field"] == "body"


async def test_the_key_may_stand_in_a_header(api: Api) -> None:
    await api.engine.grant("acme", "10", key="g")
    headers = {"idempotency-key": "schlüssel".encode()}
    first = await api.post("acme/debit", {"amount": "1"}, headers=headers)
    again = await api.post("acme/debit", {"amount": "1", "key": "schlüssel"}, headers=headers)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**first.json(), "replayed": True}
    other = await api.post("acme/debit", {"amount": "1", "key": "another"}, headers=headers)
    assert is_problem(other, 400, "invalid_request")["field"] == "key"
    conflict = await api.post("acme/debit", {"amount": "2"}, headers=headers)
    assert is_problem(conflict, 409, "idempotency_conflict")["key"] == "schlüssel"
    assert conflict.headers["x-should-retry"] == "false"
    assert (await api.engine.balance("acme")).spent == 1


async def test_a_balance_that_did_not_change_is_not_sent_again(api: Api) -> None:
    await api.engine.grant("acme", "10", key="g")
    first = await api.get("acme/balance")
    tag = first.headers["etag"]
    same = await api.get("acme/balance", headers={"if-none-match": f'"other", W/{tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    await api.engine.debit("acme", "1", key="k")
    changed = await api.get("acme/balance", headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["available"]) == (200, "9")


async def test_what_a_budget_has_used_changes_its_tag_without_an_entry(api: Api, clock: Clock) -> None:
    """Its window ends, and the version of the pool stays the same."""
    await api.engine.grant("acme", "10", key="g")
    await api.engine.set_budget("acme", "all", "5", window="day")
    await api.engine.debit("acme", "2", key="k")
    before = await api.get("acme/budgets")
    clock.ahead_us = 86_400_000_000
    after = await api.get("acme/budgets", headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 200
    assert before.json()["version"] == after.json()["version"]
    assert [count["used"] for count in before.json()["budgets"][0]["counts"]] == ["2"]
    assert after.json()["budgets"][0]["counts"] == []


async def test_ids_of_any_text_are_percent_encoded(api: Api) -> None:
    names = ["a/b", "ünï", "-", "a b", "100%", "a:b@c"]
    for name in names:
        encoded = "%2D" if name == "-" else httpx.QueryParams({"x": name}).__str__()[2:].replace("+", "%20")
        answer = await api.post(f"{encoded}/grant", {"amount": "1", "key": "g", "resource": "r/1"})
        assert answer.status_code == 200, answer.text
    found = await api.engine.pools()
    assert len(found.pools) == len(names)


async def test_a_batch_answers_each_command_in_its_place(api: Api) -> None:
    commands = [
        {"op": "grant", "customer": "acme", "amount": "5", "key": "g"},
        {"op": "debit", "customer": "acme", "amount": "3", "key": "a"},
        {"op": "debit", "customer": "acme", "amount": "3", "key": "b"},
        {"op": "debit", "customer": "acme", "amount": "wrong", "key": "c"},
        {"op": "grant", "customer": "other", "amount": "1", "key": "g"},
    ]
    answers = (await api.post("-/batch", {"commands": commands})).json()["answers"]
    assert [answer.get("id") or answer["error"]["code"] for answer in answers] == [
        *("g2", "d3", "insufficient_credits", "invalid_request", "g2"),
    ]
    refused = {
        "atomic": True,
        "commands": [{key: each[key] for key in each if key != "customer"} for each in commands[1:3]],
    }
    together = (await api.post("acme/batch", refused)).json()["answers"]
    assert [answer.get("id") or answer["error"]["code"] for answer in together] == ["d3", "insufficient_credits"]


async def test_the_largest_batch_is_answered(api: Api) -> None:
    await api.engine.grant("acme", "100000", key="g")
    commands = [{"op": "debit", "amount": "1", "key": f"k{number}"} for number in range(2_000)]
    answers = (await api.post("acme/batch", {"commands": commands})).json()["answers"]
    assert len({answer["id"] for answer in answers}) == 2_000
    too_many = await api.post("acme/batch", {"commands": [*commands, commands[0]]})
    assert is_problem(too_many, 413, "too_large")["field"] == "commands"


async def test_health_is_answered_without_a_word_of_more(api: Api) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await api.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert (await api.http.head(path)).status_code == 200


async def test_no_answer_is_kept_by_a_cache(api: Api) -> None:
    for answer in (await api.get("acme/balance"), await api.http.get("/healthz"), await api.http.get("/")):
        assert answer.headers["cache-control"] == "no-store"
        assert msgspec.json.decode(answer.content)
