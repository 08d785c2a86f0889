"""The end of a journal, noted beside it: ``journal.end`` says which frame was the newest that reached the disk.

A journal that lost its newest frames reads like a whole one: SQLite takes a damaged count of rows, or a log that is
gone, for the end. So the process that writes notes each frame once it was flushed. The note is not flushed itself. It
may lag behind the journal, by the frame under way at most, and never leads: no crash makes a sound journal look short.

The file has two lines of text, written in turn, so that a torn one leaves the other. A line has the identity of the
journal, the number, time and checksum of a frame, and a checksum of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from solvent.engine.journal.frames import Frame
from solvent.engine.runtime.files import END_FORMAT, END_NAME

LINE_BYTES: Final = 256
"""The length of a line, filled with spaces. A line lies in one sector of the disk, so it is written as a whole."""
LINES: Final = 2
_WORD: Final = "solvent-end"
_WORDS: Final = 6
"""The words of a line before its checksum."""


class End(NamedTuple):
    """The newest frame that was noted."""

    identity: str
    number: int
    at: int
    crc: int

    def is_of(self, frame: Frame) -> bool:
        """Return whether ``frame`` is the one that was noted. A damaged frame may be: its own checksum names it."""
        return not frame.is_intact() or (frame.number, frame.at, frame.crc) == (self.number, self.at, self.crc)


def line_of(identity: str, number: int, at: int, crc: int) -> tuple[int, bytes]:
    """Return the line about a frame, and the place in the file at which it is written."""
    text = f"{_WORD} {END_FORMAT} {identity} {number} {at} {crc}".encode()
    line = b"%s %d" % (text, crc32(text))
    return number % LINES * LINE_BYTES, line.ljust(LINE_BYTES - 1) + b"\n"


def read_ends(folder: Path) -> list[End]:
    """Return what ``journal.end`` in ``folder`` says, the newest first; nothing if it is missing or cannot be read.

    The lines may be of different journals. A damaged line is left out: without it, less is known, and nothing is wrong.
    """
    try:
        with (folder / END_NAME).open("rb") as file:
            body = file.read(LINES * LINE_BYTES)
    except OSError:
        return []
    lines = (body[start : start + LINE_BYTES] for start in range(0, len(body), LINE_BYTES))
    return sorted(filter(None, map(_end_in, lines)), key=lambda end: -end.number)


def end_of(folder: Path, identity: str) -> End | None:
    """Return the newest frame that was noted of the journal ``identity`` in ``folder``.

    An empty ``identity`` stands for a journal that cannot say which one it is: whatever was noted is taken for its own.
    """
    return next((end for end in read_ends(folder) if not identity or end.identity == identity), None)


def write_end(folder: Path, identity: str, frame: Frame) -> None:
    """Note that ``frame`` is the newest, in a new file in place of the old one. Raises ``OSError``."""
    place, line = line_of(identity, frame.number, frame.at, frame.crc)
    path = folder / END_NAME
    written = path.with_name(f"{END_NAME}-new")
    body = bytearray(b" " * (LINES * LINE_BYTES))
    body[place : place + LINE_BYTES] = line
    written.write_bytes(body)
    os.replace(written, path)


def remove_end(folder: Path) -> None:
    """Forget what was noted. Raises ``OSError``."""
    (folder / END_NAME).unlink(missing_ok=True)


def _end_in(line: bytes) -> End | None:
    text, _, checksum = line.rstrip().rpartition(b" ")
    try:
        parts = text.decode("ascii").split(" ")
        if int(checksum) != crc32(text) or len(parts) != _WORDS or parts[:2] != [_WORD, str(END_FORMAT)]:
            return None
        identity, number, at, crc = parts[2:]
        return End(identity, int(number), int(at), int(crc))
    except ValueError:
        return None
