"""Rows of usage on their way into the file, as columns of numbers, encoded as soon as they are decoded.

The rows of a frame become numbers while they are in the processor's cache, and their thousands of small objects are
freed before the next frame is read. Done once for a whole batch, the same work takes three times as long.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter, methodcaller
from typing import Final

from solvent.engine.api.usage_table import Value

from .catalog import COLUMNS_END, CUSTOMER, METRIC, MISSING, RESOURCE, SPILLED, Catalog, tagged
from .rows import NO_EVENT, Dimensions, GrantTerms, UsageRows

_TYPECODES: Final = {
    "realm": "i",
    "pool": "i",
    "version": "q",
    "moment": "q",
    "grant_number": "q",
    "debited": "q",
    "reversed": "q",
    "events": "b",
    "refused": "q",
    "quantity": "q",
    "quantity_nano": "i",
    "part": "i",
    "frame": "q",
}


class UsageBatch:
    """Rows that are added to a store together. New names and values get their numbers in the catalog at once."""

    def __init__(self, catalog: Catalog, *, frame: int, refusal: int) -> None:
        self.catalog = catalog
        self.frame = frame
        """The last frame that the store covers with this batch."""
        self.refusal = refusal
        """The last refusal that the store covers with this batch."""
        self.count = 0
        """The number of rows."""
        self.numbers = {name: array(code) for name, code in _TYPECODES.items()}
        self._codes = {number: array("i") for number in (METRIC, CUSTOMER, RESOURCE)}
        self.extra: list[tuple[int, int, str]] = []
        """The values without a code: (row in the batch, dimension, tagged value)."""
        self.terms: list[tuple[int, GrantTerms]] = []
        """The terms of the grants in the batch, each with the number of its pool."""
        self.has_rest = False
        """Whether there are rows of reversals or refusals."""
        self.has_nanos = False
        """Whether there are quantities with decimal places."""
        self.has_parts = False
        """Whether there are entries that several grants paid."""
        self._quantities = _Quantities()

    def add(self, rows: UsageRows, *, through_frame: int | None = None, through_refusal: int | None = None) -> None:
        """Add the rows of the next frames up to ``through_frame``, or of the next refusals up to ``through_refusal``.

        A thousand rows at a time is best.
        """
        frame = self.frame if through_frame is None else through_frame
        refusal = self.refusal if through_refusal is None else through_refusal
        if frame < self.frame or refusal < self.refusal:
            raise ValueError(f"frame {frame} is covered already, up to {self.frame}")
        self.frame, self.refusal = frame, refusal
        self.terms += [(self.catalog.pool(each.pool).pool, each) for each in rows.grants]
        if rows.rows:
            self._add_rows(rows)

    def _add_rows(self, rows: UsageRows) -> None:
        numbers, codes = self.numbers, self._codes
        versions, moments, grants, debited, reverse, events, refused, quantities, metrics, dimensions, parts = zip(
            *rows.rows, strict=True
        )
        wholes, nanos = zip(*map(self._quantities.__getitem__, quantities), strict=True)
        self.has_rest = self.has_rest or NO_EVENT in events
        self.has_nanos = self.has_nanos or any(nanos)
        self.has_parts = self.has_parts or any(parts)
        numbers["version"].extend(versions)
        numbers["moment"].extend(moments)
        numbers["grant_number"].extend(grants)
        numbers["debited"].extend(debited)
        numbers["reversed"].extend(reverse)
        numbers["events"].extend(events)
        numbers["refused"].extend(refused)
        numbers["quantity"].extend(wholes)
        numbers["quantity_nano"].extend(nanos)
        numbers["part"].extend(parts)
        for canonical, frame, count in rows.pools:
            pool = self.catalog.pool(canonical)
            numbers["realm"].extend(array("i", (pool.realm,)) * count)
            numbers["pool"].extend(array("i", (pool.pool,)) * count)
            numbers["frame"].extend(array("q", (frame,)) * count)
            codes[CUSTOMER].extend(array("i", (pool.customer,)) * count)
            codes[RESOURCE].extend(array("i", (pool.resource,)) * count)
        self._encode(METRIC, metrics)
        beside: dict[str, int] = {}
        for name in dict.fromkeys(chain.from_iterable(dimensions)):
            number = self.catalog.dimension(name)
            if number < COLUMNS_END:
                self._encode(number, _values_of(dimensions, name))
            else:
                beside[name] = number
        if beside:
            self.extra += _beside(dimensions, beside, self.count)
        self.count += len(rows.rows)

    def filled_codes(self) -> Iterator[tuple[int, array[int]]]:
        """Yield the numbers of the dimensions that have a column, and their codes, one for each row."""
        for number, codes in self._codes.items():
            self._fill(codes)
            yield number, codes

    def _fill(self, codes: array[int]) -> None:
        """Fill up ``codes``: the rows without a code do not have the dimension."""
        if (lacking := self.count - len(codes)) > 0:
            codes.extend(array("i", (MISSING,)) * lacking)

    def _encode(self, number: int, values: Sequence[Value]) -> None:
        column = self.catalog.columns[number]
        codes = self._codes.setdefault(number, array("i"))
        self._fill(codes)
        encoded = column.encode(values)
        codes.extend(encoded)
        if column.closed:
            self.extra += [
                (row, number, tagged(value))
                for row, (code, value) in enumerate(zip(encoded, values, strict=True), self.count)
                if code == SPILLED and value is not None
            ]


def _values_of(dimensions: Sequence[Dimensions], name: str) -> Sequence[Value]:
    try:
        return list(map(itemgetter(name), dimensions))
    except KeyError:  # Some rows do not have it. This is half as fast.
        return list(map(methodcaller("get", name), dimensions))


class _Quantities(dict[str | None, tuple[int, int]]):
    """Quantities as whole numbers and billionths. Both fit 64 bits, and so do their sums over a batch."""

    def __missing__(self, quantity: str | None) -> tuple[int, int]:
        whole, _, places = (quantity or "0").partition(".")
        split = self[quantity] = (int(whole), int(places.ljust(9, "0")))
        return split


def _beside(dimensions: Sequence[Dimensions], numbers: dict[str, int], first: int) -> Iterator[tuple[int, int, str]]:
    """Yield (row, dimension, tagged value) for the dimensions that have no column."""
    for row, each in enumerate(dimensions, first):
        for name in each.keys() & numbers.keys():
            yield row, numbers[name], tagged(each[name])
