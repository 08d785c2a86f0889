"""The lines of a file, one at a time, whatever is in the file.

A line is never longer in memory than ``LINE_BYTES_MAX``: of a longer one only the fact that it was there is kept. So
a file of any size, with or without line ends, is read in constant memory. May be used from any thread, by one reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from .records import RECORD_BYTES_MAX

LINE_BYTES_MAX: Final = RECORD_BYTES_MAX


class Line(NamedTuple):
    """One line without its line end (LF or CRLF)."""

    number: int
    """From 1, counting every line of the file."""
    content: bytes | None
    """``None`` for a line of more than ``LINE_BYTES_MAX`` bytes."""


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """Yield the lines of a binary file from where it stands. A byte order mark at the start is left out."""
    number = 0
    # Two bytes more than the limit: the longest line that is kept, with its CRLF.
    while piece := file.readline(LINE_BYTES_MAX + 2):
        number += 1
        line = piece.removesuffix(b"\n").removesuffix(b"\r")
        while len(piece) >= LINE_BYTES_MAX and not piece.endswith(b"\n"):
            piece = file.readline(LINE_BYTES_MAX)
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield Line(number, line if len(line) <= LINE_BYTES_MAX else None)
