"""``solvent replay``: usage events from a file into a pool, resumable because every event has a key.

This file is the command. In ``transports/cli/replay``, ``options`` has what may be asked, ``mapping`` says how columns
become debits, ``events`` and ``rows`` read them, ``replayer`` sends them, ``run`` shows it, ``summary`` sums it up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from solvent.transports.cli.options import Shared, with_shared_options
from solvent.transports.cli.replay.options import ColumnOptions, FileOptions, PriceOptions, delimiter_of, mapping_of
from solvent.transports.cli.replay.run import ReplayRun
from solvent.transports.cli.running import out, print_error, print_json, reporting, run_async


@with_shared_options
def replay(
    shared: Shared,
    file: Annotated[Path, typer.Argument(help="CSV with a header row, or JSON lines (.jsonl, .ndjson).")],
    reading: FileOptions,
    columns: ColumnOptions,
    prices: PriceOptions,
) -> None:
    """Debit the usage events of a file. Run it again to resume: what is there already is not debited twice.

    The pools need credits first (solvent grant). A JSON line needs no options if its fields are called id, time, pool
    (or customer, resource), amount (or metric, quantity, with --price) and dimensions. An event that is refused for
    lack of credits is counted, and so is one that costs nothing; a bad line is reported and skipped.

    --preset azure-llm reads the Azure LLM inference traces of 2023: TIMESTAMP (UTC), ContextTokens as metric
    input_tokens, GeneratedTokens as output_tokens, dimension feature from the file's name (conversation or code).

    The exit code is 0 if every event was booked, free or refused for lack of credits; else that of the worst answer.
    """
    with reporting(shared.as_json):
        target = shared.target()
        run = ReplayRun(
            file,
            mapping_of(file, reading, columns, prices, currencies=target.currencies),
            delimiter=delimiter_of(reading),
            strict=reading.strict,
            errors=reading.errors,
            quiet=shared.as_json,
        )
        finished = run_async(lambda: run.on(target))
    if shared.as_json:
        print_json(finished.to_wire())
    else:
        out().print(finished.table())
        if finished.tally.gave_up is not None:
            print_error(finished.tally.gave_up.message)
    raise typer.Exit(finished.exit_code())
