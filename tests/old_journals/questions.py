"""What is asked of an old journal, and how commands and answers look as plain JSON.

Public names only: ``make.py`` runs this with an old Solvent to write down what that answers, and the tests run it with
this one. Amounts are decimal text, times ISO 8601.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import msgspec

from solvent import (
    CaptureRequest,
    Credits,
    DebitRequest,
    GrantRequest,
    HoldRequest,
    Receipt,
    ReleaseRequest,
    ReportRequest,
    ReverseRequest,
    SolventError,
)

Answers: TypeAlias = dict[str, Any]
"""What was answered, by what was asked."""

ENVIRONMENTS: Final = ("default", "staging", "qa/1")
CURRENCIES: Final = ("credits", "tokens", "eur", "gold/bars")
MOMENTS: Final = ("2026-01-06T00:00:00Z", "2026-01-31T12:00:00Z", "2026-02-17T00:00:00Z")
"""As of which balances and grants are asked for."""
RANGE: Final[Answers] = {"start": "2021-01-01T00:00:00Z", "end": "2026-12-31T00:00:00Z"}
"""Around everything that happened."""

REQUESTS: Final[dict[str, Callable[..., Any]]] = {
    "grant": GrantRequest,
    "debit": DebitRequest,
    "report": ReportRequest,
    "hold": HoldRequest,
    "capture": CaptureRequest,
    "release": ReleaseRequest,
    "reverse": ReverseRequest,
}
"""The commands of a batch, by verb."""


def plain_error(error: SolventError) -> Answers:
    """An error without its message, which may be worded better one day."""
    return {"error": error.code, **error.details()}


def plain_receipt(receipt: Receipt) -> Answers:
    """Everything that a receipt says."""
    plain: Answers = msgspec.to_builtins(
        {
            "id": receipt.id,
            "version": receipt.version,
            "replayed": receipt.replayed,
            "amount": receipt.amount,
            "balance": receipt.balance,
            "recorded_at": receipt.recorded_at,
            "allocations": receipt.allocations,
            "hold": receipt.hold,
            "debit": receipt.debit,
            "expires_at": receipt.expires_at,
            "returned": receipt.returned,
            "lapsed": receipt.lapsed,
            "uncovered": receipt.uncovered,
            "warnings": receipt.warnings,
            "card": receipt.card,
            "covered": receipt.covered,
            "allowances": receipt.allowances,
        }
    )
    return plain


async def command(credits: Credits, verb: str, arguments: Answers) -> Any:
    """Do what a written command says: a receipt, or a list of receipts and errors for a batch, as plain JSON.

    Raises what the verb raises.
    """
    if verb == "batch":
        requests = [REQUESTS[each](**fields) for each, fields in arguments["requests"]]
        answers = await credits.batch(requests, atomic=arguments["atomic"])
        return [plain_receipt(each) if isinstance(each, Receipt) else plain_error(each) for each in answers]
    if verb == "hold":
        return plain_receipt((await credits.hold(**arguments)).receipt)
    return plain_receipt(await getattr(credits, verb)(**arguments))


async def ledger(credits: Credits, pool: str) -> list[Any]:
    """All entries of a pool, oldest first, read in pages."""
    entries: list[Any] = []
    cursor: str | None = None
    while True:
        page = await credits.ledger(pool, limit=300, cursor=cursor, newest_first=False)
        entries += msgspec.to_builtins(page.entries)
        cursor = page.next_cursor
        if cursor is None:
            return entries


async def events(credits: Credits, environment: str, *, after: str = "0.0") -> list[Any]:
    """All that the pools of an environment have said behind a position, oldest first, read in pages."""
    found: list[Any] = []
    while True:
        page = await credits.past_events(environment=environment, after=after, limit=7)
        found += msgspec.to_builtins(page.events)
        after = page.position
        if not page.more:
            return found


async def pools(credits: Credits, environment: str) -> list[str]:
    """The names of all pools of an environment."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await credits.pools(environment=environment, limit=10, cursor=cursor)
        found += [balance.pool for balance in page.pools]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def all_pools(credits: Credits) -> list[str]:
    """The names of all pools."""
    return [pool for environment in ENVIRONMENTS for pool in await pools(credits, environment)]


async def past(credits: Credits) -> AsyncIterator[tuple[str, Any]]:
    """Ask for what stays the same however much time has passed since; ledgers and events may have got longer."""
    for environment in ENVIRONMENTS:
        yield f"events {environment}", await events(credits, environment)
        for currency in CURRENCIES:
            cards = await credits.rates(environment=environment, currency=currency)
            yield f"rates {environment} {currency}", msgspec.to_builtins(cards.cards)
    for pool in await all_pools(credits):
        yield f"ledger {pool}", await ledger(credits, pool)
        for moment in MOMENTS:
            try:
                balance = await credits.balance(pool, as_of=moment)
                grants = await credits.grants(pool, as_of=moment)
            except SolventError as error:
                yield f"as of {moment} {pool}", plain_error(error)
            else:
                yield f"as of {moment} {pool}", msgspec.to_builtins((balance, grants.grants))
        yield f"costs {pool}", msgspec.to_builtins((await credits.costs(pool, end=MOMENTS[-1])).lines)


