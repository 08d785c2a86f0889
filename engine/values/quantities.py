"""Metered quantities: exact decimal text, never a binary float."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

from .amounts import shown
from .errors import InvalidRequest

QuantityLike: TypeAlias = Annotated[int | str | Decimal, "a quantity"]
"""The types in which callers give a metered quantity: a whole number, decimal text, or a ``Decimal``."""

QUANTITY_PLACES: Final = 9
"""The most decimal places that ``check_quantity`` accepts, for quantities and for the ``per`` of a rate alike."""

_QUANTITY_END: Final = 10**18
_QUANTITY: Final = re.compile(rf"[0-9]{{1,18}}(\.[0-9]{{1,{QUANTITY_PLACES}}})?", re.ASCII)


def check_quantity(quantity: object, field: str = "quantity") -> str:
    """Return a metered quantity as canonical decimal text: at least 0, at most 18 digits before the point and 9
    after it."""
    text = ""
    if isinstance(quantity, str):
        text = quantity
    elif isinstance(quantity, int) and not isinstance(quantity, bool) and 0 <= quantity < _QUANTITY_END:
        text = str(quantity)
    elif isinstance(quantity, Decimal) and quantity.is_finite() and -10 < quantity.adjusted() < 18:
        # Format only after the check: 1e999999999 would be written out with all its zeros.
        text = format(quantity, "f")
    if not _QUANTITY.fullmatch(text):
        raise InvalidRequest(field, "a decimal number of at most 18 digits and 9 decimal places", got=shown(quantity))
    whole, _, places = text.partition(".")
    places = places.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{places}" if places else whole
