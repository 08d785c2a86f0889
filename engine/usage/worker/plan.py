"""How a usage query is put to DuckDB: its statements, and what a row of their answer means.

Nothing that came from outside is ever part of a statement. Names of dimensions are looked up and become numbers, values
become their codes, and where text must be compared it is a parameter.

The table ``usage`` has a row for each part of an entry; ``extra`` has what is beside it as text; ``terms`` has what
grants are. A group is a tuple of *keys*, numbers and texts that are never null, so that they compare with "=".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from solvent.engine.api.usage_table import Value
from solvent.engine.usage.query import UsageCell, UsageFilter, UsageQuery, dimension_of
from solvent.engine.values.quantities import QUANTITY_PLACES

from .catalog import MISSING, SPILLED, Catalog, Column, tagged, untagged
from .rows import NO_ENTRY

Key: TypeAlias = int | str
Rank: TypeAlias = tuple[int, float, str]
"""Sorts values by name: booleans, numbers by size, strings by code points, and last what is missing."""

_RANK_MISSING: Final[Rank] = (3, 0.0, "")
_NO_TEXT: Final = ""
"""In the place of a null: a tagged text is never empty."""
_MEASURES: Final = ("debited", "reversed", "events", "refused", "quantity", "quantity_nano")
MEASURES_COUNT: Final = len(_MEASURES)
_OF_EVENTS: Final = ("debited", "events", "quantity")
_OF_THE_REST: Final = ("reversed", "refused")
SMALL_CELLS_MAX: Final = 10_000
QUANTITY_UNITS: Final = 10**QUANTITY_PLACES
_MEASURE_OF: Final = {
    "credits": "sum(u.debited) - sum(u.reversed)",
    "events": "coalesce(sum(u.events), 0)",
    "refused": "coalesce(sum(u.refused), 0)",
    "quantity": f"sum(u.quantity)::hugeint * {QUANTITY_UNITS} + sum(u.quantity_nano)",
}


class Statement:
    """A statement and its parameters, while they are put together."""

    def __init__(self) -> None:
        self.text = ""
        self.parameters: dict[str, Key] = {}
        self.joins: dict[str, None] = {}
        """Those of ``u``, the rows of usage, in order and without repetition."""

    def parameter(self, value: Key) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def value(self, value: Key) -> str:
        """Numbers are our own; text becomes a parameter."""
        return str(value) if isinstance(value, int) else self.parameter(value)

    def one_of(self, expression: str, values: Sequence[Key]) -> str:
        """The condition that ``expression`` is one of ``values``."""
        if not values:
            return "false"
        shown = list(map(self.value, values))
        return f"{expression} = {shown[0]}" if len(shown) == 1 else f"{expression} in ({', '.join(shown)})"


class Field(msgspec.Struct, frozen=True):
    """What a statement has to do with a field."""

    keys: tuple[str, ...]
    """Expressions over ``u`` and the joins."""
    joins: tuple[str, ...]
    value: Callable[[Sequence[Key]], tuple[Value, Rank]]
    """What the keys stand for, and how it sorts by name."""
    matches: Callable[[Statement, UsageFilter], str]
    """The condition that a positive filter sets."""
    rank: Callable[[Sequence[str]], tuple[str, tuple[str, str, str]]]
    """A join and expressions that give the rank of the keys that are given as expressions."""
    size: int | None = None
    """How many values there are at most, if that is known."""


def field_of(name: str, catalog: Catalog, query: UsageQuery) -> Field:
    """How ``name`` is answered."""
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
    """A field that says the same of all rows."""
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
    """A dimension whose values are all beside the table."""
    extra = f"coalesce(x{number}.text, '')"
    return _tagged_field(extra, _extra_join(number))


def _terms_field(column: str) -> Field:
    join = "left join terms g on g.pool = u.pool and g.grant_number = u.grant_number"
    return _tagged_field(f"coalesce('s' || g.{column}, '')", join)


def _tagged_field(expression: str, join: str) -> Field:
    """A field that is given as tagged text, empty where it is missing."""

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
    """Grants are numbered in their pool: ``g7``, and where there are several pools, ``default@acme:credits#g7``."""
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
    """As ``_rank_of``, of an expression for tagged text."""
    kind = f"case {text}[1] when '' then 3 when 'b' then 0 when 's' then 2 else 1 end"
    number = f"case when {text}[1] in ('i', 'f') then try_cast({text}[2:] as double) else 0 end"
    return kind, number, text


def _truth(condition: bool) -> str:
    return "true" if condition else "false"


