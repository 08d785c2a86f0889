"""The verbs of budgets: set one, remove it, list them with what is used."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from solvent.engine.api.requests import BudgetCountsRequest, BudgetsRequest
from solvent.transports.cli.asking import ask_all, command
from solvent.transports.cli.options import (
    AmountArgument,
    CalendarZone,
    Match,
    Missing,
    PoolArgument,
    Shared,
    as_typed,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_dimensions
from solvent.transports.cli.render import settings as render
from solvent.transports.cli.running import reporting

NameArgument: TypeAlias = Annotated[str, typer.Argument(metavar="NAME", help="The budget's name in its pool.")]


@with_shared_options
def set_budget(
    shared: Shared,
    pool: PoolArgument,
    name: NameArgument,
    amount: AmountArgument,
    window: Annotated[str, typer.Option(help="The window: minute, hour, day, week, month or total.")],
    time_zone: CalendarZone = "UTC",
    match: Match = None,
    each: Annotated[
        str | None, typer.Option(metavar="NAME", help="Count every value of this dimension separately.")
    ] = None,
    missing: Missing = "pass",
    warn: Annotated[
        bool, typer.Option("--warn", help="Do not refuse debits; name the budget in their receipts.")
    ] = False,
    holds_max: Annotated[int | None, typer.Option(help="The most holds that may be open at once.")] = None,
) -> None:
    """Limit what may be spent per window. Setting a budget again changes its terms.

    Its counts begin again only if the window, time zone, match, each or missing changes.
    """
    with reporting(shared.as_json):
        wanted = parse_dimensions(match, "--match") if match else None
    command(
        shared,
        "budget",
        pool,
        lambda credits: credits.set_budget(
            pool,
            name,
            amount,
            window=as_typed(window),
            time_zone=time_zone,
            match=wanted,
            each=each,
            missing=as_typed(missing),
            mode="warn" if warn else "block",
            holds_max=holds_max,
        ),
    )


@with_shared_options
def remove_budget(shared: Shared, pool: PoolArgument, name: NameArgument) -> None:
    """Remove a budget. Removing one that does not exist changes nothing."""
    command(shared, "removal", pool, lambda credits: credits.remove_budget(pool, name))


@with_shared_options
def budgets(shared: Shared, pool: PoolArgument) -> None:
    """List the budgets of a pool, with what is used in their current windows."""
    ask_all(shared, lambda: BudgetsRequest(pool=pool), render.budgets)


@with_shared_options
def budget_counts(shared: Shared, pool: PoolArgument, name: NameArgument) -> None:
    """List what each value of a budget's dimension used in the current window."""
    ask_all(shared, lambda: BudgetCountsRequest(pool=pool, name=name), render.budget_counts)
