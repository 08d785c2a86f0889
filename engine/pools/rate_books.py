"""The rate cards that pools price by: those that are in memory, and how the others come there.

A card is set in a stream of its own, by an actor that is not the pool's. Pools that report usage wait for it once; then
it stays here until it is set again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from solvent.engine.rules.rates import RateBook
from solvent.engine.values.pool_id import parse_canonical, rates_stream


class RateBooks:
    """Rate books by the canonical name of their stream."""

    def __init__(self, read: Callable[[str], Awaitable[RateBook]]) -> None:
        """``read`` asks a stream for its book. It answers what is durable, and raises ``SolventError``."""
        self._read = read
        self._books: dict[str, RateBook] = {}
        """Those that were asked for since they were set last."""
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
        """Forget all books: the journal is read again after a failure."""
        self._books.clear()

    async def load(self, pool: str) -> None:
        """Make sure that the book for ``pool``, a canonical name, is in memory. Raises ``SolventError``."""
        name = parse_canonical(pool)
        stream = rates_stream(name.environment, name.currency).canonical
        while stream not in self._books:
            changes = self._changes
            book = await self._read(stream)
            # A card that was set between the answer and now would be missing from this book for ever.
            if changes == self._changes:
                self._books[stream] = book
