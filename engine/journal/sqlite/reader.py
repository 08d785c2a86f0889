"""Reading the frames in a SQLite file, in the calling thread, read-only.

Each call is one short read, so it may run next to the process that writes: a long read would prevent reuse of the WAL.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from solvent.engine.journal.frames import Frame, Head, Pointer, Section, split_frame
from solvent.engine.journal.protocol import sections_at, walk_back
from solvent.engine.runtime.files import JOURNAL_FORMAT
from solvent.engine.runtime.sqlite import connect_for_reading, damage_of_header, differences
from solvent.engine.values.errors import JournalCorrupt, JournalError, NewerFormat

from .wal import read_log

LOG_READS: Final = 5
LOG_READ_INTERVAL_S: Final = 0.05
_NEVER_INTACT: Final = -1
"""A checksum that no frame has."""


class SqliteReader:
    """A ``JournalReader`` of the file at ``path``, for use by one thread at a time.

    Raises ``JournalError`` if there is no file, or one that must not be read, as ``NewerFormat`` if it is of a newer
    Solvent. What is damaged in it shows when it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.name: Final = path.name
        try:
            self._connection = connect_for_reading(path)
        except sqlite3.Error as error:
            raise JournalError(f"{path} cannot be opened: {error}") from error
        # One row that is no UTF-8 must not keep others from being read.
        self._connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        try:
            self._false_number = self._number_if_false()
        except NewerFormat:
            self._connection.close()
            raise

    @property
    def identity(self) -> str:
        try:
            (identity,) = self._connection.execute("select value from identity").fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise JournalCorrupt(f"its identity cannot be read: {error}") from error
        if not isinstance(identity, str):
            raise JournalCorrupt(f"its identity cannot be read: {identity!r} is no text")
        return identity

    def last_number(self) -> int:
        try:
            (last,) = self._connection.execute("select coalesce(max(number), 0) from frame").fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise JournalCorrupt(f"it cannot be read: {error}") from error
        if not isinstance(last, int):
            raise JournalCorrupt(f"its last frame cannot be read: {last!r} is no number")
        return last

    def frames(self, after: int, limit: int) -> Sequence[Frame]:
        try:
            rows = self._connection.execute(
                "select number, at, crc, body from frame where number > ? order by number limit ?", (after, limit)
            ).fetchall()
        except sqlite3.Error as error:
            raise JournalCorrupt(f"the journal cannot be read: {error}", frame=after + 1) from error
        frames = [_frame_in(row) for row in rows]
        for expected, frame in enumerate(frames, after + 1):
            if frame.number != expected:
                raise JournalCorrupt("the frame is missing", frame=expected)
        return frames

    def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        return walk_back(pool, head, down_to, self._body)

    def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        """Return the sections at ``pointers``. Raises the errors of ``Journal.sections``."""
        return sections_at(pointers, self._frame)

    def damage(self) -> list[str]:
        of_structure = [f"{self.name}: {each}" for each in differences(self._connection)]
        of_header = [f"{self.name}: {each}" for each in (damage_of_header(self.path),) if each]
        return [*self._false_number, *of_header, *self._damage_of_log(), *of_structure]

    def close(self) -> None:
        self._connection.close()

    def _number_if_false(self) -> list[str]:
        """Return what is wrong with the number of the file's format. Raises ``NewerFormat`` if nothing is.

        The number has no checksum, but it is in each frame as well, and those have one.
        """
        try:
            (found,) = self._connection.execute("pragma user_version").fetchone()
        except sqlite3.Error:
            return []  # What is wrong with the file shows when it is read.
        if found <= JOURNAL_FORMAT:
            return []
        try:
            row = self._connection.execute(
                "select number, at, crc, body from frame order by number desc limit 1"
            ).fetchone()
            for _ in split_frame(_frame_in(row)):
                pass
        except (sqlite3.Error, TypeError, JournalCorrupt):
            raise NewerFormat(str(self.path), found=found, known=JOURNAL_FORMAT) from None
        return [f"{self.name}: it says that it has format {found}, but its newest frame has {JOURNAL_FORMAT} at most"]

    def _damage_of_log(self) -> list[str]:
        """Return the damage in the log. A log that is written during the read looks damaged too, but never several
        times in the same place."""
        damage = read_log(self.path).damage
        for _ in range(LOG_READS - 1):
            if not damage:
                return []
            time.sleep(LOG_READ_INTERVAL_S)
            again = read_log(self.path).damage
            damage = damage if again == damage else ""
        return [damage] if damage else []

    def _frame(self, number: int) -> Frame:
        frames = self.frames(number - 1, 1)
        if not frames:
            raise JournalCorrupt("the frame is missing", frame=number)
        return frames[0]

    def _body(self, pool: str, pointer: Pointer) -> bytes:
        try:
            row = self._connection.execute(
                "select substr(cast(body as blob), ?, ?) from frame where number = ?",
                (pointer.offset + 1, pointer.length, pointer.frame),
            ).fetchone()
        except sqlite3.Error as error:
            raise JournalCorrupt(f"the journal cannot be read: {error}", frame=pointer.frame, pool=pool) from error
        if row is None:
            raise JournalCorrupt("the frame is missing", frame=pointer.frame, pool=pool)
        (body,) = row
        if not isinstance(body, bytes):
            raise JournalCorrupt("the frame is no longer bytes", frame=pointer.frame, pool=pool)
        return body


def _frame_in(row: tuple[object, ...]) -> Frame:
    """Return the frame in a row. One bit of a row changes the type of a value; such a frame is never intact, unless the
    bytes are only called text, and are those that were written."""
    number, at, crc, body = row
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogateescape")
    if isinstance(number, int) and isinstance(at, int) and isinstance(crc, int) and isinstance(body, bytes):
        return Frame(number, at, body, crc)
    return Frame(number if isinstance(number, int) else 0, 0, b"", _NEVER_INTACT)
