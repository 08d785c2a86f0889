"""What was refused, counted: a statistic beside the journal, never an entry of a ledger.

Alike refusals of one interval, those of one pool, metric and dimensions, are counted as one row at the time of the
first. Who is refused may be a script that runs wild with new dimensions each time, so the kinds of an interval are
bounded: beyond the bound dimensions are left out, and after as many pools again, refusals are not counted.
"""

from __future__ import annotations

import msgspec

from solvent.engine.values.dimensions import NO_DIMENSIONS

KINDS_MAX = 10_000


class Refused(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``count`` refusals of debits or holds of one pool from ``at`` on, in UTC microseconds since 1970."""

    pool: str
    at: int
    metric: str | None
    dimensions: bytes
    """Encoded, as in the journal."""
    count: int


class Refusals:
    """Counts what is refused until it is taken."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str | None, bytes], tuple[int, int]] = {}
        """When it was first seen and how often, by (pool, metric, dimensions)."""
        self._pools: dict[str, tuple[int, int]] = {}

    def add(self, pool: str, at: int, metric: str | None, dimensions: bytes) -> None:
        """Count a refusal."""
        kind = pool, metric, dimensions
        known = self._kinds.get(kind)
        if known is not None:
            self._kinds[kind] = known[0], known[1] + 1
        elif len(self._kinds) < KINDS_MAX:
            self._kinds[kind] = at, 1
        elif pool in self._pools or len(self._pools) < KINDS_MAX:
            first, count = self._pools.get(pool, (at, 0))
            self._pools[pool] = first, count + 1

    def take(self) -> list[Refused]:
        """What was counted since this was asked last."""
        kinds, self._kinds = self._kinds, {}
        pools, self._pools = self._pools, {}
        none = bytes(NO_DIMENSIONS)
        return [
            *(Refused(pool, at, metric, raw, count) for (pool, metric, raw), (at, count) in kinds.items()),
            *(Refused(pool, at, None, none, count) for pool, (at, count) in pools.items()),
        ]
