"""Usage as files for other programs: CSV and Parquet, a row for each line, a column for each field grouped by.

Nothing is lost on the way. Amounts are decimal text in CSV and decimals of 38 digits in Parquet, times are moments with
their zone, and a metric that a line does not have is empty, not 0. The value of a dimension is one column of text:
``field_text`` says how 5 and "5" are told apart there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import msgspec

from solvent.engine.api.usage_answers import Usage, UsageLine
from solvent.engine.values.errors import InvalidRequest

from .text import field_text

QUANTITY: Final = "quantity."
"""Begins the name of a metric's column."""
DIMENSION: Final = "dimension."
"""Begins the name of a dimension's column where the dimension is called as another column could be."""

_TYPES: Final = {
    "start": "timestamptz",
    "end": "timestamptz",
    "other": "boolean",
    "credits": "decimal(38, 9)",
    "debited": "decimal(38, 9)",
    "reversed": "decimal(38, 9)",
    "events": "bigint",
    "refused": "bigint",
    "first_at": "timestamptz",
    "last_at": "timestamptz",
}
_AFTER_QUANTITIES: Final = ("first_at", "last_at")
_QUANTITY_TYPE: Final = "decimal(38, 9)"


class Column(NamedTuple):
    """A column of a file: what it is called, its type in DuckDB, and a value for each line."""

    name: str
    type: str
    values: list[Any]


def columns(usage: Usage) -> list[Column]:
    """The lines of ``usage`` by columns: the bucket, the group, and what was used. Names are unique."""
    lines = tuple(usage.lines)
    plain = [
        Column(name, _TYPES[name], [getattr(line, name) for line in lines])
        for name in UsageLine.__struct_fields__
        if name in _TYPES
    ]
    fields = [
        Column(_column_of(field), "varchar", [field_text(line.group[field]) for line in lines])
        for field in usage.question.group_by
    ]
    metrics = [
        Column(f"{QUANTITY}{metric}", _QUANTITY_TYPE, [line.quantities.get(metric) for line in lines])
        for metric in sorted(usage.total.quantities)
    ]
    last = len(plain) - len(_AFTER_QUANTITIES)
    return [*plain[:2], *fields, *plain[2:last], *metrics, *plain[last:]]


def _column_of(field: str) -> str:
    taken = field in UsageLine.__struct_fields__ or field.startswith((QUANTITY, DIMENSION))
    return f"{DIMENSION}{field}" if taken else field


def to_csv(usage: Usage) -> str:
    """The lines as CSV, under a line of names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    found = columns(usage)
    writer.writerow([column.name for column in found])
    writer.writerows(zip(*([_cell(value) for value in column.values] for column in found), strict=True))
    return text.getvalue()


def _cell(value: object) -> Any:
    """As in the JSON answer."""
    return "" if value is None else json.dumps(value) if isinstance(value, bool) else msgspec.to_builtins(value)


def write_text(text: str, path: Path, option: str) -> None:
    """Write a file. Raises ``InvalidRequest`` naming ``option`` if that cannot be done."""
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise _unwritable(option, path, error.strerror or str(error)) from error


def write_parquet(usage: Usage, path: Path, option: str) -> None:
    """Write the lines as a Parquet file. Raises ``InvalidRequest`` naming ``option`` if that cannot be done."""
    found = columns(usage)
    if len({column.name.casefold() for column in found}) < len(found):
        raise InvalidRequest(option, "columns that differ by more than upper and lower case", got=_names(found))
    with duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    ) as db:
        # Decimals travel as text: what does not fit into 38 digits is an error there, never another number.
        selected = ", ".join(
            f"unnest(${number}::{'varchar' if _is_decimal(column) else column.type}[])::{column.type} "
            f"as {_quoted(column.name)}"
            for number, column in enumerate(found, start=1)
        )
        db.execute(f"create temp table lines as select {selected}", [_parameter(column) for column in found])
        try:
            db.table("lines").write_parquet(str(path.absolute()))
        except (duckdb.IOException, OSError) as error:
            raise _unwritable(option, path, str(error)) from error


def _is_decimal(column: Column) -> bool:
    return column.type.startswith("decimal")


def _parameter(column: Column) -> list[Any]:
    return [f"{value:f}" if isinstance(value, Decimal) else value for value in column.values]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _names(found: Iterable[Column]) -> str:
    return ", ".join(column.name for column in found)[:200]


def _unwritable(option: str, path: Path, why: str) -> InvalidRequest:
    return InvalidRequest(option, "a file that can be written", got=f"{str(path)!r}: {why.splitlines()[0]}"[:300])
