"""Units of credit, one by one, and the grants that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, TypeAlias

Place: TypeAlias = Literal["left", "held", "spent", "expired", "voided", "moved_out"]
Parts: TypeAlias = tuple[tuple[int, int], ...]
"""Units by grant, in the order in which they were taken."""


@dataclass(eq=False)
class Unit:
    """One unit of credit."""

    block: Block
    place: Place = "left"
    is_beyond: bool = False
    """Whether it was captured beyond what was held."""


@dataclass(eq=False)
class Block:
    """A grant, by the entry that made it."""

    number: int
    amount: int
    category: str
    priority: int
    created: int
    starts: int
    ends: int | None
    key: str
    plan: int
    label: Mapping[str, Any]
    """Cost basis, name, comment, metadata."""
    is_pending: bool
    rolls: bool = False
    """Whether a plan made it that lets credits roll over."""
    period_end: int | None = None
    """When its period ends, if a plan made it."""
    origin: tuple[str, int] | None = None
    """The pool and the plan to which it rolls over, if that is another pool."""
    is_voided: bool = False
    units: list[Unit] = field(default_factory=list)
    """There are none before it takes effect."""

    def take_effect(self) -> None:
        self.is_pending = False
        self.units = [Unit(self) for _ in range(self.amount)]

    def is_over(self, at: int) -> bool:
        return self.is_voided or (self.ends is not None and self.ends <= at)

    def those(self, place: Place) -> list[Unit]:
        return [unit for unit in self.units if unit.place == place]

    def count(self) -> Counter[str]:
        """Return how many of its units are in each place."""
        if self.units:
            return Counter(unit.place for unit in self.units)
        return Counter({"pending" if self.is_pending else "voided": self.amount})


def by_block(units: Iterable[Unit]) -> list[tuple[Block, list[Unit]]]:
    """Return units that belong together, in their order."""
    groups = [list(each) for _, each in groupby(units, key=lambda unit: (unit.block.number, unit.is_beyond))]
    return [(each[0].block, each) for each in groups]


def parts_of(units: Iterable[Unit]) -> Parts:
    return tuple((block.number, len(each)) for block, each in by_block(units))
