"""What a metered quantity costs: quantity times price, exact, then rounded once to what the currency keeps.

Rounding is half-even, and it happens here, on the way in: the engine itself never rounds. A price is credits per unit
of the metric.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.quantities import check_quantity

_PRICE: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_NUMBER_CHARS_MAX: Final = 64

_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)
"""A quantity has at most 27 digits and a price 30: their product is exact in 100."""


def parse_price(text: str, option: str) -> Decimal:
    """Return a price: decimal text of at most 12 digits before the point and 18 after it; "0" means free."""
    if not _PRICE.fullmatch(text):
        raise InvalidRequest(option, "credits per unit, such as 0.00003", got=repr(text)[:40])
    return Decimal(text)


def parse_number(value: object, field: str) -> Decimal:
    """Return an exact number from a cell or a JSON value. Raises ``InvalidRequest`` naming ``field``.

    JSON numbers with a point have to be decoded as ``Decimal``: a binary float is refused.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) <= _NUMBER_CHARS_MAX and _NUMBER.fullmatch(text):
            return Decimal(text)
    elif (isinstance(value, Decimal) and value.is_finite()) or (isinstance(value, int) and not isinstance(value, bool)):
        return Decimal(value)
    raise InvalidRequest(field, 'a decimal number such as "12.5"', got=repr(value)[:40])


def cost(quantity: Decimal, price: Decimal, *, scale: int, field: str) -> Decimal:
    """Return ``quantity * price``, rounded half-even to ``scale`` decimal places.

    Raises ``InvalidRequest`` naming ``field`` for a quantity below zero or of more than 18 digits and 9 places.
    """
    exact = Decimal(check_quantity(quantity, field))
    return _EXACT.quantize(_EXACT.multiply(exact, price), Decimal(1).scaleb(-scale))
