"""Answers made from the cells that DuckDB has added up: groups in order, metrics, and rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import add, sub
from typing import Any

from solvent.engine.api.usage_table import NO_MOMENT, Cells, UsageGroup, Value
from solvent.engine.usage.query import NO_METRIC, ROWS_MAX, UsageQuery
from solvent.engine.values.errors import TooLarge

from .fields import Rank
from .plan import QUANTITY_UNITS, Plan


class _Group:
    """A group of an answer."""

    __slots__ = ("other", "rank", "values")

    def __init__(self, values: tuple[Value, ...], rank: tuple[Rank, ...], *, other: bool = False) -> None:
        self.values = values
        self.rank = rank
        self.other = other


def answer_of(plan: Plan, columns: Sequence[Sequence[Any]]) -> tuple[list[UsageGroup], list[str], Cells]:
    """Return the groups of an answer in order, its metrics, and its rows.

    ``columns`` are the columns of cells in any order: (bucket, *keys, *keys of the metric, sums, first and last
    moment). There are tens of thousands of cells, so the loops over them do very little per cell.
    """
    query, buckets = plan.query, columns[0]
    keys_end = 1 + sum(len(field.keys) for field in plan.fields)
    sums_from = keys_end + len(plan.metric.keys)
    debited, reverse, events, refused, whole, nano, firsts, lasts = columns[sums_from:]
    keys = _keys(columns[1:keys_end], len(buckets))
    groups = {key: _group_of(plan, key) for key in dict.fromkeys(keys)}
    if not query.group_by:
        groups.setdefault((), _Group((), ()))
    ordered = _ordered(groups, query, keys, columns[sums_from:])
    places = {key: place for place, key in enumerate(ordered)}
    told = [UsageGroup(groups[key].values, groups[key].other) for key in ordered]
    if query.top is not None and len(told) > query.top and not told[query.top].other:
        # All groups are here: those beyond the top become one.
        places = {key: min(place, query.top) for key, place in places.items()}
        told = [*told[: query.top], UsageGroup((None,) * len(query.group_by), True)]

    # The number of a row encodes its bucket and its group, and sorts like the answer.
    width = len(told)
    groups_of = list(map(places.__getitem__, keys))
    numbers = [bucket * width + group for bucket, group in zip(buckets, groups_of, strict=True)]
    rows: Sequence[int] | None = None
    if not query.fill_empty and 0 < len(numbers) == len(set(numbers)):
        # There is one cell for each row, as with a single metric: nothing needs adding up, and the order stays.
        count = len(numbers)
        order: Sequence[int] = sorted(range(count), key=numbers.__getitem__)
    else:
        if query.fill_empty:
            found: Sequence[int] = range(len(plan.buckets) * width)
        elif query.group_by or query.window is not None:
            found = sorted(set(numbers))
        else:
            found = (0,)
        order, count = range(len(found)), len(found)
        if count > ROWS_MAX:
            raise too_many_rows()
        rows = list(map(dict(zip(found, order, strict=True)).__getitem__, numbers))
        buckets, groups_of = [number // width for number in found], [number % width for number in found]
    metric_keys = _keys(columns[keys_end:sums_from], len(numbers))
    metrics, metered, metric, quantity = _metered(plan, metric_keys, _billionths(whole, nano), rows, count)
    cells = Cells(
        order,
        buckets,
        groups_of,
        _summed(debited, rows, count),
        _summed(reverse, rows, count),
        _summed(events, rows, count),
        _summed(refused, rows, count),
        _moments(firsts, rows, count, min),
        _moments(lasts, rows, count, max),
        metered,
        metric,
        quantity,
    )
    return told, metrics, cells


def too_many_rows() -> TooLarge:
    """Return the error for an answer of more than ``ROWS_MAX`` rows."""
    return TooLarge("top", f"an answer of at most {ROWS_MAX} rows: ask for the top groups only, or for a wider window")


def _keys(columns: Sequence[Sequence[Any]], count: int) -> Sequence[Any]:
    """Return the keys of each cell. Nearly always there is one, which needs no tuple."""
    if len(columns) == 1:
        return columns[0]
    return list(zip(*columns, strict=True)) if columns else [()] * count


def _group_of(plan: Plan, key: Any) -> _Group:
    keys = key if isinstance(key, tuple) else (key,)
    if keys and keys[0] is None:
        return _Group((None,) * len(plan.fields), (), other=True)
    return _Group(*plan.group(keys))


def _ordered(
    groups: dict[Any, _Group], query: UsageQuery, keys: Sequence[Any], sums: Sequence[Sequence[int]]
) -> list[Any]:
    """Return the keys of the groups in the order of the query, over the whole range; equal groups by name.

    The others come last.
    """
    ordered = sorted(groups, key=lambda key: groups[key].rank, reverse=query.order == "name" and query.descending)
    if query.order != "name":
        debited, reverse, events, refused, whole, nano, *_ = sums
        match query.order:
            case "credits":
                measure: Iterable[int] = map(sub, debited, reverse)
            case "events":
                measure = events
            case "refused":
                measure = refused
            case "quantity":
                measure = _billionths(whole, nano)
        totals = dict.fromkeys(groups, 0)
        for key, units in zip(keys, measure, strict=True):
            totals[key] += units
        ordered.sort(key=totals.__getitem__, reverse=query.descending)
    return sorted(ordered, key=lambda key: groups[key].other)


def _billionths(whole: Sequence[int], nano: Sequence[int]) -> list[int]:
    found = [each * QUANTITY_UNITS for each in whole]
    return list(map(add, found, nano)) if any(nano) else found


def _summed(column: Sequence[int], rows: Sequence[int] | None, count: int) -> Sequence[int]:
    """Return the sums of a column by the rows of its cells; without ``rows``, each cell is a row."""
    if rows is None:
        return column
    sums = [0] * count
    if any(column):
        for row, units in zip(rows, column, strict=True):
            sums[row] += units
    return sums


def _moments(
    column: Sequence[int | None], rows: Sequence[int] | None, count: int, choose: Callable[[int, int], int]
) -> Sequence[int]:
    """Return the first or the last moment of each row, ``NO_MOMENT`` where there is none."""
    if rows is None:
        return column if isinstance(column, array) else [NO_MOMENT if at is None else at for at in column]
    found = [NO_MOMENT] * count
    for row, at in zip(rows, column, strict=True):
        if at is not None:
            known = found[row]
            found[row] = at if known == NO_MOMENT else choose(known, at)
    return found


def _metered(
    plan: Plan, keys: Sequence[Any], quantities: Sequence[int], rows: Sequence[int] | None, count: int
) -> tuple[list[str], Sequence[int], Sequence[int], Sequence[int]]:
    """Return the metrics; then for each row how many it has, which ones, and how much of each."""
    names: dict[str, int] = {}
    numbers: dict[Any, int] = {}
    for key in dict.fromkeys(keys):
        value, _ = plan.metric.value(key if isinstance(key, tuple) else (key,))
        numbers[key] = names.setdefault(str(value or NO_METRIC), len(names))
    if len(names) == 1 and all(sums := _summed(quantities, rows, count)):
        return list(names), [1] * count, [0] * count, sums
    width = len(names)
    found: dict[int, int] = {}
    for row, key, quantity in zip(range(count) if rows is None else rows, keys, quantities, strict=True):
        if quantity:
            place = row * width + numbers[key]
            found[place] = found.get(place, 0) + quantity
    metered = [0] * count
    for place in found:
        metered[place // width] += 1
    ordered = sorted(found)
    return list(names), metered, [place % width for place in ordered], [found[place] for place in ordered]
