"""The catalog of the usage store: pools, dimensions and their values, each under a small number.

A value of a dimension is stored as a number, 1, 2, 3, ... in the order of first appearance. Numbers are read, compared
and grouped several times as fast as text, and text from outside then never comes near a statement. 0 means that the
row does not have the dimension.

A dimension with more values than can sensibly be kept in memory is *closed*: further values are stored as text, in a
separate table. A value is either numbered for ever or never. The values of dimensions that came too late for a column
are stored as text too.

As text, a value begins with a letter for its type, so that 1, true and "1" stay three values. Equal numbers have one
text.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from solvent.engine.api.usage_table import Value
from solvent.engine.values.dimensions import DimensionValue, canonical_value
from solvent.engine.values.pool_id import parse_canonical

DIMENSION_COLUMNS_MAX: Final = 32
"""The number of dimensions with a column in the table. Values of later ones are in a separate table, which is slower.

They are the first dimensions that appeared; in a rebuilt file, those that most rows have."""
VALUES_PER_DIMENSION_MAX: Final = 250_000
VALUES_MAX: Final = 1_000_000
"""The most numbered values in total, about 200 MB in memory."""
MISSING: Final = 0
SPILLED: Final = -1
"""The code of a value without a number, whose text is in the separate table."""

METRIC: Final = 1
CUSTOMER: Final = 2
RESOURCE: Final = 3
DIMENSIONS_FROM: Final = 4
"""The first number of a dimension. Lower numbers are the columns that every row has."""
COLUMNS_END: Final = DIMENSIONS_FROM + DIMENSION_COLUMNS_MAX
_BUILTINS: Final = {"$metric": METRIC, "$customer": CUSTOMER, "$resource": RESOURCE}

_Key: TypeAlias = str | bytes | None
"""A value as the catalog looks it up: a string as it is, anything else as tagged bytes, which equal no string."""


def tagged(value: DimensionValue) -> str:
    """Return the value as text that begins with a letter for its type; ``untagged`` reverses this."""
    match value:
        case str():
            return f"s{value}"
        case bool():
            return "b1" if value else "b0"
        case int():
            return f"i{value}"
        case float():
            # An older version kept 1.0 as a float.
            number = canonical_value(value)
            return f"f{number!r}" if isinstance(number, float) else f"i{number}"


def untagged(text: str) -> DimensionValue:
    """Return the value from which ``tagged`` made ``text``."""
    rest = text[1:]
    match text[0]:
        case "s":
            return rest
        case "b":
            return rest == "1"
        case "i":
            return int(rest)
        case _:
            return float(rest)


class Column(dict[_Key, int]):
    """A column of codes: the code of each numbered value. Looking up a new value gives it the next number."""

    __slots__ = ("_catalog", "_saved", "closed", "keys_by_code", "number")

    def __init__(self, catalog: Catalog, number: int) -> None:
        super().__init__({None: MISSING})
        self._catalog = catalog
        self._saved = 1
        self.number = number
        self.keys_by_code: list[_Key] = [None]
        self.closed = False
        """Whether the column is closed: some of its values are in the separate table, and all new ones will be."""

    def __missing__(self, key: DimensionValue | bytes) -> int:
        if not isinstance(key, (str, bytes)):
            # Looked up in its stored form, or 1 and true would be one value.
            return self[tagged(key).encode()]
        if self.number >= DIMENSIONS_FROM or self.number == METRIC:
            if self.closed or len(self) > VALUES_PER_DIMENSION_MAX or self._catalog.numbered >= VALUES_MAX:
                self.closed = True
                return SPILLED
            self._catalog.numbered += 1
        # There are no more customers and resources than pools, and every pool is in memory anyway.
        code = self[key] = len(self)
        self.keys_by_code.append(key)
        return code

    @property
    def name(self) -> str:
        """The name of the column in the table."""
        return f"c{self.number}"

    def encode(self, values: Sequence[Value]) -> array[int]:
        """Return the code of each value, numbering new ones; ``SPILLED`` if there is no room for more."""
        return array("i", map(self.__getitem__, values))  # type: ignore[arg-type]

    def code(self, value: Value) -> int | None:
        """Return the code of a value, ``None`` if it has no number."""
        return self.get(_key(value))

    def value(self, code: int) -> Value:
        """Return the value of a code other than ``SPILLED``."""
        key = self.keys_by_code[code]
        return untagged(key.decode()) if isinstance(key, bytes) else key

    def unsaved(self) -> list[tuple[int, str]]:
        """Return the codes assigned since the last call, and their values as tagged text."""
        first, self._saved = self._saved, len(self)
        new = enumerate(self.keys_by_code[first:], first)
        return [(code, key.decode() if isinstance(key, bytes) else f"s{key}") for code, key in new]

    def load(self, texts: Iterable[str]) -> None:
        """Load the stored values, given as tagged text in the order of their codes."""
        for text in texts:
            key = text[1:] if text.startswith("s") else text.encode()
            self[key] = len(self)
            self.keys_by_code.append(key)
        if self.number not in (CUSTOMER, RESOURCE):
            self._catalog.numbered += len(self) - self._saved
        self._saved = len(self)


def _key(value: Value) -> _Key:
    return value if value is None or isinstance(value, str) else tagged(value).encode()


class PoolNumbers(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The numbers of a pool that each of its rows stores."""

    pool: int
    realm: int
    """The number of its (environment, currency)."""
    customer: int
    resource: int


