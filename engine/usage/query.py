"""Queries about usage, and their answers: which pools, which time, and which breakdown.

A query is checked once, here. After that the store can trust every value in a ``UsageQuery``. Times are microseconds
since 1970, ranges half-open. Credits are units of the currency, quantities billionths, both exact at any size.

**Fields.** A plain name is a dimension of the events. A built-in field, which every event has, begins with a dollar
sign: ``$metric``, ``$customer``, ``$resource``, ``$grant``, ``$category``, ``$cost_basis``, ``$currency``. A dimension
whose own name begins with a dollar sign is written with one more: ``$$price`` is the dimension ``$price``.

Equal numbers are one value: 1 and 1.0. True and "1" are others. ``None`` means that the event does not have the field,
and is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import msgspec

from solvent.engine.api.usage_table import Value
from solvent.engine.api.usage_words import ORDERS, Order
from solvent.engine.values.amounts import shown
from solvent.engine.values.dimensions import DIMENSION_NAME_CHARS_MAX, decode_dimensions, encode_dimensions
from solvent.engine.values.errors import InvalidRequest, TooLarge
from solvent.engine.values.pool_id import PoolLike, check_id, parse_pool
from solvent.engine.values.times import MOMENT_MAX_US, SECOND_US
from solvent.engine.values.windows import PERIODS, Period, check_zone, window_of, windows_between
from solvent.engine.values.words import check_word

GROUP_BY_MAX: Final = 8
FILTERS_MAX: Final = 50
FILTER_VALUES_MAX: Final = 1_000
TOP_MAX: Final = 10_000
BUCKETS_MAX: Final = 100_000
ROWS_MAX: Final = 100_000
"""The most rows in one answer, about 20 MB of objects. Callers with more groups can ask for the top ones."""
ENTRIES_PAGE_MAX: Final = 1_000
ENTRIES_PAGE_DEFAULT: Final = 100

_MINUTE_US: Final = 60 * SECOND_US

FilterOp: TypeAlias = Literal["=", "in", "not in", "missing", "prefix"]
Builtin: TypeAlias = Literal["$metric", "$customer", "$resource", "$grant", "$category", "$cost_basis", "$currency"]

BUILTINS: Final[tuple[Builtin, ...]] = (
    *("$metric", "$customer", "$resource"),
    *("$grant", "$category", "$cost_basis", "$currency"),
)
FILTER_OPS: Final[tuple[FilterOp, ...]] = ("=", "in", "not in", "missing", "prefix")
NO_METRIC: Final = ""


class UsageScope(msgspec.Struct, frozen=True, gc=False):
    """The pools in a query: one pool, a customer's pools in a currency, or all pools of an environment in a currency.

    There is always exactly one currency, because units of two currencies have no sum.
    """

    environment: str
    currency: str
    customer: str | None = None
    pool: str | None = None
    """The canonical name of the pool, if the scope is one pool."""


class UsageFilter(msgspec.Struct, frozen=True):
    """A condition on events: ``field`` has one of ``values`` ("=", "in") or none of them ("not in"), is missing
    ("missing"), or is a string that begins with the value ("prefix")."""

    field: str
    op: FilterOp
    values: tuple[Value, ...] = ()


class UsageQuery(msgspec.Struct, frozen=True):
    """A checked query. Make one with ``usage_query``."""

    scope: UsageScope
    start: int
    end: int
    window: Period | None = None
    """The size of a bucket. ``None`` means one bucket, the whole range."""
    zone: str = "UTC"
    group_by: tuple[str, ...] = ()
    filters: tuple[UsageFilter, ...] = ()
    """The conditions, all of which must hold."""
    top: int | None = None
    """The number of groups to list; all others become one. Groups are ranked by ``order`` over the whole range."""
    order: Order = "credits"
    descending: bool = True
    fill_empty: bool = False
    """Whether to include the buckets in which nothing happened, for every group in the answer."""

    def buckets(self) -> list[tuple[int, int]]:
        """Return the calendar windows that overlap the range. In the first and the last, only the part inside the range
        counts."""
        if self.window is None:
            return [(self.start, self.end)]
        return _buckets(self.start, self.end, self.window, self.zone)


class UsageCell(msgspec.Struct, frozen=True):
    """The name of one row of an answer: its bucket and its group, or the bucket and all groups outside the top."""

    start: int | None = None
    """The start of the bucket; ``None`` means the whole range."""
    values: tuple[Value, ...] = ()
    other: bool = False


class UsageEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry of a pool's ledger that counts in a cell."""

    pool: str
    """The canonical name of the pool."""
    version: int
    occurred_at: int
    credits: int
    """The part of the entry that counts in this cell, in units; less than 0 for a reversal."""
    frame: int
    """The frame of the journal that has the entry."""
    event: msgspec.Raw = msgspec.Raw()
    """The event that made the entry, as the journal has it. Empty until it was read."""


