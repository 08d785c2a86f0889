"""What the pools of a customer hold together."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final

from solvent.engine.api.balances import Balance, CurrencyTotals

_EXACT: Final = Context(prec=60)
"""19 digits and 9 places of a pool, and more pools than there can be: the caller's own context may round."""
_TERMS: Final = ("available", "held", "granted", "spent", "expired", "voided", "moved_out", "pending")


class PoolSums:
    """Sums of balances, by currency: of decimals, whatever places the pools keep."""

    def __init__(self) -> None:
        self._pools: dict[str, int] = {}
        self._sums: dict[str, dict[str, Decimal]] = {}

    def add(self, currency: str, balance: Balance) -> None:
        """Count a pool."""
        self._pools[currency] = self._pools.get(currency, 0) + 1
        sums = self._sums.setdefault(currency, dict.fromkeys(_TERMS, Decimal(0)))
        for term in _TERMS:
            sums[term] = _EXACT.add(sums[term], getattr(balance, term))

    def totals(self) -> tuple[CurrencyTotals, ...]:
        """A line for each currency, by its name."""
        return tuple(
            CurrencyTotals(
                currency=currency,
                pools=self._pools[currency],
                **{term: Decimal(f"{_EXACT.normalize(amount):f}") for term, amount in sums.items()},
            )
            for currency, sums in sorted(self._sums.items())
        )
