"""What ``Credits`` promises, asked of the embedded engine and of the clients over NATS and HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from solvent.engine.api.credits import Credits
from solvent.engine.api.requests import DebitRequest, GrantRequest
from solvent.engine.values.errors import (
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    SolventError,
    TooLarge,
)

CALLERS = 64


async def test_a_debit_is_paid_by_a_grant_and_leaves_the_rest(credits: Credits) -> None:
    await credits.grant("acme", "100", key="invoice-7")
    receipt = await credits.debit("acme", "0.25", key="req-1", dimensions={"model": "gpt-4", "user": "u7"})
    assert receipt.amount == Decimal("0.25")
    assert receipt.balance == Decimal("99.75")
    assert [(each.grant, each.amount) for each in receipt.allocations] == [("g2", Decimal("0.25"))]
    assert not receipt.replayed
    assert receipt.recorded_at.tzinfo is not None
    balance = await credits.balance("acme")
    assert (balance.available, balance.spent, balance.granted) == (Decimal("99.75"), Decimal("0.25"), Decimal(100))
    assert balance.version == receipt.version


async def test_a_debit_spreads_over_grants_in_burn_order(credits: Credits) -> None:
    later = datetime.now(UTC) + timedelta(days=30)
    paid = await credits.grant("acme", "10", key="paid")
    soon = await credits.grant("acme", "2", key="soon", expires_at=later)
    promotional = await credits.grant("acme", "1", key="promo", category="promotional")
    first = await credits.grant("acme", "3", key="first", priority=1)
    receipt = await credits.debit("acme", "6.5", key="all")
    assert [(each.grant, each.amount) for each in receipt.allocations] == [
        (first.id, Decimal(3)),
        (soon.id, Decimal(2)),
        (promotional.id, Decimal(1)),
        (paid.id, Decimal("0.5")),
    ]
    listed = await credits.grants("acme")
    assert [grant.id for grant in listed.grants] == [paid.id, first.id, promotional.id, soon.id]
    assert [grant.state for grant in listed.grants] == ["active", "depleted", "depleted", "depleted"]


async def test_a_refusal_says_what_was_asked_what_is_there_and_what_would_let_it_pass(credits: Credits) -> None:
    await credits.grant("acme", "1", key="g")
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "1.5", key="k")
    assert (refused.value.requested, refused.value.available, refused.value.top_up) == (
        Decimal("1.5"),
        Decimal(1),
        Decimal("0.5"),
    )
    assert (await credits.balance("acme")).version == 2, "a refusal leaves a trace"


async def test_a_refused_key_can_be_granted_after_a_top_up(credits: Credits) -> None:
    await credits.grant("acme", "1", key="g1")
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "2", key="k")
    await credits.grant("acme", "1", key="g2")
    assert not (await credits.debit("acme", "2", key="k")).replayed


async def test_a_partial_debit_takes_what_is_there_but_at_least_one_unit(credits: Credits) -> None:
    await credits.grant("acme", "1.5", key="g")
    receipt = await credits.debit("acme", "4", key="k", partial=True)
    assert (receipt.amount, receipt.balance) == (Decimal("1.5"), Decimal(0))
    assert (await credits.debit("acme", "4", key="k", partial=True)).amount == Decimal("1.5")
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "4", key="another", partial=True)


async def test_the_same_key_and_request_gives_the_first_receipt_again(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    first = await credits.debit("acme", "1", key="k", dimensions={"b": 1, "a": True})
    await credits.debit("acme", "2", key="other")
    again = await credits.debit("acme", "1", key="k", dimensions={"a": True, "b": 1})
    assert again.replayed
    assert (again.id, again.version, again.balance, again.amount, again.allocations, again.recorded_at) == (
        first.id,
        first.version,
        first.balance,
        first.amount,
        first.allocations,
        first.recorded_at,
    )
    assert (await credits.balance("acme")).spent == Decimal(3)


@pytest.mark.parametrize(
    "change",
    [{"amount": "1.000001"}, {"dimensions": {"a": 2}}, {"partial": True}, {"metric": "tokens"}, {"quantity": 5}],
    ids=lambda change: next(iter(change)),
)
async def test_the_same_key_for_another_request_is_a_conflict(credits: Credits, change: dict[str, Any]) -> None:
    await credits.grant("acme", "10", key="g")
    request: dict[str, Any] = {"amount": "1", "dimensions": {"a": 1}, "key": "k"}
    first = await credits.debit("acme", **request)
    with pytest.raises(IdempotencyConflict) as conflict:
        await credits.debit("acme", **{**request, **change})
    assert (conflict.value.key, conflict.value.version) == ("k", first.version)
    with pytest.raises(IdempotencyConflict):
        await credits.grant("acme", "1", key="k")
    assert (await credits.balance("acme")).spent == Decimal(1)


async def test_keys_are_scoped_to_their_pool(credits: Credits) -> None:
    for pool in ("acme", "acme/site", "acme:tokens", "globex", "staging@acme"):
        await credits.grant(pool, "5", key="k")
        assert (await credits.debit(pool, "1", key="d")).balance == Decimal(4)


async def test_pools_of_one_customer_never_overflow_into_one_another(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    await credits.grant("acme/site-1", "1", key="g")
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme/site-1", "2", key="k")
    assert refused.value.available == Decimal(1)
    with pytest.raises(NotFound) as unknown:
        await credits.debit("acme/site-2", "1", key="k")
    assert (unknown.value.what, unknown.value.id) == ("pool", "acme/site-2")
    assert (await credits.balance("acme")).available == Decimal(100)


@pytest.mark.parametrize(("amount", "granted"), [("1", 100), ("3", 33)])
async def test_racing_debits_grant_exactly_what_is_there(credits: Credits, amount: str, granted: int) -> None:
    await credits.grant("acme", "100", key="g")
    outcomes: list[object] = []

    async def caller(number: int) -> None:
        for call in range(3):
            try:
                outcomes.append(await credits.debit("acme", amount, key=f"{number}-{call}"))
            except InsufficientCredits as refused:
                outcomes.append(refused)

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    refusals = [each for each in outcomes if isinstance(each, InsufficientCredits)]
    assert len(outcomes) == 3 * CALLERS
    assert len(outcomes) - len(refusals) == granted
    balance = await credits.balance("acme")
    assert balance.available == Decimal(100) - granted * Decimal(amount)
    assert balance.available >= 0


async def test_one_key_sent_by_many_at_once_is_applied_once(credits: Credits) -> None:
    await credits.grant("acme", "100", key="g")
    receipts = await asyncio.gather(*(credits.debit("acme", "1", key="same") for _ in range(CALLERS)))
    assert sum(not receipt.replayed for receipt in receipts) == 1
    assert {receipt.id for receipt in receipts} == {receipts[0].id}
    assert (await credits.balance("acme")).spent == Decimal(1)


async def test_a_batch_answers_each_command_on_its_own(credits: Credits) -> None:
    answers = await credits.batch(
        [
            GrantRequest(pool="acme", amount="5", key="g"),
            DebitRequest(pool="acme", amount="1", key="a"),
            DebitRequest(pool="acme", amount="9", key="b"),
            DebitRequest(pool="nobody", amount="1", key="c"),
            DebitRequest(pool="acme", amount=1.5, key="d"),  # type: ignore[arg-type]
            DebitRequest(pool="acme", amount="1", key="a"),
        ]
    )
    assert [type(answer).__name__ for answer in answers] == [
        "Receipt",
        "Receipt",
        "InsufficientCredits",
        "NotFound",
        "InvalidRequest",
        "Receipt",
    ]
    assert getattr(answers[-1], "replayed", None) is True
    assert (await credits.balance("acme")).available == Decimal(4)


async def test_an_empty_batch_has_no_answers(credits: Credits) -> None:
    assert await credits.batch([]) == []


async def test_a_pending_grant_counts_when_it_takes_effect(credits: Credits) -> None:
    await credits.grant("acme", "1", key="now")
    await credits.grant("acme", "50", key="later", effective_at=datetime.now(UTC) + timedelta(days=1))
    balance = await credits.balance("acme")
    assert (balance.available, balance.granted, balance.pending) == (Decimal(1), Decimal(1), Decimal(50))
    with pytest.raises(InsufficientCredits):
        await credits.debit("acme", "2", key="k")


async def test_a_grant_expires_with_its_ledger_entry(credits: Credits) -> None:
    await credits.grant("acme", "5", key="g", expires_at=datetime.now(UTC) + timedelta(seconds=0.3))
    await credits.debit("acme", "2", key="k")
    async with asyncio.timeout(10):
        while (balance := await credits.balance("acme")).available:
            await asyncio.sleep(0.05)
    assert (balance.expired, balance.spent) == (Decimal(3), Decimal(2))
    page = await credits.ledger("acme")
    assert [(entry.kind, entry.change, entry.balance) for entry in page.entries] == [
        ("expiry", Decimal(-3), Decimal(0)),
        ("debit", Decimal(-2), Decimal(3)),
        ("grant", Decimal(5), Decimal(5)),
        ("opened", Decimal(0), Decimal(0)),
    ]


async def test_the_ledger_pages_in_both_directions_without_gap_or_repeat(credits: Credits) -> None:
    await credits.grant("acme", "1000", key="g")
    await asyncio.gather(*(credits.debit("acme", "1", key=f"k{number}") for number in range(150)))
    for newest_first in (True, False):
        versions: list[int] = []
        cursor: str | None = None
        while True:
            page = await credits.ledger("acme", limit=40, cursor=cursor, newest_first=newest_first)
            versions += [entry.version for entry in page.entries]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert versions == sorted(range(1, 153), reverse=newest_first)


async def test_a_ledger_entry_tells_all_of_the_usage_event(credits: Credits) -> None:
    occurred = datetime.now(UTC) - timedelta(days=3)
    await credits.grant("acme", "10", key="g")
    dimensions: dict[str, str | int | float | bool] = {
        "user": "u'7; drop table",
        "amount": 3,
        "vip": True,
        "β": "✨",
        "ratio": 0.5,
    }
    await credits.debit(
        "acme", "1", key="k", occurred_at=occurred, metric="tokens", quantity="1250.50", dimensions=dimensions
    )
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.kind, entry.key, entry.metric, entry.quantity) == ("debit", "k", "tokens", Decimal("1250.5"))
    assert entry.dimensions == dimensions
    assert entry.occurred_at == occurred
    assert [each.grant for each in entry.allocations] == ["g2"]


async def test_pools_are_listed_by_customer_and_by_environment(credits: Credits) -> None:
    mine = ["acme", "acme/site 1", "acme/site-2", "acme:tokens"]
    for pool in [*mine, "acm", "acme-2", "acme.x/y", "staging@acme"]:
        await credits.grant(pool, "1", key="g")
    assert [each.pool for each in (await credits.pools("acme")).pools] == [
        "acme/site%201",
        "acme/site-2",
        *mine[:1],
        mine[3],
    ]
    assert [each.pool for each in (await credits.pools("acme", environment="staging")).pools] == ["staging@acme"]
    everything: list[str] = []
    cursor: str | None = None
    while True:
        page = await credits.pools(limit=3, cursor=cursor)
        everything += [each.pool for each in page.pools]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(everything) == len(set(everything)) == 7


async def test_the_totals_of_a_customer_are_those_of_all_its_pools(credits: Credits) -> None:
    for number in range(120):
        await credits.grant(f"acme/seat-{number:03}", "9000000000000", key="g")
    await credits.grant("acme", "0.000001", key="g")
    await credits.grant("acme:tokens", "7", key="g")
    await credits.debit("acme:tokens", "3", key="d")
    await credits.grant("acme", "4", key="later", effective_at=datetime.now(UTC) + timedelta(days=1))
    await credits.hold("acme/seat-000", "1", key="h")
    await credits.transfer("acme/seat-000", "acme", "2", key="t")
    for stranger in ("acm", "acme-2", "acme.x/y", "staging@acme"):
        await credits.grant(stranger, "1", key="g")
    answer = await credits.totals("acme")
    assert (answer.environment, answer.customer) == ("default", "acme")
    ours, tokens = answer.totals
    assert (ours.currency, ours.pools, ours.held, ours.moved_out, ours.pending) == ("credits", 121, 1, 2, 4)
    assert str(ours.granted) == "1080000000000002.000001"
    assert ours.granted == ours.available + ours.held + ours.moved_out
    assert (tokens.currency, tokens.pools, tokens.available, tokens.spent) == ("tokens", 1, 4, 3)
    assert [each.pools for each in (await credits.totals("acme", environment="staging")).totals] == [1]
    assert (await credits.totals("nobody")).totals == ()
    with pytest.raises(InvalidRequest) as invalid:
        await credits.totals("")
    assert invalid.value.field == "customer"


BAD_DEBITS: dict[str, tuple[dict[str, Any], str]] = {
    "a binary float": ({"amount": 1.5}, "amount"),
    "a boolean amount": ({"amount": True}, "amount"),
    "zero": ({"amount": 0}, "amount"),
    "zero as text": ({"amount": "0.000"}, "amount"),
    "negative": ({"amount": "-1"}, "amount"),
    "not a number": ({"amount": "NaN"}, "amount"),
    "words": ({"amount": "ten"}, "amount"),
    "too many places": ({"amount": "0.0000001"}, "amount"),
    "more than 63 bits": ({"amount": "9223372036855"}, "amount"),
    "an exponent beyond range": ({"amount": "1e400"}, "amount"),
    "no key": ({"key": ""}, "key"),
    "a key too long": ({"key": "k" * 257}, "key"),
    "a control character in the key": ({"key": "a\nb"}, "key"),
    "a key that is no text": ({"key": 7}, "key"),
    "partial that is no boolean": ({"partial": "yes"}, "partial"),
    "a time without a zone": ({"occurred_at": "2026-11-23T10:00:00"}, "occurred_at"),
    "a time that is none": ({"occurred_at": "yesterday"}, "occurred_at"),
    "a time too far back": ({"occurred_at": "2020-01-01T00:00:00Z"}, "occurred_at"),
    "a time too far ahead": ({"occurred_at": "2199-01-01T00:00:00Z"}, "occurred_at"),
    "a negative quantity": ({"quantity": "-1"}, "quantity"),
    "a metric too long": ({"metric": "m" * 129}, "metric"),
    "dimensions that are a list": ({"dimensions": ["a"]}, "dimensions"),
    "a nested dimension": ({"dimensions": {"a": {"b": 1}}}, "dimensions.a"),
    "a dimension too long": ({"dimensions": {"a": "x" * 1_025}}, "dimensions.a"),
    "too many dimensions": ({"dimensions": {f"d{number}": 1 for number in range(65)}}, "dimensions"),
}


@pytest.mark.parametrize("case", BAD_DEBITS)
async def test_bad_input_names_the_field_and_changes_nothing(credits: Credits, case: str) -> None:
    change, field = BAD_DEBITS[case]
    await credits.grant("acme", "100", key="g")
    before = await credits.balance("acme")
    with pytest.raises(InvalidRequest) as invalid:
        await credits.debit("acme", **{"amount": "1", "key": "k", **change})
    assert invalid.value.field == field
    assert invalid.value.expected
    assert await credits.balance("acme") == before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0.1}, "amount"),
        ({"category": "free"}, "category"),
        ({"priority": 101}, "priority"),
        ({"priority": True}, "priority"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"cost_basis": ("free", "USD")}, "cost_basis.per_credit"),
        ({"cost_basis": ("0.01", "dollars")}, "cost_basis.currency"),
        ({"metadata": {"a": None}}, "metadata.a"),
        ({"name": ""}, "name"),
    ],
    ids=str,
)
async def test_a_bad_grant_names_the_field(credits: Credits, change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        await credits.grant("acme", **{"amount": "1", "key": "g", **change})
    assert invalid.value.field == field
    with pytest.raises(NotFound):
        await credits.balance("acme")


@pytest.mark.parametrize(
    ("pool", "field"),
    [("", "customer"), ("a" * 129, "customer"), ("a/" + "b" * 129, "resource"), ("a/b/c", "pool"), ("a%zz", "pool"),
     ("a\tb", "customer"), ("acme:", "currency"), ("@acme", "environment"), (7, "pool")],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
async def test_a_bad_pool_name_says_which_part(credits: Credits, pool: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        await credits.debit(pool, "1", key="k")
    assert invalid.value.field == field


async def test_too_large_a_batch_is_refused_before_anything_is_done(credits: Credits) -> None:
    await credits.grant("acme", "100000", key="g")
    requests = [DebitRequest(pool="acme", amount="1", key=f"k{number}") for number in range(10_001)]
    with pytest.raises(TooLarge):
        await credits.batch(requests)
    assert (await credits.balance("acme")).spent == 0


async def test_bad_pages_are_refused(credits: Credits) -> None:
    await credits.grant("acme", "1", key="g")
    for limit, cursor, field in ((0, None, "limit"), (1_001, None, "limit"), (10, "x", "cursor")):
        with pytest.raises(InvalidRequest) as invalid:
            await credits.ledger("acme", limit=limit, cursor=cursor)
        assert invalid.value.field == field


async def test_a_currency_keeps_its_own_decimal_places(credits: Credits) -> None:
    await credits.grant("acme:tokens", "10", key="g")
    assert (await credits.debit("acme:tokens", 3, key="a")).balance == Decimal(7)
    with pytest.raises(InvalidRequest) as invalid:
        await credits.debit("acme:tokens", "0.5", key="b")
    assert invalid.value.field == "amount"


async def test_every_error_is_a_solvent_error_with_a_code_and_a_status() -> None:
    def subclasses(kind: type[SolventError]) -> set[type[SolventError]]:
        return {kind, *(deeper for each in kind.__subclasses__() for deeper in subclasses(each))}

    for kind in subclasses(SolventError):
        assert kind.code
        assert 400 <= kind.status < 600
