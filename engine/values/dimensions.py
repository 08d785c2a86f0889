"""Dimensions: names with values that describe a usage event, such as its user or model, as canonical bytes.

Equal dimensions are equal bytes, so that the pool compares requests byte by byte. Equal numbers are equal values: 1,
1.0 and 1e0 have one form (``numbers``), which budgets, allowances, rates, keys and usage all get from here. "1" and
``True`` are other values. An entry of an older version may have a whole number as a float: ``canonical_value`` and
``same_dimensions`` read it as the number that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from .errors import InvalidRequest
from .numbers import canonical_number

DimensionValue: TypeAlias = str | int | float | bool
Dimensions: TypeAlias = Mapping[str, DimensionValue]

DIMENSIONS_MAX: Final = 64
DIMENSION_NAME_CHARS_MAX: Final = 128
DIMENSION_VALUE_CHARS_MAX: Final = 1_024
DIMENSIONS_BYTES_MAX: Final = 8_192
"""The most bytes of one event's dimensions, encoded. A frame has hundreds of events: this bounds its size."""
NO_DIMENSIONS: Final = msgspec.Raw(b"\x80")
"""An empty map."""
_FLOAT: Final = b"\xcb"
"""The byte before each float of msgpack. Where it does not occur there is no float; text may have it too."""

_FLOAT_MAX: Final = 1.7976931348623157e308
CheckedDimensions: TypeAlias = dict[
    Annotated[str, msgspec.Meta(min_length=1, max_length=DIMENSION_NAME_CHARS_MAX)],
    Annotated[str, msgspec.Meta(max_length=DIMENSION_VALUE_CHARS_MAX)]
    | int
    | Annotated[float, msgspec.Meta(ge=-_FLOAT_MAX, le=_FLOAT_MAX)]
    | bool,
]
"""The type of dimensions with valid names and values."""
DecodedDimensions: TypeAlias = dict[
    Annotated[str, msgspec.Meta(min_length=1, max_length=DIMENSION_NAME_CHARS_MAX)],
    Annotated[str, msgspec.Meta(max_length=DIMENSION_VALUE_CHARS_MAX)] | int | bool,
]
"""The type with which a strict decoder of JSON reads dimensions. It refuses a number with a point or an exponent, of
which a float would have lost digits. Such a body is decoded again, with ``numbers.WrittenNumber`` for its floats."""
_checked: Final = msgspec.msgpack.Decoder(CheckedDimensions)
_without_floats: Final = msgspec.msgpack.Decoder(DecodedDimensions)
_Decoder: TypeAlias = msgspec.msgpack.Decoder[CheckedDimensions] | msgspec.msgpack.Decoder[DecodedDimensions]
_trusted: Final = msgspec.msgpack.Decoder(dict[str, DimensionValue])
_canonical: Final = msgspec.msgpack.Encoder(order="deterministic")


def encode_dimensions(dimensions: object, field: str) -> msgspec.Raw:
    """Return dimensions as canonical msgpack: names sorted and numbers canonical, so that equal ones are equal bytes.

    Names have 1 to 128 characters; values are strings of at most 1,024 characters, numbers that 64 bits hold exactly,
    or booleans; at most 64 of them, at most 8 KiB together. Raises ``InvalidRequest`` otherwise.
    """
    if type(dimensions) is not dict:
        if not isinstance(dimensions, Mapping):
            raise InvalidRequest(field, "an object of names and values", got=type(dimensions).__name__)
        dimensions = dict(dimensions)
    if len(dimensions) > DIMENSIONS_MAX:
        raise InvalidRequest(field, f"at most {DIMENSIONS_MAX} names", got=str(len(dimensions)))
    encoded = _encode_checked(dimensions, _without_floats)
    if encoded is None:
        # Rare: a number that may have another form, or something invalid.
        dimensions = {name: canonical_value(value) for name, value in dimensions.items()}
        encoded = _encode_checked(dimensions, _checked)
    if encoded is None:
        raise InvalidRequest(*_explain_dimension(dimensions, field))
    if len(encoded) > DIMENSIONS_BYTES_MAX:
        raise InvalidRequest(field, f"at most {DIMENSIONS_BYTES_MAX} bytes", got=str(len(encoded)))
    return msgspec.Raw(encoded)


def encode_decoded(dimensions: DecodedDimensions, field: str) -> msgspec.Raw:
    """Encode dimensions that a strict decoder of ``DecodedDimensions`` read. They are not checked a second time."""
    try:
        encoded = _canonical.encode(dimensions)
    except (OverflowError, UnicodeEncodeError):
        return encode_dimensions(dimensions, field)
    if len(dimensions) > DIMENSIONS_MAX or len(encoded) > DIMENSIONS_BYTES_MAX:
        return encode_dimensions(dimensions, field)
    return msgspec.Raw(encoded)


def _encode_checked(dimensions: Mapping[object, object], decoder: _Decoder) -> bytes | None:
    """Return the canonical bytes, or ``None`` if ``decoder`` refuses any name or value.

    Encoding and decoding in C is the fastest check there is. A value that is not equal after the round trip is invalid
    too: a NaN, and values such as decimals, which would be turned into text.
    """
    try:
        encoded = _canonical.encode(dimensions)
        if decoder.decode(encoded) == dimensions:
            return encoded
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError, TypeError, RecursionError):
        pass
    return None


def _explain_dimension(dimensions: Mapping[object, object], field: str) -> tuple[str, str]:
    for name, value in dimensions.items():
        if _encode_checked({name: value}, _checked) is None:
            if not isinstance(name, str) or not 0 < len(name) <= DIMENSION_NAME_CHARS_MAX:
                break
            return f"{field}.{ascii(name)[1:-1][:60]}", (
                f"a string of at most {DIMENSION_VALUE_CHARS_MAX} characters, a number that 64 bits hold exactly, "
                "or a boolean"
            )
    return field, f"names of 1 to {DIMENSION_NAME_CHARS_MAX} characters"


def decode_dimensions(encoded: msgspec.Raw) -> dict[str, DimensionValue]:
    """Return the dimensions that ``encode_dimensions`` encoded."""
    return _trusted.decode(encoded)


def canonical_value(value: Any) -> Any:
    """Return the form of ``value`` that all equal values share. What is no value of a dimension comes back as it is."""
    kind = type(value)
    if kind is str or kind is bool or not isinstance(value, (int, float)):
        return value
    return canonical_number(value)


def same_value(one: DimensionValue, other: DimensionValue) -> bool:
    """Return whether both are the same value: equal numbers, equal text, or the same boolean."""
    # Python compares an int with a float exactly, but calls True equal to 1.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def same_dimensions(stored: msgspec.Raw, given: msgspec.Raw) -> bool:
    """Return whether ``stored``, of an entry of any version, are the same dimensions as ``given``, just encoded."""
    first, second = bytes(stored), bytes(given)
    if first == second:
        return True
    if _FLOAT not in first:
        return False
    # An older version kept whole numbers as floats, which had lost what is beyond their 53 bits.
    before, now = decode_dimensions(stored), decode_dimensions(given)
    return before.keys() == now.keys() and all(
        same_value(value, float(now[name]) if type(value) is float and type(now[name]) is int else now[name])
        for name, value in before.items()
    )
