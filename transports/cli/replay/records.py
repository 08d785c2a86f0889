"""What a file is made of: records, each with its number and the line in which it begins.

A record's number counts the records of the file from 1, without a header and blank lines, so that it stays what it is
when a file is compressed, or written as another format. It is what a run is resumed by, and what errors name.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .paths import Row
from .source import SourceError

RECORD_BYTES_MAX: Final = 1 << 20
"""A usage event is a few hundred bytes; its dimensions have at most 8 KiB. More than a mebibyte is no usage event."""
REASON_CHARS_MAX: Final = 300


class Record(NamedTuple):
    """The values of one record."""

    number: int
    line: int
    """Where it begins. Lines are counted from 1, as an editor does."""
    row: Row


class BadRecord(NamedTuple):
    """A record that is no usage event, and why. Those after it are read."""

    number: int
    line: int
    reason: str


class Broken(SourceError):
    """From this record on nobody can say where one ends and the next begins. What was read before it stands."""

    def __init__(self, number: int, line: int, reason: str) -> None:
        super().__init__(f"record {number}, which begins in line {line}: {reason}; no record from there on is read")
        self.number, self.line = number, line
