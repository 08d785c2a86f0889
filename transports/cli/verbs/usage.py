"""The verbs about where the credits go: ``usage``, and ``rebuild`` of the file that it is read from.

A usage file that is behind its journal is waited for, in a folder that this process has opened itself: nobody else
would bring it up to date. A service does so all the time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import anyio
import msgspec
import typer
from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from solvent.engine.api.credits import Credits
from solvent.engine.api.usage_answers import (
    Forecast,
    GroupValue,
    Usage,
    UsageComparison,
    UsageEntryPage,
    UsageSpikes,
    UsageStatus,
    plain_lines,
)
from solvent.engine.api.usage_requests import (
    ENTRIES_LIMIT_DEFAULT,
    FORECAST_PERIOD_DEFAULT,
    PERIOD_DEFAULT,
    SENSITIVITY_DEFAULT,
    SPIKES_LIMIT_DEFAULT,
)
from solvent.engine.values.errors import InvalidRequest, Unavailable
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT
from solvent.transports.cli.options import Cursor, Shared, as_typed, with_shared_options
from solvent.transports.cli.pairs import parse_dimensions, parse_pair
from solvent.transports.cli.render import usage as render_usage
from solvent.transports.cli.render.usage_files import to_csv, write_parquet, write_text
from solvent.transports.cli.running import err, out, print_json, reporting, respond, run_async
from solvent.transports.cli.target import Target

T = TypeVar("T")

LOOK_EVERY_S: Final = 0.05
AT_ONCE_S: Final = 0.1
"""Enough to find a mistake, and less than a progress bar is worth."""
STILL_MAX_S: Final = 10.0
"""How long the usage file may stand still before it is no longer waited for."""

_OPTION_OF: Final[Mapping[str, str]] = {
    "group_by": "--by",
    "against": "--compare",
    "descending": "--ascending",
    "fill_empty": "--fill",
    "currency": "--in",
}
"""What the command line calls differently."""
_OWN_NAMES: Final = (
    *("customer", "environment", "period", "start", "end", "window", "time_zone"),
    *("top", "order", "limit", "cursor", "sensitivity"),
)
"""What the engine and the command line call the same."""
_MODES: Final = ("--compare", "--spikes", "--forecast", "--entries")
_WHOSE: Final = frozenset(("--customer", "--environment", "--in"))
_SHAPE: Final = frozenset(("--window", "--top", "--order", "--ascending", "--fill"))
_FILES: Final = frozenset(("--csv", "--output", "--parquet"))
_PAGE: Final = frozenset(("--limit", "--cursor"))
_NOT_WITH: Final[Mapping[str, frozenset[str]]] = {
    "": _PAGE | {"--sensitivity"},
    "--compare": _FILES | _PAGE | {"--sensitivity", "--window", "--ascending", "--fill"},
    "--spikes": _FILES | {"--cursor", "--fill"},
    "--forecast": _FILES
    | _PAGE
    | _SHAPE
    | _WHOSE
    | {"--sensitivity", "--by", "--where", "--where-not", "--missing", "--prefix", "--consistent"},
    "--entries": _FILES | {"--sensitivity"},
}
"""What has no meaning there, by mode."""


@with_shared_options
def usage(
    shared: Shared,
    pool: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="Only this pool. Default: all of the environment.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer's pools.")] = None,
    environment: Annotated[
        str | None, typer.Option(help=f"The environment of the pools. Default: {ENVIRONMENT_DEFAULT}.")
    ] = None,
    in_currency: Annotated[
        str | None,
        typer.Option("--in", metavar="CURRENCY", help=f"The currency of the pools. Default: {CURRENCY_DEFAULT}."),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(
            help='"today", "yesterday", "this month", "previous week", "last 7 days", "last 24 hours", "year to date", '
            f'"2026-Q3", "2026-07", "2026-W29", "2026-07-01..2026-07-14". Default: {PERIOD_DEFAULT}; '
            f"with --forecast {FORECAST_PERIOD_DEFAULT}."
        ),
    ] = None,
    start: Annotated[str | None, typer.Option(help="From this moment on, ISO 8601 with its zone.")] = None,
    end: Annotated[str | None, typer.Option(help="Before this moment, ISO 8601 with its zone.")] = None,
    window: Annotated[
        str | None, typer.Option(help="In buckets of a minute, hour, day, week, month, quarter or year.")
    ] = None,
    time_zone: Annotated[
        str, typer.Option(help="Where days begin, and in which times are shown, such as Europe/Paris.")
    ] = "UTC",
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="FIELD",
            help="Break down by a dimension, or by $metric, $customer, $resource, $grant, $category, $cost_basis or "
            "$currency. Repeatable.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="NAME=VALUE",
            help="Only what has this value, as --dim: name:=5 for a number or boolean. Repeated for a name: one of "
            "these values.",
        ),
    ] = None,
    where_not: Annotated[
        list[str] | None,
        typer.Option("--where-not", metavar="NAME=VALUE", help="Only what does not have this value. Repeatable."),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            "--missing",
            metavar="NAME",
            help="Only what has no such dimension; beside --where of the same name, that as well. Repeatable.",
        ),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", metavar="NAME=TEXT", help="Only values that begin so. Repeatable."),
    ] = None,
    top: Annotated[int | None, typer.Option(help='So many groups, and all the rest together as "other".')] = None,
    order: Annotated[
        str | None,
        typer.Option(
            help="credits, events, refused, quantity or name; with --compare: change, increase, credits or name."
        ),
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="The smallest first.")] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="With --window, show buckets in which nothing happened as well.")
    ] = False,
    consistent: Annotated[
        bool, typer.Option(help="Wait for all that was acknowledged before, or be half a second behind.")
    ] = True,
    compare: Annotated[
        str | None,
        typer.Option(metavar="PERIOD", help='Compare with "previous", "year before" or any period, group by group.'),
    ] = None,
    spikes: Annotated[
        bool, typer.Option("--spikes", help="With --window: which buckets of which groups stand out.")
    ] = False,
    sensitivity: Annotated[
        float | None, typer.Option(help=f"With --spikes: the score that stands out. Default: {SENSITIVITY_DEFAULT}.")
    ] = None,
    forecast: Annotated[bool, typer.Option("--forecast", help="When POOL runs dry if it goes on like this.")] = False,
    entries: Annotated[
        bool, typer.Option("--entries", help="The ledger entries behind all lines together, whatever their groups.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"With --entries or --spikes: so many, 1 to 1000. Default: {ENTRIES_LIMIT_DEFAULT} and "
            f"{SPIKES_LIMIT_DEFAULT}."
        ),
    ] = None,
    cursor: Cursor = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the lines as CSV.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="With --csv: write this file instead.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", help="Write the lines as a Parquet file.")
    ] = None,
) -> None:
    """Show where the credits went, broken down by anything that events carry, over any range of time.

    For people: a table with bars, or with --window one line for each bucket; with --by as well, one line for each
    group, with its course. --compare, --spikes, --forecast and --entries ask something else of the same usage.

    In --csv and --parquet, all values of a dimension are text. Text is written as it is, numbers and booleans as JSON,
    and as a JSON string in quotes what could be taken for those or for a formula, is empty, or cannot be printed: "5"
    is not 5. In Parquet, amounts are DECIMAL(38, 9) and times have the time zone UTC. With --json, --output and
    --parquet tell what was written.
    """
    with reporting(shared.as_json):
        target = shared.target()
        typed = _typed(shared.ctx)
        mode = _mode(typed)
        _check_options(mode, typed, pool, as_json=shared.as_json)
        filters = _filters(where or (), where_not or (), missing or (), prefix or ())
    asking = _Asking(
        target,
        environment or ENVIRONMENT_DEFAULT,
        filters,
        {
            "customer": customer,
            "environment": environment or ENVIRONMENT_DEFAULT,
            "currency": in_currency or CURRENCY_DEFAULT,
            "period": period,
            "start": start,
            "end": end,
            "time_zone": time_zone,
            "filters": [each.filter for each in filters],
            "consistent": consistent,
        },
    )
    fields = by or ()
    descending = False if ascending else None

    async def ask_lines(credits: Credits) -> Usage:
        return await credits.usage(
            pool,
            **asking.question,
            group_by=fields,
            window=as_typed(window),
            top=top,
            order=as_typed(order) or "credits",
            descending=descending,
            fill_empty=fill,
        )

    async def ask_changes(credits: Credits) -> UsageComparison:
        # The smallest answer that names the question: the comparison asks again.
        asked = await credits.usage(pool, **asking.question, group_by=fields, top=1 if fields else None)
        return await credits.compare_usage(asked, compare or "", order=as_typed(order) or "change", top=top)

    async def ask_spikes(credits: Credits) -> UsageSpikes:
        return await credits.usage_spikes(
            await ask_lines(credits),
            sensitivity=SENSITIVITY_DEFAULT if sensitivity is None else sensitivity,
            limit=SPIKES_LIMIT_DEFAULT if limit is None else limit,
        )

    async def ask_forecast(credits: Credits) -> Forecast:
        return await credits.forecast(pool or "", period=_in_words(period, start, end), time_zone=time_zone)

    async def ask_entries(credits: Credits) -> tuple[Usage, UsageEntryPage]:
        # Whatever the groups and buckets are, the entries behind all of them are the same.
        asked = await credits.usage(pool, **asking.question)
        most = ENTRIES_LIMIT_DEFAULT if limit is None else limit
        return asked, await credits.usage_entries(asked, cursor=cursor, limit=most)

    match mode:
        case "--compare":
            asking.respond(shared.as_json, ask_changes, render_usage.comparison)
        case "--spikes":
            asking.respond(shared.as_json, ask_spikes, render_usage.spikes)
        case "--forecast":
            asking.respond(shared.as_json, ask_forecast, lambda answer: render_usage.forecast(answer, time_zone))
        case "--entries":
            asking.respond(shared.as_json, ask_entries, lambda answer: render_usage.entries(*answer), _entries_to_wire)
        case _ if as_csv or parquet is not None:
            _write(asking, ask_lines, output if as_csv else parquet, as_csv=as_csv, as_json=shared.as_json)
        case _:
            asking.respond(shared.as_json, ask_lines, render_usage.usage)


@with_shared_options
def rebuild(
    shared: Shared,
    environment: Annotated[
        str, typer.Option(help="Which service is asked, where several run. The file holds all environments.")
    ] = ENVIRONMENT_DEFAULT,
) -> None:
    """Make the usage file again from the journal, and wait until that is done. The old one answers until then.

    A service goes on with it if this command is interrupted.
    """
    with reporting(shared.as_json):
        target = shared.target()

    async def ask() -> UsageStatus:
        async with target.open() as credits:
            with _naming_options(()):
                begun = await credits.rebuild_usage(environment=environment)

            def is_done(status: UsageStatus) -> bool:
                return status.rebuilt is None and status.position >= begun.journal

            status = await _followed(credits, "rebuild", environment, is_done)
            if status.failure is not None:
                raise Unavailable(f"no new usage file could be made, the old one stays: {status.failure}")
            if not is_done(status):
                raise Unavailable(f"the usage file has stood still for {STILL_MAX_S:g} s at frame {status.position}")
            return status

    respond(shared.as_json, ask, plain=render_usage.status, wire=_to_wire)


def _to_wire(answer: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(answer, enc_hook=plain_lines)
    return plain


class _Filter(NamedTuple):
    option: str
    filter: dict[str, Any]


class _Asking(NamedTuple):
    """What is asked, and of whom."""

    target: Target
    environment: str
    filters: Sequence[_Filter]
    question: dict[str, Any]

    async def ask(self, work: Callable[[Credits], Awaitable[T]]) -> T:
        """Do the work on the target, with all of its journal in the usage file."""
        async with self.target.open() as credits:
            with _naming_options([each.option for each in self.filters]):
                if self.target.nats_url is None:
                    # What is wrong with the question is said at once, not after a long time of catching up.
                    with anyio.move_on_after(AT_ONCE_S):
                        return await work(credits)
                    await _followed(credits, "usage", self.environment, _is_caught_up)
                return await work(credits)

    def respond(
        self,
        as_json: bool,
        work: Callable[[Credits], Awaitable[T]],
        plain: Callable[[T], RenderableType],
        wire: Callable[[T], dict[str, Any]] = _to_wire,
    ) -> None:
        """Do the work and print its answer."""
        respond(as_json, lambda: self.ask(work), plain=plain, wire=wire)


def _write(
    asking: _Asking, work: Callable[[Credits], Awaitable[Usage]], path: Path | None, *, as_csv: bool, as_json: bool
) -> None:
    """Put the lines into a file, or as CSV on stdout."""
    with reporting(as_json):
        answer = run_async(lambda: asking.ask(work))
        if path is None:
            sys.stdout.write(to_csv(answer))
            return
        if as_csv:
            write_text(to_csv(answer), path, "--output")
        else:
            write_parquet(answer, path, "--parquet")
    if as_json:
        print_json({"file": str(path), "lines": len(answer.lines)})
    else:
        out().print(f"{len(answer.lines):,} lines written to {path}", markup=False, soft_wrap=True)


def _entries_to_wire(answer: tuple[Usage, UsageEntryPage]) -> dict[str, Any]:
    """With the range: the next page is one of the same range only."""
    asked, page = answer
    return {"start": asked.start.isoformat(), "end": asked.end.isoformat(), **_to_wire(page)}


# -- What was typed


def _typed(ctx: typer.Context) -> list[str]:
    """The options that are on the command line."""
    sources = {each.opts[0]: ctx.get_parameter_source(each.name or "") for each in ctx.command.params}
    return [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def _mode(typed: Sequence[str]) -> str:
    """The one mode that was asked for; "" is the table. Raises ``InvalidRequest``."""
    modes = [option for option in typed if option in _MODES]
    if len(modes) > 1:
        raise InvalidRequest(modes[1], f"one of {', '.join(_MODES)}", got=f"it beside {modes[0]}")
    return modes[0] if modes else ""


def _check_options(mode: str, typed: Sequence[str], pool: str | None, *, as_json: bool) -> None:
    """Refuse what would have no effect. Raises ``InvalidRequest`` naming the option."""
    for option in typed:
        if option in _NOT_WITH[mode]:
            raise InvalidRequest(option, f"nothing {f'beside {mode}' if mode else 'without --entries or --spikes'}")
        if option in _WHOSE and pool is not None:
            raise InvalidRequest(option, "either a pool, whose name says it, or this option")
    if mode == "--forecast" and pool is None:
        raise InvalidRequest("--forecast", "a POOL")
    if "--output" in typed and "--csv" not in typed:
        raise InvalidRequest("--output", "--csv beside it")
    if "--parquet" in typed and "--csv" in typed:
        raise InvalidRequest("--parquet", "either it or --csv")
    if as_json and "--csv" in typed and "--output" not in typed:
        raise InvalidRequest("--csv", "either it or --json, or a file with --output")


def _filters(
    where: Sequence[str], where_not: Sequence[str], missing: Sequence[str], prefix: Sequence[str]
) -> list[_Filter]:
    """All conditions, each with the option that it comes from. Raises ``InvalidRequest`` naming the option."""
    one_of: dict[str, list[GroupValue]] = {}
    for name, value in _typed_pairs(where, "--where"):
        one_of.setdefault(name, []).append(value)
    options = dict.fromkeys(one_of, "--where")
    for name in missing:
        one_of.setdefault(name, []).append(None)
        options.setdefault(name, "--missing")
    none_of: dict[str, list[GroupValue]] = {}
    for name, value in _typed_pairs(where_not, "--where-not"):
        none_of.setdefault(name, []).append(value)
    found = [_Filter(options[name], {"field": name, "op": "in", "values": values}) for name, values in one_of.items()]
    found += [_Filter("--where-not", {"field": name, "op": "not in", "values": each}) for name, each in none_of.items()]
    for word in prefix:
        name, text = parse_pair(word, "--prefix")
        found.append(_Filter("--prefix", {"field": name, "op": "prefix", "values": [text]}))
    return found


def _typed_pairs(words: Sequence[str], option: str) -> Iterator[tuple[str, GroupValue]]:
    for word in words:
        yield from parse_dimensions([word], option).items()


def _in_words(period: str | None, start: str | None, end: str | None) -> str:
    """A forecast takes its range in words only, which moments are too."""
    if period is not None and (start is not None or end is not None):
        raise InvalidRequest("--period", "either a period, or --start and --end")
    if period is None and start is None and end is None:
        return FORECAST_PERIOD_DEFAULT
    return f"{start or ''}..{end or ''}" if period is None else period


@contextmanager
def _naming_options(filters: Sequence[str]) -> Iterator[None]:
    """Name what is wrong as it was typed. ``filters`` are the options that the filters come from."""
    try:
        yield
    except InvalidRequest as error:
        option = _option_of(error.field, filters)
        got = error.message.removeprefix(f"{error.field}: expected {error.expected}").removeprefix(", got ")
        raise type(error)(option, error.expected, got=got or None) from None


def _option_of(field: str, filters: Sequence[str]) -> str:
    first, _, rest = field.partition(".")
    number = rest.partition(".")[0]
    if first == "filters" and number.isdigit() and int(number) < len(filters):
        return filters[int(number)]
    if first in _OPTION_OF:
        return _OPTION_OF[first]
    return f"--{first.replace('_', '-')}" if first in _OWN_NAMES else field


# -- The usage file


def _is_caught_up(status: UsageStatus) -> bool:
    return status.position >= status.journal


async def _followed(
    credits: Credits, label: str, environment: str, is_there: Callable[[UsageStatus], bool]
) -> UsageStatus:
    """Wait until the usage file ``is_there``, or stands still, with a progress bar on stderr if that is a terminal."""
    columns = (
        TextColumn(f"[bold]{label}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(label, total=None)
        place: tuple[int, int | None] | None = None
        moved_at = time.monotonic()
        while True:
            status = await credits.usage_status(environment=environment)
            done = status.position if status.rebuilt is None else status.rebuilt
            progress.update(task, completed=done, total=status.journal)
            if is_there(status):
                return status
            if place != (status.position, status.rebuilt):
                place, moved_at = (status.position, status.rebuilt), time.monotonic()
            elif time.monotonic() - moved_at > STILL_MAX_S:
                return status
            await anyio.sleep(LOOK_EVERY_S)
