"""What a person reads of a pool's past: its ledger, and what its credits were worth."""

from __future__ import annotations

from typing import Annotated

import typer

from solvent.transports.cli.asking import ask
from solvent.transports.cli.options import Cursor, PoolArgument, Shared, with_shared_options
from solvent.transports.cli.render import ledger as render


@with_shared_options
def ledger(
    shared: Shared,
    pool: PoolArgument,
    limit: Annotated[int, typer.Option(help="Entries of one page, 1 to 1000.")] = 50,
    cursor: Cursor = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="From the beginning of the pool.")] = False,
) -> None:
    """Show a page of a pool's history, newest first."""
    ask(
        shared,
        lambda credits: credits.ledger(pool, limit=limit, cursor=cursor, newest_first=not oldest_first),
        render.ledger,
    )


@with_shared_options
def costs(
    shared: Shared,
    pool: PoolArgument,
    start: Annotated[str | None, typer.Option(help="From this moment on, ISO 8601 with its zone.")] = None,
    end: Annotated[str | None, typer.Option(help="Before this moment.")] = None,
) -> None:
    """Show what became of a pool's credits by what they had cost: burned, expired, voided, and their value."""
    ask(shared, lambda credits: credits.costs(pool, start=start, end=end), render.costs)
