"""The verbs that change what a plain grant or debit made: holds and their ends, reversals, new terms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from solvent.engine.api.answers import to_wire
from solvent.engine.api.balances import HoldList
from solvent.engine.api.credits import Credits
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.verdicts import Verdict
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import parse_pool
from solvent.engine.values.terms import HOLD_TTL_DEFAULT_S, KEEP, Keep
from solvent.transports.cli.options import (
    AmountArgument,
    Dims,
    Key,
    PoolArgument,
    Shared,
    random_key,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_dimensions
from solvent.transports.cli.render import tables as render
from solvent.transports.cli.running import reporting, respond

HoldArgument = Annotated[str, typer.Argument(metavar="HOLD", help='The id of a hold, such as "h7".')]
GrantArgument = Annotated[str, typer.Argument(metavar="GRANT", help='The id of a grant, such as "g2".')]


def command(
    shared: Shared,
    kind: str,
    pool: str,
    work: Callable[[Credits], Awaitable[Receipt]],
    *,
    key: str | None,
    create: bool = False,
) -> None:
    """Do one command and print its receipt. ``key`` is the one it was given, if it takes one.

    ``create`` is for what opens a pool: it makes the journal if there is none.
    """
    with reporting(shared.as_json):
        target = shared.target()
        written = str(parse_pool(pool))

    async def ask() -> Receipt:
        async with target.open(create=create) as credits:
            return await work(credits)

    def wire(answer: Receipt) -> dict[str, Any]:
        return to_wire(answer) | ({} if key is None else {"key": key})

    respond(shared.as_json, ask, plain=lambda answer: render.receipt(kind, written, answer, key), wire=wire, key=key)


@with_shared_options
def hold(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    key: Key = None,
    ttl: Annotated[float, typer.Option(help="Seconds until it expires, 1 to 86400.")] = HOLD_TTL_DEFAULT_S,
    metric: Annotated[str | None, typer.Option(help="What will be metered.")] = None,
    dim: Dims = None,
) -> None:
    """Set credits aside before the real cost is known. Capture or release them, or they come back by themselves."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        dimensions = parse_dimensions(dim) if dim else None

    async def work(credits: Credits) -> Receipt:
        opened = await credits.hold(pool, amount, key=used_key, ttl_s=ttl, metric=metric, dimensions=dimensions)
        return opened.receipt

    command(shared, "hold", pool, work, key=used_key)


@with_shared_options
def capture(
    shared: Shared,
    pool: PoolArgument,
    hold: HoldArgument,
    amount: AmountArgument,
    occurred_at: Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: now.")] = None,
    metric: Annotated[str | None, typer.Option(help="What was metered, if not what the hold says.")] = None,
    quantity: Annotated[str | None, typer.Option(help="How much of the metric, as decimal text.")] = None,
) -> None:
    """Spend a hold: less than it, all of it, or more if that fits. What is not spent goes back."""

    async def work(credits: Credits) -> Receipt:
        return await credits.capture(pool, hold, amount, occurred_at=occurred_at, metric=metric, quantity=quantity)

    command(shared, "capture", pool, work, key=None)


@with_shared_options
def release(shared: Shared, pool: PoolArgument, hold: HoldArgument) -> None:
    """Give back all of a hold."""

    async def work(credits: Credits) -> Receipt:
        return await credits.release(pool, hold)

    command(shared, "release", pool, work, key=None)


@with_shared_options
def holds(shared: Shared, pool: PoolArgument) -> None:
    """List the holds of a pool that are not settled, oldest first."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> HoldList:
        async with target.open() as credits:
            return await credits.holds(pool)

    respond(shared.as_json, ask, plain=render.holds, wire=to_wire)


@with_shared_options
def reverse(
    shared: Shared,
    pool: PoolArgument,
    debit: Annotated[str, typer.Argument(metavar="DEBIT", help='The id of a debit or capture, such as "d9".')],
    amount: Annotated[str | None, typer.Argument(help="Credits to give back. Default: all that is left.")] = None,
    key: Key = None,
) -> None:
    """Undo a debit, or a part of it: the credits go back to the grants that had paid."""
    used_key = key or random_key()

    async def work(credits: Credits) -> Receipt:
        return await credits.reverse(pool, debit, key=used_key, amount=amount)

    command(
        shared,
        "reversal",
        pool,
        work,
        key=used_key,
    )


@with_shared_options
def update_grant(
    shared: Shared,
    pool: PoolArgument,
    grant: GrantArgument,
    key: Key = None,
    priority: Annotated[int | None, typer.Option(help="0 to 100; lower burns first.")] = None,
    expires_at: Annotated[str | None, typer.Option(help='ISO 8601 with its zone, or "never".')] = None,
    meta: Annotated[
        list[str] | None, typer.Option("--meta", metavar="NAME=VALUE", help="All of its new metadata. Repeatable.")
    ] = None,
) -> None:
    """Change the terms of a grant: only those that are given."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        metadata = parse_dimensions(meta, "--meta") if meta else KEEP
        if priority is None and expires_at is None and meta is None:
            raise InvalidRequest("--priority", "something to change: --priority, --expires-at or --meta")
    ends: str | Keep | None = KEEP if expires_at is None else None if expires_at == "never" else expires_at

    async def work(credits: Credits) -> Receipt:
        return await credits.update_grant(
            pool,
            grant,
            key=used_key,
            priority=KEEP if priority is None else priority,
            expires_at=ends,
            metadata=metadata,
        )

    command(
        shared,
        "update",
        pool,
        work,
        key=used_key,
    )


@with_shared_options
def void_grant(shared: Shared, pool: PoolArgument, grant: GrantArgument) -> None:
    """Take away what is left of a grant: not what is held or spent."""

    async def work(credits: Credits) -> Receipt:
        return await credits.void_grant(pool, grant)

    command(shared, "void", pool, work, key=None)


@with_shared_options
def check(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    metric: Annotated[str | None, typer.Option(help="What would be metered: some allowances count only that.")] = None,
    quantity: Annotated[str | None, typer.Option(help="How much of the metric, as decimal text.")] = None,
    dim: Dims = None,
) -> None:
    """Ask whether credits could be spent now, how much at most, and out of which allowances and grants.

    Writes nothing.
    """
    with reporting(shared.as_json):
        target = shared.target()
        dimensions = parse_dimensions(dim) if dim else None

    async def ask() -> Verdict:
        async with target.open() as credits:
            return await credits.check(pool, amount, dimensions=dimensions, metric=metric, quantity=quantity)

    respond(shared.as_json, ask, plain=render.verdict, wire=to_wire)


@with_shared_options
def transfer(
    shared: Shared,
    pool: PoolArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Another pool of the same customer and currency.")],
    amount: AmountArgument,
    key: Key = None,
) -> None:
    """Move unspent credits to another pool of the customer: each block keeps its terms."""
    used_key = key or random_key()

    async def work(credits: Credits) -> Receipt:
        return await credits.transfer(pool, target, amount, key=used_key)

    command(
        shared,
        "transfer",
        pool,
        work,
        key=used_key,
    )
