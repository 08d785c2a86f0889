"""The verbs of holds: open one, extend, capture or release it, list them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from solvent.engine.api.credits import Credits
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import HoldsRequest
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

ExpiresAt: TypeAlias = Annotated[
    str | None, typer.Option(help="When the hold expires, instead of --ttl: ISO 8601 with its zone.")
]
HoldArgument: TypeAlias = Annotated[str, typer.Argument(metavar="HOLD", help='The id of a hold, such as "h7".')]


@with_shared_options
def hold(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    key: Key = None,
    ttl: Annotated[
        float | None, typer.Option(help="Seconds until the hold expires, 1 to 86400. Default: an hour.")
    ] = None,
    expires_at: ExpiresAt = None,
    metric: Annotated[str | None, typer.Option(help="The metric that will be metered.")] = None,
    dim: Dims = None,
) -> None:
    """Set credits aside before the real cost is known. A hold that is never settled expires and returns them."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        dimensions = parse_dimensions(dim) if dim else None

    async def order(credits: Credits) -> Receipt:
        opened = await credits.hold(
            pool, amount, key=used_key, ttl_s=ttl, expires_at=expires_at, metric=metric, dimensions=dimensions
        )
        return opened.receipt

    command(shared, "hold", pool, order, key=used_key)


@with_shared_options
def capture(
    shared: Shared,
    pool: PoolArgument,
    hold: HoldArgument,
    amount: Annotated[
        str | None, typer.Argument(metavar="[AMOUNT]", help="Credits. Default: what --quantity costs by the rate card.")
    ] = None,
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
def extend(
    shared: Shared,
    pool: PoolArgument,
    hold: HoldArgument,
    key: Key = None,
    ttl: Annotated[float | None, typer.Option(help="Seconds from now until the hold expires, 1 to 86400.")] = None,
    expires_at: ExpiresAt = None,
) -> None:
    """Let an open hold expire later: at most 24 hours from now, and 7 days from its start."""
    used_key = key or random_key()
    command(
        shared,
        "extension",
        pool,
        lambda credits: credits.extend(pool, hold, key=used_key, ttl_s=ttl, expires_at=expires_at),
        key=used_key,
    )


@with_shared_options
def release(shared: Shared, pool: PoolArgument, hold: HoldArgument) -> None:
    """Return all of a hold to the pool."""
    command(shared, "release", pool, lambda credits: credits.release(pool, hold))


@with_shared_options
def holds(shared: Shared, pool: PoolArgument) -> None:
    """List the holds of a pool that are not settled, oldest first."""
    ask_all(shared, lambda: HoldsRequest(pool=pool), render.holds)
