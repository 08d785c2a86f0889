"""What a metered quantity costs: quantity times price, exact, then rounded once to what the currency keeps.

It happens here, on the way in: what the engine is asked to debit it does not round. Rounding is half-even unless an
option says otherwise. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Final, NamedTuple

from solvent.engine.rules.rates import Rate, RateCard
from solvent.engine.values.amounts import SCALE_MAX, UNITS_MAX, format_amount, to_decimal
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.quantities import QUANTITY_PLACES

from .decimals import DIGITS_MAX, ROUNDINGS, rounded

_PRICE: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?", re.ASCII)
_ONE: Final = Decimal(1)
_QUANTITY_END: Final = Decimal(10**18)
_EXACT: Final = Context(prec=4 * DIGITS_MAX)
"""A number has at most 64 digits and a price 30: their product is exact."""
_MOST: Final = tuple(to_decimal(UNITS_MAX, places) for places in range(SCALE_MAX + 1))
_PLACES: Final = tuple(_ONE.scaleb(-places) for places in range(SCALE_MAX + 1))


class Price(NamedTuple):
    """``credits`` per ``per`` of a metric, and for which values of dimensions it is."""

    metric: str
    credits: Decimal
    per: Decimal = _ONE
    match: tuple[tuple[str, DimensionValue], ...] = ()


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of single metrics, which come first, and a rate card for all others."""

    single: Mapping[str, Decimal] = field(default_factory=dict)
    card: RateCard | None = None

    def __bool__(self) -> bool:
        return bool(self.single) or self.card is not None

    def find(self, metric: str, dimensions: Mapping[str, DimensionValue]) -> Price | None:
        """Return the price of an event: that with the most dimensions that match. Raises ``InvalidRequest`` for a
        dimension that could not be one."""
        if metric in self.single:
            return Price(metric, self.single[metric])
        rate = None if self.card is None else self.card.find(metric, dimensions)
        return None if rate is None else _price_of(rate)

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics that have a price for some event at least."""
        return frozenset([*self.single, *(rate.metric for rate in self.card.rates)] if self.card else self.single)


def parse_price(text: str, option: str) -> Decimal:
    """Return a price: decimal text of at most 12 digits before the point and 18 after it; "0" means free."""
    if not _PRICE.fullmatch(text):
        raise InvalidRequest(option, "credits per unit, such as 0.00003", got=repr(text)[:40])
    return Decimal(text)


def cost(
    quantity: Decimal,
    price: Decimal,
    *,
    scale: int,
    field: str,
    per: Decimal = _ONE,
    rounding: str | None = None,
) -> Decimal:
    """Return ``quantity * price / per``, exact, then rounded once to ``scale`` decimal places.

    ``rounding`` is half-even unless it is "up". Raises ``InvalidRequest`` naming ``field`` for a quantity that cannot
    be recorded, or that costs more than can be debited.
    """
    if per == 1:
        product = _EXACT.multiply(quantity, price)
        amount = product.quantize(_PLACES[scale], ROUNDINGS[rounding or "half-even"], _EXACT)
    else:
        amount = _divided(quantity, price, per, scale, up=rounding == "up")
    if amount > _MOST[scale]:
        raise InvalidRequest(field, f"a quantity that costs at most {format_amount(UNITS_MAX, scale)} credits")
    return amount


def _divided(quantity: Decimal, price: Decimal, per: Decimal, scale: int, *, up: bool) -> Decimal:
    """The quotient that decimals may not be able to hold, in whole numbers."""
    measured, measure = quantity.as_integer_ratio()
    numerator, denominator = price.as_integer_ratio()
    per_numerator, per_denominator = per.as_integer_ratio()
    whole = measure * denominator * per_numerator
    units, rest = divmod(measured * numerator * per_denominator * 10**scale, whole)
    if rest and (up or 2 * rest > whole or (2 * rest == whole and units % 2)):
        units += 1
    return Decimal(units).scaleb(-scale, _EXACT)


def recorded_quantity(quantity: Decimal, field: str, rounding: str | None) -> Decimal:
    """Return the quantity as it can be recorded, with at most 9 decimal places. Raises ``InvalidRequest`` naming
    ``field`` for one that is below zero, of more than 18 digits, or has more places and no way to round them."""
    if quantity < 0:
        raise InvalidRequest(field, "a quantity of at least 0", got=f"{quantity:f}"[:40])
    if quantity >= _QUANTITY_END:
        raise InvalidRequest(field, "a quantity of at most 18 digits", got=f"{quantity:f}"[:40])
    return rounded(quantity, QUANTITY_PLACES, field, rounding)


def _price_of(rate: Rate) -> Price:
    return Price(rate.metric, Decimal(rate.credits), Decimal(rate.per), rate.match)
