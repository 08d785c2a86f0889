"""Whole ledgers, for tests that compare all of one with what they know."""

from __future__ import annotations

from solvent import Credits, LedgerEntry


async def whole_ledger(credits: Credits, pool: str) -> list[LedgerEntry]:
    """Return all entries of a pool, the oldest first."""
    entries: list[LedgerEntry] = []
    cursor: str | None = None
    while True:
        page = await credits.ledger(pool, limit=1_000, cursor=cursor, newest_first=False)
        entries += page.entries
        cursor = page.next_cursor
        if cursor is None:
            return entries
