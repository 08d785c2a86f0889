"""Usage as rows, made from the entries of the journal: who consumed how much, when, of what, and out of which grant.

Debits and captures count when they occurred, reversals when they were recorded. An entry paid by several grants has a
row for each, in burn order, with its share of the quantity: in proportion to what the grant paid, in billionths, and
rounded so that the shares add up to the quantity. The rows of such an entry are its parts, numbered from 1. The first
carries the event, so that a sum over whole entries counts each once. Debited and reversed units have separate columns,
neither ever below zero.

Refusals are not entries. They come from statistics next to the journal, as rows that carry only a count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from solvent.engine.journal.frames import Section
from solvent.engine.pools.refusals import Refused
from solvent.engine.rules.events import Captured, Debited, Granted, MovedIn, Parts, Reversed
from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.quantities import QUANTITY_PLACES

Dimensions: TypeAlias = dict[str, DimensionValue]
UsageTuple: TypeAlias = tuple[int, int, int, int, int, int, int, str | None, str | None, Dimensions, int]
"""A row: (version, occurred at, grant or 0, debited, reversed, event, refused, quantity, metric, dimensions, part)."""

NO_EVENT: Final = -1
"""The value in place of the number of events (1 or 0): the row is no event, and its time is not the time of one."""
NO_ENTRY: Final = 0
"""The version of rows without an entry in the ledger."""
NO_FRAME: Final = 0
"""The frame of such rows."""

_QUANTITY_UNITS: Final = 10**QUANTITY_PLACES
_decode: Final = msgspec.msgpack.Decoder(dict[str, str | int | float | bool]).decode
_NO_PARTS: Final = ((0, 0),)
WHOLE: Final = 0
"""The part of a row that is the whole of its event, or of none."""


class GrantTerms(msgspec.Struct, frozen=True, gc=False):
    """The category and cost basis of a grant, for breakdowns."""

    pool: str
    grant: int
    category: str
    cost_basis: str | None
    """The cost basis as decimal text and currency, such as "0.01 USD"."""


class UsageRows:
    """The rows of some frames, in the order of the journal."""

    __slots__ = ("grants", "pools", "rows")

    def __init__(self) -> None:
        self.pools: list[tuple[str, int, int]] = []
        """The pools of the rows: (canonical pool, frame, number of rows)."""
        self.rows: list[UsageTuple] = []
        self.grants: list[GrantTerms] = []

    def add(self, sections: Iterable[Section], frame: int) -> None:
        """Add the usage in ``sections`` of a frame. Events of other kinds, even unknown ones, are skipped."""
        rows = self.rows
        append = rows.append
        for section in sections:
            before = len(rows)
            version = section.first_version - 1
            for event in section.events:
                version += 1
                # Check for the usual events first: this loop sees every entry of the journal.
                if isinstance(event, (Debited, Captured)):
                    at = event.at if event.occurred_at is None else event.occurred_at
                    metric, dimensions = event.metric, _decode(event.dimensions)
                    paid = event.parts if isinstance(event, Debited) else event.paid
                    if len(paid) > 1 and len(shares := _shares(paid, event.quantity)) > 1:
                        for part, (grant, units, share) in enumerate(shares, 1):
                            append((version, at, grant, units, 0, part == 1, 0, share, metric, dimensions, part))
                        continue
                    grant = paid[0][0] if paid else 0
                    units = sum([units for _, units in paid])
                    append((version, at, grant, units, 0, 1, 0, event.quantity, metric, dimensions, WHOLE))
                elif isinstance(event, Reversed):
                    metric, dimensions = event.metric, _decode(event.dimensions)
                    for grant, units in event.parts or _NO_PARTS:
                        append((version, event.at, grant, 0, units, NO_EVENT, 0, None, metric, dimensions, WHOLE))
                elif isinstance(event, (Granted, MovedIn)):
                    cost = event.cost_basis
                    basis = None if cost is None else f"{cost.per_credit} {cost.currency}"
                    self.grants.append(GrantTerms(section.pool, version, event.category, basis))
            if len(rows) > before:
                self.pools.append((section.pool, frame, len(rows) - before))

    def add_refused(self, refusals: Iterable[Refused]) -> None:
        """Add rows for refusals."""
        for each in refusals:
            dimensions = _decode(each.dimensions)
            self.rows.append((NO_ENTRY, each.at, 0, 0, 0, NO_EVENT, each.count, None, each.metric, dimensions, WHOLE))
            self.pools.append((each.pool, NO_FRAME, 1))


def _shares(paid: Parts, quantity: str | None) -> list[tuple[int, int, str | None]]:
    """Return (grant, units, share of the quantity) for each grant that paid, in burn order.

    A capture may take of one grant both what it held and more: that is one share.
    """
    units_of: dict[int, int] = {}
    for grant, units in paid:
        units_of[grant] = units_of.get(grant, 0) + units
    if quantity is None:
        return [(grant, units, None) for grant, units in units_of.items()]
    whole, _, places = quantity.partition(".")
    billionths = int(whole) * _QUANTITY_UNITS + int(places.ljust(QUANTITY_PLACES, "0"))
    total, before, so_far = sum(units_of.values()) or 1, 0, 0
    shares: list[tuple[int, int, str | None]] = []
    for grant, units in units_of.items():
        so_far += units
        through = billionths * so_far // total
        whole_share, nano = divmod(through - before, _QUANTITY_UNITS)
        shares.append((grant, units, f"{whole_share}.{nano:0{QUANTITY_PLACES}}" if nano else str(whole_share)))
        before = through
    return shares
