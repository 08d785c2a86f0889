"""A small program as a user would write it, embedded and over NATS.

It is checked by mypy and pyright against the installed wheel, and run: ``python program.py FOLDER [URL OF A NATS]``.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from decimal import Decimal
from typing import assert_type

from solvent import (
    Allocation,
    Balance,
    BudgetExceeded,
    Client,
    Credits,
    DebitRequest,
    Engine,
    GrantRequest,
    InsufficientCredits,
    OpenHold,
    PendingHold,
    PoolEvent,
    Receipt,
    Refused,
    Settings,
    SolventError,
    Unavailable,
    UsageLine,
    Verdict,
    Verification,
    connect,
    verify_journal,
)


async def grant_and_debit(credits: Credits) -> None:
    await credits.grant("acme/web", "100", key="order-1", cost_basis=("0.01", "USD"), metadata={"po": 17})
    receipt = await credits.debit("acme/web", "0.25", key="req-1", dimensions={"model": "gpt-4", "user": "u7"})
    assert_type(receipt, Receipt)
    assert_type(receipt.amount, Decimal)
    assert_type(receipt.recorded_at, datetime)
    assert_type(receipt.allocations, tuple[Allocation, ...])
    again = await credits.debit("acme/web", Decimal("0.25"), key="req-1", dimensions={"model": "gpt-4", "user": "u7"})
    assert again.replayed
    assert (again.id, receipt.balance) == (receipt.id, Decimal("99.75"))
    balance = await credits.balance("acme/web")
    assert_type(balance, Balance)
    assert balance.available + balance.spent == balance.granted


async def refusals(credits: Credits) -> None:
    """Every no is handled by its type, and its numbers are typed."""
    await credits.set_budget("acme/web", "bots", 5, window="day", match={"source": "script"})
    missing = Decimal(0)
    try:
        await credits.debit("acme/web", 1000, key="req-2")
    except InsufficientCredits as refused:
        assert_type(refused.available, Decimal)
        assert_type(refused.resets_at, datetime | None)
        missing = refused.top_up
    assert missing == Decimal("900.25")
    try:
        await credits.debit("acme/web", 6, key="req-3", dimensions={"source": "script"})
    except Unavailable as unknown:
        assert_type(unknown.retry_safe, bool)
        raise
    except BudgetExceeded as refused:
        assert isinstance(refused, Refused)
        assert_type(refused.limit, Decimal)
        assert (refused.budget, refused.status) == ("bots", 402)
    verdict = await credits.check("acme/web", 1000)
    assert_type(verdict, Verdict)
    assert not verdict.allowed


async def holds(credits: Credits) -> None:
    pending = credits.hold("acme/web", "5", key="job-9", ttl_s=60)
    assert_type(pending, PendingHold)
    async with pending as hold:
        assert_type(hold, OpenHold)
        captured = await hold.capture("3.2", metric="tokens", quantity=640)
        assert_type(captured, Receipt)
    assert (hold.settled, captured.returned) == (True, Decimal("1.8"))
    later = await credits.hold("acme/web", 1, key="job-10")
    assert_type(later, OpenHold)
    await later.release()


async def batches(credits: Credits) -> None:
    answers = await credits.batch(
        [
            GrantRequest(pool="acme/batch", amount=10, key="order-2"),
            DebitRequest(pool="acme/batch", amount="2.5", key="req-1", dimensions={"user": "u8"}),
            DebitRequest(pool="acme/batch", amount=1_000, key="req-2"),
        ]
    )
    spent = Decimal(0)
    refused: list[SolventError] = []
    for answer in answers:
        if isinstance(answer, SolventError):
            assert_type(answer, SolventError)
            refused.append(answer)
        else:
            assert_type(answer, Receipt)
            spent = answer.amount
    assert (spent, [error.code for error in refused]) == (Decimal("2.5"), ["insufficient_credits"])


async def history(credits: Credits) -> None:
    usage = await credits.usage(customer="acme", period="today", group_by=["user"], consistent=True)
    for line in usage.lines:
        assert_type(line, UsageLine)
    assert_type(usage.total.credits, Decimal)
    assert usage.total.credits == Decimal("5.95")
    await credits.set_alerts("acme/web", low=["90"])
    await credits.debit("acme/web", 10, key="req-4")
    async for event in credits.events("acme/web", after="0.0"):
        assert_type(event, PoolEvent)
        assert (event.kind, event.limit) == ("low", Decimal(90))
        break


async def refused_by_type_checkers(credits: Credits, receipt: Receipt) -> None:
    """Show mistakes that type checkers must find: a comment that suppresses nothing is an error. Never called."""
    await credits.debit("acme", 0.25, key="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await credits.debit("acme", "1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await credits.grant("acme", 1, key="a", category="free")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    DebitRequest(pool="acme", amount="1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    receipt.version = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    pending = credits.hold("acme", 1, key="a")
    pending.id  # type: ignore[attr-defined]  # pyright: ignore  # noqa: B018 - it is no hold before it is awaited


async def use(credits: Credits) -> None:
    await grant_and_debit(credits)
    await refusals(credits)
    await holds(credits)
    await batches(credits)
    await history(credits)


async def embedded(folder: str) -> None:
    async with Engine.open(folder, currencies={"tokens": 0}, settings=Settings(timeout_s=30.0)) as engine:
        assert_type(engine, Engine)
        await use(engine)
    found = verify_journal(folder)
    assert_type(found, Verification)
    assert found.proven


async def over_nats(url: str) -> None:
    async with connect(url) as client:
        assert_type(client, Client)
        await use(client)


if __name__ == "__main__":
    asyncio.run(embedded(sys.argv[1]))
    for each in sys.argv[2:]:
        asyncio.run(over_nats(each))
    print("done")
