"""``solvent replay``: usage events from a file into a pool, resumable because every event has a key.

This file is the command and its options. ``mapping.py`` says how columns become events, ``events.py`` reads them,
``replayer.py`` sends them, ``replay_run.py`` shows it.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from solvent.engine.values.amounts import SCALE_DEFAULT, parse_scale
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, parse_pool
from solvent.transports.cli.options import Shared, with_shared_options
from solvent.transports.cli.pairs import parse_dimensions, parse_pairs
from solvent.transports.cli.replay.mapping import Column, EventMapping
from solvent.transports.cli.replay.presets import PRESETS, find_preset
from solvent.transports.cli.replay.pricing import parse_price
from solvent.transports.cli.replay.run import ReplayRun
from solvent.transports.cli.running import out, print_error, print_json, reporting, run_async

_FILE = "The file"
_MAPPING = "What the columns mean"
_PRICES = "What it costs"


@with_shared_options
def replay(
    shared: Shared,
    file: Annotated[Path, typer.Argument(help="CSV with a header row, or JSON lines (.jsonl, .ndjson).")],
    preset: Annotated[
        str | None, typer.Option(help=f"Mapping of a well-known file: {', '.join(PRESETS)}.", rich_help_panel=_FILE)
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between the cells of a CSV.", rich_help_panel=_FILE)] = ",",
    strict: Annotated[
        bool, typer.Option("--strict", help="End at the first line that cannot be booked.", rich_help_panel=_FILE)
    ] = False,
    errors: Annotated[
        Path | None,
        typer.Option(help="Write line, code and reason of each line not booked to this file.", rich_help_panel=_FILE),
    ] = None,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Take events of more than 400 days ago.", rich_help_panel=_FILE)
    ] = False,
    pool: Annotated[str | None, typer.Option(help="Debit this pool.", rich_help_panel=_MAPPING)] = None,
    pool_column: Annotated[str | None, typer.Option(help="Column with the pool.", rich_help_panel=_MAPPING)] = None,
    customer_column: Annotated[
        str | None, typer.Option(help="Column with the customer's id.", rich_help_panel=_MAPPING)
    ] = None,
    resource_column: Annotated[
        str | None,
        typer.Option(help="Column with the resource; an empty cell is the global pool.", rich_help_panel=_MAPPING),
    ] = None,
    environment: Annotated[
        str, typer.Option(help="Environment of customers from a column.", rich_help_panel=_MAPPING)
    ] = ENVIRONMENT_DEFAULT,
    pool_currency: Annotated[
        str, typer.Option(help="Currency of customers from a column.", rich_help_panel=_MAPPING)
    ] = CURRENCY_DEFAULT,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the event's id, its idempotency key. Default: the file's name and the line number.",
            rich_help_panel=_MAPPING,
        ),
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the event's time, ISO 8601; beyond microseconds it is cut. Default: when it is recorded.",
            rich_help_panel=_MAPPING,
        ),
    ] = None,
    assume_utc: Annotated[
        bool, typer.Option("--assume-utc", help="Times without an offset are UTC.", rich_help_panel=_MAPPING)
    ] = False,
    time_zone: Annotated[
        str | None,
        typer.Option(help="Times without an offset are in this zone, such as Europe/Paris.", rich_help_panel=_MAPPING),
    ] = None,
    dim_column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="A dimension from a column. Repeatable.", rich_help_panel=_MAPPING),
    ] = None,
    dim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="The same dimension for all; name:=5 for a number or boolean. Repeatable.",
            rich_help_panel=_MAPPING,
        ),
    ] = None,
    dims_rest: Annotated[
        bool,
        typer.Option("--dims-rest", help="Every column not named above is a dimension.", rich_help_panel=_MAPPING),
    ] = False,
    amount_column: Annotated[
        str | None, typer.Option(help="Column with the credits to debit.", rich_help_panel=_PRICES)
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="A metered quantity: one debit per metric and row, with key <id>#<metric>. Repeatable.",
            rich_help_panel=_PRICES,
        ),
    ] = None,
    metric_column: Annotated[
        str | None, typer.Option(help="Column with the metric's name, one metric a row.", rich_help_panel=_PRICES)
    ] = None,
    quantity_column: Annotated[
        str | None, typer.Option(help="Column with that metric's quantity.", rich_help_panel=_PRICES)
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CREDITS",
            help="Credits per unit of a metric, such as input_tokens=0.00003. Repeatable.",
            rich_help_panel=_PRICES,
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Decimal places that the currency keeps: quantity times price is rounded to it, half-even. "
            "Default: what --currency says of it, or 6.",
            rich_help_panel=_PRICES,
        ),
    ] = None,
) -> None:
    """Debit the usage events of a file. Run it again to resume: what is there already is not debited twice.

    The pools need credits first (solvent grant). A JSON line needs no options if its fields are called id, time, pool
    (or customer, resource), amount (or metric, quantity, with --price) and dimensions. An event that is refused for
    lack of credits is counted, and so is one that costs nothing; a bad line is reported and skipped.

    --preset azure-llm reads the Azure LLM inference traces of 2023: TIMESTAMP (UTC), ContextTokens as metric
    input_tokens, GeneratedTokens as output_tokens, dimension feature from the file's name (conversation or code).

    The exit code is 0 if every event was booked, free or refused for lack of credits; else that of the worst answer.
    """
    with reporting(shared.as_json):
        target = shared.target()
        given = find_preset(preset) if preset is not None else None
        fixed = parse_dimensions(dim or ())
        prices = {**(given.prices if given else {}), **parse_pairs(price or (), "--price")}
        metrics = parse_pairs(metric or (), "--metric") or dict(given.metrics if given else {})
        fixed_pool = None if pool is None else parse_pool(pool)
        kept = pool_currency if fixed_pool is None else fixed_pool.currency
        mapping = EventMapping(
            id_prefix=file.stem,
            pool=fixed_pool,
            pool_column=_column(pool_column, "--pool-column"),
            customer_column=_column(customer_column, "--customer-column"),
            resource_column=_column(resource_column, "--resource-column"),
            environment=environment,
            currency=pool_currency,
            scale=parse_scale(target.currencies.get(kept, SCALE_DEFAULT) if scale is None else scale, "--scale"),
            id_column=_column(id_column, "--id-column"),
            time_column=_column(time_column or (given.time_column if given else None), "--time-column"),
            zone=_zone(assume_utc, time_zone) or (given.zone if given else None),
            amount_column=_column(amount_column, "--amount-column"),
            metric_column=_column(metric_column, "--metric-column"),
            quantity_column=_column(quantity_column, "--quantity-column"),
            metrics={name: Column(column, "--metric") for name, column in metrics.items()},
            prices={name: parse_price(text, f"--price {name}") for name, text in prices.items()},
            dimension_columns={
                name: Column(column, "--dim-column")
                for name, column in parse_pairs(dim_column or (), "--dim-column").items()
            },
            dimensions=given.dimensions(file.stem, fixed) if given else fixed,
            dimensions_rest=dims_rest,
            backfill=backfill or (given is not None and given.backfill),
        )
        run = ReplayRun(
            file, mapping, delimiter=_delimiter(delimiter), strict=strict, errors=errors, quiet=shared.as_json
        )
        finished = run_async(lambda: run.on(target))
    if shared.as_json:
        print_json(finished.to_wire())
    else:
        out().print(finished.table())
        if finished.tally.gave_up is not None:
            print_error(finished.tally.gave_up.message)
    raise typer.Exit(finished.exit_code())


def _column(name: str | None, option: str) -> Column | None:
    return None if name is None else Column(name, option)


def _delimiter(text: str) -> str:
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
