"""The verbs of what a pool says by itself: its alerts, its requests for credits, and the events that they make."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import anyio
import msgspec
import typer
from anyio.abc import TaskStatus
from rich.text import Text

from solvent.engine.api.answers import to_wire
from solvent.engine.api.credits import Credits
from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.settings import AlertsView
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT
from solvent.engine.values.positions import END
from solvent.transports.cli.options import PoolArgument, Shared, with_shared_options
from solvent.transports.cli.pairs import parse_cost_basis
from solvent.transports.cli.render import plans as render_plans
from solvent.transports.cli.running import err, reporting, respond, run_async
from solvent.transports.nats.background import background

from .changes import command
from .plans import CostBasisOption

BEGINNING: Final = "0.0"

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
            help='Below so many credits, or below a percentage such as "20%" of what was there when credits were last '
            "added. Repeatable.",
        ),
    ] = None,
    expiring_within: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="So many seconds before a grant with credits left expires.")
    ] = None,
    budget_percent: Annotated[
        list[int] | None, typer.Option(metavar="PERCENT", help="At so much of a budget, 1 to 100. Repeatable.")
    ] = None,
    recharge_below: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Ask for credits when fewer are available.")
    ] = None,
    recharge_target: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Ask for as many as bring them up to this.")
    ] = None,
    recharge_monthly_max: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Ask for no more in a calendar month.")
    ] = None,
    recharge_time_zone: Annotated[
        str | None, typer.Option(help="Where months begin, such as Europe/Paris. Default: UTC.")
    ] = None,
    recharge_timeout: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="Seconds that a request stays open, 60 to 2678400. Default: a day."),
    ] = None,
    recharge_category: Annotated[
        str | None, typer.Option(help='"paid" or "promotional" credits. Default: paid.')
    ] = None,
    recharge_cost_basis: CostBasisOption = None,
    recharge_grants: Annotated[
        bool, typer.Option("--recharge-grants", help="Let the pool grant by itself what it asks for.")
    ] = False,
) -> None:
    """Let a pool say when credits run low, out, or are about to expire, and ask for more.

    These are all of its alerts, each time: without options, it has none.
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

    async def work(credits: Credits) -> Receipt:
        return await credits.set_alerts(
            pool,
            low=low or (),
            expiring_within_s=expiring_within,
            budget_percents=budget_percent or (),
            recharge=rule,
        )

    command(shared, "alerts", pool, work, key=None)


def _recharge_rule(fields: dict[str, Any]) -> dict[str, Any] | None:
    """The rule of what was given of it, ``None`` if nothing was. Raises ``InvalidRequest`` if half of it is missing."""
    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        return None
    for name in ("below", "target"):
        if name not in given:
            raise InvalidRequest(f"--recharge-{name}", "both --recharge-below and --recharge-target for a recharge")
    return given


@with_shared_options
def alerts(shared: Shared, pool: PoolArgument) -> None:
    """Show the alerts of a pool, and the request for credits that is open."""
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> AlertsView:
        async with target.open() as credits:
            return await credits.alerts(pool)

    respond(shared.as_json, ask, plain=render_plans.alerts, wire=to_wire)


@with_shared_options
def grant_recharge(
    shared: Shared,
    pool: PoolArgument,
    recharge: RechargeArgument,
    amount: Annotated[
        str | None, typer.Argument(metavar="AMOUNT", help="Credits as decimal text. Default: what it asks for.")
    ] = None,
    cost_basis: CostBasisOption = None,
    expires_at: Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: never.")] = None,
    comment: Annotated[str | None, typer.Option(help="A comment, for people.")] = None,
) -> None:
    """Grant what a pool asks for, or another amount. Granted again, it answers as it did."""
    with reporting(shared.as_json):
        cost = parse_cost_basis(cost_basis, "--cost-basis")

    async def work(credits: Credits) -> Receipt:
        return await credits.grant_recharge(
            pool, recharge, amount=amount, cost_basis=cost, expires_at=expires_at, comment=comment
        )

    command(shared, "grant", pool, work, key=None)


