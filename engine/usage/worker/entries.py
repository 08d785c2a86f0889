"""Pages of the entries behind an answer: rows as entries, and the cursor from one page to the next."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from solvent.engine.usage.query import UsageCell, UsageQuery
from solvent.engine.values import cursors

Position: TypeAlias = tuple[int, int, int]
"""The (moment, pool, version) of an entry, by which pages are ordered."""


def by_entry(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Position, int]]:
    """Combine ordered rows of (pool, version, moment, debited, reversed) into entries with their units."""
    found: dict[Position, int] = {}
    for pool, version, moment, debited, reverse in rows:
        position = moment, pool, version
        found[position] = found.get(position, 0) + debited - reverse
    return list(found.items())


def digest_of(query: UsageQuery, cell: UsageCell) -> bytes:
    """Return the digest that tells the cursors of one question from those of another."""
    return blake2b(msgspec.msgpack.encode((query, cell)), digest_size=8).digest()


def write_cursor(digest: bytes, as_of: int, after: Position) -> str:
    """Return the cursor of the page that follows ``after``."""
    return cursors.write_cursor(("usage.entries", digest), (as_of, after))


def read_cursor(cursor: str, digest: bytes) -> tuple[int, Position]:
    """Return ``as_of`` and the end of the page before. Raises ``InvalidRequest`` for a cursor of another question."""
    found: tuple[int, Position] = cursors.read_cursor(cursor, ("usage.entries", digest), tuple[int, Position])
    return found
