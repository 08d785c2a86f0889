"""``solvent verify``: read a journal from its first byte and prove that the books balance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from solvent.engine.audit.heads import PublishedHeads, publish_heads, read_heads
from solvent.engine.audit.verify import Verification, verify_journal
from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.exits import Exit
from solvent.transports.cli.options import DATA_DIR_DEFAULT, DataDir, Json
from solvent.transports.cli.progress import frames_bar
from solvent.transports.cli.render.cells import amount, plain_amount
from solvent.transports.cli.running import reporting, run_async
from solvent.transports.cli.target import require_journal
from solvent.transports.cli.terminal import Text, out, print_json

from .losses import loss_to_wire, losses

PROBLEMS_SHOWN_MAX = 20
T = TypeVar("T")


def verify(
    data_dir: DataDir = DATA_DIR_DEFAULT,
    heads: Annotated[
        Path | None, typer.Option("--heads", help="Write the heads of the chains to this file, for you to publish.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="With --heads: only the heads of this customer's pools.")] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="A file of published heads: check that history was not rewritten since."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute every pool from the journal and compare checksums, chains, sums and keys. Exit code 8: a difference.

    Reads the folder, not a service. A service may go on using the folder meanwhile.
    """
    with reporting(as_json):
        require_journal(data_dir)
        published = None if against is None else read_heads(against)
        found = run_async(lambda: verified(data_dir, published))
        if heads is not None and not found.problems:
            written = msgspec.json.encode(publish_heads(found.heads, found.frames, customer=customer))
            try:
                heads.write_bytes(msgspec.json.format(written) + b"\n")
            except OSError as error:
                raise InvalidRequest("heads", f"a file that can be written ({error})", got=str(heads)) from None
    if as_json:
        print_json(verification_to_wire(found))
    else:
        out().print(verification(found))
    if found.problems:
        raise typer.Exit(Exit.DIFFERENCE)


async def verified(directory: Path, against: PublishedHeads | None = None) -> Verification:
    """Verify a journal, with a progress bar on stderr if that is a terminal."""
    return await with_progress(
        "verify", lambda on_progress: verify_journal(directory, against=against, on_progress=on_progress)
    )


async def with_progress(what: str, work: Callable[[Callable[[int, int], None]], T]) -> T:
    """Run ``work`` in a thread, with a bar of its finished frames on stderr if that is a terminal."""
    with frames_bar(what) as show:
        # The thread changes no journal; if the wait is cancelled it ends with the process.
        return await anyio.to_thread.run_sync(lambda: work(show), abandon_on_cancel=True)


def verification(found: Verification) -> RenderableType:
    """Return what was proven, or each difference."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bright_black")
    table.add_column(justify="right")
    table.add_row("frames", f"{found.frames:,}")
    table.add_row("entries", f"{found.entries:,}")
    table.add_row("debits", f"{found.debits:,}")
    table.add_row("pools", f"{found.pools:,}")
    for currency, spent in found.spent.items():
        table.add_row(Text(f"{currency} spent"), amount(spent))
    table.add_row("seconds", f"{found.seconds:.2f}")
    accepted = losses(found.losses)
    if not found.problems:
        proven = Text.assemble(("✓ ", "bold green"), "proven: every pool recomputed, no difference")
        return Group(proven, *accepted, table)
    shown = [Text(f"  {problem}") for problem in found.problems[:PROBLEMS_SHOWN_MAX]]
    if len(found.problems) > PROBLEMS_SHOWN_MAX:
        shown.append(Text(f"  and {len(found.problems) - PROBLEMS_SHOWN_MAX} more"))
    return Group(Text(f"✗ {len(found.problems)} differences", style="bold red"), *shown, *accepted, table)


def verification_to_wire(found: Verification) -> dict[str, Any]:
    """Return the verification as plain JSON values."""
    return {
        "frames": found.frames,
        "entries": found.entries,
        "debits": found.debits,
        "pools": found.pools,
        "spent": {currency: plain_amount(spent) for currency, spent in found.spent.items()},
        "problems": list(found.problems),
        "losses": [loss_to_wire(each) for each in found.losses],
        "seconds": found.seconds,
    }
