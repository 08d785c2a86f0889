"""The verbs of plans: allowances, and recurring grants."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from solvent.engine.values.terms import PRIORITY_DEFAULT
from solvent.transports.cli.asking import ask, command
from solvent.transports.cli.options import (
    AmountArgument,
    CalendarZone,
    Category,
    CostBasisOption,
    Match,
    Missing,
    NeverOrTime,
    NowOrTime,
    PoolArgument,
    Priority,
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
    ask(shared, lambda credits: credits.allowances(pool), render.allowances)


@with_shared_options
def set_recurring(
    shared: Shared,
    pool: PoolArgument,
    name: RecurringArgument,
    amount: AmountArgument,
    period: Annotated[str, typer.Option(help="The period: day, week, month or year.")],
    every: Annotated[int, typer.Option(help="Grant once every so many periods, 1 to 1000.")] = 1,
    anchor: Annotated[
        str | None, typer.Option(help="A time at which a period begins, ISO 8601 with its zone. Default: the start.")
    ] = None,
    starts_at: NowOrTime = None,
    ends_at: NeverOrTime = None,
    time_zone: Annotated[str, typer.Option(help="The time zone of the periods, such as Europe/Paris.")] = "UTC",
    category: Category = "paid",
    priority: Priority = PRIORITY_DEFAULT,
    cost_basis: CostBasisOption = None,
    roll_over: Annotated[
        str,
        typer.Option(help='The credits left over that stay for the next period: "none", "all", or the most that stay.'),
    ] = "none",
    prorate: Annotated[
        bool, typer.Option("--prorate", help="If the first period is not whole, grant only a part for it.")
    ] = False,
) -> None:
    """Grant credits at the start and at the beginning of every later period. Opens the pool if it is new.

    Setting a recurring grant again changes its terms from the next grant on. Another period, anchor, start or time zone
    begins a new sequence of periods.
    """
    with reporting(shared.as_json):
        cost = parse_cost_basis(cost_basis, "--cost-basis")
    command(
        shared,
        "recurring grant",
        pool,
        lambda credits: credits.set_recurring(
            pool,
            name,
            amount,
            period=as_typed(period),
            every=every,
            anchor=anchor,
            starts_at=starts_at,
            ends_at=ends_at,
            time_zone=time_zone,
            category=as_typed(category),
            priority=priority,
            cost_basis=cost,
            roll_over=roll_over,
            prorate=prorate,
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
    ask(shared, lambda credits: credits.recurring(pool), render.recurring)
