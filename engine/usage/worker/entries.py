"""Pages of the entries behind an answer: rows as entries, and the cursor from one page to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from solvent.engine.journal.frames import events_at
from solvent.engine.journal.reader import JournalReader
from solvent.engine.usage.query import UsageCell, UsageEntry, UsageQuery
from solvent.engine.values import cursors
from solvent.engine.values.errors import JournalCorrupt

Position: TypeAlias = tuple[int, int, int]
"""The (moment, pool, version) of an entry, by which pages are ordered."""


def by_entry(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Position, tuple[int, int]]]:
    """Combine ordered rows of (pool, version, moment, debited, reversed, frame) into entries, each with its units and
    its frame."""
    found: dict[Position, tuple[int, int]] = {}
    for pool, version, moment, debited, reverse, frame in rows:
        position = moment, pool, version
        found[position] = found.get(position, (0, 0))[0] + debited - reverse, frame
    return list(found.items())


def with_events(entries: Sequence[UsageEntry], journal: JournalReader) -> list[UsageEntry]:
    """Return ``entries`` with their events, read from the journal: each frame once, and of it only these events.

    Raises ``JournalError``, or ``JournalCorrupt`` if an entry is missing.
    """
    wanted: dict[int, dict[str, list[int]]] = {}
    for each in entries:
        wanted.setdefault(each.frame, {}).setdefault(each.pool, []).append(each.version)
    events: dict[tuple[str, int], msgspec.Raw] = {}
    for number in sorted(wanted):
        frames = journal.frames(number - 1, 1)
        for frame in frames:
            for pool, versions in wanted[number].items():
                for version, event in events_at(frame, pool, versions).items():
                    # A copy, so that the frame can go.
                    events[pool, version] = event.copy()
    found: list[UsageEntry] = []
    for each in entries:
        its_event = events.get((each.pool, each.version))
        if its_event is None:
            what = f"version {each.version}, which the usage file has, is missing"
            raise JournalCorrupt(what, frame=each.frame, pool=each.pool)
        found.append(msgspec.structs.replace(each, event=its_event))
    return found


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
