"""The verbs ``ledger`` and ``costs``: a pool's past, and what its credits were worth."""

from __future__ import annotations

from typing import Annotated

import typer

from solvent.engine.api.requests import CostsRequest
from solvent.transports.cli.asking import ask, ask_all
from solvent.transports.cli.options import Cursor, PoolArgument, Shared, with_shared_options
from solvent.transports.cli.render import ledger as render


@with_shared_options
def ledger(
    shared: Shared,
    pool: PoolArgument,
    limit: Annotated[int, typer.Option(help="Entries on a page, 1 to 1000.")] = 50,
    cursor: Cursor = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Begin at the pool's first entry.")] = False,
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
    start: Annotated[str | None, typer.Option(help="Only at or after this time, ISO 8601 with its zone.")] = None,
    end: Annotated[str | None, typer.Option(help="Only before this time.")] = None,
) -> None:
    """Show the credits of a pool that were burned, expired and voided, and their value, by cost basis."""
    ask_all(shared, lambda: CostsRequest(pool=pool, start=start, end=end), render.costs)