@with_shared_options
def refuse_recharge(shared: Shared, pool: PoolArgument, recharge: RechargeArgument) -> None:
    """Let a pool's request for credits come to nothing. It makes no other before the time of this one is over."""

    async def work(credits: Credits) -> Receipt:
        return await credits.refuse_recharge(pool, recharge)

    command(shared, "refusal", pool, work, key=None)


@with_shared_options
def events(
    shared: Shared,
    pool: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="Only this pool's. Default: all of the environment.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Only those of this customer's pools.")] = None,
    environment: Annotated[
        str | None, typer.Option(help=f"The environment of the pools. Default: {ENVIRONMENT_DEFAULT}.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help='Behind the position of an event, such as "12.3", or "end".')
    ] = None,
    limit: Annotated[int, typer.Option(help="Events of one page, 1 to 1000.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print each event as it happens, until Ctrl-C; with --after, older first.")
    ] = False,
) -> None:
    """Show a page of what pools have said, oldest first, or --follow what they say.

    With --follow, each event is a line, with --json a JSON document of its own; Ctrl-C and SIGTERM are its ordinary
    end. A journal that is followed directly has no other writer, and says what falls due.
    """
    with reporting(shared.as_json):
        target = shared.target()
        scope = _scope(pool, customer, environment)

    if not follow:

        async def ask() -> EventPage:
            async with target.open() as credits:
                return await _page(credits, scope, after or BEGINNING, limit)

        respond(shared.as_json, ask, plain=render_plans.events, wire=to_wire)
        return

    def say(event: PoolEvent) -> None:
        line = msgspec.json.encode(event).decode() if shared.as_json else render_plans.event_line(event)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def say_ready() -> None:
        err().print(Text(f"following {target.name} (Ctrl-C ends it)", "bright_black"), soft_wrap=True)

    async def run() -> None:
        # The journal is closed behind the scope, not inside it: an engine that is stopping has work to finish.
        async with target.open() as credits:
            with anyio.CancelScope() as following:
                async with background(partial(_cancel_on_signal, following)):
                    await _follow(credits, scope, after or END, say, on_ready=say_ready)

    with reporting(shared.as_json):
        run_async(run)


class _Scope(NamedTuple):
    """Whose events: those of a pool, of a customer's pools, or of an environment's."""

    pool: str | None
    customer: str | None
    environment: str


def _scope(pool: str | None, customer: str | None, environment: str | None) -> _Scope:
    """Raises ``InvalidRequest`` if a pool is named, and beside it what the pool's own name says."""
    for option, given in (("--customer", customer), ("--environment", environment)):
        if pool is not None and given is not None:
            raise InvalidRequest(option, "either a pool, whose name says it, or this option")
    return _Scope(pool, customer, ENVIRONMENT_DEFAULT if environment is None else environment)


async def _past(credits: Credits, scope: _Scope, after: str, limit: int) -> EventPage:
    return await credits.past_events(
        scope.pool, customer=scope.customer, environment=scope.environment, after=after, limit=limit
    )


async def _page(credits: Credits, scope: _Scope, after: str, limit: int) -> EventPage:
    """``limit`` events, or all that there are: one answer can be short though more of the journal is to be read."""
    found: list[PoolEvent] = []
    while True:
        page = await _past(credits, scope, after, limit - len(found))
        found += page.events
        if not page.more or len(found) == limit:
            return EventPage(tuple(found), page.position, page.more)
        after = page.position


async def _follow(
    credits: Credits,
    scope: _Scope,
    after: str,
    say: Callable[[PoolEvent], None],
    *,
    on_ready: Callable[[], None],
) -> None:
    """Say each event behind ``after`` until cancelled. Raises ``InvalidRequest``, ``Unavailable``."""
    # What is wrong shows at once, and the end is where it is now, not where it is at the first wait.
    page = await _past(credits, scope, after, 1)
    on_ready()
    begin = page.position if after == END else after
    async for event in credits.events(scope.pool, customer=scope.customer, environment=scope.environment, after=begin):
        say(event)


async def _cancel_on_signal(
    scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return
