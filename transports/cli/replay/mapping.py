"""How the columns of somebody's file become usage events.

A mapping is complete and consistent once ``EventMapping.check`` and ``check_identity`` let it pass: that refuses two
ways to name a pool, a metric without a price, and events without an identity. A *column* is a column of a table, or a
path into a JSON object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from solvent.engine.values.amounts import SCALE_DEFAULT
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolId

from .paths import Path, Place, parse_place
from .pricing import Prices
from .times import AUTO

OPTIONAL: Final = "?"
"""Ends the name of a column that a record may lack."""
IDENTITY_HELP: Final = (
    "what makes an event the same event: --id-column, or --source NAME for its place in this file, "
    "or --hash-columns A,B,C for its content"
)


class Column(NamedTuple):
    """Where a part of the event comes from. ``option`` names what asked for it; a natural field has none.

    What was asked for has to be there, in every record, unless it is ``optional``.
    """

    place: Place
    option: str | None = None
    optional: bool = False

    @property
    def name(self) -> str:
        """The column as it was written."""
        return self.place.name


def parse_column(text: str, option: str) -> Column:
    """Return the column that ``option`` names: optional if its name ends in a question mark."""
    optional = text.endswith(OPTIONAL) and len(text) > 1
    return Column(parse_place(text[:-1] if optional else text), option, optional)


def column_or_none(text: str | None, option: str) -> Column | None:
    """Return the column that ``option`` names, ``None`` if it names none."""
    return None if text is None else parse_column(text, option)


def always(text: str | None, option: str) -> Column | None:
    """Return the column that ``option`` names, which no record may lack. Raises ``InvalidRequest`` if it is
    optional."""
    column = column_or_none(text, option)
    if column is not None and column.optional:
        raise InvalidRequest(option, "a column that every record has, without a question mark", got=repr(text)[:60])
    return column


class ById(NamedTuple):
    """The key is the value of a column."""

    column: Column


class BySource(NamedTuple):
    """The key is the name of the source and the number of the record in it."""

    source: str


class ByHash(NamedTuple):
    """The key is a digest of the values of some columns."""

    columns: tuple[Column, ...]


Identity: TypeAlias = ById | BySource | ByHash


class Condition(NamedTuple):
    """Only records with one of ``values`` in ``column`` are events."""

    column: Column
    values: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class EventMapping:
    """Which column is what. ``None`` says that the part is not in the file."""

    identity: Identity | None = None
    pool: PoolId | None = None
    pool_column: Column | None = None
    customer_column: Column | None = None
    resource_column: Column | None = None
    environment: str = ENVIRONMENT_DEFAULT
    """Of pools that are made from a customer column."""
    currency: str = CURRENCY_DEFAULT
    """Of pools that are made from a customer column."""
    scale: int = SCALE_DEFAULT
    """Decimal places that the currency keeps."""
    rounding: str | None = None
    """How an amount or a quantity with more places is rounded; ``None`` refuses it. A price is half-even by itself."""
    time_column: Column | None = None
    time_format: str = AUTO
    zone: tzinfo | None = None
    """The time zone of times that have none; ``None`` refuses them."""
    amount_column: Column | None = None
    metric_column: Column | None = None
    quantity_column: Column | None = None
    counted: bool = False
    """Whether each event is a quantity of one."""
    metrics: Mapping[str, Column] = field(default_factory=dict)
    """Several metrics side by side in one record: each becomes a debit of its own, with key ``<id>#<metric>``."""
    prices: Prices = field(default_factory=Prices)
    dimension_columns: Mapping[str, Column] = field(default_factory=dict)
    dimensions_column: Column | None = None
    """An object of dimensions."""
    dimensions: Mapping[str, DimensionValue] = field(default_factory=dict)
    """The same for every event of the file."""
    dimensions_rest: bool = False
    """Whether every column that is nothing else becomes a dimension under its own name."""
    dimensions_nested: bool = True
    """Whether members of objects are dimensions, too, under the path that leads to them."""
    not_dimensions: tuple[Place, ...] = ()
    """What ``dimensions_rest`` leaves out."""
    conditions: tuple[Condition, ...] = ()
    backfill: bool = False

    def columns(self) -> Iterator[Column]:
        """Yield every column that the mapping reads."""
        single = (
            self.pool_column,
            self.customer_column,
            self.resource_column,
            self.time_column,
            self.amount_column,
            self.metric_column,
            self.quantity_column,
            self.dimensions_column,
        )
        yield from (column for column in single if column is not None)
        yield from self.identifying()
        yield from self.metrics.values()
        yield from self.dimension_columns.values()
        yield from (condition.column for condition in self.conditions)

    def identifying(self) -> tuple[Column, ...]:
        """Return the columns that the identity of an event is made of."""
        match self.identity:
            case ById(column):
                return (column,)
            case ByHash(columns):
                return columns
            case _:
                return ()

    @cached_property
    def nested(self) -> tuple[Place, ...]:
        """Where the columns stand that are more than a name."""
        return tuple(column.place for column in self.columns() if column.place.nested)

    @cached_property
    def no_rest(self) -> frozenset[Path]:
        """Where values stand that ``dimensions_rest`` leaves out, with all that is inside of them."""
        left_out = (*(column.place for column in self.columns()), *self.not_dimensions)
        return frozenset(path for place in left_out for path in (place.path, (place.name,)))

    def with_natural_names(self) -> EventMapping:
        """Return the mapping for JSON: what no option has placed is looked for under its natural name.

        Those are id, time, pool (or customer and resource), amount (or metric and quantity) and dimensions.
        """
        named_pool = self.pool is not None or self.pool_column is not None or self.customer_column is not None
        priced = bool(self.metrics) or self.counted

        def natural(column: Column | None, name: str, *, taken: bool = False) -> Column | None:
            return Column(parse_place(name)) if column is None and not taken else column

        return replace(
            self,
            identity=self.identity or ById(Column(parse_place("id"))),
            pool_column=natural(self.pool_column, "pool", taken=named_pool),
            customer_column=natural(self.customer_column, "customer", taken=named_pool),
            resource_column=natural(self.resource_column, "resource", taken=self.pool is not None),
            time_column=natural(self.time_column, "time"),
            amount_column=natural(self.amount_column, "amount", taken=priced or self.quantity_column is not None),
            metric_column=natural(self.metric_column, "metric", taken=bool(self.metrics)),
            quantity_column=natural(self.quantity_column, "quantity", taken=priced),
            dimensions_column=natural(self.dimensions_column, "dimensions"),
        )

    def check(self) -> None:
        """Refuse a mapping that says one thing twice, or half of it. Raises ``InvalidRequest`` naming the option."""
        asked = {column.option for column in self.columns() if column.option is not None}
        self._check_pool(asked)
        self._check_amounts(asked)
        if self.not_dimensions and not self.dimensions_rest:
            raise InvalidRequest("--not-dims", "--dims-rest, of which it leaves something out")

    def check_identity(self) -> None:
        """Refuse events without an identity. Raises ``InvalidRequest``."""
        if self.identity is None:
            raise InvalidRequest("--id-column", IDENTITY_HELP)

    def _check_pool(self, asked: set[str]) -> None:
        pools = ["--pool"] if self.pool is not None else []
        pools += [name for name in ("--pool-column", "--customer-column") if name in asked]
        if len(pools) > 1:
            raise InvalidRequest(pools[1], f"one way to name the pool, {pools[0]} is given too")
        if self.pool is None and self.pool_column is None and self.customer_column is None:
            raise InvalidRequest("--pool", "the pool to debit: --pool, --pool-column or --customer-column")
        if "--resource-column" in asked and self.customer_column is None:
            raise InvalidRequest("--resource-column", "a --customer-column beside it")

    def _check_amounts(self, asked: set[str]) -> None:
        if self.metrics and (self.counted or asked & {"--amount-column", "--metric-column", "--quantity-column"}):
            raise InvalidRequest("--metric", "either metered columns or one amount a record, not both")
        if self.counted and "--quantity-column" in asked:
            raise InvalidRequest("--count", "either --quantity-column or --count, not both")
        if not (self.metrics or self.counted or self.amount_column or self.quantity_column):
            if self.metric_column is not None:
                raise InvalidRequest("--quantity-column", "the column with the metric's quantity, or --count")
            raise InvalidRequest("--amount-column", "where amounts come from: --amount-column, or --metric and --price")
        if (self.quantity_column is not None or self.counted) and self.metric_column is None:
            option = "--count" if self.counted else "--quantity-column"
            raise InvalidRequest(option, "a --metric-column beside it, which names the price")
        for metric in self.metrics:
            if metric not in self.prices.metrics:
                raise InvalidRequest(
                    "--price", f"a price for metric {metric!r}: --price {metric}=0.00003, or --rates FILE"
                )
        if not self.metrics and self.amount_column is None and not self.prices:
            raise InvalidRequest("--price", "what the metrics cost: --price NAME=0.00003, or --rates FILE")
        for metric in self.prices.single:
            if self.metrics and metric not in self.metrics:
                raise InvalidRequest("--price", f"prices of metrics that are read, {metric!r} is not one")
