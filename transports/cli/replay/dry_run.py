"""``solvent replay --dry-run``: what a file would be booked as, at which prices, and what of it could not be.

Nothing is opened but the file, so nothing can be written: whether the credits suffice, and what is there already, is
not known. Memory is bounded: the first few events and bad records are kept, and the sums of so many prices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
from rich.console import Group, RenderableType

from solvent.engine.api.requests import DebitRequest
from solvent.engine.values.errors import InvalidRequest, SolventError, error_to_wire
from solvent.transports.cli.exits import Exit
from solvent.transports.cli.render.cells import amount, dimensions, moment, named_rows, plain_amount, titled_table
from solvent.transports.cli.terminal import Text

from .events import Event
from .pricing import Price
from .reading import Reading
from .records import BadRecord
from .replayer import Problem
from .run import problem_text
from .source import SourceError

EVENTS_SHOWN_MAX: Final = 10
PROBLEMS_SHOWN_MAX: Final = 10
PRICES_MAX: Final = 1_000
"""Different prices, or metrics without one, that are summed up apart from each other: a rate card has no more."""


class Shown(NamedTuple):
    """One of the first events, and what it would cost."""

    record: int
    request: DebitRequest
    price: Price | None


@dataclass(slots=True)
class Sum:
    """The events of one price."""

    events: int = 0
    quantity: Decimal = Decimal(0)
    amount: Decimal = Decimal(0)

    def add(self, request: DebitRequest) -> None:
        """Count an event."""
        self.events += 1
        self.quantity += Decimal(request.quantity or 0)
        self.amount += Decimal(request.amount)


@dataclass(slots=True)
class DryRun:
    """What reading a file to its end found."""

    file: str
    example_prices: bool
    records: int = 0
    free: int = 0
    left_out: int = 0
    bad_records: int = 0
    first: list[Shown] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    sums: dict[tuple[str | None, Price | None], Sum] = field(default_factory=dict)
    others: Sum = field(default_factory=Sum)
    """Of all prices beyond ``PRICES_MAX``."""
    broken: SourceError | None = None

    def add(self, event: Event) -> None:
        """Count a record."""
        self.records += 1
        if isinstance(event, BadRecord):
            self.bad_records += 1
            if len(self.problems) < PROBLEMS_SHOWN_MAX:
                self.problems.append(Problem(event.number, event.line, InvalidRequest.code, event.reason))
            return
        self.free += event.free
        self.left_out += event.left_out
        for request, price in zip(event.requests, event.prices, strict=True):
            if len(self.first) < EVENTS_SHOWN_MAX:
                self.first.append(Shown(event.number, request, price))
            key = request.metric, price
            if key not in self.sums and len(self.sums) < PRICES_MAX:
                self.sums[key] = Sum()
            self.sums.get(key, self.others).add(request)

    @property
    def total(self) -> Sum:
        """All events together. Quantities of different metrics are not added up."""
        every = [*self.sums.values(), self.others]
        return Sum(sum(each.events for each in every), amount=sum((each.amount for each in every), Decimal(0)))

    @property
    def error(self) -> SolventError | None:
        """Why the file was not read to its end."""
        return self.broken

    def exit_code(self) -> Exit:
        """Whether all of the file could be booked."""
        return Exit.INVALID if self.bad_records or self.broken is not None else Exit.OK

    def to_wire(self) -> dict[str, Any]:
        """What was found, as plain JSON values: ``lines`` counts records."""
        return {
            "dry_run": True,
            "file": self.file,
            "lines": self.records,
            "events": self.total.events,
            "amount": plain_amount(self.total.amount),
            "free": self.free,
            "left_out": self.left_out,
            "bad_lines": self.bad_records,
            "example_prices": self.example_prices,
            "prices": [_sum_to_wire(metric, price, each) for (metric, price), each in self.sums.items()],
            "first": [_shown_to_wire(each) for each in self.first],
            "bad": [{"record": each.record, "line": each.line, "reason": each.reason} for each in self.problems],
            "complete": self.broken is None,
            "broken": None if self.broken is None else error_to_wire(self.broken),
        }

    def table(self) -> RenderableType:
        """What was found, for people."""
        parts: list[RenderableType] = [Text(f"Dry run of {self.file}: nothing is written", "bold")]
        if self.first:
            parts += [_first(self.first), _sums(self)]
        if self.example_prices:
            parts.append(Text("the prices are made up, to start from: --rates FILE or --price says yours", "yellow"))
        parts += [problem_text(self.file, each) for each in self.problems]
        counts = named_rows()
        counts.add_row("records", f"{self.records:,}")
        counts.add_row("to book", f"{self.total.events:,} debits, {amount(self.total.amount)} credits")
        counts.add_row("free", f"{self.free:,}")
        if self.left_out:
            counts.add_row("left out", f"{self.left_out:,}")
        counts.add_row("bad records", Text(f"{self.bad_records:,}", "red" if self.bad_records else ""))
        return Group(*parts, counts)


def dry_run(reading: Reading) -> DryRun:
    """Read a file to its end. Raises ``InvalidRequest`` for what is wrong with all of it."""
    found = DryRun(reading.name, reading.example_prices)
    with reading.open() as (_, events):
        try:
            for event in events:
                found.add(event)
        except SourceError as error:
            found.broken = error
    return found


def _first(shown: list[Shown]) -> RenderableType:
    table = titled_table("The first events")
    table.add_column("record", justify="right")
    for name in ("pool", "key"):
        table.add_column(name, overflow="fold")
    table.add_column("occurred (UTC)", no_wrap=True)
    table.add_column("metric", overflow="fold")
    for name in ("quantity", "price", "credits"):
        table.add_column(name, justify="right")
    table.add_column("dimensions", overflow="fold")
    for record, request, price in shown:
        occurred_at = request.occurred_at if isinstance(request.occurred_at, datetime) else None
        table.add_row(
            f"{record:,}",
            Text(str(request.pool)),
            Text(request.key),
            moment(occurred_at, none="when recorded"),
            Text(request.metric or ""),
            "" if request.quantity is None else amount(Decimal(request.quantity)),
            Text(_price(price)),
            amount(Decimal(request.amount)),
            Text(dimensions(request.dimensions or {})),
        )
    return table


def _sums(found: DryRun) -> RenderableType:
    table = titled_table("By price")
    table.add_column("metric", overflow="fold")
    for name in ("price", "events", "quantity", "credits"):
        table.add_column(name, justify="right")
    for (metric, price), each in found.sums.items():
        quantity = "" if metric is None else amount(each.quantity)
        table.add_row(Text(metric or ""), Text(_price(price)), f"{each.events:,}", quantity, amount(each.amount))
    if found.others.events:
        table.add_row("others", "", f"{found.others.events:,}", "", amount(found.others.amount))
    return table


def _price(price: Price | None) -> str:
    if price is None:
        return "in the file"
    per = "" if price.per == 1 else f" per {amount(price.per)}"
    where = f" where {dimensions(dict(price.match))}" if price.match else ""
    return f"{plain_amount(price.credits)}{per}{where}"


def _price_to_wire(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return {"credits": plain_amount(price.credits), "per": plain_amount(price.per), "match": dict(price.match)}


def _sum_to_wire(metric: str | None, price: Price | None, each: Sum) -> dict[str, Any]:
    return {
        "metric": metric,
        "price": _price_to_wire(price),
        "events": each.events,
        "quantity": None if metric is None else plain_amount(each.quantity),
        "amount": plain_amount(each.amount),
    }


def _shown_to_wire(shown: Shown) -> dict[str, Any]:
    request = shown.request
    plain: dict[str, Any] = msgspec.to_builtins(
        {
            "record": shown.record,
            "pool": str(request.pool),
            "key": request.key,
            "occurred_at": request.occurred_at,
            "metric": request.metric,
            "quantity": None if request.quantity is None else plain_amount(Decimal(request.quantity)),
            "amount": plain_amount(Decimal(request.amount)),
            "dimensions": request.dimensions or {},
            "price": _price_to_wire(shown.price),
        }
    )
    return plain
