"""The verbs of plans: allowances, and recurring grants."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from solvent.engine.api.requests import AllowanceCountsRequest, AllowancesRequest, RecurringRequest
from solvent.engine.values.terms import KEEP, Keep
from solvent.transports.cli.asking import ask_all, command
from solvent.transports.cli.options import (
    AmountArgument,
    CalendarZone,
    CostBasisOption,
    Match,
    Missing,
    PoolArgument,
    Shared,
    as_typed,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_cost_basis, parse_dimensions
from solvent.transports.cli.render import settings as render
from solvent.transports.cli.running import reporting

AllowanceArgument: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The allowance's name in its pool.")]
RecurringArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="The recurring grant's name in its pool.")
]


@with_shared_options
def set_allowance(
    shared: Shared,
    pool: PoolArgument,
    name: AllowanceArgument,
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="Credits, or with --metric a quantity, as decimal text.")
    ],
    window: Annotated[
        str | None, typer.Option(help="The window: hour, day, week or month. Give this or --rolling.")
    ] = None,
    rolling: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="The length of a rolling window: a multiple of 60, 60 to 2678400."),
    ] = None,
    time_zone: CalendarZone = "UTC",
    match: Match = None,
    missing: Missing = "pass",
    each: Annotated[
        str | None, typer.Option(metavar="NAME", help="Give every value of this dimension its own quota.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Count the quantity of this metric, not credits.")] = None,
) -> None:
    """Make usage free up to an amount per window, before any grant pays. Opens the pool if it is new.

    Setting an allowance again changes its terms.
    """
    with reporting(shared.as_json):
        wanted = parse_dimensions(match, "--match") if match else None
    command(
        shared,
        "allowance",
        pool,
        lambda credits: credits.set_allowance(
            pool,
            name,
            amount,
            window=as_typed(window),
            rolling_s=rolling,
            time_zone=time_zone,
            match=wanted,
            each=each,
            missing=as_typed(missing),
            metric=metric,
        ),
        create=True,
    )


@with_shared_options
def remove_allowance(shared: Shared, pool: PoolArgument, name: AllowanceArgument) -> None:
    """Remove an allowance. Removing one that does not exist changes nothing."""
    command(shared, "removal", pool, lambda credits: credits.remove_allowance(pool, name))


@with_shared_options
def allowances(shared: Shared, pool: PoolArgument) -> None:
    """List the allowances of a pool in the order in which debits use them, with what is used now."""
    ask_all(shared, lambda: AllowancesRequest(pool=pool), render.allowances)


@with_shared_options
def allowance_counts(shared: Shared, pool: PoolArgument, name: AllowanceArgument) -> None:
    """List what each value of an allowance's dimension has used, and has left."""
    ask_all(shared, lambda: AllowanceCountsRequest(pool=pool, name=name), render.allowance_counts)


@with_shared_options
def set_recurring(
    shared: Shared,
    pool: PoolArgument,
    name: RecurringArgument,
    amount: AmountArgument,
    period: Annotated[str, typer.Option(help="The period: day, week, month or year.")],
    every: Annotated[int | None, typer.Option(help="Grant once every so many periods, 1 to 1000. New: 1.")] = None,
    anchor: Annotated[
        str | None, typer.Option(help="A time at which a period begins, ISO 8601 with its zone. New: the start.")
    ] = None,
    starts_at: Annotated[str | None, typer.Option(help="ISO 8601 with its zone. New: now.")] = None,
    ends_at: Annotated[str | None, typer.Option(help='ISO 8601 with its zone, or "never". New: never.')] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="The time zone of the periods, such as Europe/Paris. New: UTC.")
    ] = None,
    category: Annotated[str | None, typer.Option(help='"paid" or "promotional". New: paid.')] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 100; lower burns first. New: 50.")] = None,
    cost_basis: CostBasisOption = None,
    roll_over: Annotated[
        str | None,
        typer.Option(
            help='The credits left over that stay for the next period: "none", "all", or the most that stay. New: none.'
        ),
    ] = None,
    prorate: Annotated[
        bool | None,
        typer.Option("--prorate/--no-prorate", help="If it starts within a period, grant only a part for it."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help='"now": with a new rhythm, grant at once and not when its next period begins.')
    ] = None,
) -> None:
    """Grant credits at the start and at the beginning of every later period. Opens the pool if it is new.

    Setting a recurring grant again changes its terms from the next grant on. What is left out keeps its value.
    """
    with reporting(shared.as_json):
        cost = KEEP if cost_basis is None else parse_cost_basis(cost_basis, "--cost-basis")
    ends: str | Keep | None = KEEP if ends_at is None else None if ends_at == "never" else ends_at
    command(
        shared,
        "recurring grant",
        pool,
        lambda credits: credits.set_recurring(
            pool,
            name,
            amount,
            period=as_typed(period),
            every=KEEP if every is None else every,
            anchor=anchor,
            starts_at=starts_at,
            ends_at=ends,
            time_zone=KEEP if time_zone is None else time_zone,
            category=KEEP if category is None else as_typed(category),
            priority=KEEP if priority is None else priority,
            cost_basis=cost,
            roll_over=KEEP if roll_over is None else roll_over,
            prorate=KEEP if prorate is None else prorate,
            start=as_typed(start),
        ),
        create=True,
    )


@with_shared_options
def cancel_recurring(
    shared: Shared,
    pool: PoolArgument,
    name: RecurringArgument,
    at_once: Annotated[bool, typer.Option("--at-once", help="Also void what is left of the current period.")] = False,
) -> None:
    """Stop a recurring grant. Credits of the current period stay until it ends, unless --at-once voids them."""
    command(shared, "cancellation", pool, lambda credits: credits.cancel_recurring(pool, name, at_once=at_once))


@with_shared_options
def recurring(shared: Shared, pool: PoolArgument) -> None:
    """List the recurring grants of a pool that have not ended, and when each grants next."""
    ask_all(shared, lambda: RecurringRequest(pool=pool), render.recurring)
