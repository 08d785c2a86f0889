"""Numbers as values of dimensions: one canonical form for each number, so that equal numbers are equal everywhere.

A whole number is an ``int``, however it was written: ``1``, ``1.0`` and ``1e0`` are the ``int`` 1, and ``-0.0`` is 0.
Any other number is the 64-bit float whose shortest decimal text it is. A number that neither holds exactly is not a
value: it is refused, never rounded. A boolean is no number.

No number is ever written out with its zeros, so 1e999999999 costs no more than 1.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

WHOLE_MIN: Final = -(2**63)
WHOLE_END: Final = 2**64
"""Whole numbers from ``WHOLE_MIN`` up to this are exact: msgpack has 64 bits for them."""
_WHOLE_DIGITS_MAX: Final = 20


class WrittenNumber(float):
    """A number with a point or an exponent as JSON had it. The text tells what the float would have rounded."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> WrittenNumber:
        """Parse ``text``, a number of JSON."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def canonical_number(number: int | float) -> int | float:
    """Return the canonical form of a number, or the number itself if there is none: a NaN, or too many digits.

    A whole float below 2^64 stands for the whole number that it equals, any other float for its shortest decimal text.
    """
    if isinstance(number, WrittenNumber):
        exact = number_of(number.text)
        return number if exact is None else exact
    if isinstance(number, float):
        # A comparison with a NaN is false.
        return int(number) if WHOLE_MIN <= number < WHOLE_END and number.is_integer() else number
    if WHOLE_MIN <= number < WHOLE_END:
        return number
    exact = number_of(str(number)) if abs(number).bit_length() <= 1_024 else None
    return number if exact is None else exact


def read_number(text: str) -> int | float:
    """Return a number of JSON in its canonical form, or as it is written if it has none."""
    number = number_of(text)
    return WrittenNumber(text) if number is None else number


def number_of(text: str) -> int | float | None:
    """Return the canonical form of a decimal number such as "1.50" or "1e3"; ``None`` if 64 bits do not hold it."""
    try:
        number = Decimal(text)
    except ArithmeticError:  # Its exponent has more digits than any number needs.
        return None
    if not number.is_finite():
        return None
    if not number:
        return 0
    if number.adjusted() < _WHOLE_DIGITS_MAX and number == number.to_integral_value():
        whole = int(number)
        if WHOLE_MIN <= whole < WHOLE_END:
            return whole
    near = float(number)
    # ``Decimal`` compares exactly, whatever the exponents are. An infinity equals no number.
    return near if Decimal(repr(near)) == number else None
