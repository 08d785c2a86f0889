"""Export of a journal as files that anyone can read: the exact bytes with their chain, and the ledger.

``journal.jsonl`` has a line per section, its bytes in base64. ``ledger.jsonl`` has a line per entry of every pool, as
``solvent ledger`` shows it. ``manifest.json`` has the content and the heads of the chains. ``verify_export.py`` is
copied next to them, and checks everything without this package. Unreadable parts of a damaged journal are left out, and
named.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import duckdb
import msgspec

from solvent.engine.journal.frames import Frame, Head, Pointer, decode_section, digest_of, split_frame
from solvent.engine.journal.opening import open_reader
from solvent.engine.rules.events import Opened
from solvent.engine.rules.views.ledger import entry_of
from solvent.engine.values.errors import InvalidRequest, JournalCorrupt, JournalError
from solvent.engine.values.pool_id import is_stream, parse_canonical

from .examine import acknowledged, identity_of
from .heads import PublishedHeads, publish_heads
from .losses import Loss, read_losses
from .salvage import Salvage

FORMAT: Final = 1
JOURNAL_FILE: Final = "journal.jsonl"
LEDGER_FILE: Final = "ledger.jsonl"
MANIFEST_FILE: Final = "manifest.json"
VERIFIER_FILE: Final = "verify_export.py"

ExportFormat = Literal["jsonl", "parquet"]

_TEXT, _WHOLE, _DECIMAL, _JSON = "VARCHAR", "BIGINT", "DECIMAL(38, 9)", "JSON"
_JOURNAL_COLUMNS: Final = {
    **dict.fromkeys(("frame", "at"), _WHOLE),
    "pool": _TEXT,
    **dict.fromkeys(("first_version", "entries"), _WHOLE),
    **dict.fromkeys(("previous_digest", "digest", "section"), _TEXT),
}
_LEDGER_COLUMNS: Final = {
    "pool": _TEXT,
    "version": _WHOLE,
    **dict.fromkeys(("kind", "id"), _TEXT),
    **dict.fromkeys(("amount", "change", "balance"), _DECIMAL),
    **dict.fromkeys(("recorded_at", "occurred_at"), "TIMESTAMPTZ"),
    "key": _TEXT,
    "allocations": _JSON,
    **dict.fromkeys(("about", "metric"), _TEXT),
    "quantity": _DECIMAL,
    "dimensions": _JSON,
    "card": _WHOLE,
    "covered": _JSON,
}
LINE_BYTES_MAX: Final = 256 << 20
"""The most bytes of a section in base64. A frame has a few thousand events."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported, and what could not be."""

    format: int = FORMAT
    frames: int
    sections: int
    entries: int
    heads: PublishedHeads
    left_out: list[str]
    """The unreadable parts of a damaged journal, by file, frame and pool."""
    losses: list[Loss] = []
    """The losses that were accepted since the journal began."""


