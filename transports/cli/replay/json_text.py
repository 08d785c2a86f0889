"""JSON text as values, exactly: a number with a point or an exponent is a ``Decimal``, never a binary float. Pure.

A name that an object has twice stands for ``DOUBLED``, which is wrong only where it is read. ``NaN`` and ``Infinity``,
which Python would take, are no JSON.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final, NoReturn

from solvent.engine.values.errors import InvalidRequest


class Nothing:
    """A value that is not there, and what to call it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ABSENT: Final = Nothing("nothing")
"""No column, or no member, has this name."""
DOUBLED: Final = Nothing("two values of this name")
"""More than one column, or member, has this name: nobody can say which is meant."""


def decode_json(text: str | bytes) -> object:
    """Return the one value of a JSON text. Raises ``InvalidRequest``."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            got = f"the byte 0x{text[error.start]:02X} behind {error.start} others"
            raise InvalidRequest("record", "UTF-8 text", got=got) from None
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest("record", "JSON", got=f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise InvalidRequest("record", "JSON", got="objects nested too deeply") from None
    except (ArithmeticError, ValueError):
        raise InvalidRequest("record", "JSON", got="a number that nothing can hold") from None


def decode_object(text: str | bytes) -> dict[str, object]:
    """Return the members of one JSON object. Raises ``InvalidRequest``."""
    value = decode_json(text)
    if isinstance(value, dict):
        return value
    raise InvalidRequest("record", "one JSON object", got=kind_of(value))


def kind_of(value: object) -> str:
    """Return what a JSON value is, in words, without the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | Decimal():
            return "a number"
        case str():
            return "text"
        case dict():
            return "an object"
        case list():
            return "an array"
        case _:
            return repr(value)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                members[name] = DOUBLED
            seen.add(name)
    return members


def _refuse(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is no number", constant, 0)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_float=Decimal, parse_constant=_refuse)
