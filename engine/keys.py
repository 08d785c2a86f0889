"""Idempotency keys: was this key used in this pool, and by what?

The answer must be exact, since a false "new" is a double charge, and cheap for new keys, which nearly all are. Keys of
events that the index has not reached are in memory; behind them stand the filters of ``SeenKeys``, and behind
those the index. An answer from memory or a filter takes about a microsecond; only a key that a filter
knows is looked up on disk, and there the whole key is compared.

Memory is given up in generations: the projector starts a new one, indexes everything in the old one, and drops it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from xxhash import xxh3_64_intdigest

from .outcomes import Prior
from .seen import SeenKeys

Generation: TypeAlias = dict[tuple[str, str], Prior]

SEPARATOR: Final = "\0"
"""Between pool and key in what is hashed: neither can hold it."""


def hash_key(pool: str, key: str, seed: int) -> int:
    """The hash under which a key is filed: 64 bits, seeded per index, since callers choose the keys."""
    return xxh3_64_intdigest(f"{pool}{SEPARATOR}{key}".encode(), seed)


class KeyBook:
    """The keys of all pools of one engine."""

    def __init__(self, *, seed: int, seen: SeenKeys) -> None:
        self.seed = seed
        self.seen = seen
        self._recent: Generation = {}
        self._sealing: Generation = {}
        self.drops = 0
        """How often a generation was given up. A look-up on disk that spans one must be made again."""

    def find_recent(self, pool: str, key: str) -> Prior | None:
        """What used ``key`` in ``pool``, if the index may not have it yet."""
        name = (pool, key)
        found = self._recent.get(name)
        if found is None and self._sealing:
            found = self._sealing.get(name)
        return found

    def use(self, pool: str, key: str, prior: Prior) -> None:
        """Remember what used ``key``, from the moment it is decided."""
        self._recent[(pool, key)] = prior

    @property
    def recent(self) -> int:
        return len(self._recent) + len(self._sealing)

    def begin_generation(self) -> None:
        """Keys from now on belong to the next generation. The sealed one must be dropped before the next call."""
        assert not self._sealing  # noqa: S101 - the projector runs one round at a time
        self._sealing, self._recent = self._recent, {}

    def drop_generation(self) -> Generation:
        """Forget the sealed generation: the index and the filters have all of it. Returns it, to be freed in slices."""
        dropped, self._sealing = self._sealing, {}
        self.drops += 1
        return dropped

    def forget_all(self) -> None:
        """Forget what is in memory, after a failed commit: the journal is read again and says what is true."""
        self._recent, self._sealing = {}, {}
        self.drops += 1
