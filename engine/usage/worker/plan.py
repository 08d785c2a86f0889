"""The DuckDB statements of a usage query. ``fields`` has the parts for each field.

The table ``usage`` has a row for each part of an entry; ``extra`` has the values stored as text; ``terms`` has the
terms of grants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from solvent.engine.api.usage_table import Value
from solvent.engine.usage.query import UsageCell, UsageFilter, UsageQuery
from solvent.engine.values.quantities import QUANTITY_PLACES

from .catalog import Catalog
from .fields import Key, Rank, Statement, field_of
from .rows import NO_ENTRY

_MEASURES: Final = ("debited", "reversed", "events", "refused", "quantity", "quantity_nano")
MEASURES_COUNT: Final = len(_MEASURES)
_OF_EVENTS: Final = ("debited", "events", "quantity")
_OF_THE_REST: Final = ("reversed", "refused")
SMALL_CELLS_MAX: Final = 10_000
QUANTITY_UNITS: Final = 10**QUANTITY_PLACES
_MEASURE_OF: Final = {
    "credits": "sum(u.debited) - sum(u.reversed)",
    "refused": "coalesce(sum(u.refused), 0)",
    "quantity": f"sum(u.quantity)::hugeint * {QUANTITY_UNITS} + sum(u.quantity_nano)",
}


_DIVIDING: Final = ("$grant", "$category", "$cost_basis")
"""The fields in which the parts of one entry may differ."""
_EVENTS: Final = "coalesce(sum(u.events), 0)"
_EVENTS_BY_PARTS: Final = (
    "coalesce(sum(u.events) filter (u.part = 0), 0) + count(distinct u.seq - u.part) filter (u.part > 0)"
)
"""The number of events of which any part is there. The parts of an entry follow each other, so a part's place less its
number is the same for all of them."""


class Plan:
    """The statements that answer a query.

    An event counts in each group in which it has a part. Where the query tells parts apart by what it groups by, the
    events of groups therefore do not add up to those of several groups together.
    """

    def __init__(self, query: UsageQuery, catalog: Catalog, *, has_parts: bool) -> None:
        """``has_parts`` is whether there are entries that several grants paid."""
        told_apart = {*query.group_by, *(each.field for each in query.filters)} & set(_DIVIDING)
        self._counted = _EVENTS_BY_PARTS if has_parts and told_apart else _EVENTS
        self.is_divided = has_parts and bool(set(query.group_by) & set(_DIVIDING))
        """Whether parts of one event may be in several groups."""
        self.query = query
        self.buckets = query.buckets()
        self._catalog = catalog
        self.fields = [field_of(name, catalog, query) for name in query.group_by]
        self._keys = [key for field in self.fields for key in field.keys]
        self.metric = field_of("$metric", catalog, query)

    @property
    def width(self) -> int:
        """The number of columns of a table."""
        return 1 + len(self._keys) + len(self.metric.keys) + MEASURES_COUNT + 2

    @property
    def is_small(self) -> bool:
        """Whether there can only be so few groups that reading all of them is as fast as reading some."""
        if self.is_divided:
            # The events of the groups beyond the top do not add up to those of the others.
            return False
        cells = len(self.buckets)
        for field in self.fields:
            if field.size is None:
                return False
            cells *= field.size
        return cells <= SMALL_CELLS_MAX

    def table(
        self, rows_max: int, *, of_events: bool, nanos: bool, wide: bool, top: Sequence[tuple[Key, ...]] | None
    ) -> Statement:
        """Return the statement for each bucket, group and metric: bucket number, keys, metric keys, and measures.

        With ``of_events`` it reads debits and captures, otherwise the rows of reversals and refusals. ``top`` are the
        groups to list, if not all; the keys of the others are null. ``nanos`` is whether there are quantities with
        decimal places. Sums are 64-bit numbers, null if they do not fit; with ``wide``, decimal text. It returns at
        most ``rows_max`` rows and one more.
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
            f"try_cast({self._sum_of(measure)} as {number_type})" if measure in told else "0::bigint"
            for measure in _MEASURES
        ]
        outputs += ["min(u.moment)", "max(u.moment)"] if of_events else ["null::bigint", "null::bigint"]
        statement.text = (
            f"{with_top} select {', '.join(outputs)} from usage u {' '.join(statement.joins)}"
            f" where {conditions} group by {positions} limit {rows_max + 1}"
        )
        return statement

    def leaders(self, *, rest: bool) -> Statement:
        """Return the statement for the keys and measure of the top groups and one more, equal ones in any order.

        ``rest`` is whether there are any reversals.
        """
        query, statement = self.query, Statement()
        measure = self._measure() if rest or query.order != "credits" else "sum(u.debited)"
        conditions = self._conditions(statement, query.start, query.end)
        positions = ", ".join(str(number + 1) for number in range(len(self._keys)))
        direction = "desc" if query.descending else "asc"
        statement.text = (
            f"select {', '.join(self._keys)}, {measure} as m from usage u {' '.join(statement.joins)}"
            f" where {conditions} group by {positions} order by m {direction} limit {(query.top or 0) + 1}"
        )
        return statement

    def events(self) -> Statement:
        """Return the statement for the number of events in all groups together."""
        statement = Statement()
        conditions = self._conditions(statement, self.query.start, self.query.end)
        joins = " ".join(statement.joins)
        statement.text = f"select {self._counted} from usage u {joins} where {conditions} and u.events is not null"
        return statement

    def keys(self) -> Statement:
        """Return the statement for the keys of all groups."""
        statement = Statement()
        conditions = self._conditions(statement, self.query.start, self.query.end)
        keys, joins = ", ".join(self._keys), " ".join(statement.joins)
        statement.text = f"select distinct {keys} from usage u {joins} where {conditions}"
        return statement

    def place_of(self, measure: str) -> int:
        """Return the column of a measure in a table."""
        return self.width - MEASURES_COUNT - 2 + _MEASURES.index(measure)

    def _sum_of(self, measure: str) -> str:
        return self._counted if measure == "events" else f"coalesce(sum(u.{measure}), 0)"

    def _measure(self) -> str:
        """Return the expression by which groups are ranked."""
        return self._counted if self.query.order == "events" else _MEASURE_OF[self.query.order]

    def top(self) -> Statement:
        """Return the statement for the keys of the top groups."""
        statement = Statement()
        conditions = self._conditions(statement, self.query.start, self.query.end)
        statement.text = f"with {self._top(statement, conditions)} select * from top"
        return statement

    def entries(self, cell: UsageCell, as_of: int, after: tuple[int, int, int] | None, rows_max: int) -> Statement:
        """Return the statement for the rows of the cell ``as_of``: pool, version, moment, debited and reversed units,
        frame.

        They are ordered by moment, pool and version, and come ``after`` such a triple.
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
            # The first condition is redundant, but lets DuckDB skip blocks of the table.
            conditions += f" and u.moment >= {moment} and (u.moment, u.pool, u.version) > ({moment}, {pool}, {version})"
        statement.text = (
            f"{with_top} select u.pool, u.version, u.moment, u.debited, u.reversed, u.frame from usage u"
            f" {' '.join(statement.joins)} where {conditions}"
            f" order by u.moment, u.pool, u.version limit {rows_max}"
        )
        return statement

    def group(self, keys: Sequence[Key]) -> tuple[tuple[Value, ...], tuple[Rank, ...]]:
        """Return the values of a group and their ranks by name."""
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
        """Return the condition for the rows that count, and add the joins it needs."""
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
        """Return the common table expression ``top (t0, t1, ...)``: the keys of the top groups.

        Groups with equal measures are ordered by name. Names are looked up only for groups that can reach the top.
        """
        query = self.query
        direction = "desc" if query.descending else "asc"
        names = [f"t{number}" for number in range(len(self._keys))]
        selected = ", ".join(f"{key} as {name}" for key, name in zip(self._keys, names, strict=True))
        positions = ", ".join(str(number + 1) for number in range(len(names)))
        measure = "0" if query.order == "name" else self._measure()
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
    """Return the expression for the number of the bucket that contains ``u.moment``.

    Nearly all neighbouring buckets have the same length (days do, except where clocks change). So a division finds the
    bucket in such a run, and a binary search finds the run.
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
