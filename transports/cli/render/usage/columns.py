"""What tables of usage are made of: columns of groups, bars and sparklines as wide as there is room, words to copy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

from solvent.engine.api.usage_answers import GroupValue
from solvent.engine.usage.analysis import sparkline
from solvent.transports.cli.terminal import Text

from .text import DIM, OTHER, told_apart, value_text

T = TypeVar("T")

BAR_CHARS_USAGE: Final = 24
SPARKLINE_CHARS_MAX: Final = 48
LINES_SHOWN_MAX: Final = 1_000
"""Of one table. A program that wants more takes ``--json``, ``--csv`` or ``--parquet``."""


class Bar:
    """A share of the largest value, as wide as there is room for. Above zero it is one character at least."""

    def __init__(self, value: Decimal, largest: Decimal) -> None:
        self._share = Fraction(value) / Fraction(largest) if value > 0 else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(BAR_CHARS_USAGE, options.max_width)
        yield Text("" if self._share is None else "█" * max(1, int(self._share * width)), "blue")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, BAR_CHARS_USAGE)


class Course:
    """A sparkline, as wide as there is room for."""

    def __init__(self, values: Sequence[int]) -> None:
        self._values = values

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(sparkline(self._values, min(SPARKLINE_CHARS_MAX, options.max_width)), "blue")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(len(self._values), SPARKLINE_CHARS_MAX))


class Words:
    """Words of a command line to copy: where they do not fit into one line, each line but the last ends in ``\\``."""

    def __init__(self, label: str, words: Sequence[str]) -> None:
        self._label = label
        self._words = words

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [self._label]
        for word in map(shlex.quote, self._words):
            if cell_len(f"{lines[-1]} {word} \\") <= options.max_width:
                lines[-1] += f" {word}"
            else:
                lines[-1] += " \\"
                lines.append(f"  {word}")
        yield from (Text(line, DIM, overflow="fold") for line in lines)


def add_group_columns(table: Table, fields: Sequence[str]) -> None:
    """Add a column for each field that lines are grouped by."""
    for field in fields:
        table.add_column(Text(told_apart(field)), overflow="fold")


def group_cells(group: Mapping[str, GroupValue], fields: Sequence[str], *, other: bool) -> list[RenderableType]:
    """The cells of these columns for one group; ``other`` is the one that holds all the rest."""
    if other:
        return [Text(OTHER if place == 0 else "", DIM) for place, _ in enumerate(fields)]
    return [value_text(group[field]) for field in fields]


def total_cells(fields: Sequence[str]) -> list[RenderableType]:
    """The cells of these columns for the line of totals."""
    return [Text("total" if place == 0 else "") for place, _ in enumerate(fields)]


def bare_table() -> Table:
    """A table without columns or title: a title is wider than some tables, and goes on a line of its own."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def first_lines(lines: Sequence[T]) -> Sequence[T]:
    """The first of ``lines``: as many as a table shows."""
    return lines[:LINES_SHOWN_MAX]


def titled(title: str, table: Table, count: int, noun: str) -> RenderableType:
    """``table`` under its title, and under it how many of ``count`` lines it leaves out."""
    if count <= LINES_SHOWN_MAX:
        return Group(Text(title, "bold"), table)
    more = f"and {count - LINES_SHOWN_MAX:,} more {noun}: --top shows fewer, --json and --csv all"
    return Group(Text(title, "bold"), table, Text(more, DIM))
