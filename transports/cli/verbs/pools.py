"""The verbs of pools: open one, show its balance, list them, sum them."""

from __future__ import annotations

from typing import Annotated

import typer

from solvent.engine.api.requests import TotalsRequest
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT
from solvent.transports.cli.asking import ask, ask_all, command
from solvent.transports.cli.options import AsOf, Cursor, PoolArgument, Shared, with_shared_options
from solvent.transports.cli.render import balances as render


@with_shared_options
def open_pool(shared: Shared, pool: PoolArgument) -> None:
    """Open an empty pool, and create the journal if there is none. A first grant opens a pool too."""
    command(shared, "opening", pool, lambda credits: credits.open_pool(pool), create=True)


@with_shared_options
def balance(shared: Shared, pool: PoolArgument, as_of: AsOf = None) -> None:
    """Show what is available in a pool, and where the rest of its granted credits went."""
    ask(shared, lambda credits: credits.balance(pool, as_of=as_of), render.balance)


@with_shared_options
def pools(
    shared: Shared,
    customer: Annotated[str | None, typer.Argument(help="Only this customer's pools.")] = None,
    environment: Annotated[str, typer.Option(help="The environment to list.")] = ENVIRONMENT_DEFAULT,
    limit: Annotated[int, typer.Option(help="Pools on a page, 1 to 1000.")] = 100,
    cursor: Cursor = None,
) -> None:
    """List pools with their balances."""
    ask(
        shared,
        lambda credits: credits.pools(customer, environment=environment, limit=limit, cursor=cursor),
        render.pools,
    )


@with_shared_options
def totals(
    shared: Shared,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer whose pools are summed.")],
    environment: Annotated[str, typer.Option(help="The environment of the customer.")] = ENVIRONMENT_DEFAULT,
) -> None:
    """Show the sums over all pools of a customer, by currency."""
    ask_all(shared, lambda: TotalsRequest(customer=customer, environment=environment), render.totals)
