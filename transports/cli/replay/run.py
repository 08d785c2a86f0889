"""One run of ``solvent replay`` as the operator sees it: problems, progress, Ctrl-C and the summary.

Ctrl-C once ends the run after the events under way; twice, at once, and then some of those may be recorded although
nobody was told. Either way the next run over the same file goes on where this one ended.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import anyio
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from solvent.engine.values.errors import (
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    StateConflict,
    error_to_wire,
)
from solvent.transports.cli.exits import Exit, exit_code
from solvent.transports.cli.render.tables import amount, plain_amount
from solvent.transports.cli.running import err
from solvent.transports.cli.target import Target

from .events import BadLine, Parsed, parse_csv, parse_json_lines
from .lines import read_lines
from .mapping import EventMapping
from .replayer import Problem, Replayer, Tally

PROBLEMS_SHOWN_MAX: Final = 10
"""Printed while running. All of them go to ``--errors``."""
REFRESH_S: Final = 0.2
JSON_LINES_SUFFIXES: Final = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended."""

    file: str
    tally: Tally
    seconds: float
    interrupted: bool

    def exit_code(self) -> Exit:
        """The worst thing that happened: interrupted, given up, a bad line, an unknown pool, a conflict, another no."""
        tally = self.tally
        codes = set(tally.no) - {InsufficientCredits.code}
        if self.interrupted:
            return Exit.INTERRUPTED
        if tally.gave_up is not None:
            return exit_code(tally.gave_up)
        if tally.bad_lines or InvalidRequest.code in codes:
            return Exit.INVALID
        if NotFound.code in codes:
            return Exit.NOT_FOUND
        if codes & {IdempotencyConflict.code, StateConflict.code}:
            return Exit.CONFLICT
        return Exit.UNEXPECTED if codes else Exit.OK

    def to_wire(self) -> dict[str, Any]:
        """The summary as plain JSON values; ``refused`` counts events by code."""
        tally = self.tally
        return {
            "file": self.file,
            "lines": tally.lines,
            "booked": tally.booked,
            "already_there": tally.already,
            "free": tally.free,
            "refused": dict(tally.no),
            "bad_lines": tally.bad_lines,
            "amount_booked": plain_amount(tally.amount_booked),
            "retried": tally.retried,
            "seconds": round(self.seconds, 3),
            "complete": not self.interrupted and tally.gave_up is None,
            "gave_up": None if tally.gave_up is None else error_to_wire(tally.gave_up),
        }

    def table(self) -> RenderableType:
        """The summary for people."""
        tally = self.tally
        rows = Table(box=None, show_header=False, padding=(0, 1))
        rows.add_column(style="bright_black")
        rows.add_column(justify="right")
        rows.add_column()
        rows.add_row("lines read", f"{tally.lines:,}")
        rows.add_row("booked", Text(f"{tally.booked:,}", "green"), f"debits, {amount(tally.amount_booked)} credits")
        rows.add_row("already there", f"{tally.already:,}", "the same key and request: not debited twice")
        rows.add_row("free", f"{tally.free:,}", "cost nothing, not sent")
        for code, count in sorted(tally.no.items()):
            rows.add_row(code.replace("_", " "), Text(f"{count:,}", "yellow"), "refused, nothing written")
        rows.add_row("bad lines", Text(f"{tally.bad_lines:,}", "red" if tally.bad_lines else ""))
        if tally.retried:
            rows.add_row("asked again", f"{tally.retried:,}", "with the same key, after no answer")
        rows.add_row("time", f"{self.seconds:.1f} s", f"{tally.answered / max(self.seconds, 0.001):,.0f} events/s")
        if self.interrupted:
            ending = Text("stopped; run the same command again to go on", style="yellow")
        elif tally.gave_up is not None:
            ending = Text("ended before the end of the file; run the same command again to go on", style="red")
        else:
            ending = Text.assemble(("✓ ", "green"), f"{self.file} replayed")
        return Group(ending, rows)


class ReplayRun:
    """One run over one file: opens what it needs, shows what happens, and closes everything."""

    def __init__(
        self, file: Path, mapping: EventMapping, *, delimiter: str, strict: bool, errors: Path | None, quiet: bool
    ) -> None:
        self._file = file
        self._json_lines = file.suffix.lower() in JSON_LINES_SUFFIXES
        self._mapping = mapping.with_natural_names() if self._json_lines else mapping
        self._mapping.check()
        self._delimiter = delimiter
        self._strict = strict
        self._errors_path = errors
        self._console = err()
        self._problems_shown = PROBLEMS_SHOWN_MAX if quiet else 0
        self._errors: TextIO | None = None
        self._interrupted = False

    async def on(self, target: Target) -> Finished:
        """Replay the file into ``target``. SIGINT and SIGTERM end it after the events under way."""
        started = time.monotonic()
        with ExitStack() as files:
            source = files.enter_context(_opened(self._file))
            if self._errors_path is not None:
                self._errors = files.enter_context(_created(self._errors_path))
            events = self._events(source)
            async with target.open() as credits:
                replayer = Replayer(credits, on_problem=self._on_problem, strict=self._strict)
                with _bar(self._console) as progress:
                    task = progress.add_task(self._file.name, total=self._file.stat().st_size, rate="")
                    async with anyio.create_task_group() as run:
                        run.start_soon(self._watch_signals, replayer, run.cancel_scope)
                        run.start_soon(_watch_progress, progress, task, replayer.tally)
                        await replayer.run(events)
                        run.cancel_scope.cancel()
        return Finished(self._file.name, replayer.tally, time.monotonic() - started, self._interrupted)

    def _events(self, source: BinaryIO) -> Iterator[Parsed | BadLine]:
        lines = read_lines(source)
        if self._json_lines:
            return parse_json_lines(lines, self._mapping)
        return parse_csv(lines, self._mapping, delimiter=self._delimiter)

    async def _watch_signals(self, replayer: Replayer, run: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if self._interrupted:
                    run.cancel()
                self._interrupted = True
                replayer.stop.set()

    def _on_problem(self, problem: Problem) -> None:
        if self._errors is not None:
            self._errors.write(f"{problem.line}\t{problem.code}\t{problem.reason}\n")
        if self._problems_shown < PROBLEMS_SHOWN_MAX:
            self._problems_shown += 1
            self._console.print(
                Text.assemble((f"{self._file.name}:{problem.line}: ", "yellow"), problem.reason), soft_wrap=True
            )
            if self._problems_shown == PROBLEMS_SHOWN_MAX:
                self._console.print(
                    "further lines are counted only; --errors FILE keeps them all", style="bright_black"
                )


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidRequest("FILE", "a file that can be read", got=f"{path} ({error.strerror})") from None


def _created(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise InvalidRequest("--errors", "a file that can be written", got=f"{path} ({error.strerror})") from None


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress


async def _watch_progress(progress: Progress, task: TaskID, tally: Tally) -> None:
    """Show the bytes read and the rate of the last second or so."""
    rate = 0.0
    before, before_at = 0, time.monotonic()
    while True:
        await anyio.sleep(REFRESH_S)
        now = time.monotonic()
        latest = (tally.answered - before) / (now - before_at)
        rate = latest if not before else 0.8 * rate + 0.2 * latest
        before, before_at = tally.answered, now
        progress.update(task, completed=tally.bytes_read, rate=f"{rate:,.0f} events/s")
