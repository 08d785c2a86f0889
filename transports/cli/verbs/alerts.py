"""The verbs of alerts: set and show them, grant or refuse a request for credits."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.asking import ask, command
from solvent.transports.cli.options import (
    Comment,
    CostBasisOption,
    NeverOrTime,
    PoolArgument,
    Shared,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_cost_basis
from solvent.transports.cli.render import settings as render
from solvent.transports.cli.running import reporting

RechargeArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="RECHARGE", help='The id of a request for credits, such as "q7".')
]


@with_shared_options
def set_alerts(
    shared: Shared,
    pool: PoolArgument,
    low: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AMOUNT",
            help="Alert below this amount, or below a percentage of what was there when credits were last added, "
            'such as "20%". Repeatable.',
        ),
    ] = None,
    expiring_within: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="Alert this long before a grant with credits left expires."),
    ] = None,
    budget_percent: Annotated[
        list[int] | None,
        typer.Option(metavar="PERCENT", help="Alert when this much of a budget is used, 1 to 100. Repeatable."),
    ] = None,
    recharge_below: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Ask for credits when fewer than this are available.")
    ] = None,
    recharge_target: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Ask for as many credits as are missing up to this.")
    ] = None,
    recharge_monthly_max: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The most to ask for in a calendar month.")
    ] = None,
    recharge_time_zone: Annotated[
        str | None, typer.Option(help="The time zone of the months, such as Europe/Paris. Default: UTC.")
    ] = None,
    recharge_timeout: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="How long a request stays open, 60 to 2678400. Default: a day."),
    ] = None,
    recharge_category: Annotated[
        str | None, typer.Option(help='The category of the credits, "paid" or "promotional". Default: paid.')
    ] = None,
    recharge_cost_basis: CostBasisOption = None,
    recharge_grants: Annotated[
        bool, typer.Option("--recharge-grants", help="Grant each request at once, without an answer from you.")
    ] = False,
) -> None:
    """Set the alerts of a pool for credits that run low, run out or soon expire, and its rule to ask for more.

    Replaces all alerts of the pool. Without options, it has none afterwards.
    """
    with reporting(shared.as_json):
        rule = _recharge_rule(
            {
                "below": recharge_below,
                "target": recharge_target,
                "monthly_max": recharge_monthly_max,
                "time_zone": recharge_time_zone,
                "timeout_s": recharge_timeout,
                "category": recharge_category,
                "cost_basis": parse_cost_basis(recharge_cost_basis, "--recharge-cost-basis"),
                "grants": recharge_grants or None,
            }
        )
    command(
        shared,
        "alerts",
        pool,
        lambda credits: credits.set_alerts(
            pool,
            low=low or (),
            expiring_within_s=expiring_within,
            budget_percents=budget_percent or (),
            recharge=rule,
        ),
    )


def _recharge_rule(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fields that were given, ``None`` if there are none. Raises ``InvalidRequest`` if half are missing."""
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        return None
    for name in ("below", "target"):
        if name not in given:
            raise InvalidRequest(f"--recharge-{name}", "both --recharge-below and --recharge-target for a recharge")
    return given


@with_shared_options
def alerts(shared: Shared, pool: PoolArgument) -> None:
    """Show the alerts of a pool, and its open request for credits."""
    ask(shared, lambda credits: credits.alerts(pool), render.alerts)


@with_shared_options
def grant_recharge(
    shared: Shared,
    pool: PoolArgument,
    recharge: RechargeArgument,
    amount: Annotated[
        str | None,
        typer.Argument(metavar="AMOUNT", help="Credits as decimal text. Default: what the request asks for."),
    ] = None,
    cost_basis: CostBasisOption = None,
    expires_at: NeverOrTime = None,
    comment: Comment = None,
) -> None:
    """Grant a pool's request for credits, in full or with another amount. A second grant answers as the first did."""
    with reporting(shared.as_json):
        cost = parse_cost_basis(cost_basis, "--cost-basis")
    command(
        shared,
        "grant",
        pool,
        lambda credits: credits.grant_recharge(
            pool, recharge, amount=amount, cost_basis=cost, expires_at=expires_at, comment=comment
        ),
    )


@with_shared_options
def refuse_recharge(shared: Shared, pool: PoolArgument, recharge: RechargeArgument) -> None:
    """Refuse a pool's request for credits. The pool makes no other until the timeout of the rule has passed."""
    command(shared, "refusal", pool, lambda credits: credits.refuse_recharge(pool, recharge))
