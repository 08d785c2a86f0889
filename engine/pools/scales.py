"""How many decimal places currencies keep in one engine.

What the journal says holds: amounts are whole units of 10^-scale, and read with another scale every one of them would
be wrong. An engine that is told nothing counts a currency as its pools do. Told something else, it reads what is there
as it is, and refuses every amount (``currency_scale``).

All pools of a currency keep the same decimal places: an engine opens none that would not. Older engines did, where they
were told differently from one start to the next; then each pool keeps its own, and there is no sum over them in units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from solvent.engine.values.amounts import SCALE_DEFAULT
from solvent.engine.values.errors import StateConflict


class Scales:
    """Of the currencies that an engine was told of, and of those in its journal."""

    def __init__(self, told: Mapping[str, int], journalled: Iterable[tuple[str, int]]) -> None:
        """``journalled`` has each currency with the places of its pools; several times if they differ."""
        kept: dict[str, list[int]] = {}
        for currency, scale in sorted(journalled):
            kept.setdefault(currency, []).append(scale)
        self._kept = kept
        of_journal = {
            currency: SCALE_DEFAULT if SCALE_DEFAULT in scales else scales[0] for currency, scales in kept.items()
        }
        self.given: dict[str, int] = {**of_journal, **told}
        """In how many places amounts are given, where it is not the default."""

    def of(self, currency: str) -> int:
        """In how many decimal places amounts of ``currency`` are given."""
        return self.given.get(currency, SCALE_DEFAULT)

    def kept(self, currency: str) -> list[int]:
        """What the pools of ``currency`` keep, in ascending order; nearly always it is one number."""
        return self._kept.get(currency) or [self.of(currency)]

    def of_new_pool(self, currency: str) -> int:
        """What a pool that begins now keeps."""
        given, kept = self.of(currency), self.kept(currency)
        return given if given in kept else kept[0]

    def of_all(self, currency: str) -> int:
        """What all pools of ``currency`` keep. Raises ``StateConflict`` if they differ."""
        kept = self.kept(currency)
        if len(kept) > 1:
            places = f"{', '.join(map(str, kept[:-1]))} or {kept[-1]}"
            raise StateConflict(
                "currency_scale",
                f"pools of {currency} keep {places} decimal places, so they have no sum: ask for one pool at a time",
            )
        return kept[0]
