"""Usage events out of a file: its records, each with the debits that it asks for, or with what is wrong with it.

What is wrong with one record stays with it. What is wrong with all of them, such as a column that the header of a table
does not have, is raised before the first is read. Memory is bounded by the longest record, not by the file.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import BinaryIO, Final, TypeAlias

from solvent.engine.values.errors import InvalidRequest

from .documents import read_documents, read_json_lines
from .formats import Format, Shape
from .mapping import EventMapping
from .paths import Path, Place
from .records import REASON_CHARS_MAX, BadRecord, Record
from .rows import Parsed, parse_record
from .tables import Cells, Table

Event: TypeAlias = Parsed | BadRecord

_NAMES_SHOWN_CHARS_MAX: Final = 200


def read_events(stream: BinaryIO, shape: Shape, mapping: EventMapping, records: Path = ()) -> Iterator[Event]:
    """Return what each record of ``stream`` asks for. ``records`` is where a JSON text has them, if it is not made of
    them.

    Raises ``InvalidRequest`` for a mapping that the header of a table does not fit, and while it is iterated over
    ``SourceError`` where the stream or its structure ends before its time.
    """
    if not shape.format.is_json:
        return _parsed(_rows(Table(stream, shape.dialect), mapping), mapping)
    if records or shape.format is Format.JSON:
        return _parsed(read_documents(stream, records), mapping)
    return _parsed(read_json_lines(stream), mapping)


def _parsed(records: Iterable[Record | BadRecord], mapping: EventMapping) -> Iterator[Event]:
    for record in records:
        if isinstance(record, BadRecord):
            yield record
            continue
        try:
            yield parse_record(record, mapping)
        except InvalidRequest as error:
            yield BadRecord(record.number, record.line, error.message[:REASON_CHARS_MAX])


def _rows(table: Table, mapping: EventMapping) -> Iterator[Record | BadRecord]:
    """Yield the rows of a table: those of its columns that are read, without white space around their cells."""
    read = columns_read([name.strip() for name in table.header], mapping)
    width = len(table.header)
    return _records(table, read, width)


def _records(
    table: Iterable[Cells | BadRecord], read: list[tuple[int, str]], width: int
) -> Iterator[Record | BadRecord]:
    for cells in table:
        if isinstance(cells, BadRecord):
            yield cells
        elif len(cells.cells) != width:
            yield BadRecord(cells.number, cells.line, f"expected {width} cells, got {len(cells.cells)}")
        else:
            yield Record(cells.number, cells.line, {name: cells.cells[place].strip() for place, name in read})


def columns_read(header: list[str], mapping: EventMapping) -> list[tuple[int, str]]:
    """Return which columns of a table a mapping reads: the place of each, and its name.

    Raises ``InvalidRequest`` naming the option whose column is not there, or is there twice.
    """
    times = Counter(header)
    wanted: set[str] = set()
    for column in mapping.columns():
        optional = column.optional or column.option is None
        wanted |= _names_of(column.place, header, times, column.option or column.name, optional=optional)
    if mapping.dimensions_rest:
        left_out: set[str] = set()
        for place in mapping.not_dimensions:
            left_out |= _names_of(place, header, times, "--not-dims", optional=False, often=True)
        for name in times:
            if name and name not in left_out:
                wanted |= _names_of(Place(name, (name,)), header, times, "--dims-rest", optional=False)
    return [(place, name) for place, name in enumerate(header) if name in wanted]


def _names_of(
    place: Place, header: list[str], times: Counter[str], option: str, *, optional: bool, often: bool = False
) -> set[str]:
    """The column that ``place`` is, or is inside of; none if it may be missing and is."""
    first = place.path[0]
    name = place.name if place.name in times or not isinstance(first, str) or not place.nested else first
    if times[name] > 1 and not often:
        raise InvalidRequest(option, "a column that is there once", got=f"{times[name]} of {name!r}")
    if times[name]:
        return {name}
    if optional:
        return set()
    close = get_close_matches(name, [each for each in times if each], 1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    names = ", ".join(map(_as_written, header))[:_NAMES_SHOWN_CHARS_MAX]
    raise InvalidRequest(option, "a column of the file", got=f"{place.name!r} ({names}){hint}")


def _as_written(name: str) -> str:
    return name or "''"


def split_names(text: str, option: str) -> list[str]:
    """Return the columns of a list such as ``a,b,c``; quotes hold together a name with a comma in it."""
    try:
        names = [name.strip() for name in next(csv.reader([text], strict=True, skipinitialspace=True), [])]
    except csv.Error:
        names = []
    if names and all(names):
        return names
    raise InvalidRequest(option, "columns with commas between them", got=repr(text)[:60])
