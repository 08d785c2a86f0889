"""The options of ``solvent replay``, in the three groups that its help shows, and the mapping that they make.

A preset gives what no option says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from solvent.engine.values.amounts import SCALE_DEFAULT, parse_scale
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, parse_pool
from solvent.transports.cli.pairs import parse_dimensions, parse_pairs

from .mapping import Column, EventMapping, column_or_none
from .presets import NO_PRESET, PRESETS, find_preset
from .pricing import parse_price

_FILE: Final = "The file"
_MAPPING: Final = "What the columns mean"
_PRICES: Final = "What it costs"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How the file is read."""

    preset: Annotated[
        str | None, typer.Option(help=f"Mapping of a well-known file: {', '.join(PRESETS)}.", rich_help_panel=_FILE)
    ] = None
    delimiter: Annotated[str, typer.Option(help="Between the cells of a CSV.", rich_help_panel=_FILE)] = ","
    strict: Annotated[
        bool, typer.Option("--strict", help="End at the first line that cannot be booked.", rich_help_panel=_FILE)
    ] = False
    errors: Annotated[
        Path | None,
        typer.Option(help="Write line, code and reason of each line not booked to this file.", rich_help_panel=_FILE),
    ] = None
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Take events of more than 400 days ago.", rich_help_panel=_FILE)
    ] = False


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Which column is what, and what is the same for all lines."""

    pool: Annotated[str | None, typer.Option(help="Debit this pool.", rich_help_panel=_MAPPING)] = None
    pool_column: Annotated[str | None, typer.Option(help="Column with the pool.", rich_help_panel=_MAPPING)] = None
    customer_column: Annotated[
        str | None, typer.Option(help="Column with the customer's id.", rich_help_panel=_MAPPING)
    ] = None
    resource_column: Annotated[
        str | None,
        typer.Option(help="Column with the resource; an empty cell is the global pool.", rich_help_panel=_MAPPING),
    ] = None
    environment: Annotated[
        str, typer.Option(help="Environment of customers from a column.", rich_help_panel=_MAPPING)
    ] = ENVIRONMENT_DEFAULT
    pool_currency: Annotated[
        str, typer.Option(help="Currency of customers from a column.", rich_help_panel=_MAPPING)
    ] = CURRENCY_DEFAULT
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the event's id, its idempotency key. Default: the file's name and the line number.",
            rich_help_panel=_MAPPING,
        ),
    ] = None
    time_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the event's time, ISO 8601; beyond microseconds it is cut. Default: when it is recorded.",
            rich_help_panel=_MAPPING,
        ),
    ] = None
    assume_utc: Annotated[
        bool, typer.Option("--assume-utc", help="Times without an offset are UTC.", rich_help_panel=_MAPPING)
    ] = False
    time_zone: Annotated[
        str | None,
        typer.Option(help="Times without an offset are in this zone, such as Europe/Paris.", rich_help_panel=_MAPPING),
    ] = None
    dim_column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="A dimension from a column. Repeatable.", rich_help_panel=_MAPPING),
    ] = None
    dim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="The same dimension for all; name:=5 for a number or boolean. Repeatable.",
            rich_help_panel=_MAPPING,
        ),
    ] = None
    dims_rest: Annotated[
        bool,
        typer.Option("--dims-rest", help="Every column not named above is a dimension.", rich_help_panel=_MAPPING),
    ] = False


@dataclass(frozen=True, slots=True)
class PriceOptions:
    """Where amounts come from."""

    amount_column: Annotated[
        str | None, typer.Option(help="Column with the credits to debit.", rich_help_panel=_PRICES)
    ] = None
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="A metered quantity: one debit per metric and row, with key <id>#<metric>. Repeatable.",
            rich_help_panel=_PRICES,
        ),
    ] = None
    metric_column: Annotated[
        str | None, typer.Option(help="Column with the metric's name, one metric a row.", rich_help_panel=_PRICES)
    ] = None
    quantity_column: Annotated[
        str | None, typer.Option(help="Column with that metric's quantity.", rich_help_panel=_PRICES)
    ] = None
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CREDITS",
            help="Credits per unit of a metric, such as input_tokens=0.00003. Repeatable.",
            rich_help_panel=_PRICES,
        ),
    ] = None
    scale: Annotated[
        int | None,
        typer.Option(
            help="Decimal places that the currency keeps: quantity times price is rounded to it, half-even. "
            "Default: what --currency says of it, or 6.",
            rich_help_panel=_PRICES,
        ),
    ] = None


def mapping_of(
    file: Path, reading: FileOptions, columns: ColumnOptions, prices: PriceOptions, *, currencies: Mapping[str, int]
) -> EventMapping:
    """Return the mapping that the options make for ``file``.

    ``currencies`` has the decimal places of currencies that ``--currency`` names. Raises ``InvalidRequest`` naming the
    option that is wrong.
    """
    preset = NO_PRESET if reading.preset is None else find_preset(reading.preset)
    dimensions = parse_dimensions(columns.dim or ())
    price_of = {**preset.prices, **parse_pairs(prices.price or (), "--price")}
    column_of = parse_pairs(prices.metric or (), "--metric") or preset.metrics
    pool = None if columns.pool is None else parse_pool(columns.pool)
    currency = columns.pool_currency if pool is None else pool.currency
    places = currencies.get(currency, SCALE_DEFAULT) if prices.scale is None else prices.scale
    return EventMapping(
        id_prefix=file.stem,
        pool=pool,
        pool_column=column_or_none(columns.pool_column, "--pool-column"),
        customer_column=column_or_none(columns.customer_column, "--customer-column"),
        resource_column=column_or_none(columns.resource_column, "--resource-column"),
        environment=columns.environment,
        currency=columns.pool_currency,
        scale=parse_scale(places, "--scale"),
        id_column=column_or_none(columns.id_column, "--id-column"),
        time_column=column_or_none(columns.time_column or preset.time_column, "--time-column"),
        zone=_zone(columns.assume_utc, columns.time_zone) or preset.zone,
        amount_column=column_or_none(prices.amount_column, "--amount-column"),
        metric_column=column_or_none(prices.metric_column, "--metric-column"),
        quantity_column=column_or_none(prices.quantity_column, "--quantity-column"),
        metrics={metric: Column(column, "--metric") for metric, column in column_of.items()},
        prices={metric: parse_price(text, f"--price {metric}") for metric, text in price_of.items()},
        dimension_columns={
            name: Column(column, "--dim-column")
            for name, column in parse_pairs(columns.dim_column or (), "--dim-column").items()
        },
        dimensions=preset.dimensions(file.stem, dimensions),
        dimensions_rest=columns.dims_rest,
        backfill=reading.backfill or preset.backfill,
    )


def delimiter_of(reading: FileOptions) -> str:
    """Return the character between the cells of a CSV. Raises ``InvalidRequest``."""
    text = reading.delimiter
    if len(text) == 1 and text not in '"\r\n':
        return text
    raise InvalidRequest("--delimiter", "one character", got=repr(text)[:20])


def _zone(assume_utc: bool, name: str | None) -> tzinfo | None:
    if assume_utc and name is not None:
        raise InvalidRequest("--time-zone", "either --assume-utc or a zone, not both")
    if name is None:
        return UTC if assume_utc else None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest("--time-zone", "the name of a zone, such as Europe/Paris", got=repr(name)[:60]) from None
