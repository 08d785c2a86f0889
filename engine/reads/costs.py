"""The use of a pool's credits by cost basis, which finance needs to recognise revenue.

Computed from the states of the pool before and after the range. Every debit and capture counts for the grants that paid
it, every reversal is subtracted from them, and expired or voided credits are listed separately (breakage). Times are
those of recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Final, TypeAlias

from solvent.engine.api.ledger import CostLine
from solvent.engine.rules.pool import Block
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.terms import Category, CostBasis

_EXACT: Final = Context(prec=80)
"""A context that never rounds: 19 digits of credits times 24 of a price fit."""


class _Line:
    __slots__ = ("burned", "expired", "voided")

    def __init__(self) -> None:
        self.burned = self.expired = self.voided = 0


class CostSums:
    """What was burned, expired and voided between two states of a pool, by cost basis and category.

    Each grant has what became of it so far, so the later state less the earlier one is what happened between.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[CostBasis | None, Category], _Line] = {}

    def add(self, blocks: Iterable[Block], sign: int) -> None:
        """Add what became of ``blocks`` up to a moment; with ``sign`` -1, take it off."""
        for block in blocks:
            line = self._lines.setdefault((block.cost_basis, block.category), _Line())
            line.burned += sign * block.spent
            line.expired += sign * block.expired
            line.voided += sign * block.voided

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
