"""Dimensions: names with values that describe a usage event, such as its user or model, as canonical bytes.

Equal dimensions are equal bytes, so that the pool compares requests byte by byte and stores what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

import msgspec

from .errors import InvalidRequest

DimensionValue: TypeAlias = str | int | float | bool
Dimensions: TypeAlias = Mapping[str, DimensionValue]

DIMENSIONS_MAX: Final = 64
DIMENSION_NAME_CHARS_MAX: Final = 128
DIMENSION_VALUE_CHARS_MAX: Final = 1_024
DIMENSIONS_BYTES_MAX: Final = 8_192
"""The most bytes of one event's dimensions, encoded. A frame has hundreds of events: this bounds its size."""
NO_DIMENSIONS: Final = msgspec.Raw(b"\x80")
"""An empty map."""

_FLOAT_MAX: Final = 1.7976931348623157e308
CheckedDimensions: TypeAlias = dict[
    Annotated[str, msgspec.Meta(min_length=1, max_length=DIMENSION_NAME_CHARS_MAX)],
    Annotated[str, msgspec.Meta(max_length=DIMENSION_VALUE_CHARS_MAX)]
    | int
    | Annotated[float, msgspec.Meta(ge=-_FLOAT_MAX, le=_FLOAT_MAX)]
    | bool,
]
"""The type with which a strict decoder reads dimensions: it accepts only valid names and values."""
_checked: Final = msgspec.msgpack.Decoder(CheckedDimensions)
_trusted: Final = msgspec.msgpack.Decoder(dict[str, DimensionValue])
_canonical: Final = msgspec.msgpack.Encoder(order="deterministic")


def encode_dimensions(dimensions: object, field: str) -> msgspec.Raw:
    """Return dimensions as canonical msgpack: names sorted, so that equal dimensions are equal bytes.

    Names have 1 to 128 characters; values are strings of at most 1,024 characters, 64-bit integers, finite floats
    or booleans; at most 64 of them, at most 8 KiB together. Raises ``InvalidRequest`` otherwise.
    """
    if type(dimensions) is not dict:
        if not isinstance(dimensions, Mapping):
            raise InvalidRequest(field, "an object of names and values", got=type(dimensions).__name__)
        dimensions = dict(dimensions)
    if len(dimensions) > DIMENSIONS_MAX:
        raise InvalidRequest(field, f"at most {DIMENSIONS_MAX} names", got=str(len(dimensions)))
    encoded = _encode_checked(dimensions)
    if encoded is None:
        raise InvalidRequest(*_explain_dimension(dimensions, field))
    if len(encoded) > DIMENSIONS_BYTES_MAX:
        raise InvalidRequest(field, f"at most {DIMENSIONS_BYTES_MAX} bytes", got=str(len(encoded)))
    return msgspec.Raw(encoded)


def encode_decoded(dimensions: CheckedDimensions, field: str) -> msgspec.Raw:
    """Encode dimensions that a strict decoder of ``CheckedDimensions`` read. They are not checked a second time."""
    try:
        encoded = _canonical.encode(dimensions)
    except (OverflowError, UnicodeEncodeError):
        return encode_dimensions(dimensions, field)
    if len(dimensions) > DIMENSIONS_MAX or len(encoded) > DIMENSIONS_BYTES_MAX:
        return encode_dimensions(dimensions, field)
    return msgspec.Raw(encoded)


def _encode_checked(dimensions: Mapping[object, object]) -> bytes | None:
    """Return the canonical bytes, or ``None`` if any name or value is invalid.

    Encoding and decoding in C is the fastest check there is. A value that is not equal after the round trip is invalid
    too: a NaN, and values such as decimals, which would be turned into text.
    """
    try:
        encoded = _canonical.encode(dimensions)
        if _checked.decode(encoded) == dimensions:
            return encoded
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError, TypeError, RecursionError):
        pass
    return None


def _explain_dimension(dimensions: Mapping[object, object], field: str) -> tuple[str, str]:
    for name, value in dimensions.items():
        if _encode_checked({name: value}) is None:
            if not isinstance(name, str) or not 0 < len(name) <= DIMENSION_NAME_CHARS_MAX:
                break
            return f"{field}.{ascii(name)[1:-1][:60]}", (
                f"a string of at most {DIMENSION_VALUE_CHARS_MAX} characters, a finite 64-bit number or a boolean"
            )
    return field, f"names of 1 to {DIMENSION_NAME_CHARS_MAX} characters"


def decode_dimensions(encoded: msgspec.Raw) -> dict[str, DimensionValue]:
    """Return the dimensions that ``encode_dimensions`` encoded."""
    return _trusted.decode(encoded)
