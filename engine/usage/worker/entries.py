"""Pages of the entries behind an answer: rows as entries, and the cursor from one page to the next."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from solvent.engine.usage.query import CURSOR_CHARS_MAX, UsageCell, UsageQuery
from solvent.engine.values.errors import InvalidRequest

Position: TypeAlias = tuple[int, int, int]
"""The (moment, pool, version) of an entry, by which pages are ordered."""


def by_entry(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Position, int]]:
    """Combine ordered rows of (pool, version, moment, debited, reversed) into entries with their units."""
    found: dict[Position, int] = {}
    for pool, version, moment, debited, reverse in rows:
        position = moment, pool, version
        found[position] = found.get(position, 0) + debited - reverse
    return list(found.items())


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The end of a page, and the digest of its question. The digest is not secret, and protects nothing."""

    digest: bytes
    as_of: int
    after: Position


CURSORS: Final = msgspec.msgpack.Decoder(Cursor)


def digest_of(query: UsageQuery, cell: UsageCell) -> bytes:
    """Return the digest that tells the cursors of one question from those of another."""
    return blake2b(msgspec.msgpack.encode((query, cell)), digest_size=8).digest()


def write_cursor(digest: bytes, as_of: int, after: Position) -> str:
    """Return the cursor of the page that follows ``after``."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(Cursor(digest, as_of, after))).decode()


def read_cursor(cursor: str, digest: bytes) -> tuple[int, Position]:
    """Return ``as_of`` and the end of the page before. Raises ``InvalidRequest`` for a cursor of another question."""
    try:
        if len(cursor) <= CURSOR_CHARS_MAX:
            found = CURSORS.decode(base64.b64decode(cursor, altchars=b"-_", validate=True))
            if found.digest == digest:
                return found.as_of, found.after
    except (ValueError, msgspec.MsgspecError):
        pass
    raise InvalidRequest("cursor", "the cursor of the page before, with the same query and cell")
