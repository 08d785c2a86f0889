"""The options of ``solvent usage``: the question, its modes, and the files to write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from solvent.engine.api.usage_requests import (
    ENTRIES_LIMIT_DEFAULT,
    FORECAST_PERIOD_DEFAULT,
    PERIOD_DEFAULT,
    SENSITIVITY_DEFAULT,
    SPIKES_LIMIT_DEFAULT,
)
from solvent.engine.values.pool_id import CURRENCY_DEFAULT
from solvent.transports.cli.options import Cursor, PoolsEnvironment


@dataclass(frozen=True, slots=True)
class QuestionOptions:
    """The usage to show, and how to break it down."""

    customer: Annotated[str | None, typer.Option(help="Only this customer's pools.")] = None
    environment: PoolsEnvironment = None
    in_currency: Annotated[
        str | None,
        typer.Option("--in", metavar="CURRENCY", help=f"The currency of the pools. Default: {CURRENCY_DEFAULT}."),
    ] = None
    period: Annotated[
        str | None,
        typer.Option(
            help='"today", "yesterday", "this month", "previous week", "last 7 days", "last 24 hours", "year to date", '
            f'"2026-Q3", "2026-07", "2026-W29", "2026-07-01..2026-07-14". Default: {PERIOD_DEFAULT}; '
            f"with --forecast {FORECAST_PERIOD_DEFAULT}."
        ),
    ] = None
    start: Annotated[str | None, typer.Option(help="Only at or after this time, ISO 8601 with its zone.")] = None
    end: Annotated[str | None, typer.Option(help="Only before this time, ISO 8601 with its zone.")] = None
    window: Annotated[
        str | None, typer.Option(help="Split into buckets: minute, hour, day, week, month, quarter or year.")
    ] = None
    time_zone: Annotated[
        str, typer.Option(help="The time zone of days and of the times shown, such as Europe/Paris.")
    ] = "UTC"
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="FIELD",
            help="Break down by a dimension, or by $metric, $customer, $resource, $grant, $category, $cost_basis or "
            "$currency. Repeatable.",
        ),
    ] = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="NAME=VALUE",
            help="Only usage with this value; name:=5 for a number or boolean. Repeated for a name: one of these "
            "values.",
        ),
    ] = None
    where_not: Annotated[
        list[str] | None,
        typer.Option("--where-not", metavar="NAME=VALUE", help="Only usage without this value. Repeatable."),
    ] = None
    missing: Annotated[
        list[str] | None,
        typer.Option(
            "--missing",
            metavar="NAME",
            help="Only usage without this dimension; with --where of the same name, either of the two. Repeatable.",
        ),
    ] = None
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", metavar="NAME=TEXT", help="Only values that begin with this text. Repeatable."),
    ] = None
    top: Annotated[int | None, typer.Option(help='Show this many groups, and the sum of the rest as "other".')] = None
    order: Annotated[
        str | None,
        typer.Option(
            help="Sort by credits, events, refused, quantity or name; with --compare: change, increase, credits, name."
        ),
    ] = None
    ascending: Annotated[bool, typer.Option("--ascending", help="Show the smallest first.")] = False
    fill: Annotated[bool, typer.Option("--fill", help="With --window, also show empty buckets.")] = False
    consistent: Annotated[
        bool, typer.Option(help="Include all that was acknowledged before. Without: up to half a second behind.")
    ] = True


@dataclass(frozen=True, slots=True)
class ModeOptions:
    """The other questions about the same usage, and their options."""

    compare: Annotated[
        str | None,
        typer.Option(metavar="PERIOD", help='Compare with "previous", "year before" or any period, group by group.'),
    ] = None
    spikes: Annotated[
        bool, typer.Option("--spikes", help="With --window: show the buckets and groups that stand out.")
    ] = False
    sensitivity: Annotated[
        float | None, typer.Option(help=f"With --spikes: the least score shown. Default: {SENSITIVITY_DEFAULT}.")
    ] = None
    forecast: Annotated[bool, typer.Option("--forecast", help="Show when POOL runs dry at the rate of the period.")] = (
        False
    )
    entries: Annotated[bool, typer.Option("--entries", help="Show the ledger entries behind all lines together.")] = (
        False
    )
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"With --entries or --spikes: the most to show, 1 to 1000. Default: {ENTRIES_LIMIT_DEFAULT} and "
            f"{SPIKES_LIMIT_DEFAULT}."
        ),
    ] = None
    cursor: Cursor = None


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The file or stream to write lines to instead of a table."""

    as_csv: Annotated[bool, typer.Option("--csv", help="Print the lines as CSV.")] = False
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="With --csv: write to this file instead.")
    ] = None
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", help="Write the lines to this Parquet file.")
    ] = None