class UsageEntries(msgspec.Struct, frozen=True):
    """A page of entries, by time, pool and version."""

    entries: list[UsageEntry]
    cursor: str | None
    """The cursor of the next page, unaffected by entries that came since; ``None`` after the last page."""
    as_of: int


def pool_scope(pool: PoolLike) -> UsageScope:
    """Return the scope of one pool. Raises ``InvalidRequest``."""
    parsed = parse_pool(pool)
    return UsageScope(parsed.environment, parsed.currency, parsed.customer, parsed.canonical)


def customer_scope(environment: str, customer: str, currency: str) -> UsageScope:
    """Return the scope of all pools of a customer in a currency. Raises ``InvalidRequest``."""
    check_id(customer, "customer")
    return UsageScope(check_id(environment, "environment"), check_id(currency, "currency"), customer)


def environment_scope(environment: str, currency: str) -> UsageScope:
    """Return the scope of all pools of an environment in a currency. Raises ``InvalidRequest``."""
    return UsageScope(check_id(environment, "environment"), check_id(currency, "currency"))


def usage_query(
    scope: UsageScope,
    *,
    start: int,
    end: int,
    window: object = None,
    zone: object = "UTC",
    group_by: object = (),
    filters: object = (),
    top: object = None,
    order: object = "credits",
    descending: object = None,
    fill_empty: object = False,
) -> UsageQuery:
    """Return a query that is safe to answer.

    ``filters`` are ``UsageFilter``s or mappings of ``field``, ``op`` and ``value`` or ``values``. ``descending``
    defaults to true, except for names. Raises ``InvalidRequest`` naming the field, ``TooLarge`` beyond a limit.
    """
    if not 0 <= start < MOMENT_MAX_US:
        raise InvalidRequest("start", "a time from 1970 to 9999")
    if not start < end <= MOMENT_MAX_US:
        raise InvalidRequest("end", "a time after start")
    period: Period | None = None if window is None else check_word(window, "window", PERIODS)
    by_name = order == "name"
    query = UsageQuery(
        scope=scope,
        start=start,
        end=end,
        window=None if period == "total" else period,
        zone=check_zone(zone, "zone"),
        group_by=_check_group_by(group_by),
        filters=_check_filters(filters),
        top=None if top is None else check_count(top, "top", TOP_MAX),
        order=_check_order(order),
        descending=not by_name if descending is None else _check_flag(descending, "descending"),
        fill_empty=_check_flag(fill_empty, "fill_empty"),
    )
    if query.top is not None and not query.group_by:
        raise InvalidRequest("top", "a query with group_by")
    query.buckets()
    return query


def usage_cell(query: UsageQuery, *, start: object = None, values: object = (), other: object = False) -> UsageCell:
    """Return the name of a cell in the answer to ``query``. Raises ``InvalidRequest``."""
    if start is not None and not (
        type(start) is int and query.window is not None and any(start == bucket[0] for bucket in query.buckets())
    ):
        raise InvalidRequest("cell.start", "the start of a bucket of the query", got=shown(start))
    if _check_flag(other, "cell.other"):
        if query.top is None:
            raise InvalidRequest("cell.other", "a query with top")
        return UsageCell(start, (), True)
    if not isinstance(values, (list, tuple)) or len(values) != len(query.group_by):
        raise InvalidRequest("cell.values", f"{len(query.group_by)} values, as the query groups by")
    pairs = zip(query.group_by, values, strict=True)
    return UsageCell(start, tuple(_check_value(field, value, "cell.values") for field, value in pairs))


def check_entries_limit(limit: object) -> int:
    """Return ``limit``, the most entries of a page, if ``1 <= limit <= 1000``. Raises ``InvalidRequest``."""
    return check_count(limit, "limit", ENTRIES_PAGE_MAX)


def dimension_of(field: str) -> str | None:
    """Return the dimension of a checked field; ``None`` for a built-in field."""
    if field.startswith("$$"):
        return field[1:]
    return None if field.startswith("$") else field


@lru_cache(maxsize=4)
def _buckets(start: int, end: int, window: Period, zone: str) -> list[tuple[int, int]]:
    windows = _minutes(start, end, zone) if window == "minute" else windows_between(start, end, window, zone)
    found = list(islice(windows, BUCKETS_MAX + 1))
    if len(found) > BUCKETS_MAX:
        raise TooLarge("window", f"at most {BUCKETS_MAX} windows in the range")
    return found


def _minutes(start: int, end: int, zone: str) -> Iterator[tuple[int, int]]:
    """Yield windows as ``windows_between``, fifty times as fast: in an hour of the wall clock, the offset is fixed."""
    for hour_start, hour_end in windows_between(start, end, "hour", zone):
        minute = window_of(max(start, hour_start), "minute", zone)
        until = min(end, hour_end)
        while minute[0] < until:
            yield minute
            minute = minute[1], min(minute[1] + _MINUTE_US, hour_end)


