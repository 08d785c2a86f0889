"""``solvent``: the command line's entry point, with all its verbs in the order in which the help shows them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Final

import typer

from solvent.transports.cli.demo.command import demo
from solvent.transports.cli.verbs import (
    alerts,
    budgets,
    events,
    grants,
    history,
    holds,
    metering,
    plans,
    pools,
    spending,
    usage,
)
from solvent.transports.cli.verbs.clock import clock
from solvent.transports.cli.verbs.export import export
from solvent.transports.cli.verbs.losses import accept_loss
from solvent.transports.cli.verbs.replay import replay
from solvent.transports.cli.verbs.serve import serve
from solvent.transports.cli.verbs.verify import verify

from .exits import EXIT_CODES_HELP, Exit
from .terminal import Group, escape_logs, print_line, print_traceback

app: Final = typer.Typer(
    cls=Group,
    name="solvent",
    help="A real-time credit engine: durable answers to “may this be spent?” that can never overdraw a pool.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print_line(f"solvent {version('solvent')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Only ``--version``: everything else belongs to a verb."""


def _paragraphs(verb: Callable[..., None]) -> str:
    """The docstring with each paragraph on one line: the terminal's width is not the source's."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(verb) or "").split("\n\n"))


for _verb in (
    demo,
    serve,
    replay,
    grants.grant,
    grants.update_grant,
    grants.void_grant,
    spending.debit,
    metering.report,
    metering.estimate,
    spending.check,
    holds.hold,
    holds.capture,
    holds.extend,
    holds.release,
    spending.reverse,
    spending.transfer,
    pools.balance,
    grants.grants,
    holds.holds,
    budgets.set_budget,
    budgets.remove_budget,
    budgets.budgets,
    budgets.budget_counts,
    pools.open_pool,
    plans.set_allowance,
    plans.remove_allowance,
    plans.allowances,
    plans.allowance_counts,
    plans.set_recurring,
    plans.cancel_recurring,
    plans.recurring,
    alerts.set_alerts,
    alerts.alerts,
    alerts.grant_recharge,
    alerts.refuse_recharge,
    events.events,
    metering.set_rates,
    metering.rates,
    pools.pools,
    pools.totals,
    history.ledger,
    history.costs,
    usage.usage,
    usage.rebuild,
    clock,
    verify,
    export,
    accept_loss,
):
    app.command(help=_paragraphs(_verb), epilog=EXIT_CODES_HELP)(_verb)


def main() -> None:
    """Run the command that ``sys.argv`` asks for and exit with its code."""
    escape_logs()
    try:
        app()
    except Exception as error:  # noqa: BLE001  # A bug, whatever it is: its text may be that of others, too.
        print_traceback(error)
        sys.exit(Exit.UNEXPECTED)
