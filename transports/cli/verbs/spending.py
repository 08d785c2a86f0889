"""The verbs of spending: check credits, debit them, reverse a debit, move credits."""

from __future__ import annotations

from typing import Annotated

import typer

from solvent.transports.cli.asking import ask, command
from solvent.transports.cli.options import (
    AmountArgument,
    Dims,
    Key,
    NowOrTime,
    Partial,
    PoolArgument,
    Quantity,
    Shared,
    random_key,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_dimensions
from solvent.transports.cli.render import receipts as render
from solvent.transports.cli.running import reporting


@with_shared_options
def check(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    metric: Annotated[str | None, typer.Option(help="The metric. Some allowances count only one metric.")] = None,
    quantity: Quantity = None,
    dim: Dims = None,
) -> None:
    """Show whether credits could be spent now, how many at most, and from which allowances and grants.

    Writes nothing.
    """
    with reporting(shared.as_json):
        dimensions = parse_dimensions(dim) if dim else None
    ask(
        shared,
        lambda credits: credits.check(pool, amount, dimensions=dimensions, metric=metric, quantity=quantity),
        render.verdict,
    )


@with_shared_options
def debit(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    key: Key = None,
    partial: Partial = False,
    occurred_at: NowOrTime = None,
    metric: Annotated[str | None, typer.Option(help="The metric.")] = None,
    quantity: Quantity = None,
    dim: Dims = None,
    backfill: Annotated[bool, typer.Option("--backfill", help="Lift the 400-day limit on --occurred-at.")] = False,
) -> None:
    """Debit credits from a pool: all or nothing, or with --partial what is there. A refusal writes nothing."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        dimensions = parse_dimensions(dim) if dim else None
    command(
        shared,
        "debit",
        pool,
        lambda credits: credits.debit(
            pool,
            amount,
            key=used_key,
            partial=partial,
            occurred_at=occurred_at,
            metric=metric,
            quantity=quantity,
            dimensions=dimensions,
            backfill=backfill,
        ),
        key=used_key,
    )


@with_shared_options
def reverse(
    shared: Shared,
    pool: PoolArgument,
    debit: Annotated[str, typer.Argument(metavar="DEBIT", help='The id of a debit or capture, such as "d9".')],
    amount: Annotated[str | None, typer.Argument(help="Credits to give back. Default: all that are left.")] = None,
    key: Key = None,
) -> None:
    """Undo a debit or a part of it. The credits go back to the grants that paid."""
    used_key = key or random_key()
    command(
        shared,
        "reversal",
        pool,
        lambda credits: credits.reverse(pool, debit, key=used_key, amount=amount),
        key=used_key,
    )


@with_shared_options
def transfer(
    shared: Shared,
    pool: PoolArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Another pool of the same customer and currency.")],
    amount: AmountArgument,
    key: Key = None,
    open_pool: Annotated[bool, typer.Option("--open-pool", help="Open TARGET if it does not exist.")] = False,
) -> None:
    """Move unspent credits to another pool of the customer. Each block keeps its terms."""
    used_key = key or random_key()
    command(
        shared,
        "transfer",
        pool,
        lambda credits: credits.transfer(pool, target, amount, key=used_key, open_pool=open_pool),
        key=used_key,
    )
