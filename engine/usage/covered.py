"""How much of the journal a usage file covers, read while no usage process has the file open."""

from __future__ import annotations

from pathlib import Path

from solvent.engine.runtime.files import USAGE_NAME
from solvent.engine.values.errors import JournalShorter


def covered(folder: Path, identity: str) -> int:
    """Return the last frame of the journal ``identity`` that the usage file in ``folder`` covers.

    An empty ``identity`` stands for a journal that cannot say which one it is. A file that is missing, cannot be read,
    or is open in another process covers nothing.
    """
    path = folder / USAGE_NAME
    if not path.is_file():
        return 0
    # Only here, because it takes a tenth of a second and 30 MB, and an engine that finds an index does not ask.
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True) as database:
            settings = dict(database.execute("select name, value from setting").fetchall())
    except duckdb.Error:
        return 0
    position = str(settings.get("position"))
    is_own = not identity or settings.get("journal") == identity
    return int(position) if is_own and position.isdecimal() else 0


def check_covered(folder: Path, identity: str, last: int) -> None:
    """Raise ``JournalShorter`` if the usage file in ``folder`` covers frames beyond ``last``, where the journal ends.

    For a start without an index, which otherwise knows this.
    """
    position = covered(folder, identity)
    if position > last:
        raise JournalShorter(str(folder), last=last, acknowledged=position, known_by=USAGE_NAME)
