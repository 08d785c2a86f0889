"""Amounts, times, names and dimensions as text, and the bare tables that they are put into."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from rich import box
from rich.table import Table

from solvent.engine.values.pool_id import parse_pool
from solvent.transports.cli.terminal import Text


def amount(value: Decimal) -> str:
    """Decimal text with thousands separated: exact, without superfluous zeros."""
    return _shortest(f"{value:,f}")


def plain_amount(value: Decimal) -> str:
    """Decimal text as programs read it: exact, without superfluous zeros."""
    return _shortest(f"{value:f}")


def _shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def moment(value: datetime | None, *, none: str = "never") -> str:
    """A time in UTC, to the second; the JSON answer has the microseconds."""
    return none if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def pool_name(canonical: str) -> str:
    """The written form of a pool, without defaults."""
    return str(parse_pool(canonical))


def dimensions(values: Mapping[str, str | int | float | bool]) -> str:
    """Dimensions as they are typed on the command line."""
    return " ".join(f"{name}={value}" for name, value in values.items())


def next_page(cursor: str | None) -> list[Text]:
    return [] if cursor is None else [Text(f"more: --cursor {cursor}", style="bright_black")]


def titled_table(title: str) -> Table:
    """A table that has no columns yet, under its title."""
    return Table(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def named_rows() -> Table:
    """A table of two columns that have no heads: what it is, and its value."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bright_black")
    table.add_column()
    return table