async def usage(credits: Credits) -> AsyncIterator[tuple[str, Any]]:
    """Ask where the credits went, in ranges of time that are over: in many ways, since there are many."""
    questions: dict[str, Answers] = {
        "all": {},
        "by customer and resource": {"group_by": ["$customer", "$resource"]},
        "by metric and model": {"group_by": ["$metric", "model"]},
        "by grant of acme": {"pool": "acme", "group_by": ["$grant", "$category", "$cost_basis"]},
        "by user, top 3": {"group_by": ["user"], "top": 3},
        "by typed dimensions": {"customer": "acme", "group_by": ["tier", "cached", "share"]},
        "by day in Paris": {
            "start": "2025-10-25T00:00:00+02:00",
            "end": "2025-10-28T00:00:00+01:00",
            "window": "day",
            "time_zone": "Europe/Paris",
            "fill_empty": True,
        },
        "by week and model": {"window": "week", "group_by": ["model"], "order": "events"},
        "by month in Kolkata": {"window": "month", "time_zone": "Asia/Kolkata", "group_by": ["$customer"]},
        "by hour of a day": {"period": "2026-01-05", "window": "hour", "customer": "acme"},
        "of one model": {"filters": {"model": "gpt-4"}, "group_by": ["user"]},
        "of some users": {"filters": {"user": ["u1", "u2"], "model": None}, "group_by": ["user"]},
        "by prefix": {"filters": [{"field": "model", "op": "prefix", "value": "gpt"}], "group_by": ["model"]},
        "without a user": {"filters": [{"field": "user", "op": "not in", "values": ["u1"]}], "group_by": ["user"]},
        "of tokens": {"currency": "tokens", "group_by": ["$customer", "model"]},
        "of eur": {"currency": "eur", "group_by": ["$resource"]},
        "of gold/bars": {"environment": "qa/1", "currency": "gold/bars", "group_by": ["$customer", "$resource"]},
        "of staging": {"environment": "staging", "group_by": ["$metric"], "window": "month"},
    }
    for name, question in questions.items():
        given = question if {"start", "period"} & question.keys() else {**RANGE, **question}
        answer = await credits.usage(**{"consistent": True, **given})
        yield f"usage {name}", msgspec.to_builtins({"lines": answer.records(), "total": answer.total})
    by_user = await credits.usage("acme", group_by=["user"], consistent=True, **RANGE)
    for line in by_user.lines:
        page = await credits.usage_entries(by_user, line, limit=1_000)
        yield f"usage entries {line.group['user']}", msgspec.to_builtins(page.entries)
    month = await credits.usage(period="2026-01", group_by=["$customer"], consistent=True)
    compared = await credits.compare_usage(month, "2026-02")
    yield "usage compared", msgspec.to_builtins((compared.changes, compared.total))
    days = await credits.usage(
        customer="spiky", start="2026-01-01T00:00:00Z", end="2026-04-01T00:00:00Z", window="day", consistent=True
    )
    found = await credits.usage_spikes(days)
    yield "usage spikes", msgspec.to_builtins([(each.line, each.expected, each.score) for each in found.spikes])


async def present(credits: Credits) -> AsyncIterator[tuple[str, Any]]:
    """Ask for what depends on the time, which has to be the one at which the answers were written down."""
    for environment in ENVIRONMENTS:
        page = await credits.pools(environment=environment, limit=1_000)
        yield f"pools {environment}", msgspec.to_builtins(page.pools)
        for customer in sorted({balance.pool.partition("/")[0].partition(":")[0] for balance in page.pools}):
            name = customer.rpartition("@")[2]
            totals = await credits.totals(unquote(name), environment=environment)
            yield f"totals {customer}", msgspec.to_builtins(totals.totals)
    for pool in await all_pools(credits):
        yield f"balance {pool}", msgspec.to_builtins(await credits.balance(pool))
        yield f"grants {pool}", msgspec.to_builtins((await credits.grants(pool)).grants)
        yield f"holds {pool}", msgspec.to_builtins((await credits.holds(pool)).holds)
        yield f"budgets {pool}", msgspec.to_builtins((await credits.budgets(pool)).budgets)
        yield f"allowances {pool}", msgspec.to_builtins((await credits.allowances(pool)).allowances)
        yield f"recurring {pool}", msgspec.to_builtins((await credits.recurring(pool)).recurring)
        yield f"alerts {pool}", msgspec.to_builtins(await credits.alerts(pool))
        yield f"newest entries {pool}", msgspec.to_builtins((await credits.ledger(pool, limit=3)).entries)
        yield f"all costs {pool}", msgspec.to_builtins((await credits.costs(pool)).lines)
        for amount, dimensions in (("1", {}), ("1000000", {"user": "u1", "model": "gpt-4"})):
            verdict = await credits.check(pool, amount, dimensions=dimensions)
            yield f"check {amount} {pool}", msgspec.to_builtins(verdict)
    for quantity in (1_000, "12345678.9"):
        for model in ("gpt-4", "small"):
            estimate = await credits.estimate("acme", "input_tokens", quantity, dimensions={"model": model})
            yield f"estimate {quantity} {model}", msgspec.to_builtins(estimate)
    forecast = await credits.forecast("spiky", period="2026-01-01..2026-02-16")
    yield "forecast", msgspec.to_builtins(forecast)


async def cursors(credits: Credits) -> Answers:
    """Where pages go on: callers keep these, and a later version may be asked with them."""
    first = await credits.ledger("acme", limit=5, newest_first=False)
    some = await credits.pools(limit=10)
    return {"ledger acme": first.next_cursor, "pools default": some.next_cursor}


async def collected(asked: AsyncIterator[tuple[str, Any]]) -> Answers:
    """All answers of one of the above."""
    return {question: answer async for question, answer in asked}
