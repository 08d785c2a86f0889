"""Progress on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from .terminal import Label, err


@contextmanager
def frames_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of the journal's frames. Call what it gives with how many are done, and how many there are."""
    columns = (
        Label(style="bold"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
