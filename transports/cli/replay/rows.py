"""Which debits the values of one line ask for, by a mapping. Pure.

What is ``Parsed`` is valid: it has passed the same gate as every command, so only the pool can still refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from solvent.engine.api.requests import DebitRequest
from solvent.engine.rules.checking import debit_command
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import PoolId, parse_pool, pool_id

from .lines import Line
from .mapping import Column, EventMapping
from .pricing import cost, parse_number

Row: TypeAlias = Mapping[str, object]
"""The values of a line by column; what is absent, empty or null is left out."""


class Parsed(NamedTuple):
    """What one line asks for. ``free`` counts the events that cost nothing: there is nothing to debit."""

    line: int
    requests: tuple[DebitRequest, ...]
    free: int
    end: int
    """Bytes of the file up to and including this line."""


def parse_row(row: Row, line: Line, mapping: EventMapping) -> Parsed:
    """Return the debits that a row asks for. Raises ``InvalidRequest`` naming the column that is wrong."""
    pool = _pool(row, mapping)
    key = _id(row, line.number, mapping)
    occurred_at = _time(row, mapping)
    dimensions = _dimensions(row, mapping) or None
    requests: list[DebitRequest] = []
    free = 0
    for charge in _charges(row, mapping):
        if not charge.amount:
            free += 1
            continue
        request = DebitRequest(
            pool=pool,
            amount=charge.amount,
            key=key + charge.key_suffix,
            occurred_at=occurred_at,
            metric=charge.metric,
            quantity=charge.quantity,
            dimensions=dimensions,
            backfill=mapping.backfill,
        )
        _check(request, mapping.scale)
        requests.append(request)
    return Parsed(line.number, tuple(requests), free, line.end)


def parse_moment(value: object, zone: tzinfo | None, field: str) -> datetime:
    """Return a moment from ISO 8601 text, with ``T`` or a space between date and time.

    More than six decimals of a second are cut to microseconds, not rounded. Text without an offset is in ``zone``;
    the hour that a zone has twice in autumn is taken as the first of the two. Raises ``InvalidRequest`` naming
    ``field``, also for a time without an offset where ``zone`` is ``None``.
    """
    if not isinstance(value, str):
        raise InvalidRequest(field, "a time as ISO 8601 text", got=repr(value)[:40])
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise InvalidRequest(field, "ISO 8601 such as 2026-11-23T10:00:00Z", got=repr(value)[:40]) from None
    if moment.tzinfo is None:
        if zone is None:
            raise InvalidRequest(
                field,
                "a time with its zone, or --assume-utc or --time-zone for times without one",
                got=repr(value)[:40],
            )
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)


class _Charge(NamedTuple):
    amount: Decimal
    key_suffix: str = ""
    metric: str | None = None
    quantity: Decimal | None = None


def _value(row: Row, column: Column | None) -> object | None:
    """The value in a column. Raises ``InvalidRequest`` where an option asked for the column and the row has none."""
    if column is None:
        return None
    value = row.get(column.name)
    if value is None and column.required:
        raise InvalidRequest(column.name, "a value", got="nothing")
    return value


def _name(value: object, field: str) -> str:
    """An id from a cell: text, or the whole number that JSON gave."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidRequest(field, "text or a whole number", got=repr(value)[:40])


def _pool(row: Row, mapping: EventMapping) -> PoolId:
    if mapping.pool is not None:
        return mapping.pool
    written = _value(row, mapping.pool_column)
    customer = _value(row, mapping.customer_column)
    if written is not None and customer is not None:
        raise InvalidRequest("pool", "either a pool or a customer, the line has both")
    if written is not None:
        return parse_pool(written)
    if customer is None:
        raise InvalidRequest("pool", "a pool or a customer", got="neither")
    # A row without a resource belongs to the customer's global pool, even if an option named the column.
    resource = None if mapping.resource_column is None else row.get(mapping.resource_column.name)
    return pool_id(
        mapping.environment,
        _name(customer, "customer"),
        None if resource is None else _name(resource, "resource"),
        mapping.currency,
    )


def _id(row: Row, line_number: int, mapping: EventMapping) -> str:
    value = _value(row, mapping.id_column)
    if value is None:
        return f"{mapping.id_prefix}:{line_number}"
    return _name(value, "id")


def _time(row: Row, mapping: EventMapping) -> datetime | None:
    column = mapping.time_column
    value = _value(row, column)
    if column is None or value is None:
        return None
    return parse_moment(value, mapping.zone, column.name)


def _charges(row: Row, mapping: EventMapping) -> Iterator[_Charge]:
    if mapping.metrics:
        for metric, column in mapping.metrics.items():
            quantity = parse_number(row.get(column.name, 0), column.name)
            amount = cost(quantity, mapping.prices[metric], scale=mapping.scale, field=column.name)
            yield _Charge(amount, f"#{metric}", metric, quantity)
        return
    metric_value = _value(row, mapping.metric_column)
    quantity_value = _value(row, mapping.quantity_column)
    amount_value = _value(row, mapping.amount_column)
    metric_name = None if metric_value is None else _name(metric_value, "metric")
    given = None if quantity_value is None else parse_number(quantity_value, "quantity")
    if amount_value is not None:
        yield _Charge(parse_number(amount_value, "amount"), "", metric_name, given)
        return
    if given is None or metric_name is None:
        raise InvalidRequest("amount", "an amount, or a metric and a quantity", got="neither")
    if metric_name not in mapping.prices:
        raise InvalidRequest("metric", f"a metric with a price (--price {metric_name}=...)", got=repr(metric_name)[:60])
    amount = cost(given, mapping.prices[metric_name], scale=mapping.scale, field="quantity")
    yield _Charge(amount, "", metric_name, given)


def _dimensions(row: Row, mapping: EventMapping) -> dict[str, DimensionValue]:
    """The dimensions of a row: what is named by an option wins over the row's own object, that over the rest, that
    over what is the same for the whole file."""
    dimensions = dict(mapping.dimensions)
    if mapping.dimensions_rest:
        for name, value in row.items():
            if name not in mapping.column_names:
                dimensions[name] = _dimension(value, name)
    if mapping.dimensions_column is not None and (own := row.get(mapping.dimensions_column.name)) is not None:
        if not isinstance(own, dict):
            raise InvalidRequest("dimensions", "an object of names and values", got=repr(own)[:40])
        for name, value in own.items():
            dimensions[name] = _dimension(value, name)
    for name, column in mapping.dimension_columns.items():
        if (value := row.get(column.name)) is not None:
            dimensions[name] = _dimension(value, name)
    return dimensions


def _dimension(value: object, name: str) -> DimensionValue:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (str, int, float)):
        return value
    raise InvalidRequest(f"dimensions.{name}", "text, a number or a boolean", got=repr(value)[:40])


def _check(request: DebitRequest, scale: int) -> None:
    """Raise ``InvalidRequest`` for what no engine would take, while the line number is still known."""
    debit_command(
        scale=scale,
        amount=request.amount,
        key=request.key,
        occurred_at=request.occurred_at,
        metric=request.metric,
        quantity=request.quantity,
        dimensions=request.dimensions,
    )
