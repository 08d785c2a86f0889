"""One run of ``solvent replay`` as the operator sees it: problems, progress and Ctrl-C.

Ctrl-C once ends the run after the events under way; twice, at once, and then some of those may be recorded although
nobody was told. Either way the next run over the same file goes on where this one ended.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TextIO

import anyio
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TimeRemainingColumn

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.render.visible import visible
from solvent.transports.cli.target import Target
from solvent.transports.cli.terminal import Console, Label, Text, err

from .reading import Reading
from .replayer import Problem, Replayer, Tally
from .source import Source
from .summary import Finished

PROBLEMS_SHOWN_MAX: Final = 10
"""Printed while running. All of them go to ``--errors``."""
REFRESH_S: Final = 0.2


class ReplayRun:
    """One run over one file: opens what it needs, shows what happens, and closes everything."""

    def __init__(self, reading: Reading, *, strict: bool, errors: Path | None, quiet: bool) -> None:
        self._reading = reading
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
            source, events = files.enter_context(self._reading.open())
            if self._errors_path is not None:
                self._errors = files.enter_context(_created(self._errors_path))
            async with target.open() as credits:
                replayer = Replayer(credits, on_problem=self._on_problem, strict=self._strict)
                with _bar(self._console) as progress:
                    task = progress.add_task(self._reading.name, total=source.size, rate="")
                    async with anyio.create_task_group() as run:
                        run.start_soon(self._watch_signals, replayer, source, run.cancel_scope)
                        run.start_soon(_watch_progress, progress, task, replayer.tally, source)
                        await replayer.run(events)
                        run.cancel_scope.cancel()
        return Finished(self._reading.name, replayer.tally, time.monotonic() - started, self._interrupted)

    async def _watch_signals(self, replayer: Replayer, source: Source, run: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if self._interrupted:
                    run.cancel()
                self._interrupted = True
                replayer.stop.set()
                source.stop()

    def _on_problem(self, problem: Problem) -> None:
        if self._errors is not None:
            place = f"{problem.record}\t{problem.line}\t{problem.code}"
            self._errors.write(f"{place}\t{visible(problem.reason)}\n")
        if self._problems_shown < PROBLEMS_SHOWN_MAX:
            self._problems_shown += 1
            self._console.print(problem_text(self._reading.name, problem), soft_wrap=True)
            if self._problems_shown == PROBLEMS_SHOWN_MAX:
                self._console.print(
                    "further records are counted only; --errors FILE keeps them all", style="bright_black"
                )


def problem_text(file: str, problem: Problem) -> Text:
    """Return what is wrong with a record, as a line that begins as compilers write it."""
    place = (f"{file}:{problem.line}: ", "yellow")
    return Text.assemble(place, problem.reason, (f" (record {problem.record})", "bright_black"))


def _created(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise InvalidRequest("--errors", "a file that can be written", got=f"{path} ({error.strerror})") from None


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    columns = (
        Label(style="bold"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        Label("rate"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress


async def _watch_progress(progress: Progress, task: TaskID, tally: Tally, source: Source) -> None:
    """Show the bytes read and the rate of the last second or so."""
    rate = 0.0
    before, before_at = 0, time.monotonic()
    while True:
        await anyio.sleep(REFRESH_S)
        now = time.monotonic()
        latest = (tally.answered - before) / (now - before_at)
        rate = latest if not before else 0.8 * rate + 0.2 * latest
        before, before_at = tally.answered, now
        progress.update(task, completed=source.consumed, rate=f"{rate:,.0f} events/s")
