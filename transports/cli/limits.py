"""The verbs that say how a pool may be spent: budgets."""

from __future__ import annotations

from typing import Annotated

import typer

from solvent.engine.answers import BudgetList, Receipt, to_wire
from solvent.engine.credits import Credits

from . import render
from .changes import command
from .options import (
    DATA_DIR_DEFAULT,
    AmountArgument,
    Currencies,
    DataDir,
    Json,
    NatsUrl,
    PoolArgument,
    target_of,
)
from .pairs import parse_dimensions
from .running import reporting, respond

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The budget's name in its pool.")]


def set_budget(
    ctx: typer.Context,
    pool: PoolArgument,
    name: NameArgument,
    amount: AmountArgument,
    window: Annotated[str, typer.Option(help="minute, hour, day, week, month or total.")],
    time_zone: Annotated[str, typer.Option(help="Where days, weeks and months begin, such as Europe/Paris.")] = "UTC",
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="NAME=VALUE", help="Only what has this dimension; as --dim. Repeatable."),
    ] = None,
    each: Annotated[
        str | None, typer.Option(metavar="NAME", help="Every value of this dimension counts on its own.")
    ] = None,
    warn: Annotated[bool, typer.Option("--warn", help="Do not refuse: receipts name it.")] = False,
    holds_max: Annotated[int | None, typer.Option(help="How many holds may be open at once.")] = None,
    data_dir: DataDir = DATA_DIR_DEFAULT,
    nats_url: NatsUrl = None,
    currency: Currencies = None,
    as_json: Json = False,
) -> None:
    """Limit what may be spent per window. Set again, a budget takes new terms and goes on counting."""
    with reporting(as_json):
        wanted = parse_dimensions(match, "--match") if match else None

    async def work(credits: Credits) -> Receipt:
        return await credits.set_budget(
            pool,
            name,
            amount,
            window=window,
            time_zone=time_zone,
            match=wanted,
            each=each,
            mode="warn" if warn else "block",
            holds_max=holds_max,
        )

    command(
        ctx, "budget", pool, work, key=None, data_dir=data_dir, nats_url=nats_url, currency=currency, as_json=as_json
    )


def remove_budget(
    ctx: typer.Context,
    pool: PoolArgument,
    name: NameArgument,
    data_dir: DataDir = DATA_DIR_DEFAULT,
    nats_url: NatsUrl = None,
    currency: Currencies = None,
    as_json: Json = False,
) -> None:
    """Let there be no budget of this name."""

    async def work(credits: Credits) -> Receipt:
        return await credits.remove_budget(pool, name)

    command(
        ctx, "removal", pool, work, key=None, data_dir=data_dir, nats_url=nats_url, currency=currency, as_json=as_json
    )


def budgets(
    ctx: typer.Context,
    pool: PoolArgument,
    data_dir: DataDir = DATA_DIR_DEFAULT,
    nats_url: NatsUrl = None,
    currency: Currencies = None,
    as_json: Json = False,
) -> None:
    """List the budgets of a pool, with what is used of them in their present windows."""
    with reporting(as_json):
        target = target_of(ctx, data_dir, nats_url, currency)

    async def ask() -> BudgetList:
        async with target.open() as credits:
            return await credits.budgets(pool)

    respond(as_json, ask, plain=render.budgets, wire=to_wire)
