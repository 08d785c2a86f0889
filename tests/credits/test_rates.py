"""Rate cards, reports and estimates, asked of the embedded engine and of the NATS client alike."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from solvent import (
    Credits,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Receipt,
    ReportRequest,
)

CARD: list[dict[str, Any]] = [
    {"metric": "input_tokens", "credits": "10", "per": 1_000_000},
    {"metric": "input_tokens", "match": {"model": "gpt-4"}, "credits": "30", "per": 1_000_000},
    {"metric": "images", "credits": "0.04"},
    {"metric": "pings", "credits": "0"},
]


async def test_a_report_debits_what_the_most_specific_rate_says(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_rates(CARD)
    special = await credits.report("acme", "input_tokens", 123_457, key="a", dimensions={"model": "gpt-4", "user": "u"})
    assert (special.amount, special.card) == (Decimal("3.70371"), 1)
    plain = await credits.report("acme", "input_tokens", "123457", key="b", dimensions={"model": "small"})
    # 1.23457 exactly.
    assert plain.amount == Decimal("1.23457")
    half = await credits.report("acme", "input_tokens", "0.05", key="c")
    # 0.0000005 credits, half of the smallest unit: half-even rounds to zero, and it is recorded all the same.
    assert half.amount == 0
    entry = (await credits.ledger("acme", limit=1)).entries[0]
    assert (entry.kind, entry.metric, entry.quantity, entry.card) == ("debit", "input_tokens", Decimal("0.05"), 1)
    assert (await credits.report("acme", "pings", 1, key="d")).amount == 0
    with pytest.raises(NotFound) as missing:
        await credits.report("acme", "videos", 1, key="e")
    assert missing.value.what == "rate"
    with pytest.raises(InsufficientCredits):
        await credits.report("acme", "images", 1_000, key="f")


async def test_without_a_card_nothing_is_priced(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    with pytest.raises(NotFound) as missing:
        await credits.report("acme", "images", 1, key="a")
    assert missing.value.what == "rate card"
    assert (await credits.rates()).cards == ()


async def test_the_first_price_stands_when_the_card_changes(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_rates([{"metric": "images", "credits": 1}])
    first = await credits.report("acme", "images", 2, key="a")
    await credits.set_rates([{"metric": "images", "credits": 3}])
    again = await credits.report("acme", "images", 2, key="a")
    assert (again.replayed, again.amount, again.card, again.id) == (True, 2, 1, first.id)
    with pytest.raises(IdempotencyConflict):
        await credits.report("acme", "images", 3, key="a")
    with pytest.raises(IdempotencyConflict):
        await credits.debit("acme", 2, key="a", metric="images", quantity=2)
    assert (await credits.report("acme", "images", 2, key="b")).amount == 6
    await credits.set_rates([])
    assert (await credits.report("acme", "images", 2, key="a")).replayed
    with pytest.raises(NotFound):
        await credits.report("acme", "images", 1, key="c")


async def test_a_card_prices_what_occurs_from_its_date_on(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_rates([{"metric": "images", "credits": 1}])
    later = datetime.now(UTC) + timedelta(seconds=1)
    await credits.set_rates([{"metric": "images", "credits": 2}], effective_at=later)
    assert (await credits.report("acme", "images", 1, key="a")).amount == 1
    ahead = await credits.report("acme", "images", 1, key="b", occurred_at=later)
    assert (ahead.amount, ahead.card) == (2, 2)
    await asyncio.sleep(1.05)
    assert (await credits.report("acme", "images", 1, key="c")).amount == 2
    late = await credits.report("acme", "images", 1, key="d", occurred_at=later - timedelta(milliseconds=1))
    assert late.amount == 1
    with pytest.raises(InvalidRequest) as invalid:
        await credits.set_rates(CARD, effective_at=datetime.now(UTC) - timedelta(hours=1))
    assert invalid.value.field == "effective_at"
    cards = (await credits.rates()).cards
    assert [(card.number, card.rates[0].credits) for card in cards] == [(1, "1"), (2, "2")]
    assert cards[1].effective_at == later


async def test_a_card_that_is_dated_back_prices_what_was_used_before_the_first_price(
    credits: Credits,
) -> None:
    await credits.grant("acme", "100", key="g")
    now = datetime.now(UTC)
    used_at = now - timedelta(days=3)
    await credits.debit("acme", 1, key="by amount", metric="images", quantity=1, occurred_at=used_at)
    with pytest.raises(NotFound):
        await credits.report("acme", "images", 1, key="a", occurred_at=used_at)
    await credits.set_rates([{"metric": "images", "credits": 2}], effective_at=now - timedelta(days=10))
    assert (await credits.report("acme", "images", 1, key="a", occurred_at=used_at)).amount == 2
    both = [{"metric": "images", "credits": 2}, {"metric": "calls", "credits": 3}]
    await credits.set_rates(both, effective_at=now - timedelta(days=20))
    assert (await credits.report("acme", "calls", 1, key="b", occurred_at=used_at)).amount == 3
    other = [{"metric": "images", "credits": 9}, {"metric": "calls", "credits": 3}]
    with pytest.raises(InvalidRequest, match="images had another price"):
        await credits.set_rates(other, effective_at=now - timedelta(days=5))
    with pytest.raises(InvalidRequest, match="at most 400 days ago"):
        await credits.set_rates(both, effective_at=now - timedelta(days=401))
    assert (await credits.debit("acme", 1, key="by amount", metric="images", quantity=1, occurred_at=used_at)).replayed
    assert (await credits.report("acme", "images", 1, key="a", occurred_at=used_at)).replayed


async def test_cards_and_reports_race_and_the_last_card_wins(credits: Credits) -> None:
    await credits.grant("acme", "1000000", key="g")
    for turn in range(1, 31):
        setting = asyncio.create_task(credits.set_rates([{"metric": "images", "credits": turn}]))
        reports = [
            asyncio.create_task(credits.report("acme", "images", 1, key=f"{turn}-{number}")) for number in range(6)
        ]
        await setting
        for report in reports:
            try:
                assert (await report).amount in (turn - 1, turn)
            except NotFound:
                assert turn == 1, "before the first card there is none"
        # What is reported after the card was acknowledged is priced by it.
        assert (await credits.report("acme", "images", 1, key=f"{turn}-after")).amount == turn


async def test_setting_the_same_card_again_changes_nothing(credits: Credits) -> None:
    first = await credits.set_rates(CARD)
    again = await credits.set_rates(list(reversed(CARD)))
    assert (first.replayed, again.replayed, len((await credits.rates()).cards)) == (False, True, 1)


async def test_currencies_and_environments_have_cards_of_their_own(credits: Credits) -> None:
    await credits.set_rates([{"metric": "images", "credits": 2}])
    await credits.set_rates([{"metric": "images", "credits": 7}], currency="tokens")
    await credits.set_rates([{"metric": "images", "credits": 5}], environment="staging")
    for pool, price in (("acme", 2), ("acme:tokens", 7), ("staging@acme", 5)):
        await credits.grant(pool, 10, key="g")
        assert (await credits.report(pool, "images", 1, key="a")).amount == price
    # The decimal places are those of the currency: tokens has none, and half of one rounds to even.
    await credits.set_rates([{"metric": "images", "credits": "0.5"}], currency="tokens")
    assert (await credits.report("acme:tokens", "images", 1, key="b")).amount == 0
    assert (await credits.report("acme:tokens", "images", 3, key="c")).amount == 2
    # Cards are no pools.
    assert {pool.pool for pool in (await credits.pools()).pools} == {"acme", "acme:tokens"}


async def test_an_estimate_says_what_it_would_cost_and_whether_it_may(credits: Credits) -> None:
    await credits.grant("acme", "1", key="g")
    await credits.set_rates(CARD)
    estimate = await credits.estimate("acme", "images", 30, dimensions={"user": "u"})
    assert (estimate.amount, estimate.card, estimate.rate.credits) == (Decimal("1.2"), 1, "0.04")
    assert estimate.verdict is not None
    assert (estimate.verdict.allowed, estimate.verdict.top_up) == (False, Decimal("0.2"))
    free = await credits.estimate("acme", "pings", 30)
    assert (free.amount, free.verdict) == (0, None)
    assert (await credits.balance("acme")).spent == 0
    with pytest.raises(NotFound):
        await credits.estimate("acme", "videos", 1)
    for metric in ("pings", "images"):
        # Also of what costs nothing: a report of it would be refused.
        with pytest.raises(NotFound) as missing:
            await credits.estimate("nobody", metric, 1)
        assert missing.value.what == "pool"


async def test_a_batch_of_reports_is_priced_each_on_its_own(credits: Credits) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_rates(CARD)
    answers = await credits.batch(
        [ReportRequest(pool="acme", metric="images", quantity=n, key=f"k{n}") for n in range(1, 41)]
        + [ReportRequest(pool="acme", metric="videos", quantity=1, key="v")]
    )
    assert type(answers[-1]) is NotFound
    assert {type(answer) for answer in answers[:-1]} == {Receipt, InsufficientCredits}
    spent = (await credits.balance("acme")).spent
    booked = sum(answer.amount for answer in answers if isinstance(answer, Receipt))
    assert spent == booked
    assert 0 < spent <= 10


@pytest.mark.parametrize(
    ("rates", "field"),
    [
        ("images", "rates"),
        ([{"metric": "images", "credits": 0.04}], "rates[0].credits"),
        ([{"metric": "images", "credits": "-1"}], "rates[0].credits"),
        ([{"metric": "images", "credits": 1, "per": 0}], "rates[0].per"),
        ([{"metric": "images", "credits": 1, "pre": 1}], "rates[0].pre"),
        ([{"metric": "images", "credits": 1}, {"metric": "images", "credits": 2}], "rates[1].match"),
        (
            [
                {"metric": "images", "match": {"a": 1}, "credits": 1},
                {"metric": "images", "match": {"b": 1}, "credits": 2},
            ],
            "rates[1].match",
        ),
        ([{"metric": "images", "match": {"a": None}, "credits": 1}], "rates[0].match.a"),
    ],
)
async def test_a_bad_card_names_the_place(credits: Credits, rates: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        await credits.set_rates(rates)
    assert invalid.value.field == field
    assert (await credits.rates()).cards == ()


@pytest.mark.parametrize("quantity", [-1, 1.5, "1e5", "NaN", "1" * 30, True])
async def test_a_bad_quantity_is_refused(credits: Credits, quantity: Any) -> None:
    await credits.grant("acme", "10", key="g")
    await credits.set_rates(CARD)
    for ask in (credits.report("acme", "images", quantity, key="a"), credits.estimate("acme", "images", quantity)):
        with pytest.raises(InvalidRequest) as invalid:
            await ask
        assert invalid.value.field == "quantity"
