"""The decimal places of each currency in one engine.

The journal decides: its amounts are whole units of 10^-scale, and with another scale every one of them would be wrong.
If a currency is not configured, the engine uses the decimal places of its pools. If it is configured differently, the
engine still reads its pools as they are, but refuses every amount (``currency_scale``).

All pools of a currency keep the same decimal places: an engine opens no pool that differs. Older engines did, if their
configuration changed between two starts. Then each pool keeps its own, and there is no sum over them in units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from solvent.engine.values.amounts import SCALE_DEFAULT
from solvent.engine.values.errors import StateConflict


class Scales:
    """The decimal places of each currency, as configured and as found in the journal."""

    def __init__(self, told: Mapping[str, int], journalled: Iterable[tuple[str, int]]) -> None:
        """``told`` is the configuration. ``journalled`` has each currency with the decimal places of its pools, several
        times if they differ."""
        kept: dict[str, list[int]] = {}
        for currency, scale in sorted(journalled):
            kept.setdefault(currency, []).append(scale)
        self._kept = kept
        of_journal = {
            currency: SCALE_DEFAULT if SCALE_DEFAULT in scales else scales[0] for currency, scales in kept.items()
        }
        self.given: dict[str, int] = {**of_journal, **told}
        """The decimal places of amounts in each currency, where they may differ from the default."""

    def of(self, currency: str) -> int:
        """Return the decimal places of amounts in ``currency``."""
        return self.given.get(currency, SCALE_DEFAULT)

    def kept(self, currency: str) -> list[int]:
        """Return the decimal places that pools of ``currency`` keep, ascending; nearly always one number."""
        return self._kept.get(currency) or [self.of(currency)]

    def of_new_pool(self, currency: str) -> int:
        """Return the decimal places for a new pool of ``currency``."""
        given, kept = self.of(currency), self.kept(currency)
        return given if given in kept else kept[0]

    def of_all(self, currency: str) -> int:
        """Return the decimal places that all pools of ``currency`` keep. Raises ``StateConflict`` if they differ."""
        kept = self.kept(currency)
        if len(kept) > 1:
            places = f"{', '.join(map(str, kept[:-1]))} or {kept[-1]}"
            raise StateConflict(
                "currency_scale",
                f"pools of {currency} keep {places} decimal places, so they have no sum: ask for one pool at a time",
            )
        return kept[0]
