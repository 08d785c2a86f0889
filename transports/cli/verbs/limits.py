"""The verbs that say how a pool may be spent: budgets."""

from __future__ import annotations

from typing import Annotated

import typer

from solvent.engine.api.answers import to_wire
from solvent.engine.api.credits import Credits
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.settings import BudgetList
from solvent.transports.cli.options import AmountArgument, PoolArgument, Shared, as_typed, with_shared_options
from solvent.transports.cli.pairs import parse_dimensions
from solvent.transports.cli.render import tables as render
from solvent.transports.cli.running import reporting, respond

from .changes import command

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The budget's name in its pool.")]


@with_shared_options
def set_budget(
    shared: Shared,
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
) -> None:
    """Limit what may be spent per window. Set again, a budget takes new terms and goes on counting."""
    with reporting(shared.as_json):
        wanted = parse_dimensions(match, "--match") if match else None

    async def work(credits: Credits) -> Receipt:
        return await credits.set_budget(
            pool,
            name,
            amount,
            window=as_typed(window),
            time_zone=time_zone,
            match=wanted,
            each=each,
            mode="warn" if warn else "block",
            holds_max=holds_max,
        )

    command(shared, "budget", pool, work, key=None)


@with_shared_options
def remove_budget(shared: Shared, pool: PoolArgument, name: NameArgument) -> None:
    """Let there be no budget of this name."""

    async def work(credits: Credits) -> Receipt:
        return await credits.remove_budget(pool, name)

    command(shared, "removal", pool, work, key=None)


@with_shared_options
def budgets(shared: Shared, pool: PoolArgument) -> None:
    """List the budgets of a pool, with what is used of them in their present windows."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> BudgetList:
        async with target.open() as credits:
            return await credits.budgets(pool)

    respond(shared.as_json, ask, plain=render.budgets, wire=to_wire)
