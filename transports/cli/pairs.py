"""Options of the form ``name=value``, which a shell passes as one word.

``name=value`` is always text, and ``name:=5`` is a JSON number or boolean. A shell has no types, so the operator gives
the type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from solvent.engine.values.amounts import parse_scale
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.numbers import WrittenNumber, read_number

_DECODER: Final = msgspec.json.Decoder(float_hook=read_number)


def parse_pair(word: str, option: str) -> tuple[str, str]:
    """Split ``name=value`` at its first ``=``. Raises ``InvalidRequest`` naming the option."""
    name, equals, value = word.partition("=")
    if not equals or not name or not value:
        raise InvalidRequest(option, "name=value", got=repr(word)[:60])
    return name, value


def parse_cost_basis(word: str | None, option: str) -> tuple[str, str] | None:
    """Return price and currency of a credit from ``USD=0.0125``. Raises ``InvalidRequest`` naming the option."""
    if word is None:
        return None
    money, equals, per_credit = word.partition("=")
    if not (money and equals and per_credit):
        raise InvalidRequest(option, "CODE=PRICE, such as USD=0.0125", got=repr(word)[:60])
    return per_credit, money


def parse_pairs(words: Iterable[str], option: str) -> dict[str, str]:
    """Split each word as ``parse_pair`` does. A name that is given twice is refused, because one would be lost."""
    pairs: dict[str, str] = {}
    for word in words:
        name, value = parse_pair(word, option)
        if name in pairs:
            raise InvalidRequest(option, f"each name once, {name!r} is given twice")
        pairs[name] = value
    return pairs


def parse_dimensions(words: Iterable[str], option: str = "--dim") -> dict[str, DimensionValue]:
    """Return dimensions from ``name=text`` and ``name:=json``. Raises ``InvalidRequest`` naming option and name."""
    dimensions: dict[str, DimensionValue] = {}
    for word in words:
        name, equals, text = word.partition("=")
        typed = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name:
            raise InvalidRequest(option, "name=text, or name:=5 for a number or a boolean", got=repr(word)[:60])
        if name in dimensions:
            raise InvalidRequest(option, f"each name once, {name!r} is given twice")
        dimensions[name] = _json_scalar(text, f"{option} {name}") if typed else text
    return dimensions


def parse_currencies(words: Iterable[str], option: str = "--currency") -> dict[str, int]:
    """Return currencies with their scales from ``tokens=0``. Raises ``InvalidRequest`` naming the option."""
    currencies: dict[str, int] = {}
    for name, places in parse_pairs(words, option).items():
        digits = places.isascii() and places.isdigit() and len(places) < 4
        currencies[name] = parse_scale(int(places) if digits else places, f"{option} {name}")
    return currencies


def _json_scalar(text: str, field: str) -> int | float | bool:
    try:
        value = _DECODER.decode(text)
    except msgspec.DecodeError:
        value = None
    if isinstance(value, WrittenNumber):
        raise InvalidRequest(field, "a number that 64 bits hold exactly", got=text[:40])
    if isinstance(value, (int, float)):
        return value
    raise InvalidRequest(field, "a JSON number or boolean after :=", got=repr(text)[:40])
