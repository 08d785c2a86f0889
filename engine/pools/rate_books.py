"""A cache of the rate cards that pools use for pricing.

A card is set in its own stream, by another actor than the pool's. The first report of usage waits until the cards are
loaded; then they stay here until one is set again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from solvent.engine.rules.rates import RateBook
from solvent.engine.values.pool_id import parse_canonical, rates_stream


class RateBooks:
    """Rate books by the canonical name of their stream."""

    def __init__(self, read: Callable[[str], Awaitable[RateBook]]) -> None:
        """``read`` returns the durable book of a stream. It may raise ``SolventError``."""
        self._read = read
        self._books: dict[str, RateBook] = {}
        """The books that were loaded and have not changed since."""
        self._changes = 0

    def __contains__(self, stream: str) -> bool:
        return stream in self._books

    def get(self, stream: str) -> RateBook | None:
        """Return the book of ``stream``, if it is in memory."""
        return self._books.get(stream)

    def changed(self, stream: str) -> None:
        """Note that a card was set in ``stream``: its book must be read again."""
        self._books.pop(stream, None)
        self._changes += 1

    def clear(self) -> None:
        """Forget all books, because the journal is read again after a failure."""
        self._books.clear()

    async def load(self, pool: str) -> None:
        """Ensure that the book for ``pool``, a canonical name, is in memory. Raises ``SolventError``."""
        name = parse_canonical(pool)
        stream = rates_stream(name.environment, name.currency).canonical
        while stream not in self._books:
            changes = self._changes
            book = await self._read(stream)
            # If a card was set after the stream answered, this book lacks it, and would lack it for ever. Read again.
            if changes == self._changes:
                self._books[stream] = book