def export_journal(
    directory: str | PathLike[str],
    target: str | PathLike[str],
    *,
    format: ExportFormat = "jsonl",
    customer: str | None = None,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the journal in ``directory`` to the folder ``target``, for all pools or those of a ``customer``.

    ``parquet`` writes both tables as Parquet; only JSON lines can be checked without further software.
    ``on_progress`` is called with (frames done, frames in all). Reads only: this may run next to the service, and ends
    with the frame that is the last one at the start. It blocks the calling thread.

    Raises ``InvalidRequest`` for a ``target`` that is not an empty folder, unless ``force``; ``JournalError``.
    """
    source, folder = Path(directory), Path(target)
    reader = open_reader(directory)
    try:
        if format not in ("jsonl", "parquet"):
            raise InvalidRequest("format", "jsonl or parquet", got=str(format))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not force:
            raise InvalidRequest("target", "an empty folder, or force", got=str(folder))
        exporter = _Exporter(reader.name, customer)
        known = acknowledged(source, identity_of(reader))
        salvage = Salvage(reader, acknowledged=max(known.values(), default=0))
        try:
            exporter.run(salvage, folder, on_progress)
        finally:
            salvage.close()
        losses, problems = read_losses(source)
        exporter.leave_out(problems)
        exported = msgspec.structs.replace(exporter.result(), losses=losses)
        (folder / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(exported)) + b"\n")
        if format == "parquet":
            _to_parquet(folder)
        else:
            shutil.copyfile(Path(__file__).with_name(VERIFIER_FILE), folder / VERIFIER_FILE)
    except (OSError, duckdb.Error) as error:
        raise JournalError(f"{source} cannot be exported to {folder}: {error}") from error
    finally:
        reader.close()
    return exported


class _Exporter:
    def __init__(self, journal: str, customer: str | None) -> None:
        self._journal = journal
        """The name of the journal in findings."""
        self._customer = customer
        self._heads: dict[str, Head] = {}
        self._scales: dict[str, int] = {}
        self._left_out: list[str] = []
        self._last = self._frames = self._sections = self._entries = 0

    def run(self, salvage: Salvage, folder: Path, on_progress: Callable[[int, int], None] | None) -> None:
        self._last = salvage.last
        with (
            (folder / JOURNAL_FILE).open("w", encoding="utf-8") as journal,
            (folder / LEDGER_FILE).open("w", encoding="utf-8") as ledger,
        ):
            for frame in salvage.frames():
                if isinstance(frame, JournalCorrupt):
                    self._left_out.append(f"{self._journal}: {frame}")
                    continue
                self._frames += 1
                try:
                    for pointer, body in split_frame(frame):
                        self._write(frame, pointer, body, journal, ledger)
                except JournalCorrupt as error:
                    self._left_out.append(f"{self._journal}: {error}")
                if on_progress is not None:
                    on_progress(frame.number, self._last)

    def leave_out(self, problems: list[str]) -> None:
        """Name what is left out for other reasons."""
        self._left_out += problems

    def result(self) -> Exported:
        return Exported(
            frames=self._frames,
            sections=self._sections,
            entries=self._entries,
            heads=publish_heads(self._heads, self._last),
            left_out=self._left_out,
        )

    def _write(self, frame: Frame, pointer: Pointer, body: bytes, journal: TextIO, ledger: TextIO) -> None:
        section = decode_section(body, frame=frame.number)
        name = section.pool
        if self._customer is not None and parse_canonical(name).customer != self._customer:
            return
        digest = digest_of(body)
        self._heads[name] = Head(section.last_version, pointer, digest)
        self._sections += 1
        line = {
            "frame": frame.number,
            "at": frame.at,
            "pool": name,
            "first_version": section.first_version,
            "entries": len(section.events),
            "previous_digest": section.previous_digest.hex(),
            "digest": digest.hex(),
            "section": base64.b64encode(body).decode("ascii"),
        }
        journal.write(msgspec.json.encode(line).decode() + "\n")
        for version, event in enumerate(section.events, section.first_version):
            if isinstance(event, Opened):
                self._scales[name] = event.scale
            scale = self._scales.get(name)
            if is_stream(name):
                continue
            if scale is None:
                self._left_out.append(f"{LEDGER_FILE}: pool {name}, entry {version}: its beginning could not be read")
                continue
            entry: dict[str, Any] = msgspec.to_builtins(entry_of(event, version, scale))
            ledger.write(msgspec.json.encode({"pool": name, **entry}).decode() + "\n")
            self._entries += 1


def _to_parquet(folder: Path) -> None:
    with duckdb.connect() as database:
        for name, columns in ((JOURNAL_FILE, _JOURNAL_COLUMNS), (LEDGER_FILE, _LEDGER_COLUMNS)):
            lines = folder / name
            written = str(lines.with_suffix(".parquet")).replace("'", "''")
            database.execute(
                f"copy (select * from read_ndjson(?, columns = {columns!r}, maximum_object_size = {LINE_BYTES_MAX}))"
                f" to '{written}' (format parquet)",
                [str(lines)],
            )
            lines.unlink()
