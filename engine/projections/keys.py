"""Idempotency keys: was this key used in this pool, and by what?

The answer must be exact, since a false "new" is a double charge, and cheap for new keys, which nearly all are. Keys are
filed by hash. Those of events that the index has not reached are in memory; behind them stand the filters of
``SeenKeys``, and behind those the index. An answer from memory or a filter takes under a microsecond; only a key that a
filter knows is looked up on disk. A hash that is found proves nothing: the whole key is compared, here and there.

Memory is given up in generations: the projector starts a new one, indexes everything in the old one, and drops it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
from xxhash import xxh3_64_intdigest

from solvent.engine.rules.events import Keyed
from solvent.engine.rules.outcomes import Prior

from .key_filters import SeenKeys


class Use(msgspec.Struct, frozen=True, gc=False):
    """What used a key. Not the garbage collector's concern: it holds nothing that could lead back to it."""

    pool: str
    event: Keyed
    version: int


Generation: TypeAlias = dict[int, Use]
"""By the hash of the key."""

SEPARATOR: Final = "\0"
"""Between pool and key in what is hashed: neither can hold it."""
OPENING: Final = ""
"""In place of a key, for the beginning of a pool: a key is never empty."""


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
        self._collided: dict[tuple[str, str], Prior] = {}
        """Keys whose hash another key in memory has. One in a hundred million: they are never given up."""
        self.drops = 0
        """How often a generation was given up. A look-up on disk that spans one must be made again."""

    def is_new(self, key_hash: int) -> bool:
        """Whether no key of this hash was ever used. If not, ``find_recent`` and then the index know more."""
        return key_hash not in self._recent and key_hash not in self._sealing and key_hash not in self.seen

    def find_recent(self, pool: str, key: str, key_hash: int) -> Prior | None:
        """What used ``key`` in ``pool``, if the index may not have it yet."""
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
        """``use``, for a hash that was just found to be new."""
        self._recent[key_hash] = Use(pool, event, version)

    def begin_generation(self) -> None:
        """Keys from now on belong to the next generation. The sealed one must be dropped before the next call."""
        assert not self._sealing  # noqa: S101 - the projector runs one round at a time
        self._sealing, self._recent = self._recent, {}

    def drop_generation(self) -> Generation:
        """Forget the sealed generation: the index and the filters have all of it. Returns it, to be freed in slices."""
        dropped, self._sealing = self._sealing, {}
        self.drops += 1
        return dropped
