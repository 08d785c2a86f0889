"""Numbers of a file, exactly: text of a cell, or a number of JSON, as the shortest ``Decimal`` that equals it. Pure.

Zeros at the end and exponents are only ways to write a number: ``1.50``, ``1.5`` and ``15e-1`` are one value. What has
more places than can be kept is refused, or rounded where an option says how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, ROUND_UP, Context, Decimal
from typing import Final

from solvent.engine.values.errors import InvalidRequest

ROUNDINGS: Final[Mapping[str, str]] = {"half-even": ROUND_HALF_EVEN, "up": ROUND_UP}
"""How a file's numbers may be rounded, by the name of the way."""

DIGITS_MAX: Final = 64
_EXPONENT_MAX: Final = 40
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_EXACT: Final = Context(prec=2 * (DIGITS_MAX + _EXPONENT_MAX))


def parse_number(value: object, field: str) -> Decimal:
    """Return the exact number that a cell or a JSON value is. Raises ``InvalidRequest`` naming ``field``.

    JSON numbers with a point have to be decoded as ``Decimal``: a binary float is refused.
    """
    number = _number(value)
    if number is None:
        raise InvalidRequest(field, 'a decimal number such as "12.5"', got=_shown(value))
    return number


def rounded(number: Decimal, places: int, field: str, rounding: str | None) -> Decimal:
    """Return ``number`` with at most ``places`` decimal places. ``rounding`` is one of ``ROUNDINGS``; with ``None`` a
    number with more places is refused: ``InvalidRequest`` names ``field``."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= -places:
        return number
    if rounding is None:
        ways = " or ".join(ROUNDINGS)
        raise InvalidRequest(field, f"at most {places} decimal places, or --round {ways}", got=f"{number:f}"[:40])
    return shortest(number.quantize(Decimal(1).scaleb(-places), ROUNDINGS[rounding], _EXACT))


def shortest(number: Decimal) -> Decimal:
    """Return a finite number without zeros behind its point, and with an exponent of at most 0."""
    text = f"{number:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def _number(value: object) -> Decimal | None:
    if isinstance(value, str):
        text = value.strip()
        if len(text) < _EXPONENT_MAX and text.isdigit() and text.isascii():
            return Decimal(text)
        if len(text) > DIGITS_MAX or not _NUMBER.fullmatch(text):
            return None
        number = Decimal(text)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_EXPONENT_MAX:
        return Decimal(value)
    elif isinstance(value, Decimal) and value.is_finite():
        number = value
    else:
        return None
    if not number:
        return Decimal(0)
    _, digits, exponent = number.as_tuple()
    fits = len(digits) <= DIGITS_MAX and isinstance(exponent, int) and exponent >= -2 * DIGITS_MAX
    return shortest(number) if fits and number.adjusted() < _EXPONENT_MAX else None


def _shown(value: object) -> str:
    try:
        return repr(value)[:40]
    except ValueError:
        return "a number of thousands of digits"
