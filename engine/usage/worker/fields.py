"""The fields of a usage query in DuckDB: their keys, the joins that give the keys, and the values of the keys.

A group is a tuple of *keys*, numbers and texts that are never null, so that they compare with "=". Nothing from outside
is ever part of a statement: names of dimensions become numbers, values become codes, and text that must be compared is
a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from solvent.engine.api.usage_table import Value
from solvent.engine.usage.query import UsageFilter, UsageQuery, dimension_of

from .catalog import MISSING, SPILLED, Catalog, Column, tagged, untagged

Key: TypeAlias = int | str
Rank: TypeAlias = tuple[int, float, str]
"""The sort key of a value by name: booleans, numbers by size, strings by code points, then missing values."""

_RANK_MISSING: Final[Rank] = (3, 0.0, "")
_NO_TEXT: Final = ""
"""The text in place of a null. A tagged text is never empty."""


class Statement:
    """A statement and its parameters, under construction."""

    def __init__(self) -> None:
        self.text = ""
        self.parameters: dict[str, Key] = {}
        self.joins: dict[str, None] = {}
        """The joins of ``u``, the rows of usage, in order and without repetition."""

    def parameter(self, value: Key) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def value(self, value: Key) -> str:
        """Return ``value`` as SQL. Numbers are our own; text becomes a parameter."""
        return str(value) if isinstance(value, int) else self.parameter(value)

    def one_of(self, expression: str, values: Sequence[Key]) -> str:
        """Return the condition that ``expression`` is one of ``values``."""
        if not values:
            return "false"
        shown = list(map(self.value, values))
        return f"{expression} = {shown[0]}" if len(shown) == 1 else f"{expression} in ({', '.join(shown)})"


class Field(msgspec.Struct, frozen=True):
    """The parts of a statement for one field."""

    keys: tuple[str, ...]
    """The expressions over ``u`` and the joins."""
    joins: tuple[str, ...]
    value: Callable[[Sequence[Key]], tuple[Value, Rank]]
    """The function from keys to their value, and its rank by name."""
    matches: Callable[[Statement, UsageFilter], str]
    """The function that returns the condition of a positive filter."""
    rank: Callable[[Sequence[str]], tuple[str, tuple[str, str, str]]]
    """The function from key expressions to a join, and expressions for their rank."""
    size: int | None = None
    """The most values that the field can have, if known."""


def field_of(name: str, catalog: Catalog, query: UsageQuery) -> Field:
    """Return the field of this name."""
    dimension = dimension_of(name)
    if dimension is not None:
        number = catalog.dimensions.get(dimension)
        if number is None:
            return _constant(None)
        column = catalog.columns.get(number)
        return _text_field(number) if column is None else _column_field(column)
    match name:
        case "$grant":
            return _grant_field(catalog, wide=query.scope.pool is None)
        case "$category" | "$cost_basis":
            return _terms_field(name.removeprefix("$"))
        case "$currency":
            return _constant(query.scope.currency)
    return _column_field(catalog.builtin(name))


def _constant(value: Value) -> Field:
    """Return a field with the same value in all rows."""
    rank = _rank_of(value)

    def matches(statement: Statement, each: UsageFilter) -> str:
        if each.op == "prefix":
            return _truth(isinstance(value, str) and value.startswith(str(each.values[0])))
        return _truth(value in (each.values or (None,)))

    return Field(
        keys=("0",),
        joins=(),
        value=lambda keys: (value, rank),
        matches=matches,
        rank=lambda keys: ("", (keys[0], keys[0], keys[0])),
        size=1,
    )


def _column_field(column: Column) -> Field:
    codes = f"u.{column.name}"
    text = f"x{column.number}"
    extra = f"coalesce({text}.text, '')"

    def value(keys: Sequence[Key]) -> tuple[Value, Rank]:
        code = keys[0]
        found = untagged(str(keys[1])) if code == SPILLED else column.value(int(code))
        return found, _rank_of(found)

    def matches(statement: Statement, each: UsageFilter) -> str:
        if each.op == "prefix":
            prefix = statement.parameter(f"s{each.values[0]}")
            found = (
                f"{codes} in (select code from value where dimension = {column.number} and starts_with(text, {prefix}))"
            )
            return f"({found} or starts_with({extra}, {prefix}))" if column.closed else found
        known: list[Key] = []
        spilled: list[Key] = []
        for one in each.values or (None,):
            code = column.code(one)
            if code is not None:
                known.append(code)
            elif one is not None and column.closed:
                spilled.append(tagged(one))
        found = statement.one_of(codes, known)
        return f"({found} or {statement.one_of(extra, spilled)})" if spilled else found

    def rank(keys: Sequence[str]) -> tuple[str, tuple[str, str, str]]:
        names = f"n{column.number}"
        stored = f"coalesce({names}.text, {keys[1]})" if column.closed else f"coalesce({names}.text, '')"
        join = f"left join value {names} on {names}.dimension = {column.number} and {names}.code = {keys[0]}"
        return join, _rank_sql(stored)

    if column.closed:
        return Field((codes, extra), (_extra_join(column.number),), value, matches, rank)
    return Field((codes,), (), value, matches, rank, len(column))


def _text_field(number: int) -> Field:
    """Return the field of a dimension whose values are all in the separate table."""
    extra = f"coalesce(x{number}.text, '')"
    return _tagged_field(extra, _extra_join(number))


def _terms_field(column: str) -> Field:
    join = "left join terms g on g.pool = u.pool and g.grant_number = u.grant_number"
    return _tagged_field(f"coalesce('s' || g.{column}, '')", join)


def _tagged_field(expression: str, join: str) -> Field:
    """Return a field that is stored as tagged text, empty where it is missing."""

    def value(keys: Sequence[Key]) -> tuple[Value, Rank]:
        found = untagged(str(keys[0])) if keys[0] != _NO_TEXT else None
        return found, _rank_of(found)

    def matches(statement: Statement, each: UsageFilter) -> str:
        if each.op == "prefix":
            return f"starts_with({expression}, {statement.parameter(f's{each.values[0]}')})"
        return statement.one_of(
            expression, [_NO_TEXT if one is None else tagged(one) for one in each.values or (None,)]
        )

    return Field((expression,), (join,), value, matches, lambda keys: ("", _rank_sql(keys[0])))


def _grant_field(catalog: Catalog, *, wide: bool) -> Field:
    """Return the field of grants, numbered in their pool: ``g7``, or for several pools ``default@acme:credits#g7``."""
    number = "u.grant_number"
    keys = (number, f"case when {number} = 0 then 0 else u.pool end") if wide else (number,)

    def value(keys: Sequence[Key]) -> tuple[Value, Rank]:
        if keys[0] == MISSING:
            return None, _RANK_MISSING
        pool = catalog.canonical[int(keys[1])] if wide else ""
        return f"{pool}#g{keys[0]}" if wide else f"g{keys[0]}", (2, float(keys[0]), pool)

    def one(given: Value) -> str:
        if given is None:
            return f"{number} = 0"
        pool, hash_sign, grant = str(given).rpartition("#")
        digits = grant.removeprefix("g")
        if not (digits.isascii() and digits.isdigit() and f"g{int(digits[:18])}" == grant and bool(hash_sign) == wide):
            return "false"
        if not wide:
            return f"{number} = {int(digits)}"
        known = catalog.pools.get(pool)
        return "false" if known is None else f"({number} = {int(digits)} and u.pool = {known.pool})"

    def matches(statement: Statement, each: UsageFilter) -> str:
        return f"({' or '.join(map(one, each.values or (None,)))})"

    def rank(keys: Sequence[str]) -> tuple[str, tuple[str, str, str]]:
        first = f"case when {keys[0]} = 0 then 3 else 2 end"
        if not wide:
            return "", (first, f"{keys[0]}::double", keys[0])
        join = f"left join pool np on np.number = {keys[1]}"
        return join, (first, f"{keys[0]}::double", "coalesce(np.canonical, '')")

    return Field(keys, (), value, matches, rank)


def _extra_join(number: int) -> str:
    beside = f"(select seq, text from extra where dimension = {number})"
    return f"left join {beside} x{number} on x{number}.seq = u.seq"


def _rank_of(value: Value) -> Rank:
    match value:
        case None:
            return _RANK_MISSING
        case bool():
            return 0, 0.0, tagged(value)
        case str():
            return 2, 0.0, tagged(value)
        case _:
            return 1, float(value), tagged(value)


def _rank_sql(text: str) -> tuple[str, str, str]:
    """Return what ``_rank_of`` does, as SQL for an expression of tagged text."""
    kind = f"case {text}[1] when '' then 3 when 'b' then 0 when 's' then 2 else 1 end"
    number = f"case when {text}[1] in ('i', 'f') then try_cast({text}[2:] as double) else 0 end"
    return kind, number, text


def _truth(condition: bool) -> str:
    return "true" if condition else "false"
