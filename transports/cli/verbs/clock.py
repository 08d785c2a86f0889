"""``solvent clock``: the engine's time, and ``solvent clock confirm`` where the machine's clock is not believed."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from solvent.engine.api.clock import ClockStatus
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT
from solvent.transports.cli.asking import ask
from solvent.transports.cli.options import Shared, with_shared_options
from solvent.transports.cli.running import reporting
from solvent.transports.cli.terminal import Text

CONFIRM = "confirm"
REASONS = {
    "ahead": "it leapt ahead while the engine ran",
    "gap": "it is much later than the last frame of the journal",
    "behind": "the journal has a later frame",
}


@with_shared_options
def clock(
    shared: Shared,
    what: Annotated[
        str | None, typer.Argument(metavar="[confirm]", help="Say that the machine's clock is right. Default: show it.")
    ] = None,
    environment: Annotated[
        str, typer.Option(help="The service to ask, by its environment. It has one clock for all environments.")
    ] = ENVIRONMENT_DEFAULT,
) -> None:
    """Show the engine's time, and whether the machine's clock is believed; or confirm that it is right.

    A machine's clock that leaps ahead is not believed: credits do not expire by it and plans do not grant, and debits
    are dated by the last trusted time and what has passed since.
    """
    with reporting(shared.as_json):
        if what not in (None, CONFIRM):
            raise InvalidRequest("what", f"nothing, or {CONFIRM}", got=what)
    if what is None:
        ask(shared, lambda credits: credits.clock(environment=environment), _shown)
    else:
        ask(shared, lambda credits: credits.confirm_clock(environment=environment), _shown)


def _shown(status: ClockStatus) -> RenderableType:
    time = Text(f"{status.time.isoformat(timespec='seconds')}")
    if status.not_believed is None:
        return Group(time, Text("the machine's clock is believed", style="bright_black"))
    wall = status.wall_clock.isoformat(timespec="seconds")
    return Group(
        time,
        Text(f"✗ the machine's clock says {wall}: {REASONS[status.not_believed]}", style="bold red"),
        Text("  set it right, or confirm that it is: solvent clock confirm"),
    )
