"""``solvent replay``: usage events from a file into a pool, resumable because every event has a key.

This file is the command. In ``transports/cli/replay``, ``source`` opens a file, ``formats`` tells what it is,
``tables`` and ``documents`` read its records; ``options`` has what may be asked and ``choices`` what that means,
``mapping`` says how columns become debits and ``rows`` makes them; ``replayer`` sends them, ``run`` shows it,
``summary`` sums it up, and ``dry_run`` does without the last three.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from solvent.transports.cli.options import Shared, with_shared_options
from solvent.transports.cli.replay.choices import reading_of
from solvent.transports.cli.replay.dry_run import DryRun, dry_run
from solvent.transports.cli.replay.options import ColumnOptions, DimensionOptions, FileOptions, PriceOptions
from solvent.transports.cli.replay.run import ReplayRun
from solvent.transports.cli.replay.summary import Finished
from solvent.transports.cli.running import print_error, reporting, run_async
from solvent.transports.cli.terminal import out, print_json


@with_shared_options
def replay(
    shared: Shared,
    file: Annotated[
        Path,
        typer.Argument(help="CSV or TSV with a header, JSON or JSON lines, also .gz or .zst; - is standard input."),
    ],
    reading: FileOptions,
    columns: ColumnOptions,
    dimensions: DimensionOptions,
    prices: PriceOptions,
) -> None:
    """Debit the usage events of a file. Run it again to resume: what is there already is not debited twice.

    The pools need credits first (solvent grant). JSON needs no options if its members are called id, time, pool
    (or customer, resource), amount (or metric, quantity, with --price) and dimensions. Every event needs an identity:
    --id-column, --source NAME for its place in this file, or --hash-columns for its content.

    A column that an option names has to be there in every record; COLUMN? may be missing. A path such as
    data.tokens leads into objects, and where it meets an array each element is an event. What is wrong with a record is
    reported, and the record is skipped. An event that is refused for lack of credits is counted, and so is one that
    costs nothing.

    The exit code is 0 if every event was booked, free or refused for lack of credits; 5 if a key was used for something
    else before; 2 for a bad record or a file that ends in the middle; else that of the worst answer.
    """
    with reporting(shared.as_json):
        target = shared.target()
        read = reading_of(file, reading, columns, dimensions, prices, currencies=target.currencies)
        ended: DryRun | Finished
        if reading.dry_run:
            ended = dry_run(read)
        else:
            run = ReplayRun(read, strict=reading.strict, errors=reading.errors, quiet=shared.as_json)
            ended = run_async(lambda: run.on(target))
    if shared.as_json:
        print_json(ended.to_wire())
    else:
        out().print(ended.table())
        if ended.error is not None:
            print_error(ended.error.message)
    raise typer.Exit(ended.exit_code())
