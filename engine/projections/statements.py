"""Many rows in few statements, none of which takes long, and a rest after each.

A step of SQLite gives up the interpreter and has to get it back: thousands of single rows would hold up the flushes of
the journal, and so would one statement that runs for long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import aiosqlite
import msgspec

from solvent.engine.runtime.pacing import rest

T = TypeVar("T")

ROWS_PER_STATEMENT: Final = 250
"""Rows written before there is a rest: less than a millisecond. A thread that runs for longer is not interrupted by
Linux for up to 3 ms, and where there are few cores the flush of the journal waits for it."""
ROWS_PER_STATEMENT_ALONE: Final = 20_000
"""The same while nothing is served yet."""
STATEMENTS_MAX: Final = 50
"""In which the rows of one table are written, if they are many. There is a rest after each, and on a busy loop that is
as long as a turn: many small ones would let the index fall ever further behind."""
_LOOKUP_PARAMETERS_MAX: Final = 500


async def spread(writer: aiosqlite.Connection, statement: str, slices: Iterable[tuple[object, ...]]) -> None:
    """Execute ``statement`` with each of ``slices``, and rest in between."""
    for parameters in slices:
        await writer.execute(statement, parameters)
        await rest()


def as_json(rows: Sequence[object], step: int) -> Iterator[tuple[str]]:
    """The parameters of a statement that reads ``rows`` with ``json_each``."""
    for some in slices_of(rows, step):
        yield (msgspec.json.encode(some).decode(),)


def slices_of(rows: Sequence[T], step: int) -> Iterator[Sequence[T]]:
    """``rows`` in parts for one statement each."""
    step = step_for(len(rows), step)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def step_for(rows: int, step: int) -> int:
    """How many of ``rows`` go into one statement: ``step``, or more if there are many."""
    return max(step, rows // STATEMENTS_MAX)


def in_chunks(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> Iterable[tuple[Any, ...]]:
    """Execute ``statement``, which ends in ``in``, with all of ``values``, and yield its rows."""
    for start in range(0, len(values), _LOOKUP_PARAMETERS_MAX):
        chunk = values[start : start + _LOOKUP_PARAMETERS_MAX]
        yield from connection.execute(f"{statement} ({','.join('?' * len(chunk))})", chunk).fetchall()
