"""Counts of refusals: statistics next to the journal, never entries of a ledger.

Refusals of one interval with the same pool, metric and dimensions are counted as one row, at the time of the first. A
caller may be a script that runs wild with new dimensions each time, so the number of rows in an interval is bounded.
Beyond the bound, refusals are counted by pool only, and after as many pools again, not at all.
"""

from __future__ import annotations

import msgspec

from solvent.engine.values.dimensions import NO_DIMENSIONS

KINDS_MAX = 10_000


class Refused(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The number of refused debits and holds of one pool, beginning at ``at``, in UTC microseconds since 1970."""

    pool: str
    at: int
    metric: str | None
    dimensions: bytes
    """Encoded, as in the journal."""
    count: int


class Refusals:
    """Counts refusals until they are taken."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str | None, bytes], tuple[int, int]] = {}
        """The time of the first refusal and the count, by (pool, metric, dimensions)."""
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
        """Return the counts since the last call, and begin again at zero."""
        kinds, self._kinds = self._kinds, {}
        pools, self._pools = self._pools, {}
        none = bytes(NO_DIMENSIONS)
        return [
            *(Refused(pool, at, metric, raw, count) for (pool, metric, raw), (at, count) in kinds.items()),
            *(Refused(pool, at, None, none, count) for pool, (at, count) in pools.items()),
        ]
