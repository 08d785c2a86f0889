"""``solvent events``: the events of pools, as a page or as they happen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Final, NamedTuple

import anyio
import typer

from solvent.engine.api.credits import Credits
from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT
from solvent.engine.values.positions import END
from solvent.transports.cli.asking import ask
from solvent.transports.cli.options import PoolsEnvironment, Shared, with_shared_options
from solvent.transports.cli.render import events as render
from solvent.transports.cli.running import reporting, run_async
from solvent.transports.cli.signals import call_on_signal
from solvent.transports.cli.target import Target
from solvent.transports.cli.terminal import Text, err, print_json, print_line
from solvent.transports.wire.background import background

BEGINNING: Final = "0.0"


@with_shared_options
def events(
    shared: Shared,
    pool: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="Only this pool. Default: all pools of the environment.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's pools.")] = None,
    environment: PoolsEnvironment = None,
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help='Only events after this position, such as "12.3", or "end".')
    ] = None,
    limit: Annotated[int, typer.Option(help="Events on a page, 1 to 1000.")] = 50,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Print each event as it happens, until Ctrl-C; with --after, past ones first."),
    ] = False,
) -> None:
    """Show a page of the events of pools, oldest first, or --follow new ones.

    With --follow, each event is one line; with --json, each is a JSON document. Ctrl-C and SIGTERM end it with exit
    code 0. A journal that is followed directly has no other writer, so its new events are those that fall due.
    """
    with reporting(shared.as_json):
        target = shared.target()
        scope = _scope(pool, customer, environment)
    if follow:
        _print_as_they_happen(shared, target, scope, after or END)
    else:
        ask(shared, lambda credits: _page(credits, scope, after or BEGINNING, limit), render.events)


def _print_as_they_happen(shared: Shared, target: Target, scope: _Scope, after: str) -> None:
    def say(event: PoolEvent) -> None:
        if shared.as_json:
            print_json(event)
        else:
            print_line(render.event_line(event))

    def say_ready() -> None:
        err().print(Text(f"following {target.name} (Ctrl-C ends it)", "bright_black"), soft_wrap=True)

    async def run() -> None:
        # Close the journal outside the cancelled scope: an engine that is stopping has work to finish.
        async with target.open() as credits:
            with anyio.CancelScope() as following:
                async with background(partial(call_on_signal, following.cancel)):
                    await _follow(credits, scope, after, say, on_ready=say_ready)

    with reporting(shared.as_json):
        run_async(run)


class _Scope(NamedTuple):
    """The pools whose events are shown: one pool, a customer's pools, or an environment's."""

    pool: str | None
    customer: str | None
    environment: str


def _scope(pool: str | None, customer: str | None, environment: str | None) -> _Scope:
    """Return the scope. Raises ``InvalidRequest`` if a customer or environment is given next to a pool."""
    for option, given in (("--customer", customer), ("--environment", environment)):
        if pool is not None and given is not None:
            raise InvalidRequest(option, "either a pool, whose name includes it, or this option")
    return _Scope(pool, customer, ENVIRONMENT_DEFAULT if environment is None else environment)


async def _past(credits: Credits, scope: _Scope, after: str, limit: int) -> EventPage:
    return await credits.past_events(
        scope.pool, customer=scope.customer, environment=scope.environment, after=after, limit=limit
    )


async def _page(credits: Credits, scope: _Scope, after: str, limit: int) -> EventPage:
    """Return ``limit`` events, or all there are. One answer can be short although more of the journal is unread."""
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
    """Pass each event after ``after`` to ``say`` until cancelled. Raises ``InvalidRequest``, ``Unavailable``."""
    # A bad request fails at once, and "end" is the position now, not at the first wait.
    page = await _past(credits, scope, after, 1)
    on_ready()
    begin = page.position if after == END else after
    async for event in credits.events(scope.pool, customer=scope.customer, environment=scope.environment, after=begin):
        say(event)
