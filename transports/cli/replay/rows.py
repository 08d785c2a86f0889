"""Which debits one record asks for, by a mapping. Pure.

What is ``Parsed`` is valid: it has passed the same gate as every command, so only the pool can still refuse it. A
record is taken whole or not at all: one bad value in one of its events makes all of it bad.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from solvent.engine.api.requests import DebitRequest
from solvent.engine.rules.checking import debit_command
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.numbers import number_of
from solvent.engine.values.pool_id import PoolId, parse_pool, pool_id

from .decimals import parse_number, rounded
from .json_text import ABSENT, DOUBLED, decode_json, kind_of
from .mapping import IDENTITY_HELP, ByHash, ById, BySource, Column, EventMapping
from .paths import Path, View, expand, written
from .pricing import Price, cost, recorded_quantity
from .records import Record
from .times import parse_moment

HASH_CHARS: Final = 32
"""128 bits: by chance, two of a billion billion events have the same with a probability of one in a few hundred."""
_ONE: Final = Decimal(1)


class Parsed(NamedTuple):
    """What one record asks for. ``free`` counts events that cost nothing, ``left_out`` those that are not asked for."""

    number: int
    line: int
    requests: tuple[DebitRequest, ...]
    prices: tuple[Price | None, ...] = ()
    """Of each request. ``None`` where the record says the amount itself."""
    free: int = 0
    left_out: int = 0


def parse_record(record: Record, mapping: EventMapping) -> Parsed:
    """Return the debits that a record asks for. Raises ``InvalidRequest`` naming the column that is wrong."""
    requests: list[DebitRequest] = []
    prices: list[Price | None] = []
    free = left_out = 0
    # Most records have no arrays, and are one event.
    for view in expand(record.row, mapping.nested) if mapping.nested else (View(record.row),):
        if mapping.conditions and not _is_asked_for(view, mapping):
            left_out += 1
            continue
        pool = _pool(view, mapping)
        key = _key(view, record.number, mapping)
        occurred_at = _time(view, mapping)
        dimensions = _dimensions(view, mapping)
        for charge in _charges(view, mapping, dimensions):
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
                dimensions=dimensions or None,
                backfill=mapping.backfill,
            )
            _check(request, mapping.scale)
            requests.append(request)
            prices.append(charge.price)
    return Parsed(record.number, record.line, tuple(requests), tuple(prices), free, left_out)


class _Charge(NamedTuple):
    amount: Decimal
    key_suffix: str = ""
    metric: str | None = None
    quantity: Decimal | None = None
    price: Price | None = None


def _value(view: View, column: Column | None) -> object | None:
    """The value in a column. Raises ``InvalidRequest`` where an option asked for the column and the record has none."""
    if column is None:
        return None
    value = view.get(column.place) if column.place.nested else view.row.get(column.place.name, ABSENT)
    if value is DOUBLED:
        raise InvalidRequest(column.name, "one value", got=repr(value))
    if value.strip() if isinstance(value, str) else (value is not None and value is not ABSENT):
        return value
    if column.option is None or column.optional:
        return None
    raise InvalidRequest(column.name, "a value", got="null" if value is None else "nothing")


def _name(value: object, field: str) -> str:
    """An id from a cell: text, or the whole number that JSON gave."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidRequest(field, "text or a whole number", got=_shown(value))


def _text(value: object, field: str) -> str:
    """A value as it is compared: text as it is, numbers in their shortest form, booleans as JSON has them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return f"{parse_number(value, field):f}"
    raise InvalidRequest(field, "text, a number or a boolean", got=_shown(value))


def _shown(value: object) -> str:
    return repr(value)[:40] if isinstance(value, str) else kind_of(value)


def _is_asked_for(view: View, mapping: EventMapping) -> bool:
    for column, wanted in mapping.conditions:
        value = _value(view, column)
        if value is None or _text(value, column.name) not in wanted:
            return False
    return True


def _pool(view: View, mapping: EventMapping) -> PoolId:
    if mapping.pool is not None:
        return mapping.pool
    name = _value(view, mapping.pool_column)
    customer = _value(view, mapping.customer_column)
    if name is not None and customer is not None:
        raise InvalidRequest("pool", "either a pool or a customer, the record has both")
    if name is not None:
        return parse_pool(name)
    if customer is None or mapping.customer_column is None:
        raise InvalidRequest("pool", "a pool or a customer", got="neither")
    resource = _resource(view, mapping.resource_column)
    return pool_id(mapping.environment, _name(customer, mapping.customer_column.name), resource, mapping.currency)


def _resource(view: View, column: Column | None) -> str | None:
    """The resource; ``None`` where its cell is empty or null: that says that it is the customer's global pool."""
    if column is None:
        return None
    value = view.get(column.place)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    given = _value(view, column)
    return None if given is None else _name(given, column.name)


def _key(view: View, number: int, mapping: EventMapping) -> str:
    """The key of an event: that of its record, with its place in each array that the identity says nothing about."""
    match mapping.identity:
        case ById(column):
            value = _value(view, column)
            if value is None:
                raise InvalidRequest(column.name, IDENTITY_HELP, got="nothing")
            key = _name(value, column.name)
        case BySource(source):
            key = f"{source}:{number}"
        case ByHash(columns):
            key = _hash(view, columns)
        case None:
            raise InvalidRequest("--id-column", IDENTITY_HELP)
    if not view.indexes:
        return key
    known = max((view.arrays_on(column.place) for column in mapping.identifying()), default=0)
    return key + "".join(f"[{index}]" for index in view.indexes[known:])


def _hash(view: View, columns: Iterable[Column]) -> str:
    values = [(_value(view, column), column.name) for column in columns]
    texts = [None if value is None else _text(value, name) for value, name in values]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:HASH_CHARS]


