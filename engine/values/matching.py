"""Matching: which entries a budget or an allowance counts, by their dimensions, and for which value of ``each``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from .dimensions import DimensionValue, canonical_value

Match: TypeAlias = tuple[tuple[str, DimensionValue], ...]
"""The (dimension, value) pairs that an entry must have, sorted by name."""

_FLOAT: Final = b"\xcb"
"""The first byte of a float in msgpack."""
_value: Final[msgspec.msgpack.Decoder[DimensionValue]] = msgspec.msgpack.Decoder(DimensionValue)


def matches(match: Match, each: str | None, values: Mapping[str, DimensionValue]) -> bool:
    """Return whether an entry with the dimensions ``values`` has all of ``match``, and any value of ``each``."""
    if each is not None and each not in values:
        return False
    for name, wanted in match:
        value = values.get(name)
        # Python compares an int with a float exactly, but calls True equal to 1.
        if value != wanted or (type(value) is not type(wanted) and bool in (type(value), type(wanted))):
            return False
    return True


def typed(match: Match) -> tuple[tuple[str, bool, DimensionValue], ...]:
    """Return ``match`` in a form whose equality keeps 1 and True apart, and not 1 and 1.0."""
    return tuple((name, isinstance(value, bool), value) for name, value in match)


def encode_value(value: DimensionValue) -> bytes:
    """Return a dimension value as the name of a counter. Equal numbers give one name; True and "1" give others."""
    return msgspec.msgpack.encode(canonical_value(value))


def counter_of(value: bytes) -> bytes:
    """Return the name of the counter in which an entry counts. An entry of an older version may name it by a float."""
    return encode_value(decode_value(value)) if value[:1] == _FLOAT else value


def decode_value(encoded: bytes) -> DimensionValue:
    """Return the value that ``encode_value`` encoded."""
    return _value.decode(encoded)
