"""The JSON form of the values that callers give, by the type of the field: amounts, times, dimensions, ...

A field of a request has the type that callers in Python use, such as ``int | str | Decimal``. Its form names the type
that a JSON decoder accepts instead, and how a value is written. Values that JSON would change, such as a binary float
as an amount, are refused here as the engine refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

from msgspec import UnsetType

from solvent.engine.rules.fields import check_ttl
from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.dimensions import Dimensions, decode_dimensions, encode_dimensions
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.quantities import QuantityLike, check_quantity
from solvent.engine.values.terms import CostBasis, CostLike, Keep, RollOver, Seconds
from solvent.engine.values.times import SECOND_US, TimeLike

Writer: TypeAlias = Callable[[Any, str], Any]
"""A function that turns a value into one that JSON can carry. Raises ``InvalidRequest`` naming the field."""


class Form(NamedTuple):
    """The JSON form of the values of one type."""

    json: Any
    """The type that a decoder accepts."""
    name: str
    """The type in the words of the reference."""
    write: Writer | None = None
    """The writer of values, ``None`` if they are written unchanged."""


def form_of(hint: Any) -> Form:
    """Return the form of the type of a field. Raises ``TypeError`` for a type that has none."""
    if hint in _FORMS:
        return _FORMS[hint]
    if get_origin(hint) in (Union, UnionType):
        members = get_args(hint)
        core = tuple(each for each in members if each not in (NoneType, Keep))
        if len(core) < len(members):
            form = form_of(core[0] if len(core) == 1 else Union[core])  # noqa: UP007 - of a tuple
            json = form.json if NoneType not in members else form.json | None
            name = form.name if NoneType not in members else f"{form.name} or null"
            return Form(json | UnsetType if Keep in members else json, name, form.write)
    if get_origin(hint) is Literal:
        # Accept any text: the check of all fields comes later, and its error lists the words.
        return Form(str, " or ".join(f'"{word}"' for word in get_args(hint)))
    if get_origin(hint) is Sequence and get_args(hint)[0] is int:
        return Form(list[int], "list of integers", _write_list)
    if hint in _PLAIN:
        return Form(hint, _PLAIN[hint])
    raise TypeError(f"no form in JSON for {hint}")


def write_amount(value: object, field: str = "amount") -> Any:
    """Return an amount as an integer or a string. Raises ``InvalidRequest`` naming ``field``."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    got = "a binary float" if isinstance(value, float) else type(value).__name__
    raise InvalidRequest(field, 'an integer or a decimal string such as "12.5"', got=got)


def write_time(value: object, field: str) -> str:
    """Return a time as ISO 8601 text. Raises ``InvalidRequest`` naming ``field``."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    raise InvalidRequest(field, "a datetime or ISO 8601 text", got=type(value).__name__)


def write_dimensions(dimensions: Dimensions, field: str) -> dict[str, Any]:
    """Return dimensions as an object. Raises ``InvalidRequest`` naming the wrong dimension."""
    # Check the values before JSON changes them: a NaN into null, a decimal into text. A whole float becomes an integer,
    # whose digits JSON keeps.
    return decode_dimensions(encode_dimensions(dimensions, field))


def _write_ttl(value: object, field: str) -> Any:
    if isinstance(value, Decimal):
        # Return microseconds as seconds: so few digits survive a binary float.
        return check_ttl(value) / SECOND_US
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if isfinite(value) else str(value)
    raise InvalidRequest(field, "a number of seconds", got=type(value).__name__)


def _write_cost(cost: object, field: str) -> dict[str, Any]:
    if isinstance(cost, CostBasis):
        return {"per_credit": cost.per_credit, "currency": cost.currency}
    if isinstance(cost, Mapping):
        return dict(cost)
    if isinstance(cost, (tuple, list)) and len(cost) == 2:
        return {"per_credit": cost[0], "currency": cost[1]}
    raise InvalidRequest(field, 'a price per credit and a currency, such as ("0.0125", "USD")')


def _write_list(values: object, field: str) -> Any:
    return list(values) if isinstance(values, (list, tuple)) else values


def _write_amounts(amounts: object, field: str) -> Any:
    return [write_amount(each, field) for each in amounts] if isinstance(amounts, (list, tuple)) else amounts


def _write_recharge(recharge: object, field: str) -> Any:
    if not isinstance(recharge, Mapping):
        return recharge
    rule = dict(recharge)
    for name in ("below", "target", "monthly_max"):
        if rule.get(name) is not None:
            rule[name] = write_amount(rule[name], f"{field}.{name}")
    if rule.get("cost_basis") is not None:
        rule["cost_basis"] = _write_cost(rule["cost_basis"], "cost_basis")
    return rule


_PLAIN: Final[dict[Any, str]] = {str: "string", int: "integer", bool: "boolean"}
_FORMS: Final[dict[Any, Form]] = {
    AmountLike: Form(int | str, "amount", write_amount),
    RollOver: Form(int | str, 'amount or "none" or "all"', write_amount),
    QuantityLike: Form(int | str, "quantity", check_quantity),
    TimeLike: Form(str, "time", write_time),
    Seconds: Form(int | float, "number", _write_ttl),
    Dimensions: Form(dict[str, Any], "dimensions", write_dimensions),
    CostLike: Form(dict[str, str], "cost basis", _write_cost),
    Sequence[AmountLike]: Form(list[int | str], "list of amounts", _write_amounts),
    Mapping[str, Any]: Form(dict[str, Any], "object", _write_recharge),
    Sequence[Mapping[str, Any]]: Form(list[dict[str, Any]], "list of objects", _write_list),
}