class Numbered(msgspec.Struct, frozen=True):
    """Everything that got a number since the catalog was saved."""

    realms: list[tuple[int, str, str]]
    """The new realms: (number, environment, currency)."""
    pools: list[tuple[str, PoolNumbers]]
    dimensions: list[tuple[int, str]]
    closed: list[int]
    """The numbers of the dimensions that were closed."""
    values: list[tuple[int, int, str]]
    """The new values: (dimension, code, tagged value)."""


class Catalog:
    """Everything that has a number."""

    def __init__(self) -> None:
        self._pools_saved = 1
        self._realms_saved = self._dimensions_saved = 0
        self._closed_saved: set[int] = set()
        self.numbered = 0
        """The number of values that count against ``VALUES_MAX``."""
        self.pools: dict[str, PoolNumbers] = {}
        self.canonical: list[str] = [""]
        """The canonical names of pools, by number."""
        self.realms: dict[tuple[str, str], int] = {}
        self.dimensions: dict[str, int] = {}
        self.columns = {number: Column(self, number) for number in _BUILTINS.values()}
        """The columns by number. Other dimensions have none."""

    def builtin(self, field: str) -> Column:
        """Return the column of ``$metric``, ``$customer`` or ``$resource``."""
        return self.columns[_BUILTINS[field]]

    def dimension(self, name: str) -> int:
        """Return the number of a dimension, assigned now if it is new."""
        number = self.dimensions.get(name)
        if number is None:
            number = self.dimensions[name] = DIMENSIONS_FROM + len(self.dimensions)
            if number < COLUMNS_END:
                self.columns[number] = Column(self, number)
        return number

    def unsaved(self) -> Numbered:
        """Return everything that got a number since the last call."""
        columns = self.columns.items()
        closed = [number for number, column in columns if column.closed and number not in self._closed_saved]
        new = Numbered(
            realms=[(number, *realm) for realm, number in islice(self.realms.items(), self._realms_saved, None)],
            pools=[(name, self.pools[name]) for name in islice(self.canonical, self._pools_saved, None)],
            dimensions=[
                (number, name) for name, number in islice(self.dimensions.items(), self._dimensions_saved, None)
            ],
            closed=closed,
            values=[(number, *each) for number, column in columns for each in column.unsaved()],
        )
        self._realms_saved, self._pools_saved = len(self.realms), len(self.canonical)
        self._dimensions_saved = len(self.dimensions)
        self._closed_saved.update(closed)
        return new

    def pool(self, canonical: str) -> PoolNumbers:
        """Return the numbers of a pool, assigned now if it is new."""
        known = self.pools.get(canonical)
        if known is not None:
            return known
        parsed = parse_canonical(canonical)
        numbers = PoolNumbers(
            pool=len(self.canonical),
            realm=self.realms.setdefault((parsed.environment, parsed.currency), len(self.realms) + 1),
            customer=self.columns[CUSTOMER].encode((parsed.customer,))[0],
            resource=self.columns[RESOURCE].encode((parsed.resource,))[0],
        )
        self.add_pool(canonical, numbers)
        return numbers

    def add_pool(self, canonical: str, numbers: PoolNumbers) -> None:
        self.pools[canonical] = numbers
        self.canonical.append(canonical)
