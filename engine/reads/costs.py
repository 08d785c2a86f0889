"""The use of a pool's credits by cost basis, which finance needs to recognise revenue.

Read from the journal. Every debit and capture counts for the grants that paid it, every reversal is subtracted from
them, and expired or voided credits are listed separately (breakage). Times are those of recording.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from decimal import Context, Decimal
from typing import Final, TypeAlias

from solvent.engine.api.ledger import CostLine
from solvent.engine.journal.frames import Section
from solvent.engine.rules.events import (
    Captured,
    Debited,
    Event,
    Expired,
    Granted,
    Lapsed,
    MovedIn,
    Reversed,
    Trimmed,
    Voided,
)
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.terms import Category, CostBasis

_EXACT: Final = Context(prec=80)
"""A context that never rounds: 19 digits of credits times 24 of a price fit."""


class _Line:
    __slots__ = ("burned", "expired", "voided")

    def __init__(self) -> None:
        self.burned = self.expired = self.voided = 0


class CostSums:
    """The sums by cost basis and category of entries recorded in [start, end), in microseconds."""

    def __init__(self, start: int, end: int) -> None:
        self._start, self._end = start, end
        self._grants: dict[int, tuple[CostBasis | None, Category]] = {}
        self._voided: set[int] = set()
        self._lines: dict[tuple[CostBasis | None, Category], _Line] = {}

    async def read(self, steps: AsyncIterator[list[Section]]) -> None:
        """Count a history from its beginning to the end of the range."""
        version = 0
        async for sections in steps:
            for section in sections:
                for event in section.events[version + 1 - section.first_version :]:
                    if event.at >= self._end:
                        return
                    version += 1
                    self._count(event, version)

    def _count(self, event: Event, version: int) -> None:
        if isinstance(event, (Granted, MovedIn)):
            self._grants[version] = (event.cost_basis, event.category)
        elif isinstance(event, Voided):
            self._voided.add(event.grant)
        if event.at < self._start:
            return
        match event:
            case Debited() | Captured():
                self._burn(event.paid, 1)
            case Reversed():
                self._burn(event.parts, -1)
            case Expired() | Trimmed():
                self._line(event.grant).expired += event.amount
            case Voided():
                self._line(event.grant).voided += event.amount
            case Lapsed():
                line = self._line(event.grant)
                if event.grant in self._voided:
                    line.voided += event.amount
                else:
                    line.expired += event.amount

    def _burn(self, parts: Iterable[tuple[int, int]], sign: int) -> None:
        for grant, part in parts:
            self._line(grant).burned += sign * part

    def _line(self, grant: int) -> _Line:
        return self._lines.setdefault(self._grants[grant], _Line())

    def lines(self, scale: int) -> tuple[CostLine, ...]:
        """Return the sums, those without a cost basis last. A basis with nothing in the range has no line."""
        found = [
            CostLine(
                cost_basis=None if cost is None else {"per_credit": cost.per_credit, "currency": cost.currency},
                category=category,
                burned=to_decimal(line.burned, scale),
                expired=to_decimal(line.expired, scale),
                voided=to_decimal(line.voided, scale),
                value=None if cost is None else _value(line.burned, scale, cost),
            )
            for (cost, category), line in self._lines.items()
            if line.burned or line.expired or line.voided
        ]
        return tuple(sorted(found, key=place_of))


def _value(units: int, scale: int, cost: CostBasis) -> Decimal:
    exact = _EXACT.multiply(to_decimal(units, scale), Decimal(cost.per_credit))
    return _EXACT.normalize(exact) if exact else Decimal(0)


LinePlace: TypeAlias = tuple[bool, str, Decimal, str]
"""The place of a line in the report."""


def place_of(line: CostLine) -> LinePlace:
    """Return the place of ``line``: by currency and price, those without a cost basis last."""
    cost = line.cost_basis
    if cost is None:
        return True, "", Decimal(0), line.category
    return False, cost["currency"], Decimal(cost["per_credit"]), line.category
