"""How receipts, holds, answers and refusals read in a log, to the letter: of the engine and of the client alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest

from solvent import Credits, DebitRequest, GrantRequest, Receipt, SolventError

from .conftest import Clock

NOW = datetime(2026, 11, 29, 18, 30, tzinfo=UTC)
AT = "recorded_at=2026-11-29T18:30:00Z"


class StandingClock(Clock):
    """A clock that shows ``NOW`` until it is set forward."""

    def now(self) -> datetime:
        return NOW + self._ahead

    def now_us(self) -> int:
        return round(self.now().timestamp()) * 1_000_000


@pytest.fixture
def clock() -> Clock:
    return StandingClock()


async def test_receipts_read_as_what_was_done(credits: Credits) -> None:
    said = [
        await credits.grant("acme", "5", key="welcome", category="promotional"),
        await credits.grant("acme", "100", key="order-1"),
        await credits.debit("acme", "7.25", key="req-1"),
        await credits.debit("acme", "7.25", key="req-1"),
        await credits.reverse("acme", "d4", key="refund-1", amount="0.000001"),
        await credits.set_budget("acme", "nudge", "1", window="hour", mode="warn"),
        await credits.set_allowance("acme", "free", "2", window="day"),
        await credits.debit("acme", "2.5", key="req-2"),
        await credits.set_allowance("acme", "free", "2", window="day"),
    ]
    assert list(map(repr, said)) == [
        f"Receipt(pool='acme', key='welcome', id='g2', amount=5, balance=5, opened_pool=True, {AT})",
        f"Receipt(pool='acme', key='order-1', id='g3', amount=100, balance=105, {AT})",
        f"Receipt(pool='acme', key='req-1', id='d4', amount=7.25, balance=97.75, allocations=[g2: 5, g3: 2.25], {AT})",
        "Receipt(pool='acme', key='req-1', id='d4', amount=7.25, balance=97.75, allocations=[g2: 5, g3: 2.25], "
        f"{AT}, replayed=True)",
        "Receipt(pool='acme', key='refund-1', id='r5', amount=0.000001, balance=97.750001, "
        f"allocations=[g3: 0.000001], debit='d4', returned=0.000001, {AT})",
        f"Receipt(pool='acme', id='b6', amount=0, balance=97.750001, {AT})",
        f"Receipt(pool='acme', id='f7', amount=0, balance=97.750001, {AT})",
        "Receipt(pool='acme', key='req-2', id='d8', amount=0.5, balance=97.250001, covered=2, "
        f"allocations=[g3: 0.5], allowances=[free: 2], {AT})",
        f"Receipt(pool='acme', id='', amount=0, balance=97.250001, {AT}, replayed=True)",
    ]
    assert f"{said[2]}" == repr(said[2])
    assert repr(said[2].allocations) == "(Allocation(grant='g2', amount=5), Allocation(grant='g3', amount=2.25))"


async def test_receipts_of_a_currency_without_decimal_places_read_alike(credits: Credits) -> None:
    receipt = await credits.grant("acme:tokens", 12_000, key="order-1")
    assert (
        repr(receipt)
        == f"Receipt(pool='acme:tokens', key='order-1', id='g2', amount=12000, balance=12000, opened_pool=True, {AT})"
    )


async def test_receipts_know_what_they_were_asked_for(credits: Credits) -> None:
    """However it was asked: alone, in a batch, in a batch of all or nothing, by a request struct; and is no part of
    their value."""
    granted = await credits.send(GrantRequest(pool="test@acme", amount="10", key="g"))
    moved = await credits.transfer("test@acme", "test@acme/web", "1", key="t", open_pool=True)
    debits = [DebitRequest(pool="test@acme", amount="1", key=key) for key in ("a", "b")]
    answers = await credits.batch(debits)
    together = await credits.batch([DebitRequest(pool="test@acme", amount="1", key="c")], atomic=True)
    again = await credits.debit("test@acme", "1", key="a")
    receipts = [granted, moved, *answers, *together, again]
    assert [(each.pool, each.key) for each in receipts if isinstance(each, Receipt)] == [
        ("test@acme", key) for key in "gtabca"
    ]
    decoded = msgspec.json.decode(msgspec.json.encode(again), type=Receipt)
    assert (decoded.pool, decoded.key) == (None, None)
    assert decoded == again


async def test_holds_read_as_pool_key_amount_and_state(credits: Credits) -> None:
    await credits.grant("acme/web", "10", key="order-1")
    pending = credits.hold("acme/web", "5", key="job-9")
    assert repr(pending) == "PendingHold(pool='acme/web', key='job-9', amount='5', state='not asked')"
    async with pending as hold:
        opened, was_settled = repr(hold), hold.settled
        receipt = await hold.capture("3.2")
    common = "pool='acme/web', key='job-9', id='h3', state='{}', amount=5, balance=5, expires_at=2026-11-29T19:30:00Z"
    assert opened == f"OpenHold({common.format('open')})"
    assert repr(hold) == f"OpenHold({common.format('captured')})"
    assert repr(pending) == "PendingHold(pool='acme/web', key='job-9', amount='5', state='captured')"
    assert (was_settled, hold.settled) == (False, True)
    assert repr(receipt) == (
        "Receipt(pool='acme/web', id='d4', amount=3.2, balance=6.8, allocations=[g2: 3.2], hold='h3', "
        f"returned=1.8, {AT})"
    )

    async with credits.hold("acme/web", 1, key="job-10", ttl_s=60) as other:
        pass
    assert "id='h5', state='released', amount=1, balance=5.8, expires_at=2026-11-29T18:31:00Z" in repr(other)
    assert repr((await credits.holds("acme/web")).holds) == "()"


async def test_answers_read_as_decimals_and_times_without_what_says_nothing(credits: Credits, clock: Clock) -> None:
    await credits.grant("acme", "100", key="order-1", cost_basis=("0.01", "USD"))
    await credits.set_budget("acme", "bots", "10", window="day", match={"source": "script"})
    await credits.debit("acme", "100", key="req-1", metric="tokens", quantity=640, dimensions={"user": "u7"})
    assert repr(await credits.balance("acme")) == (
        "Balance(pool='acme', version=4, as_of=2026-11-29T18:30:00Z, available=0, granted=100, spent=100)"
    )
    assert repr(await credits.grants("acme")) == (
        "GrantList(pool='acme', version=4, grants=[GrantView(id='g2', state='depleted', amount=100, available=0, "
        "spent=100, category='paid', priority=50, created_at=2026-11-29T18:30:00Z, effective_at=2026-11-29T18:30:00Z, "
        "cost_basis={'per_credit': '0.01', 'currency': 'USD'}, key='order-1')])"
    )
    assert repr(await credits.holds("acme")) == "HoldList(pool='acme', version=4, holds=[])"
    assert repr(await credits.budgets("acme")) == (
        "BudgetList(pool='acme', version=4, budgets=[BudgetView(name='bots', amount=10, window='day', time_zone='UTC', "
        "match={'source': 'script'}, mode='block', resets_at=2026-11-30T00:00:00Z)])"
    )
    assert repr(await credits.check("acme", "2.5")) == (
        "Verdict(pool='acme', version=4, allowed=False, requested=2.5, available=0, top_up=2.5)"
    )
    assert repr((await credits.ledger("acme", limit=1)).entries[0]) == (
        "LedgerEntry(version=4, kind='debit', id='d4', amount=100, change=-100, balance=0, "
        "recorded_at=2026-11-29T18:30:00Z, occurred_at=2026-11-29T18:30:00Z, key='req-1', allocations=[g2: 100], "
        "metric='tokens', quantity=640, dimensions={'user': 'u7'})"
    )
    assert repr((await credits.costs("acme")).lines) == (
        "(CostLine(cost_basis={'per_credit': '0.01', 'currency': 'USD'}, category='paid', burned=100, value=1),)"
    )
    clock.advance(days=1)
    usage = await credits.usage("acme", period="2026-11-29", group_by=["user", "team"], consistent=True)
    assert repr(usage.lines[0]) == (
        "UsageLine(start=2026-11-29T00:00:00Z, end=2026-11-30T00:00:00Z, group={'user': 'u7', 'team': None}, "
        "credits=100, debited=100, events=1, quantities={'tokens': 640}, first_at=2026-11-29T18:30:00Z, "
        "last_at=2026-11-29T18:30:00Z)"
    )
    assert f"lines=[{usage.lines[0]!r}], total=" in repr(usage)


async def test_a_page_of_many_entries_reads_as_the_first_and_how_many_more(credits: Credits) -> None:
    await credits.grant("acme", "100", key="order-1")
    for number in range(20):
        await credits.debit("acme", "1", key=f"req-{number}")
    page = repr(await credits.ledger("acme"))
    assert len(re.findall(r"LedgerEntry\(", page)) == 10
    assert page.endswith(", ... 12 more])")


async def test_refusals_read_as_what_was_asked_and_what_is_there(credits: Credits) -> None:
    await credits.grant("acme", "6", key="order-1")
    await credits.set_budget("acme", "bots", "5", window="day", match={"source": "script"})
    refused: list[str] = []
    for amount, dimensions in [("7", {}), ("5.5", {"source": "script"})]:
        try:
            await credits.debit("acme", amount, key="req-1", dimensions=dimensions)
        except SolventError as error:
            refused.append(repr(error))
    assert refused[0] == (
        "InsufficientCredits('insufficient credits in acme: 7 requested, 6 available; a top-up of 1 is needed')"
    )
    assert re.fullmatch(r"BudgetExceeded\('budget bots .*0 of 5 credits used.*'\)", refused[1])
