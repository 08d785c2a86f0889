"""Usage events out of the lines of a file: pure, line by line, and never more than one line at a time.

Each line becomes ``Parsed`` (the debits it asks for) or ``BadLine`` (why it asks for nothing); a blank line is neither.
Here a line becomes values by column; ``rows`` makes debits of them.

CSV has a header row, and one record a line: a quoted cell may hold commas and doubled quotes but no line break, so that
a stray quote costs one line and not the rest of the file. Cells are text, an empty cell is an absent value.

JSON lines are one object a line. Numbers are read exactly: an amount of 0.1 is a tenth, not the nearest binary float.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from solvent.engine.values.errors import InvalidRequest

from .lines import LINE_BYTES_MAX, Line
from .mapping import EventMapping
from .rows import Parsed, parse_row

_REASON_CHARS_MAX: Final = 300


class BadLine(NamedTuple):
    """A line that is no usage event, and why."""

    line: int
    reason: str
    end: int


class CsvEvents:
    """The events of a CSV file, whose header has been read. Raises ``InvalidRequest`` naming the option whose column
    the header does not have."""

    def __init__(self, header: Line, mapping: EventMapping, *, delimiter: str = ",") -> None:
        self._delimiter = delimiter
        self._header = self._cells(header)
        self._mapping = mapping
        names = set(self._header)
        if len(names) != len(self._header) or "" in names:
            raise InvalidRequest("header", "a different name for each column", got=repr(self._header)[:120])
        for column in mapping.columns():
            if column.name not in names:
                got = ", ".join(self._header)[:200]
                raise InvalidRequest(
                    column.option or column.name, "a column of the file", got=f"{column.name!r} ({got})"
                )

    def parse(self, line: Line) -> Parsed | BadLine | None:
        """Return the events of a line, why there are none, or ``None`` for a blank one."""
        if line.content is not None and not line.content.strip():
            return None
        try:
            cells = self._cells(line)
            if len(cells) != len(self._header):
                raise InvalidRequest("line", f"{len(self._header)} cells", got=str(len(cells)))
            row = {name: cell for name, cell in zip(self._header, cells, strict=True) if cell}
            return parse_row(row, line, self._mapping)
        except InvalidRequest as error:
            return _bad(line, error)

    def _cells(self, line: Line) -> list[str]:
        try:
            cells = next(csv.reader([_text(line)], delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            raise InvalidRequest("line", "one CSV record", got=str(error)) from None
        return [cell.strip() for cell in cells]


class JsonEvents:
    """The events of a file of JSON lines."""

    def __init__(self, mapping: EventMapping) -> None:
        self._mapping = mapping
        # Decimal keeps the digits that were written: a float would have changed them before anyone could object.
        self._decoder = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)

    def parse(self, line: Line) -> Parsed | BadLine | None:
        """Return the events of a line, why there are none, or ``None`` for a blank one."""
        if line.content is not None and not line.content.strip():
            return None
        try:
            try:
                fields = self._decoder.decode(_text(line))
            except (msgspec.DecodeError, RecursionError, ArithmeticError) as error:
                raise InvalidRequest("line", "one JSON object", got=str(error)[:120]) from None
            row = {name: value for name, value in fields.items() if value is not None and value != ""}
            return parse_row(row, line, self._mapping)
        except InvalidRequest as error:
            return _bad(line, error)


def parse_csv(lines: Iterable[Line], mapping: EventMapping, *, delimiter: str = ",") -> Iterator[Parsed | BadLine]:
    """Yield what each line of a CSV file asks for. Raises ``InvalidRequest`` for a header that the mapping does not
    fit; a file without a header has no events."""
    source = iter(lines)
    header = next(source, None)
    if header is None:
        raise InvalidRequest("file", "a header row", got="an empty file")
    return _parse_each(source, CsvEvents(header, mapping, delimiter=delimiter))


def parse_json_lines(lines: Iterable[Line], mapping: EventMapping) -> Iterator[Parsed | BadLine]:
    """Yield what each line of a JSON lines file asks for. ``mapping`` says whether natural names count."""
    return _parse_each(lines, JsonEvents(mapping))


def _parse_each(lines: Iterable[Line], events: CsvEvents | JsonEvents) -> Iterator[Parsed | BadLine]:
    for line in lines:
        if (parsed := events.parse(line)) is not None:
            yield parsed


def _text(line: Line) -> str:
    if line.content is None:
        raise InvalidRequest("line", f"at most {LINE_BYTES_MAX} bytes")
    try:
        return line.content.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("line", "UTF-8 text") from None


def _bad(line: Line, error: InvalidRequest) -> BadLine:
    return BadLine(line.number, error.message[:_REASON_CHARS_MAX], line.end)
