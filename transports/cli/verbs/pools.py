"""The verbs on one pool or a list of pools: each asks ``Credits`` one question and prints the answer."""

from __future__ import annotations

from typing import Annotated

import typer

from solvent.engine.api.answers import to_wire
from solvent.engine.api.balances import Balance, CustomerTotals, GrantList, PoolPage
from solvent.engine.api.ledger import CostReport, LedgerPage
from solvent.engine.api.receipts import Receipt
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT, parse_pool
from solvent.engine.values.terms import PRIORITY_DEFAULT
from solvent.transports.cli.options import (
    AmountArgument,
    AsOf,
    Cursor,
    Dims,
    Key,
    PoolArgument,
    Shared,
    as_typed,
    random_key,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_cost_basis, parse_dimensions
from solvent.transports.cli.render import tables as render
from solvent.transports.cli.running import reporting, respond


@with_shared_options
def grant(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    key: Key = None,
    category: Annotated[str, typer.Option(help='"paid" or "promotional".')] = "paid",
    priority: Annotated[int, typer.Option(help="0 to 100; lower burns first.")] = PRIORITY_DEFAULT,
    effective_at: Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: now.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: never.")] = None,
    cost_basis: Annotated[
        str | None, typer.Option(metavar="CODE=PRICE", help="What one credit cost, such as USD=0.0125.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name, for people.")] = None,
    comment: Annotated[str | None, typer.Option(help="A comment, for people.")] = None,
    meta: Annotated[
        list[str] | None, typer.Option("--meta", metavar="NAME=VALUE", help="Metadata, as --dim of a debit.")
    ] = None,
) -> None:
    """Put a block of credits into a pool. The first grant creates the pool, and the journal if there is none."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        target = shared.target()
        written = str(parse_pool(pool))
        cost = parse_cost_basis(cost_basis, "--cost-basis")
        metadata = parse_dimensions(meta, "--meta") if meta else None

    async def ask() -> Receipt:
        async with target.open(create=True) as credits:
            return await credits.grant(
                pool,
                amount,
                key=used_key,
                category=as_typed(category),
                priority=priority,
                effective_at=effective_at,
                expires_at=expires_at,
                cost_basis=cost,
                name=name,
                comment=comment,
                metadata=metadata,
            )

    respond(
        shared.as_json,
        ask,
        plain=lambda answer: render.receipt("grant", written, answer, used_key),
        wire=lambda answer: {**to_wire(answer), "key": used_key},
        key=used_key,
    )


@with_shared_options
def debit(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    key: Key = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take what is there, if it is less.")] = False,
    occurred_at: Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: now.")] = None,
    metric: Annotated[str | None, typer.Option(help="What was metered.")] = None,
    quantity: Annotated[str | None, typer.Option(help="How much of the metric, as decimal text.")] = None,
    dim: Dims = None,
    backfill: Annotated[bool, typer.Option("--backfill", help="Lift the 400-day limit on --occurred-at.")] = False,
) -> None:
    """Consume credits of a pool: all or nothing, or with --partial what is there. Refused, nothing is written."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        target = shared.target()
        written = str(parse_pool(pool))
        dimensions = parse_dimensions(dim) if dim else None

    async def ask() -> Receipt:
        async with target.open() as credits:
            return await credits.debit(
                pool,
                amount,
                key=used_key,
                partial=partial,
                occurred_at=occurred_at,
                metric=metric,
                quantity=quantity,
                dimensions=dimensions,
                backfill=backfill,
            )

    respond(
        shared.as_json,
        ask,
        plain=lambda answer: render.receipt("debit", written, answer, used_key),
        wire=lambda answer: {**to_wire(answer), "key": used_key},
        key=used_key,
    )


@with_shared_options
def balance(shared: Shared, pool: PoolArgument, as_of: AsOf = None) -> None:
    """Show a pool: what is available, and where the rest of its granted credits went."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> Balance:
        async with target.open() as credits:
            return await credits.balance(pool, as_of=as_of)

    respond(shared.as_json, ask, plain=render.balance, wire=to_wire)


@with_shared_options
def grants(shared: Shared, pool: PoolArgument, as_of: AsOf = None) -> None:
    """List the grants of a pool, those that can be burned first, in burn order."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> GrantList:
        async with target.open() as credits:
            return await credits.grants(pool, as_of=as_of)

    respond(shared.as_json, ask, plain=render.grants, wire=to_wire)


@with_shared_options
def costs(
    shared: Shared,
    pool: PoolArgument,
    start: Annotated[str | None, typer.Option(help="From this moment on, ISO 8601 with its zone.")] = None,
    end: Annotated[str | None, typer.Option(help="Before this moment.")] = None,
) -> None:
    """Show what became of a pool's credits by what they had cost: burned, expired, voided, and their value."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> CostReport:
        async with target.open() as credits:
            return await credits.costs(pool, start=start, end=end)

    respond(shared.as_json, ask, plain=render.costs, wire=to_wire)


@with_shared_options
def ledger(
    shared: Shared,
    pool: PoolArgument,
    limit: Annotated[int, typer.Option(help="Entries of one page, 1 to 1000.")] = 50,
    cursor: Cursor = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="From the beginning of the pool.")] = False,
) -> None:
    """Show a page of a pool's history, newest first."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> LedgerPage:
        async with target.open() as credits:
            return await credits.ledger(pool, limit=limit, cursor=cursor, newest_first=not oldest_first)

    respond(shared.as_json, ask, plain=render.ledger, wire=to_wire)


@with_shared_options
def pools(
    shared: Shared,
    customer: Annotated[str | None, typer.Argument(help="Only this customer's pools.")] = None,
    environment: Annotated[str, typer.Option(help="The environment to list.")] = ENVIRONMENT_DEFAULT,
    limit: Annotated[int, typer.Option(help="Pools of one page, 1 to 1000.")] = 100,
    cursor: Cursor = None,
) -> None:
    """List pools with their balances."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> PoolPage:
        async with target.open() as credits:
            return await credits.pools(customer, environment=environment, limit=limit, cursor=cursor)

    respond(shared.as_json, ask, plain=render.pools, wire=to_wire)


@with_shared_options
def totals(
    shared: Shared,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Whose pools.")],
    environment: Annotated[str, typer.Option(help="The environment of the customer.")] = ENVIRONMENT_DEFAULT,
) -> None:
    """Show what all pools of a customer hold together, by currency."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> CustomerTotals:
        async with target.open() as credits:
            return await credits.totals(customer, environment=environment)

    respond(shared.as_json, ask, plain=render.totals, wire=to_wire)
