"""The options of ``solvent usage``: what is asked, what else is asked of the same usage, and where it is written."""

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
    """Which usage is asked for, and how it is broken down."""

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
    start: Annotated[str | None, typer.Option(help="From this moment on, ISO 8601 with its zone.")] = None
    end: Annotated[str | None, typer.Option(help="Before this moment, ISO 8601 with its zone.")] = None
    window: Annotated[
        str | None, typer.Option(help="In buckets of a minute, hour, day, week, month, quarter or year.")
    ] = None
    time_zone: Annotated[
        str, typer.Option(help="Where days begin, and in which times are shown, such as Europe/Paris.")
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
            help="Only what has this value, as --dim: name:=5 for a number or boolean. Repeated for a name: one of "
            "these values.",
        ),
    ] = None
    where_not: Annotated[
        list[str] | None,
        typer.Option("--where-not", metavar="NAME=VALUE", help="Only what does not have this value. Repeatable."),
    ] = None
    missing: Annotated[
        list[str] | None,
        typer.Option(
            "--missing",
            metavar="NAME",
            help="Only what has no such dimension; beside --where of the same name, that as well. Repeatable.",
        ),
    ] = None
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", metavar="NAME=TEXT", help="Only values that begin so. Repeatable."),
    ] = None
    top: Annotated[int | None, typer.Option(help='So many groups, and all the rest together as "other".')] = None
    order: Annotated[
        str | None,
        typer.Option(
            help="credits, events, refused, quantity or name; with --compare: change, increase, credits or name."
        ),
    ] = None
    ascending: Annotated[bool, typer.Option("--ascending", help="The smallest first.")] = False
    fill: Annotated[
        bool, typer.Option("--fill", help="With --window, show buckets in which nothing happened as well.")
    ] = False
    consistent: Annotated[
        bool, typer.Option(help="Wait for all that was acknowledged before, or be half a second behind.")
    ] = True


@dataclass(frozen=True, slots=True)
class ModeOptions:
    """What else is asked of the same usage, and the options of that."""

    compare: Annotated[
        str | None,
        typer.Option(metavar="PERIOD", help='Compare with "previous", "year before" or any period, group by group.'),
    ] = None
    spikes: Annotated[
        bool, typer.Option("--spikes", help="With --window: which buckets of which groups stand out.")
    ] = False
    sensitivity: Annotated[
        float | None, typer.Option(help=f"With --spikes: the score that stands out. Default: {SENSITIVITY_DEFAULT}.")
    ] = None
    forecast: Annotated[bool, typer.Option("--forecast", help="When POOL runs dry if it goes on like this.")] = False
    entries: Annotated[
        bool, typer.Option("--entries", help="The ledger entries behind all lines together, whatever their groups.")
    ] = False
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"With --entries or --spikes: so many, 1 to 1000. Default: {ENTRIES_LIMIT_DEFAULT} and "
            f"{SPIKES_LIMIT_DEFAULT}."
        ),
    ] = None
    cursor: Cursor = None


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where the lines are written, if not into a table."""

    as_csv: Annotated[bool, typer.Option("--csv", help="Print the lines as CSV.")] = False
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="With --csv: write this file instead.")
    ] = None
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", help="Write the lines as a Parquet file.")
    ] = None
