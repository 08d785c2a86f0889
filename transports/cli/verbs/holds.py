"""The verbs of holds: open one, capture or release it, list them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from solvent.engine.api.credits import Credits
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import HoldsRequest
from solvent.engine.values.terms import HOLD_TTL_DEFAULT_S
from solvent.transports.cli.asking import ask_all, command
from solvent.transports.cli.options import (
    AmountArgument,
    Dims,
    Key,
    NowOrTime,
    PoolArgument,
    Quantity,
    Shared,
    random_key,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_dimensions
from solvent.transports.cli.render import balances as render
from solvent.transports.cli.running import reporting

HoldArgument: TypeAlias = Annotated[str, typer.Argument(metavar="HOLD", help='The id of a hold, such as "h7".')]


@with_shared_options
def hold(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    key: Key = None,
    ttl: Annotated[float, typer.Option(help="Seconds until the hold expires, 1 to 86400.")] = HOLD_TTL_DEFAULT_S,
    metric: Annotated[str | None, typer.Option(help="The metric that will be metered.")] = None,
    dim: Dims = None,
) -> None:
    """Set credits aside before the real cost is known. A hold that is never settled expires and returns them."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        dimensions = parse_dimensions(dim) if dim else None

    async def order(credits: Credits) -> Receipt:
        opened = await credits.hold(pool, amount, key=used_key, ttl_s=ttl, metric=metric, dimensions=dimensions)
        return opened.receipt

    command(shared, "hold", pool, order, key=used_key)


@with_shared_options
def capture(
    shared: Shared,
    pool: PoolArgument,
    hold: HoldArgument,
    amount: AmountArgument,
    occurred_at: NowOrTime = None,
    metric: Annotated[str | None, typer.Option(help="The metric, if not that of the hold.")] = None,
    quantity: Quantity = None,
) -> None:
    """Spend a hold: a part, all, or more if the rest fits into the pool. What is not spent goes back."""
    command(
        shared,
        "capture",
        pool,
        lambda credits: credits.capture(pool, hold, amount, occurred_at=occurred_at, metric=metric, quantity=quantity),
    )


@with_shared_options
def release(shared: Shared, pool: PoolArgument, hold: HoldArgument) -> None:
    """Return all of a hold to the pool."""
    command(shared, "release", pool, lambda credits: credits.release(pool, hold))


@with_shared_options
def holds(shared: Shared, pool: PoolArgument) -> None:
    """List the holds of a pool that are not settled, oldest first."""
    ask_all(shared, lambda: HoldsRequest(pool=pool), render.holds)
