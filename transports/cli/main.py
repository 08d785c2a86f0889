"""``solvent``: the command line's entry point. Each verb lives in a file of its own name or in ``verbs.py``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Final

import typer

from solvent.transports.cli.demo.command import demo
from solvent.transports.cli.verbs import alerting, changes, limits, metering, plans, usage
from solvent.transports.cli.verbs import pools as verbs
from solvent.transports.cli.verbs.export import export
from solvent.transports.cli.verbs.replay import replay
from solvent.transports.cli.verbs.serve import serve
from solvent.transports.cli.verbs.verify import verify

from .exits import EXIT_CODES_HELP

app: Final = typer.Typer(
    name="solvent",
    help="A real-time credit engine: durable answers to “may this be spent?” that can never overdraw a pool.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"solvent {version('solvent')}")
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
    verbs.grant,
    changes.update_grant,
    changes.void_grant,
    verbs.debit,
    metering.report,
    metering.estimate,
    changes.check,
    changes.hold,
    changes.capture,
    changes.release,
    changes.reverse,
    changes.transfer,
    verbs.balance,
    verbs.grants,
    changes.holds,
    limits.set_budget,
    limits.remove_budget,
    limits.budgets,
    plans.open_pool,
    plans.set_allowance,
    plans.remove_allowance,
    plans.allowances,
    plans.set_recurring,
    plans.cancel_recurring,
    plans.recurring,
    alerting.set_alerts,
    alerting.alerts,
    alerting.grant_recharge,
    alerting.refuse_recharge,
    alerting.events,
    metering.set_rates,
    metering.rates,
    verbs.pools,
    verbs.totals,
    verbs.ledger,
    verbs.costs,
    usage.usage,
    usage.rebuild,
    verify,
    export,
):
    app.command(help=_paragraphs(_verb), epilog=EXIT_CODES_HELP)(_verb)


def main() -> None:
    """Run the command that ``sys.argv`` asks for and exit with its code."""
    app()