def _check_group_by(group_by: object) -> tuple[str, ...]:
    if not isinstance(group_by, (list, tuple)):
        raise InvalidRequest("group_by", "a list of fields", got=shown(group_by))
    if len(group_by) > GROUP_BY_MAX:
        raise TooLarge("group_by", f"at most {GROUP_BY_MAX} fields", got=str(len(group_by)))
    fields = tuple(_check_field(field, "group_by") for field in group_by)
    if len(set(fields)) < len(fields):
        raise InvalidRequest("group_by", "each field once")
    return fields


def _check_field(field: object, where: str) -> str:
    if isinstance(field, str) and field.startswith("$") and not field.startswith("$$"):
        if field in BUILTINS:
            return field
        expected = f"one of {', '.join(BUILTINS)}; a dimension of this name is written with one more $"
        raise InvalidRequest(where, expected, got=shown(field))
    name = dimension_of(field) if isinstance(field, str) else None
    if name is None or not 0 < len(name) <= DIMENSION_NAME_CHARS_MAX or not _is_text(name):
        raise InvalidRequest(where, f"a name of 1 to {DIMENSION_NAME_CHARS_MAX} characters", got=shown(field))
    return str(field)


def _check_filters(filters: object) -> tuple[UsageFilter, ...]:
    if not isinstance(filters, (list, tuple)):
        raise InvalidRequest("filters", "a list of filters", got=shown(filters))
    if len(filters) > FILTERS_MAX:
        raise TooLarge("filters", f"at most {FILTERS_MAX} filters", got=str(len(filters)))
    return tuple(_check_filter(each, f"filters.{number}") for number, each in enumerate(filters))


def _check_filter(given: object, where: str) -> UsageFilter:
    if isinstance(given, UsageFilter):
        given = {"field": given.field, "op": given.op, "values": given.values}
    if not isinstance(given, Mapping) or not set(given) <= {"field", "op", "value", "values"}:
        raise InvalidRequest(where, "a filter of field, op and value or values", got=shown(given))
    raw: Mapping[str, Any] = given
    field = _check_field(raw.get("field"), f"{where}.field")
    op = _check_op(raw.get("op", "="), f"{where}.op")
    values: Any = raw.get("values", ()) if "value" not in raw else (raw["value"],)
    if not isinstance(values, (list, tuple)) or ("value" in raw and "values" in raw):
        raise InvalidRequest(f"{where}.values", "a list of values")
    if len(values) > FILTER_VALUES_MAX:
        raise TooLarge(f"{where}.values", f"at most {FILTER_VALUES_MAX} values", got=str(len(values)))
    counts = {"=": len(values) == 1, "prefix": len(values) == 1, "missing": not values}
    if not counts.get(op, len(values) > 0):
        expected = {"=": "one value", "prefix": "one string", "missing": "no value"}.get(op, "at least one value")
        raise InvalidRequest(f"{where}.values", expected, got=str(len(values)))
    checked = tuple(_check_value(field, value, f"{where}.values") for value in values)
    if op == "prefix" and (field == "$grant" or not isinstance(checked[0], str)):
        raise InvalidRequest(f"{where}.values", "a string, and a field other than $grant")
    return UsageFilter(field, op, checked)


def _check_value(field: str, value: object, where: str) -> Value:
    """Return ``value`` if the field can have it. A filter on an impossible value is a mistake, and is refused."""
    if value is None:
        return None
    name = dimension_of(field)
    if name is not None:
        return decode_dimensions(encode_dimensions({name: value}, where))[name]
    if not isinstance(value, str) or not _is_text(value):
        raise InvalidRequest(where, "a string", got=shown(value))
    return value


def _check_op(op: object, where: str) -> FilterOp:
    for known in FILTER_OPS:
        if known == op:
            return known
    raise InvalidRequest(where, f"one of {_quoted(FILTER_OPS)}", got=shown(op))


def _check_order(order: object) -> Order:
    for known in ORDERS:
        if known == order:
            return known
    raise InvalidRequest("order", f"one of {_quoted(ORDERS)}", got=shown(order))


def check_count(count: object, field: str, count_max: int) -> int:
    """Return ``count``, 1 to ``count_max``. Raises ``InvalidRequest`` naming ``field``."""
    if type(count) is int and 1 <= count <= count_max:
        return count
    raise InvalidRequest(field, f"a whole number from 1 to {count_max}", got=shown(count))


def _check_flag(flag: object, field: str) -> bool:
    if isinstance(flag, bool):
        return flag
    raise InvalidRequest(field, "true or false", got=shown(flag))


def _is_text(text: str) -> bool:
    """Return whether ``text`` is valid text. Half of a surrogate pair is not: no event can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)
