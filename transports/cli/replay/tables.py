"""Records of a table: CSV as RFC 4180 has it, with any character between the cells. Pure, but for the stream it reads.

Python's ``csv`` reads it, in strict mode: a record may span lines, and a cell is exactly what was written. What is
added is the bound on a record, the line in which it begins, and what becomes of bytes that are no text: such a record
is bad.

After a quote that is misplaced or never closed, text inside of cells and records cannot be told apart any more. To go
on would be to guess, and to book what may be somebody's prose: the table is ``Broken`` there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from solvent.engine.values.errors import InvalidRequest

from .records import RECORD_BYTES_MAX, BadRecord, Broken

DELIMITERS: Final = (",", "\t", ";", "|")
"""Those that are recognised, the likelier first."""
QUOTE: Final = '"'


class Dialect(NamedTuple):
    """How a table is written."""

    delimiter: str = ","
    quote: str | None = QUOTE
    """``None`` where a quote is a character as any other."""


class Cells(NamedTuple):
    """The cells of one record, as they were written."""

    number: int
    line: int
    cells: list[str]


class Table:
    """A table whose header has been read; iterate over it, once, for its records."""

    def __init__(self, stream: BinaryIO, dialect: Dialect = Dialect()) -> None:  # noqa: B008  # It cannot be changed.
        """Read the header. Raises ``InvalidRequest`` for a file that has none."""
        # The limit on a cell is one for the whole process; a record's own bound is the narrower one.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * RECORD_BYTES_MAX))
        self._lines = _Lines(stream, dialect.quote)
        self._reader = csv.reader(
            self._lines,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
            strict=True,
        )
        self._number = 0
        header = next(self, None)
        self._number = 0
        if header is None:
            raise InvalidRequest("FILE", "a header row", got="an empty file")
        if isinstance(header, BadRecord):
            raise InvalidRequest("FILE", "a header row", got=header.reason)
        self.header: Final = header.cells

    def __iter__(self) -> Iterator[Cells | BadRecord]:
        return self

    def __next__(self) -> Cells | BadRecord:
        """Return the next record. Raises ``Broken`` where none can be told any more."""
        while True:
            self._lines.begin()
            try:
                cells = next(self._reader)
            except csv.Error as error:
                raise Broken(
                    self._number + 1, self._lines.first, f"a quote is misplaced or never closed ({error})"
                ) from None
            except _TooLong:
                self._number += 1
                self._lines.skip(self._number)
                return BadRecord(self._number, self._lines.first, f"a record has at most {RECORD_BYTES_MAX:,} bytes")
            if len(cells) > 1 or (cells and (cells[0].strip() or self._lines.quoted)):
                break
        self._number += 1
        if self._lines.no_text is not None:
            return BadRecord(self._number, self._lines.first, self._lines.no_text)
        return Cells(self._number, self._lines.first, cells)


class _TooLong(Exception):
    """The record has more bytes than a record may have."""


class _Lines:
    """The lines of a stream, for ``csv``, with what is known of those of the present record."""

    def __init__(self, stream: BinaryIO, quote: str | None) -> None:
        # A byte that is no UTF-8 becomes a surrogate, which no text has: the record is still told from its neighbours.
        # Line ends stay as they are, since those inside of cells belong to them. A carriage return alone is one.
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._quote = quote
        self._number = 0
        self._bytes = 0
        self._rest = False
        self._held = ""
        self.first = 1
        """The line in which the present record begins."""
        self.quoted = False
        """Whether the record has a quote in it."""
        self.no_text: str | None = None
        """What of the record is no text."""

    def begin(self) -> None:
        """Count what follows as a new record."""
        self.first = self._number + 1
        self._bytes = 0
        self.quoted = False
        self.no_text = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        # Two more than the limit: the longest line that is kept, with its line end.
        line = self._readline(RECORD_BYTES_MAX + 2)
        if not line:
            raise StopIteration
        self._number += 1
        if self._quote is not None and self._quote in line:
            self.quoted = True
        without_end = line.rstrip("\r\n")
        self._rest = len(without_end) == len(line) and len(line) >= RECORD_BYTES_MAX
        size = len(without_end)
        if not line.isascii():
            size = len(without_end.encode("utf-8", "surrogateescape"))
            self._look_for_bytes(line)
        if "\0" in line and self.no_text is None:
            self.no_text = f"expected text, got a NUL in line {self._number}, character {line.index(chr(0)) + 1}"
        if self._bytes + size > RECORD_BYTES_MAX:
            raise _TooLong
        self._bytes += size + len(line) - len(without_end)
        return line

    def _readline(self, most: int) -> str:
        """Return the next line, or the first of it. A line end of two characters is not cut."""
        line, self._held = self._held, ""
        if line != "\r":
            line += self._text.readline(most)
        if line.endswith("\r") and (len(line) >= most or line == "\r"):
            following = self._text.readline(1)
            if following != "\n":
                self._held = following
                return line
            line += following
        return line

    def _look_for_bytes(self, line: str) -> None:
        try:
            line.encode()
        except UnicodeEncodeError as error:
            byte = ord(line[error.start]) - 0xDC00
            self.no_text = self.no_text or (
                f"expected UTF-8 text, got the byte 0x{byte:02X} in line {self._number}, character {error.start + 1}"
            )

    def skip(self, number: int) -> None:
        """Leave out the rest of a line that is too long. Raises ``Broken`` if it has a quote: the record may go on."""
        while self._rest and (piece := self._readline(RECORD_BYTES_MAX)):
            self.quoted = self.quoted or (self._quote is not None and self._quote in piece)
            self._rest = not piece.endswith(("\r", "\n"))
        if self.quoted:
            reason = f"it has more than {RECORD_BYTES_MAX:,} bytes, as if a quote in it were never closed"
            raise Broken(number, self.first, reason)
