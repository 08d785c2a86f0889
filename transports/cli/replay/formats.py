"""What a file is, told from how it begins: a table, JSON lines, or another JSON text. An option overrules it. Pure.

A name decides only what the content leaves open: whether a first line that is no JSON was meant to be a record, or is
the header of a table.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath
from typing import Final, NamedTuple

from solvent.engine.values.errors import InvalidRequest

from .documents import values_of
from .tables import DELIMITERS, QUOTE, Dialect

COMPRESSED_SUFFIXES: Final = (".gz", ".gzip", ".zst", ".zstd")
JSON_LINES_SUFFIXES: Final = (".jsonl", ".ndjson")
JSON_SUFFIXES: Final = (".json", *JSON_LINES_SUFFIXES)


class Format(StrEnum):
    """A way to write records down."""

    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    JSON_LINES = "jsonl"

    @property
    def is_json(self) -> bool:
        """Whether records are objects, and not rows of a table."""
        return self in (Format.JSON, Format.JSON_LINES)


class Shape(NamedTuple):
    """How a file is to be read."""

    format: Format
    dialect: Dialect = Dialect()


def shape_of(
    head: bytes,
    name: str,
    *,
    format: Format | None = None,
    delimiter: str | None = None,
    quote: str | None = QUOTE,
) -> Shape:
    """Return how to read a file called ``name`` of which ``head`` is the first line, or more. What is given is not
    asked of the content. Raises ``InvalidRequest`` naming an option that does not fit the others."""
    if format is None:
        format = _format_of(head, name) if delimiter is None else Format.CSV
    if format.is_json:
        if delimiter is not None:
            raise InvalidRequest("--delimiter", "a table, not --format " + format)
        return Shape(format)
    if delimiter is None:
        delimiter = "\t" if format is Format.TSV else _delimiter_of(head, quote)
    return Shape(Format.TSV if delimiter == "\t" else Format.CSV, Dialect(delimiter, quote))


def stem_of(name: str) -> str:
    """Return a file's name without the endings that say how it is written."""
    path = PurePath(name)
    return path.with_suffix("").stem if path.suffix.lower() in COMPRESSED_SUFFIXES else path.stem


def _format_of(head: bytes, name: str) -> Format:
    line = _first_line(head)
    suffix = _suffix_of(name)
    if line.startswith(b"["):
        return Format.JSON
    if line.startswith(b"{"):
        # An object that ends with its line is a record, whatever follows; one that goes on is written over several.
        return Format.JSON_LINES if values_of(line) == 1 or suffix in JSON_LINES_SUFFIXES else Format.JSON
    if suffix in JSON_SUFFIXES:
        return Format.JSON_LINES if suffix in JSON_LINES_SUFFIXES else Format.JSON
    return Format.CSV


def _delimiter_of(head: bytes, quote: str | None) -> str:
    """Return the character that stands most often between the cells of the header."""
    header = _first_line(head).decode(errors="replace")
    outside = header if quote is None else "".join(header.split(quote)[::2])
    return max(DELIMITERS, key=lambda each: (outside.count(each), -DELIMITERS.index(each)))


def _first_line(head: bytes) -> bytes:
    lines = head.removeprefix(b"\xef\xbb\xbf").splitlines()
    # Tabs may be the cells of a header without names, which are no white space to leave out.
    return next((line.strip(b" ") for line in lines if line.strip()), b"")


def _suffix_of(name: str) -> str:
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes[-2:]]
    return next((suffix for suffix in reversed(suffixes) if suffix not in COMPRESSED_SUFFIXES), "")
