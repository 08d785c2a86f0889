"""Matching: which entries a budget or an allowance counts, by their dimensions, and for which value of ``each``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from .dimensions import DimensionValue

Match: TypeAlias = tuple[tuple[str, DimensionValue], ...]
"""The (dimension, value) pairs that an entry must have, sorted by name."""

_value: Final[msgspec.msgpack.Decoder[DimensionValue]] = msgspec.msgpack.Decoder(DimensionValue)


def matches(match: Match, each: str | None, values: Mapping[str, DimensionValue]) -> bool:
    """Return whether an entry with the dimensions ``values`` has all of ``match``, and any value of ``each``."""
    if each is not None and each not in values:
        return False
    for name, wanted in match:
        value = values.get(name)
        if value != wanted or type(value) is not type(wanted):
            return False
    return True


def typed(match: Match) -> tuple[tuple[str, type, DimensionValue], ...]:
    """Return ``match`` in a form whose equality keeps 1, 1.0 and True apart."""
    return tuple((name, type(value), value) for name, value in match)


def encode_value(value: DimensionValue) -> bytes:
    """Return a dimension value as the name of a counter. 1, 1.0, True and "1" give different names."""
    return msgspec.msgpack.encode(value)


def decode_value(encoded: bytes) -> DimensionValue:
    """Return the value that ``encode_value`` encoded."""
    return _value.decode(encoded)
