"""Losses that somebody has accepted: the journal goes on from an earlier frame, and ``journal.accepted`` says so.

An engine refuses a journal that ends before frames that were acknowledged, or whose file is damaged while no index
knows how it was. The first way out is to restore it. The second is here: the frames that can be read, from the first
one up to the first that cannot, become the journal, and the rest is given up. Who does that is asked to name the last
frame, so that nobody accepts what they have not seen. ``verify`` and ``export`` name each loss ever after.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from solvent.engine.journal.frames import Frame
from solvent.engine.journal.lock import exclusive
from solvent.engine.journal.sqlite.end import End, end_of, read_ends, remove_end, write_end
from solvent.engine.journal.sqlite.journal import write_journal
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.runtime.files import (
    ACCEPTED_NAME,
    INDEX_NAME,
    JOURNAL_NAME,
    REBUILT_NAME,
    SNAPSHOTS_NAME,
    USAGE_NAME,
)
from solvent.engine.runtime.sqlite import remove_database
from solvent.engine.usage.covered import covered
from solvent.engine.values.errors import InvalidRequest, JournalCorrupt, JournalError, StateConflict
from solvent.engine.values.readable import Readable

from .examine import acknowledged, identity_of
from .salvage import Salvage

DAMAGE_MAX: Final = 10
WRITER_LOCK: Final = "journal.lock"
_LOG: Final = "-wal"


class Loss(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """A loss: found when the journal was looked at, and recorded once it was accepted."""

    last_frame: int
    """The last frame that remains. Every frame before it can be read."""
    acknowledged: int
    """The newest frame that is known to have been written, at least ``last_frame``."""
    known_by: list[str]
    """The files that know of frames that are lost."""
    damage: list[str]
    """What is wrong with the file of the journal; empty if it only ends too early."""
    accepted_at: int = 0
    """The time of the acceptance in microseconds since 1970, UTC; 0 if the loss is not accepted yet."""
    kept: str | None = None
    """The name of the damaged file, which is kept next to the journal that was made from it."""

    @property
    def frames(self) -> int:
        """The number of frames that are lost."""
        return self.acknowledged - self.last_frame

    def told(self) -> str:
        """Return the loss as one line of text."""
        gone = f"frames {self.last_frame + 1} to {self.acknowledged} are lost" if self.frames else "no frame is lost"
        known = f", as {' and '.join(self.known_by)} knew" if self.known_by else ""
        rest = f"; the journal was made anew, {self.kept} is how it was" if self.kept else ""
        return f"{gone}{known}{rest}"


def find_loss(directory: str | PathLike[str]) -> Loss | None:
    """Return what the journal in ``directory`` has lost; ``None`` if nothing is known to be. Reads every frame.

    Raises ``JournalError`` if there neither is nor was a journal.
    """
    return _look(Path(directory)).loss


def accept_loss(directory: str | PathLike[str], *, last_frame: int) -> Loss:
    """Let the journal in ``directory`` end with ``last_frame``, record that, and remove the caches that know better.

    A damaged file is replaced by a new one with the frames that can be read, and kept. The engine must be stopped. A
    crash in the middle leaves a folder on which no engine starts; ask again.

    Args:
        directory: The folder of the journal.
        last_frame: The last frame that remains: the one that ``find_loss`` returns, and no other.

    Returns:
        The loss, as it was recorded.

    Raises:
        InvalidRequest: Another frame is the last one that remains.
        StateConflict: Nothing is lost (``nothing_lost``).
        JournalLocked: A process has the journal open.
        JournalError: There is no journal, or nothing can be written.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise JournalError(f"there is no journal in {folder}")
    with exclusive(folder), exclusive(folder, WRITER_LOCK):
        found = _look(folder)
        if found.loss is None:
            raise StateConflict("nothing_lost", f"nothing of the journal in {folder} is known to be lost")
        if last_frame != found.loss.last_frame:
            wanted = f"{found.loss.last_frame}, the last frame up to which all can be read"
            raise InvalidRequest("last_frame", wanted, got=str(last_frame))
        try:
            return _accept(folder, found, found.loss)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{folder} cannot be written: {error}") from error


