"""Idempotency keys: was this key used in this pool, and by which event?

The answer must be exact, since a false "new" is a double charge, and cheap for new keys, which nearly all are. Keys are
stored by hash. Those of events that the index does not cover yet are in memory; then come the filters of ``SeenKeys``,
then the index. An answer from memory or a filter takes under a microsecond; only a key that a filter knows is looked up
on disk. A matching hash proves nothing: both in memory and on disk, the whole key is compared.

Memory is freed in generations: the projector starts a new one, indexes everything in the old one, and drops it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
from xxhash import xxh3_64_intdigest

from solvent.engine.rules.events import Keyed
from solvent.engine.rules.outcomes import Prior

from .key_filters import SeenKeys


class Use(msgspec.Struct, frozen=True, gc=False):
    """The use of a key. The garbage collector may skip it, because nothing it holds can refer back to it."""

    pool: str
    event: Keyed
    version: int


Generation: TypeAlias = dict[int, Use]
"""The uses of keys, by the hash of the key."""

SEPARATOR: Final = "\0"
"""The character between pool and key in the hashed text. Neither can contain it."""
OPENING: Final = ""
"""The text in place of a key that stands for the beginning of a pool. A key is never empty."""


def hash_key(pool: str, key: str, seed: int) -> int:
    """Return the hash of a key: 64 bits, seeded per index, since callers choose the keys."""
    return xxh3_64_intdigest(f"{pool}{SEPARATOR}{key}".encode(), seed)


class KeyBook:
    """The keys of all pools of one engine."""

    def __init__(self, *, seed: int, seen: SeenKeys) -> None:
        self.seed = seed
        self.seen = seen
        self._recent: Generation = {}
        self._sealing: Generation = {}
        self._collided: dict[tuple[str, str], Prior] = {}
        """The keys whose hash another key in memory has. One in a hundred million, so they are never dropped."""
        self.drops = 0
        """The number of generations dropped. A look-up on disk during which one was dropped must be repeated."""

    def is_new(self, key_hash: int) -> bool:
        """Return whether no key of this hash was ever used. If false, ask ``find_recent``, then the index."""
        return key_hash not in self._recent and key_hash not in self._sealing and key_hash not in self.seen

    def find_recent(self, pool: str, key: str, key_hash: int) -> Prior | None:
        """Return the event that used ``key`` in ``pool``, if it is still in memory."""
        for generation in (self._recent, self._sealing):
            found = generation.get(key_hash)
            if found is not None and found.pool == pool and found.event.key == key:
                return found.event, found.version
        return self._collided.get((pool, key))

    def use(self, pool: str, event: Keyed, version: int, key_hash: int) -> None:
        """Remember which event used its key, from the moment it is decided."""
        if key_hash in self._recent or key_hash in self._sealing:
            self._collided[pool, event.key] = (event, version)
        else:
            self._recent[key_hash] = Use(pool, event, version)

    def use_new(self, pool: str, event: Keyed, version: int, key_hash: int) -> None:
        """Do the same as ``use``, for a hash that was just found to be new."""
        self._recent[key_hash] = Use(pool, event, version)

    def begin_generation(self) -> None:
        """Begin the next generation, and seal the current one. Drop the sealed one before the next call."""
        assert not self._sealing  # noqa: S101 - the projector runs one round at a time
        self._sealing, self._recent = self._recent, {}

    def drop_generation(self) -> Generation:
        """Forget the sealed generation, which the index and the filters now have. Returns it, to be freed in slices."""
        dropped, self._sealing = self._sealing, {}
        self.drops += 1
        return dropped
