"""The parts that several answers share: allocations to grants, shares of allowances, cost bases."""

from __future__ import annotations

from solvent.engine.api.receipts import Allocation, Coverage
from solvent.engine.rules.allowances import Covers
from solvent.engine.rules.events import Parts
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.terms import CostBasis


def cost_view(cost: CostBasis | None) -> dict[str, str] | None:
    """Return a cost basis as answers show it."""
    return None if cost is None else {"per_credit": cost.per_credit, "currency": cost.currency}


def covered_units(covers: Covers) -> tuple[tuple[str, int], ...]:
    """Return (allowance, units), each allowance named once."""
    sums: dict[str, int] = {}
    for covered in covers:
        sums[covered.name] = sums.get(covered.name, 0) + covered.units
    return tuple(sums.items())


def coverages(covers: Covers, scale: int) -> tuple[Coverage, ...]:
    """Return what allowances covered, each allowance named once."""
    return tuple(Coverage(name, to_decimal(units, scale)) for name, units in covered_units(covers))


def merged(parts: Parts) -> Parts:
    """Return ``parts`` with each grant named once."""
    sums: dict[int, int] = {}
    for grant, part in parts:
        sums[grant] = sums.get(grant, 0) + part
    return tuple(sums.items())


def allocations_of(parts: Parts, scale: int) -> tuple[Allocation, ...]:
    """Return ``parts`` as answers show them."""
    return tuple(Allocation(f"g{grant}", to_decimal(part, scale)) for grant, part in parts)
