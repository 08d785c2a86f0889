"""Every list can be had whole, page by page, and every row comes once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from solvent import Credits, InvalidRequest, NotFound
from solvent.requests import (
    AllowanceCountsRequest,
    AllowancesRequest,
    BalanceRequest,
    BudgetCountsRequest,
    BudgetsRequest,
    CostsRequest,
    EntriesRequest,
    GrantsRequest,
    HoldsRequest,
    LedgerRequest,
    PoolsRequest,
    RatesRequest,
    RecurringRequest,
    Request,
    TotalsRequest,
)

ROWS = 7


async def prepare(credits: Credits) -> None:
    """Seven rows in every list of ``acme``."""
    for number in range(ROWS):
        cost = (f"0.0{number + 1}", "USD")
        await credits.grant("acme", 10, key=f"g{number}", priority=number % 3, cost_basis=cost)
    # The three of priority 0 are used up.
    await credits.debit("acme", 30, key="d")
    for number in range(ROWS):
        name = f"n{number}"
        await credits.hold("acme", 1, key=f"h{number}", dimensions={"user": name})
        await credits.set_budget("acme", name, 100, window="month", each="user")
        await credits.set_allowance("acme", name, "0.5", window="month", each="user", match={"of": name})
        await credits.set_recurring("acme", name, 1, period="month", starts_at="2990-01-01T00:00:00Z")
        await credits.grant(f"acme:c{number}", 1, key="g")
        await credits.set_rates([{"metric": f"{metric}", "credits": 1} for metric in range(number + 1)])
    for number in range(ROWS):
        await credits.debit("acme", "0.25", key=f"u{number}", dimensions={"user": f"u{number}"})
        await credits.debit("acme", "0.25", key=f"a{number}", dimensions={"user": f"u{number}", "of": "n3"})


LISTS: dict[str, tuple[Request[Any], int]] = {
    "grants": (GrantsRequest(pool="acme"), ROWS),
    "depleted grants": (GrantsRequest(pool="acme", state="depleted"), 3),
    "active grants": (GrantsRequest(pool="acme", state="active"), 4),
    "pending grants": (GrantsRequest(pool="acme", state="pending"), 0),
    "holds": (HoldsRequest(pool="acme"), ROWS),
    "budgets": (BudgetsRequest(pool="acme"), ROWS),
    "counts of a budget": (BudgetCountsRequest(pool="acme", name="n2"), 4 + ROWS),
    "allowances": (AllowancesRequest(pool="acme"), ROWS),
    "counts of an allowance": (AllowanceCountsRequest(pool="acme", name="n3"), ROWS),
    "recurring": (RecurringRequest(pool="acme"), ROWS),
    "ledger": (LedgerRequest(pool="acme"), 65),
    "oldest first": (LedgerRequest(pool="acme", newest_first=False), 65),
    "costs": (CostsRequest(pool="acme"), 4),
    "pools": (PoolsRequest(customer="acme"), ROWS + 1),
    "all pools": (PoolsRequest(), ROWS + 1),
    "totals": (TotalsRequest(customer="acme"), ROWS + 1),
    "cards": (RatesRequest(), ROWS),
}


async def rows(credits: Credits, request: Request[Any]) -> list[Any]:
    return [row async for row in credits.each(request)]


async def test_pages_of_any_size_have_the_rows_of_the_whole_list_each_once(credits: Credits) -> None:
    await prepare(credits)
    for name, (request, count) in LISTS.items():
        whole = await rows(credits, request)
        if name not in ("ledger", "oldest first"):
            assert len(whole) == count, name
        for limit in (1, 2, 3, ROWS, 1_000):
            paged = await rows(credits, msgspec.structs.replace(request, limit=limit))
            if isinstance(request, RatesRequest):
                # A card may be on several pages, with a part of its rates on each.
                found = [(card.number, rate.metric) for card in paged for rate in card.rates]
                assert found == [(card.number, rate.metric) for card in whole for rate in card.rates]
                assert all(len(card.rates) <= limit for card in paged)
            elif name == "pools" or name == "all pools":
                assert [row.pool for row in paged] == [row.pool for row in whole]
            else:
                assert paged == whole, (name, limit)


async def test_grants_come_in_burn_order_and_then_the_newest_first(credits: Credits) -> None:
    await prepare(credits)
    found = [row.key async for row in credits.each(GrantsRequest(pool="acme", limit=2))]
    assert found == ["g1", "g4", "g2", "g5", "g6", "g3", "g0"]


async def test_pages_as_of_a_moment_do_not_see_what_came_later(credits: Credits) -> None:
    await prepare(credits)
    moment = (await credits.balance("acme")).as_of
    request = GrantsRequest(pool="acme", as_of=moment, limit=3)
    first = await credits.send(request)
    await credits.grant("acme", 1, key="later", priority=0)
    rest = await rows(credits, msgspec.structs.replace(request, cursor=first.next_cursor))
    assert sorted(row.key for row in (*first.grants, *rest)) == [f"g{number}" for number in range(ROWS)]


async def test_a_cursor_is_refused_by_every_other_list(credits: Credits) -> None:
    await prepare(credits)
    await credits.grant("globex", 1, key="g")
    cursors: dict[str, str] = {}
    for name, (request, count) in LISTS.items():
        if count > 1:
            cursors[name] = (await credits.send(msgspec.structs.replace(request, limit=1))).next_cursor
    assert len(set(cursors.values())) == len(cursors) == len(LISTS) - 1
    for name, (request, _) in LISTS.items():
        for other, cursor in cursors.items():
            if other != name:
                with pytest.raises(InvalidRequest) as refused:
                    await credits.send(msgspec.structs.replace(request, cursor=cursor))
                assert refused.value.field == "cursor", (name, other)
        for garbled in ("", "v3", "acme", "default@acme", "AAAAAAAAAAAAAAAA", "x" * 10_000):
            with pytest.raises(InvalidRequest, match="cursor"):
                await credits.send(msgspec.structs.replace(request, cursor=garbled))
    for name in ("grants", "holds", "ledger"):
        with pytest.raises(InvalidRequest, match="cursor"):
            await credits.send(msgspec.structs.replace(LISTS[name][0], pool="globex", cursor=cursors[name]))
    with pytest.raises(InvalidRequest, match="cursor"):
        await credits.totals("globex", cursor=cursors["totals"])


async def test_the_entries_of_a_usage_answer_have_cursors_of_their_own(credits: Credits) -> None:
    await prepare(credits)
    usage = await credits.usage("acme", period="today", consistent=True)
    first = await credits.usage_entries(usage, limit=2)
    assert first.next_cursor is not None
    found = await rows(credits, EntriesRequest(question=usage.question, as_of=usage.as_of, limit=2))
    assert len(found) == 1 + 2 * ROWS
    for place, right in enumerate(first.next_cursor):
        garbled = first.next_cursor[:place] + ("A" if right != "A" else "B") + first.next_cursor[place + 1 :]
        with pytest.raises(InvalidRequest) as refused:
            await credits.usage_entries(usage, limit=2, cursor=garbled)
        assert refused.value.field == "cursor"


async def test_counts_are_cut_and_can_be_had_whole(credits: Credits) -> None:
    await prepare(credits)
    budget = (await credits.budgets("acme", counts_max=2)).budgets[2]
    assert (len(budget.counts), budget.counts_cut) == (2, True)
    # Those that used most: the holds.
    assert [count.used for count in budget.counts] == [Decimal(1)] * 2
    whole = (await credits.budgets("acme")).budgets[2]
    assert not whole.counts_cut
    counts = (await credits.budget_counts("acme", "n2")).counts
    assert sorted(counts, key=str) == sorted(whole.counts, key=str)
    allowance = (await credits.allowances("acme", counts_max=0)).allowances[3]
    assert (allowance.counts, allowance.counts_cut) == ((), True)
    left = {count.value: count.left for count in (await credits.allowance_counts("acme", "n3")).counts}
    assert left == {f"u{number}": Decimal("0.25") for number in range(ROWS)}
    for read in (credits.budget_counts, credits.allowance_counts):
        with pytest.raises(NotFound, match="nobody"):
            await read("acme", "nobody")


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1_001}, {"limit": True}, {"state": "lost"}, {"cursor": 3}])
async def test_a_wrong_page_is_refused_by_its_field(credits: Credits, wrong: dict[str, Any]) -> None:
    await credits.grant("acme", 1, key="g")
    with pytest.raises(InvalidRequest) as refused:
        await credits.grants("acme", **wrong)
    assert refused.value.field == next(iter(wrong))


async def test_what_is_no_list_has_no_pages(credits: Credits) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        await rows(credits, BalanceRequest(pool="acme"))
