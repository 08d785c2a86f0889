"""What credits had cost, asked of the embedded engine and of the clients over NATS and HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from solvent import Credits, InvalidRequest, NotFound

Line = tuple[str | None, str, Decimal, Decimal, Decimal, Decimal | None]


async def lines(credits: Credits, pool: str = "acme", **between: Any) -> list[Line]:
    report = await credits.costs(pool, **between)
    return [
        (
            None if line.cost_basis is None else "{per_credit} {currency}".format(**line.cost_basis),
            line.category,
            line.burned,
            line.expired,
            line.voided,
            line.value,
        )
        for line in report.lines
    ]


async def test_what_is_burned_expired_and_voided_counts_for_its_cost(credits: Credits) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    await credits.grant("acme", "5", key="free", category="promotional", priority=0)
    await credits.grant("acme", "10", key="a", cost_basis=("0.0125", "USD"), priority=1, expires_at=soon)
    dear = await credits.grant("acme", "10", key="b", cost_basis=("0.02", "USD"), priority=2)
    await credits.grant("acme", "10", key="c", cost_basis=("0.02", "EUR"), priority=3)
    first = await credits.debit("acme", "8", key="d1")
    hold = await credits.hold("acme", "4", key="h")
    await hold.capture("2")
    await credits.reverse("acme", first.id, key="r", amount="1")
    await asyncio.sleep(1.1)
    await credits.debit("acme", "3", key="d2")
    await credits.void_grant("acme", dear.id)
    await credits.transfer("acme", "acme/web", "6", key="t", open_pool=True)
    await credits.debit("acme/web", "6", key="d3")
    assert await lines(credits) == [
        ("0.0125 USD", "paid", 4, 6, 0, Decimal("0.05")),
        ("0.02 USD", "paid", 3, 0, 7, Decimal("0.06")),
        (None, "promotional", 5, 0, 0, None),
    ]
    # The cost basis went along with the credits.
    assert await lines(credits, "acme/web") == [("0.02 EUR", "paid", 6, 0, 0, Decimal("0.12"))]
    # It all adds up to the pool's own figures.
    balance = await credits.balance("acme")
    found = await lines(credits)
    assert sum(line[2] for line in found) == balance.spent
    assert sum(line[3] for line in found) == balance.expired
    assert sum(line[4] for line in found) == balance.voided


async def test_a_range_of_time_is_half_open_and_exact(credits: Credits) -> None:
    await credits.grant("acme", "9000000000000", key="g", cost_basis=("0.000000000001", "USD"))
    first = await credits.debit("acme", "0.000001", key="d1")
    await asyncio.sleep(0.01)
    second = await credits.debit("acme", "8999999999999.999999", key="d2")
    value = [line[5] for line in await lines(credits)]
    assert value == [Decimal(9)]
    assert (await lines(credits, end=second.recorded_at))[0][5] == Decimal("1E-18")
    assert (await lines(credits, start=second.recorded_at))[0][2] == Decimal("8999999999999.999999")
    assert await lines(credits, start=first.recorded_at, end=first.recorded_at) == []


async def test_bad_ranges_and_unknown_pools(credits: Credits) -> None:
    await credits.grant("acme", "1", key="g")
    now = datetime.now(UTC)
    for start, end, field in ((now, now - timedelta(1), "end"), ("yesterday", None, "start"), (None, 7, "end")):
        with pytest.raises(InvalidRequest) as invalid:
            await credits.costs("acme", start=start, end=end)  # type: ignore[arg-type]
        assert invalid.value.field == field
    with pytest.raises(NotFound):
        await credits.costs("nobody")


async def test_a_cost_basis_is_a_pair_in_any_form(credits: Credits) -> None:
    pair = ["0.01", "USD"]
    for key, cost in (("a", tuple(pair)), ("b", pair), ("c", dict(zip(("per_credit", "currency"), pair, strict=True)))):
        await credits.grant("acme", "1", key=key, cost_basis=cost)  # type: ignore[arg-type]
    assert {str(grant.cost_basis) for grant in (await credits.grants("acme")).grants} == {
        "{'per_credit': '0.01', 'currency': 'USD'}"
    }
