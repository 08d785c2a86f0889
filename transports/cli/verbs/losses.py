"""``solvent accept-loss``: go on with a journal that ends earlier than it did, and record who accepted that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType

from solvent.engine.audit import losses as audit
from solvent.engine.audit.losses import Loss
from solvent.engine.values.times import to_datetime
from solvent.transports.cli.exits import Exit
from solvent.transports.cli.options import DATA_DIR_DEFAULT, DataDir, Json
from solvent.transports.cli.running import reporting
from solvent.transports.cli.terminal import Text, out, print_json


def accept_loss(
    data_dir: DataDir = DATA_DIR_DEFAULT,
    last_frame: Annotated[
        int | None,
        typer.Option("--last-frame", help="The last frame that remains. Default: only show what is lost."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Go on with a journal that lost frames, or whose file is damaged. First try to restore it from a backup.

    Without --last-frame, shows what is lost, changes nothing, and ends with exit code 8 if something is. With it, lets
    the journal end there, makes a damaged file anew from the frames that can be read, and deletes the caches. The loss
    is recorded in the folder, and verify and export name it from then on. Needs the folder, with no service on it.
    """
    with reporting(as_json):
        if last_frame is None:
            found = audit.find_loss(data_dir)
        else:
            found = audit.accept_loss(data_dir, last_frame=last_frame)
    if as_json:
        print_json({"loss": None if found is None else loss_to_wire(found)})
    else:
        out().print(_shown(found, data_dir))
    if found is not None and not found.accepted_at:
        raise typer.Exit(Exit.DIFFERENCE)


def losses(accepted: list[Loss]) -> list[Text]:
    """Return a line for each loss that was accepted."""
    return [
        Text.assemble(("! ", "bold yellow"), f"accepted {to_datetime(each.accepted_at):%Y-%m-%d %H:%M}: {each.told()}")
        for each in accepted
    ]


def loss_to_wire(loss: Loss) -> dict[str, Any]:
    """Return a loss as plain JSON values."""
    at = to_datetime(loss.accepted_at).isoformat() if loss.accepted_at else None
    return {**msgspec.to_builtins(loss), "accepted_at": at}


def _shown(found: Loss | None, data_dir: Path) -> RenderableType:
    if found is None:
        return Text("nothing is known to be lost")
    if found.accepted_at:
        return Group(Text.assemble(("✓ ", "bold green"), "accepted, and recorded"), *losses([found]))
    return Group(
        Text(f"✗ {found.told()}", style="bold red"),
        *(Text(f"  {each}") for each in found.damage),
        Text("restore the journal, with its journal.db-wal; or accept it as it is:"),
        Text(f"  solvent accept-loss --data-dir {data_dir} --last-frame {found.last_frame}"),
    )
