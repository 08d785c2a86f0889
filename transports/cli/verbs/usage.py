"""The verbs ``usage`` and ``rebuild``: where the credits went, and a new usage file.

In ``transports/cli/usage``, ``options`` has the options, ``modes`` which of them go together, ``question`` the calls
that they make, and ``following`` the wait for the usage file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import RenderableType

from solvent.engine.api.credits import Credits
from solvent.engine.api.usage_answers import Usage, UsageEntryPage, plain_lines
from solvent.engine.values.moments import written
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT
from solvent.transports.cli.options import Shared, with_shared_options
from solvent.transports.cli.render.usage.entries import entries
from solvent.transports.cli.render.usage.entries import status as render_status
from solvent.transports.cli.render.usage.files import to_csv, write_parquet, write_text
from solvent.transports.cli.render.usage.findings import comparison, forecast, spikes
from solvent.transports.cli.render.usage.tables import usage as usage_tables
from solvent.transports.cli.running import reporting, respond, run_async
from solvent.transports.cli.terminal import out, print_json, print_lines
from solvent.transports.cli.usage.following import ask_caught_up, rebuild_and_follow
from solvent.transports.cli.usage.modes import check_options, mode_of, typed_options
from solvent.transports.cli.usage.options import FileOptions, ModeOptions, QuestionOptions
from solvent.transports.cli.usage.question import Question

T = TypeVar("T")


@with_shared_options
def usage(
    shared: Shared,
    pool: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="Only this pool. Default: all pools of the environment.")
    ] = None,
    *,
    asked: QuestionOptions,
    more: ModeOptions,
    files: FileOptions,
) -> None:
    """Show where the credits went, by any dimension that events carry, over any range of time.

    Prints a table with bars. With --window, it has one line per bucket; with --window and --by, one line per group with
    a sparkline. --compare, --spikes, --forecast and --entries ask other questions about the same usage.

    In --csv and --parquet, all values of a dimension are text. Text is written as it is, numbers and booleans as JSON.
    Text that is empty, cannot be printed, or could be taken for a number, a boolean or a formula is written as a JSON
    string in quotes, so "5" is not 5. In Parquet, amounts are DECIMAL(38, 9) and times have the time zone UTC. With
    --json, --output and --parquet report what was written.
    """
    with reporting(shared.as_json):
        target = shared.target()
        typed = typed_options(shared.ctx)
        mode = mode_of(typed)
        check_options(mode, typed, pool, as_json=shared.as_json)
        question = Question(pool, asked, more)

    def answer(
        work: Callable[[Credits], Awaitable[T]],
        plain: Callable[[T], RenderableType],
        wire: Callable[[T], dict[str, Any]] = _to_wire,
    ) -> None:
        respond(shared.as_json, lambda: ask_caught_up(target, question, work), plain=plain, wire=wire)

    match mode:
        case "--compare":
            answer(question.changes, comparison)
        case "--spikes":
            answer(question.spikes, spikes)
        case "--forecast":
            answer(question.forecast, lambda found: forecast(found, asked.time_zone))
        case "--entries":
            answer(question.entries, lambda found: entries(*found), _entries_to_wire)
        case _ if files.as_csv or files.parquet is not None:
            _write(lambda: ask_caught_up(target, question, question.lines), files, as_json=shared.as_json)
        case _:
            answer(question.lines, usage_tables)


def _write(work: Callable[[], Awaitable[Usage]], files: FileOptions, *, as_json: bool) -> None:
    """Write the lines to a file, or as CSV to stdout."""
    path = files.output if files.as_csv else files.parquet
    with reporting(as_json):
        answer = run_async(work)
        if path is None:
            print_lines(to_csv(answer))
            return
        if files.as_csv:
            write_text(to_csv(answer), path, "--output")
        else:
            write_parquet(answer, path, "--parquet")
    if as_json:
        print_json({"file": str(path), "lines": len(answer.lines)})
    else:
        out().print(f"{len(answer.lines):,} lines written to {path}", soft_wrap=True)


def _entries_to_wire(answer: tuple[Usage, UsageEntryPage]) -> dict[str, Any]:
    """Return the page with its range, which a request for the next page has to repeat."""
    asked, page = answer
    return {"start": written(asked.start), "end": written(asked.end), **_to_wire(page)}


@with_shared_options
def rebuild(
    shared: Shared,
    environment: Annotated[
        str, typer.Option(help="The service to ask, by its environment. The file holds all environments.")
    ] = ENVIRONMENT_DEFAULT,
) -> None:
    """Rebuild the usage file from the journal, and wait until it is complete. The old file answers until then.

    If this command is interrupted, a service finishes the rebuild.
    """
    with reporting(shared.as_json):
        target = shared.target()

    respond(shared.as_json, lambda: rebuild_and_follow(target, environment), plain=render_status, wire=_to_wire)


def _to_wire(answer: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(answer, enc_hook=plain_lines)
    return plain
