"""Bars: where granted credits are, and how much of a quota is used."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from solvent.engine.api.balances import Balance
from solvent.transports.cli.terminal import Text

BAR_CHARS_QUOTA: Final = 12


class Part(NamedTuple):
    """A place where granted credits are: its field of a balance, and how it is drawn with and without colour."""

    name: str
    colour: str
    mark: str


PARTS: Final = (
    Part("available", "green", "█"),
    Part("held", "yellow", "▓"),
    Part("spent", "blue", "▒"),
    Part("expired", "bright_black", "░"),
    Part("voided", "red", "×"),
    Part("moved_out", "magenta", "→"),
)


def split_bar(values: Sequence[Decimal], chars: int) -> list[int]:
    """Divide ``chars`` over ``values`` in proportion, by largest remainder; what is above zero gets at least one.

    The sum is ``chars``, or 0 if all values are zero. ``len(values) <= chars``.
    """
    total = sum(values, Decimal(0))
    if not total:
        return [0] * len(values)
    exact = [value * chars / total for value in values]
    cells = [max(int(share), 1 if share else 0) for share in exact]
    while (difference := chars - sum(cells)) != 0:
        step = 1 if difference > 0 else -1
        candidates = [place for place, share in enumerate(exact) if share and cells[place] + step >= 1]
        furthest = max(candidates, key=lambda place: step * (exact[place] - cells[place]))
        cells[furthest] += step
    return cells


def granted_bar(balance: Balance, chars: int) -> Text:
    """Where the granted credits are, as one bar of ``chars`` characters."""
    values = [getattr(balance, part.name) for part in PARTS]
    cells = split_bar(values, chars)
    if not any(cells):
        return Text("·" * chars, style="bright_black")
    return Text.assemble(*((part.mark * count, part.colour) for part, count in zip(PARTS, cells, strict=True) if count))


def quota_bar(used: Decimal, most: Decimal, colour: str) -> Text:
    """How much of a quota is used, as one bar; full if it is more than all."""
    filled = min(BAR_CHARS_QUOTA, int(BAR_CHARS_QUOTA * used / most))
    return Text("█" * filled, colour) + Text("░" * (BAR_CHARS_QUOTA - filled), "bright_black")
