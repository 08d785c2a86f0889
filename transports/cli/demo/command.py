"""``solvent demo``: options, the temporary world around the story, and its last word."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.exits import Exit
from solvent.transports.cli.running import reporting, run_async
from solvent.transports.cli.signals import call_on_signal
from solvent.transports.cli.terminal import Console, Text, out
from solvent.transports.nats.launcher import nats_server

from .proof import Books, Check
from .screen import Screen
from .story import Demo
from .workload import Workload, generated, traced

SECONDS_DEFAULT: Final = 14.0
EVENTS_DEFAULT: Final = 100_000
EVENTS_MAX: Final = 1_000_000
"""All of them are in memory, with the receipts: about a kilobyte each."""
SEED_DEFAULT: Final = 2026


def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Replay a trace in the columns of replay's preset azure-llm instead of made-up events."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of load at most.")] = SECONDS_DEFAULT,
    events: Annotated[int, typer.Option(min=100, max=EVENTS_MAX, help="Events at most.")] = EVENTS_DEFAULT,
    seed: Annotated[int, typer.Option(help="The same seed makes the same events.")] = SEED_DEFAULT,
) -> None:
    """Watch usage events become durable debits, a kill -9 in the middle, and the proof that nothing was lost.

    Starts a nats-server and a service of its own in a temporary folder, and removes all of it. Takes about half a
    minute. Exit code 8: a check failed.
    """
    started = time.monotonic()
    console = out()
    with reporting(as_json=False):
        if data is not None and not data.is_file():
            raise InvalidRequest("--data", "a file that can be read", got=str(data))
        workload = Workload.plan(traced(data, seed) if data is not None else generated(seed), events)
        console.print(Text("Solvent: real-time prepaid credits that cannot be overdrawn", "bold"))
        if data is not None:
            console.print(f"{data.name}: tokens and times are the trace's, customers and users are drawn with the seed")
        told = run_async(lambda: _tell(workload, seconds, console))
        if told is None:
            console.print("interrupted; everything was stopped and removed", style="yellow")
            raise typer.Exit(Exit.INTERRUPTED)
    checks, books, screen = told
    screen.breakdown(books)
    failed = [check for check in checks if not check.passed]
    console.print()
    for check in failed:
        console.print(Text(f"✗ failed: {check.says}", "bold red"), soft_wrap=True)
    if failed:
        raise typer.Exit(Exit.DIFFERENCE)
    console.print(
        Text.assemble(("✓ ", "bold green"), f"all {len(checks)} checks passed, in {time.monotonic() - started:.0f} s")
    )


async def _tell(workload: Workload, seconds: float, console: Console) -> tuple[list[Check], Books, Screen] | None:
    """Run the story in a temporary folder, beside a NATS server of its own. ``None`` if it was interrupted."""
    async with anyio.create_task_group() as tasks:
        # Leaves every block of the story, which stops and removes what it opened.
        tasks.start_soon(call_on_signal, tasks.cancel_scope.cancel)
        with tempfile.TemporaryDirectory(prefix="solvent-demo-") as folder:
            async with nats_server() as nats_url:
                with Screen(console) as screen:
                    story = Demo(workload, seconds, Path(folder) / "journal", nats_url, screen)
                    checks, books = await story.run()
        tasks.cancel_scope.cancel()
        return checks, books, screen
    return None
