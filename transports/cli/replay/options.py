"""The options of ``solvent replay``, in the groups that its help shows.

What they say together is made of them in ``choices``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT

from .decimals import ROUNDINGS
from .formats import Format
from .presets import PRESETS
from .tables import QUOTE
from .times import AUTO, EPOCH_FORMAT, ISO, UNITS

_FILE: Final = "The file"
_MAPPING: Final = "What the columns mean"
_DIMENSIONS: Final = "Dimensions"
_PRICES: Final = "What it costs"

FLATTEN: Final = "flatten"
LEAVE_OUT: Final = "leave-out"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How the file is read."""

    preset: Annotated[
        str | None, typer.Option(help=f"Options for a well-known file: {', '.join(PRESETS)}.", rich_help_panel=_FILE)
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would be booked, at which price, and write nothing.", rich_help_panel=_FILE
        ),
    ] = False
    format: Annotated[
        Format | None,
        typer.Option(help="How the records are written. Default: told from the content.", rich_help_panel=_FILE),
    ] = None
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="Between the cells of a table. Default: the likeliest of comma, tab, semicolon and bar.",
            rich_help_panel=_FILE,
        ),
    ] = None
    quote: Annotated[str, typer.Option(help='Around cells of a table, or "none".', rich_help_panel=_FILE)] = QUOTE
    encoding: Annotated[
        str | None,
        typer.Option(help="Of the text. Default: UTF-8, or what a byte order mark says.", rich_help_panel=_FILE),
    ] = None
    records: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Where a JSON object has the array of the records, such as data.",
            rich_help_panel=_FILE,
        ),
    ] = None
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Only records with this value. Repeatable: of one column one of several values, of several all.",
            rich_help_panel=_FILE,
        ),
    ] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="End at the first record that cannot be booked.", rich_help_panel=_FILE)
    ] = False
    errors: Annotated[
        Path | None,
        typer.Option(
            help="Write number, line, code and reason of each record not booked to this file.", rich_help_panel=_FILE
        ),
    ] = None
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Take events of more than 400 days ago.", rich_help_panel=_FILE)
    ] = False


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Which column is what. A column is one of a table, or a path such as data.tokens."""

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
        typer.Option(help="Column with the event's id, its idempotency key.", rich_help_panel=_MAPPING),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The key is NAME and the record's number. Another file needs another name.",
            rich_help_panel=_MAPPING,
        ),
    ] = None
    hash_columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="The key is a digest of these columns, which no two events share.",
            rich_help_panel=_MAPPING,
        ),
    ] = None
    missing: Annotated[
        str | None,
        typer.Option(
            metavar="0",
            help="What a metric, an amount or a dimension is that a record lacks: 0, or none. Default: a bad record.",
            rich_help_panel=_MAPPING,
        ),
    ] = None
    time_column: Annotated[
        str | None,
        typer.Option(help="Column with the event's time. Default: when it is recorded.", rich_help_panel=_MAPPING),
    ] = None
    time_format: Annotated[
        str,
        typer.Option(
            help=f"{AUTO} (ISO 8601, or seconds or milliseconds since 1970), {ISO}, {', '.join(UNITS)}, {EPOCH_FORMAT} "
            "(any of those, by size), or a pattern such as %d/%m/%Y %H:%M. Beyond microseconds it is cut.",
            rich_help_panel=_MAPPING,
        ),
    ] = AUTO
    assume_utc: Annotated[
        bool, typer.Option("--assume-utc", help="Times without an offset are UTC.", rich_help_panel=_MAPPING)
    ] = False
    time_zone: Annotated[
        str | None,
        typer.Option(help="Times without an offset are in this zone, such as Europe/Paris.", rich_help_panel=_MAPPING),
    ] = None


@dataclass(frozen=True, slots=True)
class DimensionOptions:
    """What the events say of who, what and where."""

    dim_column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="A dimension from a column. Repeatable.", rich_help_panel=_DIMENSIONS),
    ] = None
    dim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="The same dimension for all; name:=5 for a number or boolean. Repeatable.",
            rich_help_panel=_DIMENSIONS,
        ),
    ] = None
    dims_column: Annotated[
        str | None, typer.Option(help="Column with an object of dimensions.", rich_help_panel=_DIMENSIONS)
    ] = None
    dims_rest: Annotated[
        bool,
        typer.Option(
            "--dims-rest", help="Every column not named otherwise is a dimension.", rich_help_panel=_DIMENSIONS
        ),
    ] = False
    not_dims: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C", help="Columns that --dims-rest leaves out. Repeatable.", rich_help_panel=_DIMENSIONS
        ),
    ] = None
    dims_nested: Annotated[
        str,
        typer.Option(
            metavar=f"{FLATTEN}|{LEAVE_OUT}",
            help="What becomes of objects in --dims-rest and --dims-column: their members are dimensions a.b, or none.",
            rich_help_panel=_DIMENSIONS,
        ),
    ] = FLATTEN


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
            help="A metered quantity: one debit per metric and event, with key <id>#<metric>. Repeatable.",
            rich_help_panel=_PRICES,
        ),
    ] = None
    metric_column: Annotated[
        str | None, typer.Option(help="Column with the metric's name, one metric an event.", rich_help_panel=_PRICES)
    ] = None
    quantity_column: Annotated[
        str | None, typer.Option(help="Column with that metric's quantity.", rich_help_panel=_PRICES)
    ] = None
    count: Annotated[
        bool, typer.Option("--count", help="Each event is a quantity of 1 of that metric.", rich_help_panel=_PRICES)
    ] = False
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CREDITS",
            help="Credits per unit of a metric, such as input_tokens=0.00003. Repeatable.",
            rich_help_panel=_PRICES,
        ),
    ] = None
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help='A rate card as set-rates takes it, for prices by dimensions; "example" is the one of the preset.',
            rich_help_panel=_PRICES,
        ),
    ] = None
    scale: Annotated[
        int | None,
        typer.Option(
            help="Decimal places that the currency keeps. Default: what --currency says of it, or 6.",
            rich_help_panel=_PRICES,
        ),
    ] = None
    rounding: Annotated[
        str | None,
        typer.Option(
            "--round",
            metavar="|".join(ROUNDINGS),
            help="Round amounts with more places than the currency keeps. Default: a bad record. "
            "Quantity times price is rounded half-even unless this says up.",
            rich_help_panel=_PRICES,
        ),
    ] = None
