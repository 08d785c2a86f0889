"""Pages of a pool's ledger, read from the journal."""

from __future__ import annotations

import re
from typing import Final

from solvent.engine.api.ledger import LedgerEntry, LedgerPage
from solvent.engine.journal.frames import Head
from solvent.engine.journal.protocol import Journal
from solvent.engine.projections.history import sections_between
from solvent.engine.projections.index import Index
from solvent.engine.rules.views.ledger import entry_of
from solvent.engine.values.amounts import shown
from solvent.engine.values.errors import InvalidRequest

_CURSOR: Final = re.compile(r"v([0-9]{1,19})", re.ASCII)


def parse_cursor(cursor: object) -> int | None:
    """Return the version that a ledger cursor stands for."""
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if match is None:
        raise InvalidRequest("cursor", "the next_cursor of an earlier page", got=shown(cursor))
    return int(match[1])


async def read_page(
    journal: Journal,
    index: Index,
    pool: str,
    head: Head,
    *,
    name: str,
    scale: int,
    limit: int,
    cursor: int | None,
    newest_first: bool,
) -> LedgerPage:
    """Return the entries beyond ``cursor``, a version that was already shown. Raises ``JournalCorrupt``."""
    if newest_first:
        last = head.version if cursor is None else min(cursor - 1, head.version)
        first = max(1, last - limit + 1)
        more = first > 1
    else:
        first = 1 if cursor is None else cursor + 1
        last = min(head.version, first + limit - 1)
        more = last < head.version
    entries: list[LedgerEntry] = []
    if first <= last:
        for section in await sections_between(journal, index, pool, head, first=first, last=last):
            for version, event in enumerate(section.events, section.first_version):
                if first <= version <= last:
                    entries.append(entry_of(event, version, scale))
    if newest_first:
        entries.reverse()
    following = f"v{entries[-1].version}" if entries and more else None
    return LedgerPage(name, head.version, tuple(entries), following)
