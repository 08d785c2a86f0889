"""``solvent export``: a whole journal as files, with the chain and a script that checks it without Solvent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Group, RenderableType

from solvent.engine.audit.export import VERIFIER_FILE, Exported, export_journal
from solvent.transports.cli.exits import Exit
from solvent.transports.cli.options import DATA_DIR_DEFAULT, DataDir, Json
from solvent.transports.cli.running import reporting, run_async
from solvent.transports.cli.target import require_journal
from solvent.transports.cli.terminal import Text, out, print_json

from .losses import losses
from .verify import PROBLEMS_SHOWN_MAX, with_progress


def export(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write: a new or an empty one.")],
    data_dir: DataDir = DATA_DIR_DEFAULT,
    file_format: Annotated[
        Literal["jsonl", "parquet"],
        typer.Option("--format", help="The file format. Only JSON lines can be checked without other software."),
    ] = "jsonl",
    customer: Annotated[str | None, typer.Option(help="Only the pools of this customer.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    as_json: Json = False,
) -> None:
    """Write journal and ledger as files, with the chain. Exit code 8: damaged parts of the journal were left out.

    Reads the folder, not a service. A service may go on using the folder meanwhile. An export as JSON lines contains a
    script that checks it without Solvent: python verify_export.py FOLDER.
    """
    with reporting(as_json):
        require_journal(data_dir)
        written = run_async(
            lambda: with_progress(
                "export",
                lambda on_progress: export_journal(
                    data_dir, target, format=file_format, customer=customer, force=force, on_progress=on_progress
                ),
            )
        )
    if as_json:
        print_json(msgspec.to_builtins(written))
    else:
        out().print(_shown(written, target, checks=file_format == "jsonl"))
    if written.left_out:
        raise typer.Exit(Exit.DIFFERENCE)


def _shown(written: Exported, target: Path, *, checks: bool) -> RenderableType:
    what = f"{written.entries:,} entries of {len(written.heads.pools):,} pools, {written.frames:,} frames, in {target}"
    lines = [Text.assemble(("✓ ", "bold green"), what) if not written.left_out else Text(what)]
    if checks:
        lines.append(
            Text(f"  check it without Solvent: python {target / VERIFIER_FILE} {target}", style="bright_black")
        )
    lines += losses(written.losses)
    if written.left_out:
        lines.append(Text(f"✗ {len(written.left_out)} parts are damaged and were left out", style="bold red"))
        lines += [Text(f"  {each}") for each in written.left_out[:PROBLEMS_SHOWN_MAX]]
    return Group(*lines)