class Plan:
    """The statements that answer a query."""

    def __init__(self, query: UsageQuery, catalog: Catalog) -> None:
        self.query = query
        self.buckets = query.buckets()
        self._catalog = catalog
        self.fields = [field_of(name, catalog, query) for name in query.group_by]
        self._keys = [key for field in self.fields for key in field.keys]
        self.metric = field_of("$metric", catalog, query)

    @property
    def width(self) -> int:
        """How many columns a table has."""
        return 1 + len(self._keys) + len(self.metric.keys) + MEASURES_COUNT + 2

    @property
    def is_small(self) -> bool:
        """Whether there can only be so few groups that all of them are looked at as fast as some."""
        cells = len(self.buckets)
        for field in self.fields:
            if field.size is None:
                return False
            cells *= field.size
        return cells <= SMALL_CELLS_MAX

    def table(
        self, rows_max: int, *, of_events: bool, nanos: bool, wide: bool, top: Sequence[tuple[Key, ...]] | None
    ) -> Statement:
        """Of each bucket, group and metric: the number of the bucket, the keys, those of the metric, and the measures.

        ``of_events`` are what debits and captures say, else what the rows of reversals and refusals do. ``top`` are the
        groups that are told apart, if not all are; the keys of the others are null. ``nanos`` says whether there are
        quantities with places. Sums are given as 64-bit numbers, what does not fit as null, or if ``wide`` as
        decimal text. At most ``rows_max`` rows and one more.
        """
        query, statement = self.query, Statement()
        conditions = self._conditions(statement, query.start, query.end)
        conditions += f" and u.events is {'not ' if of_events else ''}null"
        with_top, keys = "", self._keys
        if top is not None:
            names = [f"t{number}" for number in range(len(keys))]
            values = ", ".join(f"({', '.join(map(statement.value, group))})" for group in top)
            with_top = f"with top({', '.join(names)}) as (values {values})"
            matching = " and ".join(f"t.{name} = {key}" for name, key in zip(names, keys, strict=True))
            statement.joins[f"left join top t on {matching}"] = None
            keys = [f"t.{name}" for name in names]
        statement.joins.update(dict.fromkeys(self.metric.joins))
        outputs = ["0::integer" if query.window is None else _bucket_expression(self.buckets), *keys, *self.metric.keys]
        positions = ", ".join(str(number + 1) for number in range(len(outputs)))
        told = (*_OF_EVENTS, *(("quantity_nano",) if nanos else ())) if of_events else _OF_THE_REST
        number_type = "varchar" if wide else "bigint"
        outputs += [
            f"try_cast(coalesce(sum(u.{measure}), 0) as {number_type})" if measure in told else "0::bigint"
            for measure in _MEASURES
        ]
        outputs += ["min(u.moment)", "max(u.moment)"] if of_events else ["null::bigint", "null::bigint"]
        statement.text = (
            f"{with_top} select {', '.join(outputs)} from usage u {' '.join(statement.joins)}"
            f" where {conditions} group by {positions} limit {rows_max + 1}"
        )
        return statement

    def leaders(self, *, rest: bool) -> Statement:
        """The keys and the measure of the groups that make the top and of one more, equal ones in any order.

        ``rest`` says whether there are reversals at all.
        """
        query, statement = self.query, Statement()
        measure = _MEASURE_OF[query.order] if rest or query.order != "credits" else "sum(u.debited)"
        conditions = self._conditions(statement, query.start, query.end)
        positions = ", ".join(str(number + 1) for number in range(len(self._keys)))
        direction = "desc" if query.descending else "asc"
        statement.text = (
            f"select {', '.join(self._keys)}, {measure} as m from usage u {' '.join(statement.joins)}"
            f" where {conditions} group by {positions} order by m {direction} limit {(query.top or 0) + 1}"
        )
        return statement

    def top(self) -> Statement:
        """The keys of the groups that make the top."""
        statement = Statement()
        conditions = self._conditions(statement, self.query.start, self.query.end)
        statement.text = f"with {self._top(statement, conditions)} select * from top"
        return statement

    def entries(self, cell: UsageCell, as_of: int, after: tuple[int, int, int] | None, rows_max: int) -> Statement:
        """Of each row in the cell that was there ``as_of``: the pool, version, moment, debited and reversed units.

        By moment, pool and version, and only those that come ``after`` such a triple.
        """
        query, statement = self.query, Statement()
        start, end = query.start, query.end
        if cell.start is not None:
            bucket = next(bucket for bucket in self.buckets if bucket[0] == cell.start)
            start, end = max(start, bucket[0]), min(end, bucket[1])
        conditions = f"{self._conditions(statement, start, end)} and u.seq < {as_of} and u.version <> {NO_ENTRY}"
        with_top = ""
        if cell.other:
            whole = f"{self._conditions(statement, query.start, query.end)} and u.seq < {as_of}"
            with_top = f"with {self._top(statement, whole)}"
            matching = " and ".join(f"t.t{number} = {key}" for number, key in enumerate(self._keys))
            conditions += f" and not exists (select 1 from top t where {matching})"
        for name, field, value in zip(query.group_by, self.fields, cell.values, strict=False):
            conditions += f" and {field.matches(statement, UsageFilter(name, '=', (value,)))}"
            statement.joins.update(dict.fromkeys(field.joins))
        if after is not None:
            moment, pool, version = after
            # The first condition says nothing new, but is one by which blocks of the table are skipped.
            conditions += f" and u.moment >= {moment} and (u.moment, u.pool, u.version) > ({moment}, {pool}, {version})"
        statement.text = (
            f"{with_top} select u.pool, u.version, u.moment, u.debited, u.reversed from usage u"
            f" {' '.join(statement.joins)} where {conditions}"
            f" order by u.moment, u.pool, u.version limit {rows_max}"
        )
        return statement

    def group(self, keys: Sequence[Key]) -> tuple[tuple[Value, ...], tuple[Rank, ...]]:
        """The values of a group and how they sort by name."""
        values: list[Value] = []
        ranks: list[Rank] = []
        first = 0
        for field in self.fields:
            after = first + len(field.keys)
            value, rank = field.value(keys[first:after])
            values.append(value)
            ranks.append(rank)
            first = after
        return tuple(values), tuple(ranks)

    def _conditions(self, statement: Statement, start: int, end: int) -> str:
        """Which rows count, with the joins that it takes to tell."""
        scope, catalog = self.query.scope, self._catalog
        found = [f"u.moment >= {start} and u.moment < {end}"]
        if scope.pool is not None:
            numbers = catalog.pools.get(scope.pool)
            found.append("false" if numbers is None else f"u.pool = {numbers.pool}")
        else:
            realm = catalog.realms.get((scope.environment, scope.currency))
            found.append("false" if realm is None else f"u.realm = {realm}")
        if scope.pool is None and scope.customer is not None:
            column = catalog.builtin("$customer")
            found.append(statement.one_of(f"u.{column.name}", _known(column.code(scope.customer))))
        for each in self.query.filters:
            field = field_of(each.field, catalog, self.query)
            statement.joins.update(dict.fromkeys(field.joins))
            condition = field.matches(statement, each)
            found.append(f"not {condition}" if each.op == "not in" else condition)
        for field in self.fields:
            statement.joins.update(dict.fromkeys(field.joins))
        return " and ".join(found)

    def _top(self, statement: Statement, conditions: str) -> str:
        """The common table expression ``top (t0, t1, ...)``: the keys of the groups that make the top.

        Groups that measure the same go by name. Names are looked up only for those that can make it.
        """
        query = self.query
        direction = "desc" if query.descending else "asc"
        names = [f"t{number}" for number in range(len(self._keys))]
        selected = ", ".join(f"{key} as {name}" for key, name in zip(self._keys, names, strict=True))
        positions = ", ".join(str(number + 1) for number in range(len(names)))
        measure = "0" if query.order == "name" else _MEASURE_OF[query.order]
        joins: list[str] = []
        ranks: list[str] = []
        first = 0
        for field in self.fields:
            after = first + len(field.keys)
            join, rank = field.rank([f"totals.{name}" for name in names[first:after]])
            joins.append(join)
            ranks += rank
            first = after
        by_name = ", ".join(f"{rank} {direction if query.order == 'name' else 'asc'}" for rank in ranks)
        edge = "true"
        order = by_name
        if query.order != "name":
            compared, least = (">=", "min") if query.descending else ("<=", "max")
            edge = (
                f"m {compared} (select {least}(m) from (select m from totals order by m {direction} limit {query.top}))"
            )
            order = f"m {direction}, {by_name}"
        return (
            f"totals as materialized (select {selected}, {measure} as m from usage u {' '.join(statement.joins)}"
            f" where {conditions} group by {positions}),"
            f" top as materialized (select {', '.join(f'totals.{name}' for name in names)} from totals"
            f" {' '.join(joins)} where {edge} order by {order} limit {query.top})"
        )


def _known(code: int | None) -> list[Key]:
    return [] if code is None else [code]


def _bucket_expression(buckets: Sequence[tuple[int, int]]) -> str:
    """The number of the bucket that ``u.moment`` lies in.

    Buckets of one length follow one another nearly always (days do, but where clocks change), so that a division finds
    the bucket in such a run, and halving finds the run.
    """
    runs: list[tuple[int, int, int]] = []
    for number, (start, end) in enumerate(buckets):
        if not runs or end - start != runs[-1][1]:
            runs.append((start, end - start, number))

    def expression(first: int, after: int) -> str:
        if after - first == 1:
            start, length, number = runs[first]
            return f"{number} + (u.moment - {start}) // {length}"
        middle = (first + after) // 2
        return (
            f"case when u.moment < {runs[middle][0]} then {expression(first, middle)}"
            f" else {expression(middle, after)} end"
        )

    return f"({expression(0, len(runs))})::integer"
