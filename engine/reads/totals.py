"""The totals over the pools of a customer."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final

from solvent.engine.api.balances import Balance, CurrencyTotals

_EXACT: Final = Context(prec=60)
"""A context that never rounds, as the caller's may: 19 digits and 9 places per pool, for more pools than can exist."""
_TERMS: Final = ("available", "held", "granted", "spent", "expired", "voided", "moved_out", "pending")


class PoolSums:
    """The sums of balances by currency, as decimals, whatever decimal places the pools keep."""

    def __init__(self) -> None:
        self._pools: dict[str, int] = {}
        self._sums: dict[str, dict[str, Decimal]] = {}

    def add(self, currency: str, balance: Balance) -> None:
        """Add the balance of a pool."""
        self._pools[currency] = self._pools.get(currency, 0) + 1
        sums = self._sums.setdefault(currency, dict.fromkeys(_TERMS, Decimal(0)))
        for term in _TERMS:
            sums[term] = _EXACT.add(sums[term], getattr(balance, term))

    def totals(self) -> tuple[CurrencyTotals, ...]:
        """Return a line for each currency, sorted by name."""
        return tuple(
            CurrencyTotals(
                currency=currency,
                pools=self._pools[currency],
                **{term: Decimal(f"{_EXACT.normalize(amount):f}") for term, amount in sums.items()},
            )
            for currency, sums in sorted(self._sums.items())
        )
