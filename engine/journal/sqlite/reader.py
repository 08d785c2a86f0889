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
from solvent.engine.runtime.sqlite import connect_for_reading, differences
from solvent.engine.values.errors import JournalCorrupt, JournalError, NewerFormat

from .wal import read_log

LOG_READS: Final = 5
LOG_READ_INTERVAL_S: Final = 0.05


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
        return str(identity)

    def last_number(self) -> int:
        try:
            return int(self._connection.execute("select coalesce(max(number), 0) from frame").fetchone()[0])
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise JournalError(f"it cannot be read: {error}") from error

    def frames(self, after: int, limit: int) -> Sequence[Frame]:
        try:
            rows = self._connection.execute(
                "select number, at, crc, body from frame where number > ? order by number limit ?", (after, limit)
            ).fetchall()
        except sqlite3.Error as error:
            raise JournalCorrupt(f"the journal cannot be read: {error}", frame=after + 1) from error
        frames = [Frame(number, at, body, crc) for number, at, crc, body in rows]
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
        return [*self._false_number, *self._damage_of_log(), *of_structure]

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
            number, at, crc, body = self._connection.execute(
                "select number, at, crc, body from frame order by number desc limit 1"
            ).fetchone()
            for _ in split_frame(Frame(number, at, body, crc)):
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
                "select substr(body, ?, ?) from frame where number = ?",
                (pointer.offset + 1, pointer.length, pointer.frame),
            ).fetchone()
        except sqlite3.Error as error:
            raise JournalCorrupt(f"the journal cannot be read: {error}", frame=pointer.frame, pool=pool) from error
        if row is None:
            raise JournalCorrupt("the frame is missing", frame=pointer.frame, pool=pool)
        return bytes(row[0])
