"""How the columns of somebody's file become usage events.

A mapping is complete and consistent once it is made: ``EventMapping.check`` refuses two ways to name a pool, or a
metric without a price. A *column* is a cell of a CSV row, or a top-level field of a JSON object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from solvent.engine.values.amounts import SCALE_DEFAULT
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, ENVIRONMENT_DEFAULT, PoolId


class Column(NamedTuple):
    """Where a part of the event comes from. ``option`` names what asked for it; a natural field has none."""

    name: str
    option: str | None = None

    @property
    def required(self) -> bool:
        """Whether a row without it is wrong: what was asked for by an option has to be there."""
        return self.option is not None


def column_or_none(name: str | None, option: str) -> Column | None:
    """Return the column that ``option`` names, ``None`` if it names none."""
    return None if name is None else Column(name, option)


@dataclass(frozen=True, kw_only=True)
class EventMapping:
    """Which column is what. ``None`` says that the part is not in the file."""

    id_prefix: str
    """The beginning of ids that are made from line numbers: ``<prefix>:<line>``."""
    pool: PoolId | None = None
    pool_column: Column | None = None
    customer_column: Column | None = None
    resource_column: Column | None = None
    environment: str = ENVIRONMENT_DEFAULT
    """Of pools that are made from a customer column."""
    currency: str = CURRENCY_DEFAULT
    """Of pools that are made from a customer column."""
    scale: int = SCALE_DEFAULT
    """Decimal places to which a priced amount is rounded, once."""
    id_column: Column | None = None
    time_column: Column | None = None
    zone: tzinfo | None = None
    """The time zone of times that have none; ``None`` refuses them."""
    amount_column: Column | None = None
    metric_column: Column | None = None
    quantity_column: Column | None = None
    metrics: Mapping[str, Column] = field(default_factory=dict)
    """Several metrics side by side in one row: each becomes a debit of its own, with key ``<id>#<metric>``."""
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    """Credits per unit, by metric."""
    dimension_columns: Mapping[str, Column] = field(default_factory=dict)
    dimensions_column: Column | None = None
    """An object of dimensions; only JSON lines can have one."""
    dimensions: Mapping[str, DimensionValue] = field(default_factory=dict)
    """The same for every event of the file."""
    dimensions_rest: bool = False
    """Whether every column that is nothing else becomes a dimension under its own name."""
    backfill: bool = False

    def columns(self) -> Iterable[Column]:
        """Every column that the mapping reads."""
        single = (
            self.pool_column,
            self.customer_column,
            self.resource_column,
            self.id_column,
            self.time_column,
            self.amount_column,
            self.metric_column,
            self.quantity_column,
            self.dimensions_column,
        )
        yield from (column for column in single if column is not None)
        yield from self.metrics.values()
        yield from self.dimension_columns.values()

    @cached_property
    def column_names(self) -> frozenset[str]:
        """What ``dimensions_rest`` leaves out."""
        return frozenset(column.name for column in self.columns())

    def with_natural_names(self) -> EventMapping:
        """Return the mapping for JSON lines: a part that no option has placed is looked for under its natural name.

        The names are ``id``, ``time``, ``pool``, ``customer``, ``resource``, ``amount``, ``metric``, ``quantity`` and,
        for an object, ``dimensions``.
        """
        named_pool = self.pool is not None or self.pool_column is not None or self.customer_column is not None
        priced = bool(self.metrics)

        def natural(column: Column | None, name: str, *, taken: bool = False) -> Column | None:
            return Column(name) if column is None and not taken else column

        return replace(
            self,
            pool_column=natural(self.pool_column, "pool", taken=named_pool),
            customer_column=natural(self.customer_column, "customer", taken=named_pool),
            resource_column=natural(self.resource_column, "resource", taken=self.pool is not None),
            id_column=natural(self.id_column, "id"),
            time_column=natural(self.time_column, "time"),
            amount_column=natural(self.amount_column, "amount", taken=priced),
            metric_column=natural(self.metric_column, "metric", taken=priced),
            quantity_column=natural(self.quantity_column, "quantity", taken=priced),
            dimensions_column=natural(self.dimensions_column, "dimensions"),
        )

    def check(self) -> None:
        """Refuse a mapping that says one thing twice, or half of it. Raises ``InvalidRequest`` naming the option."""
        asked = {column.option for column in self.columns() if column.option is not None}
        pools = ["--pool"] if self.pool is not None else []
        pools += [name for name in ("--pool-column", "--customer-column") if name in asked]
        if len(pools) > 1:
            raise InvalidRequest(pools[1], f"one way to name the pool, {pools[0]} is given too")
        if self.pool is None and self.pool_column is None and self.customer_column is None:
            raise InvalidRequest("--pool", "the pool to debit: --pool, --pool-column or --customer-column")
        if "--resource-column" in asked and self.customer_column is None:
            raise InvalidRequest("--resource-column", "a --customer-column beside it")
        if self.metrics and asked & {"--amount-column", "--metric-column", "--quantity-column"}:
            raise InvalidRequest("--metric", "either metered columns or one amount a row, not both")
        if not self.metrics and self.amount_column is None and self.quantity_column is None:
            raise InvalidRequest("--amount-column", "where amounts come from: --amount-column, or --metric and --price")
        if self.quantity_column is not None and self.metric_column is None:
            raise InvalidRequest("--quantity-column", "a --metric-column beside it, which names the price")
        for metric in self.metrics:
            if metric not in self.prices:
                raise InvalidRequest("--price", f"a price for metric {metric!r}: --price {metric}=0.00003")
        for metric in self.prices:
            if self.metrics and metric not in self.metrics:
                raise InvalidRequest("--price", f"prices of metrics that are read, {metric!r} is not one")
