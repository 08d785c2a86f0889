"""The verbs of metered usage: set rate cards, report quantities that they price, estimate costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer

from solvent.engine.api.answers import to_wire
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import RatesRequest
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT
from solvent.transports.cli.asking import ask, ask_all, command
from solvent.transports.cli.options import (
    Dims,
    Key,
    NowOrTime,
    Partial,
    PoolArgument,
    Shared,
    random_key,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_dimensions
from solvent.transports.cli.render import prices as render
from solvent.transports.cli.render.receipts import receipt
from solvent.transports.cli.running import reporting, respond

MetricArgument: TypeAlias = Annotated[str, typer.Argument(metavar="METRIC", help='The metric, such as "input_tokens".')]
QuantityArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="QUANTITY", help="The quantity of the metric, as decimal text.")
]
Environment: TypeAlias = Annotated[str, typer.Option(help="The environment of the rate card.")]
CurrencyName: TypeAlias = Annotated[
    str, typer.Option("--for-currency", metavar="NAME", help="The currency of the rate card.")
]


@with_shared_options
def set_rates(
    shared: Shared,
    file: Annotated[
        Path, typer.Argument(help="A JSON list of rates with metric, credits, per and match.", exists=True)
    ],
    effective_at: NowOrTime = None,
    environment: Environment = ENVIRONMENT_DEFAULT,
    for_currency: CurrencyName = CURRENCY_DEFAULT,
) -> None:
    """Set the rate card of a currency: what a quantity of each metric costs, by dimensions.

    A rate is {"metric": "input_tokens", "match": {"model": "gpt-4"}, "credits": "30", "per": 1000000}. The rate that
    matches the most dimensions wins. The card replaces the previous one from --effective-at on.
    """
    with reporting(shared.as_json):
        target = shared.target()
        rates = _read_card(file)

    async def ask() -> Receipt:
        async with target.open(create=True) as credits:
            return await credits.set_rates(
                rates, environment=environment, currency=for_currency, effective_at=effective_at
            )

    respond(shared.as_json, ask, plain=lambda answer: receipt("rates", for_currency, answer, None), wire=to_wire)


def _read_card(file: Path) -> list[dict[str, Any]]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest("FILE", "a JSON list of rates", got=str(error)[:100]) from None


@with_shared_options
def rates(
    shared: Shared, environment: Environment = ENVIRONMENT_DEFAULT, for_currency: CurrencyName = CURRENCY_DEFAULT
) -> None:
    """Show all versions of a currency's rate card."""
    ask_all(shared, lambda: RatesRequest(environment=environment, currency=for_currency), render.cards)


@with_shared_options
def report(
    shared: Shared,
    pool: PoolArgument,
    metric: MetricArgument,
    quantity: QuantityArgument,
    key: Key = None,
    partial: Partial = False,
    occurred_at: NowOrTime = None,
    dim: Dims = None,
) -> None:
    """Debit the cost of a metered quantity, by the rate card that was in effect when it occurred."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        dimensions = parse_dimensions(dim) if dim else None
    command(
        shared,
        "debit",
        pool,
        lambda credits: credits.report(
            pool, metric, quantity, key=used_key, partial=partial, occurred_at=occurred_at, dimensions=dimensions
        ),
        key=used_key,
    )


@with_shared_options
def estimate(
    shared: Shared,
    pool: PoolArgument,
    metric: MetricArgument,
    quantity: QuantityArgument,
    occurred_at: NowOrTime = None,
    dim: Dims = None,
) -> None:
    """Show what a metered quantity would cost, and whether the pool would allow it. Writes nothing."""
    with reporting(shared.as_json):
        dimensions = parse_dimensions(dim) if dim else None
    ask(
        shared,
        lambda credits: credits.estimate(pool, metric, quantity, occurred_at=occurred_at, dimensions=dimensions),
        render.estimate,
    )