def _time(view: View, mapping: EventMapping) -> datetime | None:
    column = mapping.time_column
    value = _value(view, column)
    if column is None or value is None:
        return None
    return parse_moment(value, mapping.zone, column.name, mapping.time_format)


def _charges(view: View, mapping: EventMapping, dimensions: Mapping[str, DimensionValue]) -> Iterator[_Charge]:
    if mapping.metrics:
        for metric, column in mapping.metrics.items():
            quantity = _number(view, column) or Decimal(0)
            yield _priced(metric, quantity, column.name, mapping, dimensions, key_suffix=f"#{metric}")
        return
    named = _value(view, mapping.metric_column)
    metric_name = None if named is None or mapping.metric_column is None else _name(named, mapping.metric_column.name)
    given = _ONE if mapping.counted else _number(view, mapping.quantity_column)
    measured_by = "quantity" if mapping.quantity_column is None else mapping.quantity_column.name
    amount = _number(view, mapping.amount_column)
    if amount is not None and mapping.amount_column is not None:
        field = mapping.amount_column.name
        if amount < 0:
            raise InvalidRequest(field, "an amount of at least 0", got=f"{amount:f}"[:40])
        measured = None if given is None else recorded_quantity(given, measured_by, mapping.rounding)
        yield _Charge(rounded(amount, mapping.scale, field, mapping.rounding), "", metric_name, measured)
    elif given is not None and metric_name is not None:
        yield _priced(metric_name, given, measured_by, mapping, dimensions)
    else:
        raise InvalidRequest("amount", "an amount, or a metric and a quantity", got="neither")


def _number(view: View, column: Column | None) -> Decimal | None:
    """The number in a column. What an option allowed to be missing is 0; what none asked for may be ``None``."""
    value = _value(view, column)
    if column is None or (value is None and column.option is None):
        return None
    if value is None:
        return Decimal(0)
    if view.indexes and view.arrays_on(column.place) < len(view.arrays):
        elements = f"a member of the elements of {written(view.arrays[-1])}: outside of them it would count for each"
        raise InvalidRequest(column.name, elements)
    return parse_number(value, column.name)


def _priced(
    metric: str,
    quantity: Decimal,
    field: str,
    mapping: EventMapping,
    dimensions: Mapping[str, DimensionValue],
    *,
    key_suffix: str = "",
) -> _Charge:
    measured = recorded_quantity(quantity, field, mapping.rounding)
    if not quantity:
        return _Charge(Decimal(0), key_suffix, metric, measured)
    price = mapping.prices.find(metric, dimensions)
    if price is None:
        what = f"a metric with a price (--price {metric}=..., or --rates FILE) for these dimensions"
        raise InvalidRequest("metric", what, got=repr(metric)[:60])
    amount = cost(quantity, price.credits, per=price.per, scale=mapping.scale, field=field, rounding=mapping.rounding)
    return _Charge(amount, key_suffix, metric, measured, price)


def _dimensions(view: View, mapping: EventMapping) -> dict[str, DimensionValue]:
    """The dimensions of an event: what is named by an option wins over the record's own object, that over the rest,
    that over what is the same for the whole file. What is null or empty is absent."""
    dimensions = dict(mapping.dimensions)
    if mapping.dimensions_rest:
        rest = _Members(view, mapping, arrays=False)
        rest.add(view.row, ())
        dimensions |= rest.found
    column = mapping.dimensions_column
    if column is not None and (own := _value(view, column)) is not None:
        if isinstance(own, str):
            own = decode_json(own)
        if not isinstance(own, dict):
            raise InvalidRequest(column.name, "an object of names and values", got=_shown(own))
        members = _Members(view, mapping, arrays=True)
        members.add(own, column.place.path)
        dimensions |= members.found
    for name, each in mapping.dimension_columns.items():
        if (value := _value(view, each)) is not None:
            dimensions[name] = _dimension(value, each.name)
    return dimensions


class _Members:
    """The members of an object as dimensions, each under the path that leads to it from there.

    What the mapping reads otherwise, or leaves out, is none. An array is one of the elements where those are the
    events; else it is left out, or refused as a value.
    """

    def __init__(self, view: View, mapping: EventMapping, *, arrays: bool) -> None:
        self.found: dict[str, DimensionValue] = {}
        self._view = view
        self._no_rest = mapping.no_rest
        self._nested = mapping.dimensions_nested
        self._arrays = arrays

    def add(self, members: Mapping[str, object], at: Path, prefix: str = "") -> None:
        """Add what stands at a path. ``prefix`` is what the names there begin with."""
        for name, value in members.items():
            path = (*at, name)
            if path in self._no_rest or value is None or value == "":
                continue
            if isinstance(value, list):
                value = self._view.element(value, path)
            if isinstance(value, dict):
                if self._nested:
                    self.add(value, path, f"{prefix}{name}.")
            elif self._arrays or not isinstance(value, list):
                if prefix + name in self.found:
                    raise InvalidRequest(prefix + name, "one value", got=repr(DOUBLED))
                self.found[prefix + name] = _dimension(value, written(path))


def _dimension(value: object, field: str) -> DimensionValue:
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, Decimal):
        number = number_of(str(value))
        if number is None:
            raise InvalidRequest(field, "a number that 64 bits hold exactly", got=str(value)[:60])
        return number
    raise InvalidRequest(field, "text, a number or a boolean", got=_shown(value))


def _check(request: DebitRequest, scale: int) -> None:
    """Raise ``InvalidRequest`` for what no engine would take, while the record is still known."""
    debit_command(
        scale=scale,
        amount=request.amount,
        key=request.key,
        occurred_at=request.occurred_at,
        metric=request.metric,
        quantity=request.quantity,
        dimensions=request.dimensions,
    )
