"""What a person sets for a pool to be given by itself: allowances, and grants that recur."""

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

AllowanceArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="The allowance's name in its pool: set again, it takes new terms.")
]
RecurringArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="The recurring grant's name in its pool.")
]


@with_shared_options
def set_allowance(
    shared: Shared,
    pool: PoolArgument,
    name: AllowanceArgument,
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="Credits or, with --metric, its quantity, as decimal text.")
    ],
    window: Annotated[str | None, typer.Option(help="hour, day, week or month. This or --rolling.")] = None,
    rolling: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="In any so many seconds: a multiple of 60, 60 to 2678400.")
    ] = None,
    time_zone: CalendarZone = "UTC",
    match: Match = None,
    each: Annotated[
        str | None, typer.Option(metavar="NAME", help="Every value of this dimension has a quota of its own.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Count the quantity of this metric, not credits.")] = None,
) -> None:
    """Let usage be free up to an amount per window, before any grant pays. Opens the pool if it is new."""
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
            metric=metric,
        ),
        create=True,
    )


@with_shared_options
def remove_allowance(shared: Shared, pool: PoolArgument, name: AllowanceArgument) -> None:
    """Let there be no allowance of this name."""
    command(shared, "removal", pool, lambda credits: credits.remove_allowance(pool, name))


@with_shared_options
def allowances(shared: Shared, pool: PoolArgument) -> None:
    """List the allowances of a pool in the order in which they cover, with what is used of them now."""
    ask(shared, lambda credits: credits.allowances(pool), render.allowances)


@with_shared_options
def set_recurring(
    shared: Shared,
    pool: PoolArgument,
    name: RecurringArgument,
    amount: AmountArgument,
    period: Annotated[str, typer.Option(help="day, week, month or year.")],
    every: Annotated[int, typer.Option(help="At every how many-th period, 1 to 1000.")] = 1,
    anchor: Annotated[
        str | None, typer.Option(help="A moment at which a period begins, ISO 8601 with its zone. Default: the start.")
    ] = None,
    starts_at: NowOrTime = None,
    ends_at: NeverOrTime = None,
    time_zone: Annotated[str, typer.Option(help="Whose calendar is meant, such as Europe/Paris.")] = "UTC",
    category: Category = "paid",
    priority: Priority = PRIORITY_DEFAULT,
    cost_basis: CostBasisOption = None,
    roll_over: Annotated[
        str,
        typer.Option(help='What stays of a period when the next begins: "none", "all", or at most so many credits.'),
    ] = "none",
    prorate: Annotated[
        bool, typer.Option("--prorate", help="Grant a first period that is not whole in part only.")
    ] = False,
) -> None:
    """Grant credits at the start and at the beginning of every period after it. Opens the pool if it is new.

    Set again, the terms count from the next grant on; another rhythm begins anew.
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
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Void what is left of the present period as well.")
    ] = False,
) -> None:
    """Grant nothing more under this name. What was granted stays to its end, unless it is to go --at-once."""
    command(shared, "cancellation", pool, lambda credits: credits.cancel_recurring(pool, name, at_once=at_once))


@with_shared_options
def recurring(shared: Shared, pool: PoolArgument) -> None:
    """List the recurring grants of a pool that are not over, and when each grants next."""
    ask(shared, lambda credits: credits.recurring(pool), render.recurring)