def read_losses(folder: Path) -> tuple[list[Loss], list[str]]:
    """Return the losses that were accepted in ``folder``, the oldest first, and what cannot be read of the record."""
    try:
        lines = (folder / ACCEPTED_NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{ACCEPTED_NAME}: it cannot be read: {error}"]
    losses: list[Loss] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            losses.append(msgspec.json.decode(line, type=Loss))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problems.append(f"{ACCEPTED_NAME}: line {number} cannot be read: {error}")
    return losses, problems


class _Found(NamedTuple):
    loss: Loss | None
    identity: str
    """Of the journal; empty if nothing can say it."""
    must_rebuild: bool
    """Whether the file has to be made anew: it is damaged, or has frames behind the first one that is missing."""


def _look(folder: Path) -> _Found:
    path = folder / JOURNAL_NAME
    ends = read_ends(folder)
    if not path.is_file() or not path.stat().st_size:
        if not ends:
            raise JournalError(f"there is no journal in {folder}")
        gone = Loss(last_frame=0, acknowledged=ends[0].number, known_by=_knowing(folder, "", 0), damage=[])
        return _Found(gone, ends[0].identity, must_rebuild=False)
    reader = SqliteReader(path)
    try:
        damage = reader.damage()[:DAMAGE_MAX]
        identity = identity_of(reader)
        last, has_more = _readable(reader)
        if ends and not last and end_of(folder, identity) is None:
            # A new and empty file in place of the journal has an identity of its own.
            identity = ends[0].identity
        noted = end_of(folder, identity)
        others = _others(reader, noted) if noted is not None and noted.number <= last else []
    finally:
        reader.close()
    newest = max([last, *_known(folder, identity).values()])
    must_rebuild = bool(damage) or has_more
    if newest == last and not must_rebuild and not others:
        return _Found(None, identity, must_rebuild)
    known_by = _knowing(folder, identity, last)
    loss = Loss(last_frame=last, acknowledged=newest, known_by=known_by, damage=[*damage, *others])
    return _Found(loss, identity, must_rebuild)


def _others(reader: SqliteReader, noted: End) -> list[str]:
    """Return what is wrong if the noted frame is not the one in the journal."""
    try:
        is_own = all(map(noted.is_of, reader.frames(noted.number - 1, 1)))
    except JournalError:
        return []  # It cannot be read, which is found otherwise.
    return [] if is_own else [f"{JOURNAL_NAME}: frame {noted.number} is not the one that was acknowledged"]


def _known(folder: Path, identity: str) -> dict[str, int]:
    known = acknowledged(folder, identity)
    if position := covered(folder, identity):
        known[USAGE_NAME] = position
    return known


def _knowing(folder: Path, identity: str, last: int) -> list[str]:
    return [name for name, number in _known(folder, identity).items() if number > last]


def _readable(reader: SqliteReader) -> tuple[int, bool]:
    """Return the number of the frame before the first one that is missing, and whether there are others behind it."""
    salvage = Salvage(reader)
    last = 0
    try:
        for frame in salvage.frames():
            if isinstance(frame, JournalCorrupt):
                return last, True
            last = frame.number
    finally:
        salvage.close()
    return last, False


def _frames(path: Path, last: int) -> Iterable[Frame]:
    reader = SqliteReader(path)
    salvage = Salvage(reader)
    try:
        for frame in salvage.frames():
            if isinstance(frame, JournalCorrupt) or frame.number > last:
                return
            yield frame
    finally:
        salvage.close()
        reader.close()


def _accept(folder: Path, found: _Found, loss: Loss) -> Loss:
    path = folder / JOURNAL_NAME
    made: Path | None = None
    kept: Path | None = None
    if found.must_rebuild:
        made = folder / f"{JOURNAL_NAME}-new"
        remove_database(made)
        write_journal(made, found.identity, _frames(path, loss.last_frame))
        kept = _unused(folder)
    now = time.time_ns() // 1_000
    loss = msgspec.structs.replace(loss, accepted_at=now, kept=None if kept is None else kept.name)
    # Before anything is given up: whatever stops this, the record says what was about to happen.
    with (folder / ACCEPTED_NAME).open("ab") as record:
        record.write(msgspec.json.encode(loss) + b"\n")
        record.flush()
        os.fsync(record.fileno())
    if made is not None and kept is not None:
        log = path.with_name(f"{JOURNAL_NAME}{_LOG}")
        if log.is_file():
            shutil.copyfile(log, kept.with_name(f"{kept.name}{_LOG}"))
        shutil.copyfile(path, kept)
        # Not behind the new file, which it does not belong to: SQLite would apply it.
        log.unlink(missing_ok=True)
        path.with_name(f"{JOURNAL_NAME}-shm").unlink(missing_ok=True)
        os.replace(made, path)
    for name in (INDEX_NAME, SNAPSHOTS_NAME):
        remove_database(folder / name)
    for name in (USAGE_NAME, REBUILT_NAME):
        for each in (folder / name, folder / f"{name}.wal"):
            each.unlink(missing_ok=True)
    remove_end(folder)
    if loss.last_frame:
        reader = SqliteReader(path)
        try:
            for newest in reader.frames(loss.last_frame - 1, 1):
                write_end(folder, identity_of(reader), newest)
        finally:
            reader.close()
    _flush(folder)
    return loss


def _unused(folder: Path) -> Path:
    number = 1
    while (path := folder / f"{JOURNAL_NAME}-damaged-{number}").exists():
        number += 1
    return path


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
