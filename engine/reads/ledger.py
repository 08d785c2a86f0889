"""Pages of a pool's ledger, read from the journal."""

from __future__ import annotations

from solvent.engine.api.ledger import LedgerEntry, LedgerPage
from solvent.engine.journal.frames import Head
from solvent.engine.journal.protocol import Journal
from solvent.engine.projections.history import sections_between
from solvent.engine.projections.index import Index
from solvent.engine.rules.views.ledger import entry_of


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
    """Return the entries beyond ``cursor``, a version that was already shown. Raises ``JournalCorrupt``.

    ``next_cursor`` of the page is the version after which the next one begins, as text.
    """
    if newest_first:
        last = head.version if cursor is None else min(cursor - 1, head.version)
        first = max(1, last - limit + 1)
        more = first > 1
    else:
        first = 1 if cursor is None else max(1, cursor + 1)
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
    following = str(entries[-1].version) if entries and more else None
    return LedgerPage(name, head.version, tuple(entries), following)
