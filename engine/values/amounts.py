"""Amounts: whole numbers of a currency's smallest unit inside, decimal text outside.

A currency of scale 6 counts in millionths: "12.5" is 12_500_000 units. Nothing here rounds and nothing passes
through a binary float: an amount that cannot be kept exactly is refused.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal
from functools import lru_cache
from typing import Final, TypeAlias

from .errors import InvalidRequest

AmountLike: TypeAlias = int | str | Decimal
"""The types in which callers give an amount: whole credits, decimal text, or a ``Decimal``."""

UNITS_MAX: Final = 2**63 - 1
"""The largest amount and the largest balance, in smallest units: 63 bits."""
SCALE_MAX: Final = 9
SCALE_DEFAULT: Final = 6

_POWERS: Final[tuple[int, ...]] = tuple(int(10**places) for places in range(SCALE_MAX + 1))
_DECIMAL_TEXT: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_TEXT_CHARS_MAX: Final = 64
_EXACT: Final = Context(prec=_TEXT_CHARS_MAX)
"""The context in which the decimal point of a checked number is moved. The caller's own context may round."""


def parse_amount(value: object, scale: int, field: str = "amount") -> int:
    """Return ``value`` as whole units of 10^-scale, in ``1 <= units <= UNITS_MAX``.

    ``value`` is an ``int`` (whole credits), a ``str`` such as "12.5", or a ``Decimal``.

    Raises ``InvalidRequest`` naming ``field`` for anything else: a binary float, a bool, a NaN, zero, a negative
    number, more decimal places than ``scale``, or more than 63 bits.
    """
    if type(value) is str:
        units = _parse_text(value, scale, field)
    elif type(value) is int:
        units = value * _POWERS[scale]
    else:
        units = _parse_carefully(value, scale, field)
    if 0 < units <= UNITS_MAX:
        return units
    if units > UNITS_MAX:
        largest = format_amount(UNITS_MAX, scale)
        raise InvalidRequest(field, f"at most {largest} (63 bits at {scale} decimal places)")
    raise InvalidRequest(field, "an amount above zero", got=shown(value))


@lru_cache(maxsize=4_096)  # Prices repeat: most texts have been parsed before.
def _parse_text(value: str, scale: int, field: str) -> int:
    whole, point, places = value.partition(".")
    # The usual text, such as "12.5", in one pass; everything else takes the careful way.
    if whole.isdigit() and whole.isascii() and len(value) <= 30:
        if not point:
            return int(whole) * _POWERS[scale]
        if len(places) <= scale and places.isdigit() and places.isascii():
            return int(whole + places) * _POWERS[scale - len(places)]
    return _parse_carefully(value, scale, field)


def _parse_carefully(value: object, scale: int, field: str) -> int:
    if isinstance(value, str):
        if len(value) > _TEXT_CHARS_MAX or not _DECIMAL_TEXT.fullmatch(value):
            raise InvalidRequest(field, 'a decimal number such as "12.5"', got=shown(value))
        number = Decimal(value)
    elif isinstance(value, Decimal):
        number = value
    elif isinstance(value, int) and not isinstance(value, bool):
        return value * _POWERS[scale]
    else:
        got = "a binary float" if isinstance(value, float) else type(value).__name__
        raise InvalidRequest(field, 'an integer or a decimal string such as "12.5"', got=got)
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise InvalidRequest(field, "a finite number", got=shown(value))
    if exponent < -scale:
        raise InvalidRequest(field, f"at most {scale} decimal places", got=shown(value))
    if len(digits) + exponent > 20:
        raise InvalidRequest(field, f"at most {format_amount(UNITS_MAX, scale)}", got=shown(value))
    return int(number.scaleb(scale, _EXACT))


def shown(value: object) -> str:
    """Return ``value`` as an error quotes it, cut to 40 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write out an integer of thousands of digits.
        return "a number of thousands of digits"
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."


def format_amount(units: int, scale: int) -> str:
    """Return ``units`` as decimal text without superfluous zeros: 12_500_000 at scale 6 is "12.5"."""
    if scale == 0:
        return str(units)
    whole, places = divmod(abs(units), _POWERS[scale])
    sign = "-" if units < 0 else ""
    if not places:
        return f"{sign}{whole}"
    return f"{sign}{whole}." + str(places).rjust(scale, "0").rstrip("0")


def to_decimal(units: int, scale: int) -> Decimal:
    """Return ``units`` as a ``Decimal`` in its shortest form, exact."""
    return Decimal(format_amount(units, scale))


def parse_scale(value: object, field: str = "scale") -> int:
    """Return ``value`` if it is a number of decimal places that a currency may keep: ``0 <= scale <= 9``."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= SCALE_MAX:
        return value
    raise InvalidRequest(field, f"a whole number of decimal places from 0 to {SCALE_MAX}", got=shown(value))
