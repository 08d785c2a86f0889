"""Writing many rows in few short statements, with a rest after each.

Each step of SQLite releases the interpreter and must get it back: thousands of single rows would delay the flushes of
the journal, and so would one long statement.
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
"""The rows written before a rest, in less than a millisecond. Linux does not interrupt a longer run for up to 3 ms, and
on a machine with few cores the flush of the journal waits for it."""
ROWS_PER_STATEMENT_ALONE: Final = 20_000
"""The same limit while nothing is served yet."""
STATEMENTS_MAX: Final = 50
"""The most statements for the rows of one table. There is a rest after each, and on a busy loop a rest is as long as a
turn: many small statements would let the index fall ever further behind."""
_LOOKUP_PARAMETERS_MAX: Final = 500


async def spread(writer: aiosqlite.Connection, statement: str, slices: Iterable[tuple[object, ...]]) -> None:
    """Execute ``statement`` with each of ``slices``, with a rest in between."""
    for parameters in slices:
        await writer.execute(statement, parameters)
        await rest()


def as_json(rows: Sequence[object], step: int) -> Iterator[tuple[str]]:
    """Yield the parameters of a statement that reads ``rows`` with ``json_each``."""
    for some in slices_of(rows, step):
        yield (msgspec.json.encode(some).decode(),)


def slices_of(rows: Sequence[T], step: int) -> Iterator[Sequence[T]]:
    """Yield ``rows`` in slices, each for one statement."""
    step = step_for(len(rows), step)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def step_for(rows: int, step: int) -> int:
    """Return how many of ``rows`` go into one statement: ``step``, or more if there are many."""
    return max(step, rows // STATEMENTS_MAX)


def in_chunks(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> Iterable[tuple[Any, ...]]:
    """Execute ``statement``, which ends in ``in``, for all ``values`` in chunks, and yield its rows."""
    for start in range(0, len(values), _LOOKUP_PARAMETERS_MAX):
        chunk = values[start : start + _LOOKUP_PARAMETERS_MAX]
        yield from connection.execute(f"{statement} ({','.join('?' * len(chunk))})", chunk).fetchall()
