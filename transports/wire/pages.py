"""Pages that fit into one message, whatever its largest size is: a page is bound in bytes as well as in rows.

A list is read again with fewer rows until it fits. Its cursor then says where the next page begins, so that every list
can be had whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from solvent.engine.api.prices import CardList
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import Request
from solvent.engine.api.rows import rows_of
from solvent.engine.values.errors import TooLarge

from .answers import encode_answer
from .cutting import encode_to_fit

PAGE_BYTES_MAX: Final = 1 << 20
"""The bytes of a page where the transport itself has no bound."""
SPARE: Final = 0.9
"""The part of a message that a smaller page is meant to fill: rows have different lengths."""


async def read_page(
    ask: Callable[[Request[Any]], Awaitable[Any]], request: Request[Any], bytes_max: int
) -> tuple[Any, bytes]:
    """Return the answer to a read, and as JSON of at most ``bytes_max`` bytes, with fewer rows if need be.

    It is longer only if a single row is, or what was asked for is no list. Raises ``SolventError``.
    """
    while True:
        answer = await ask(request)
        payload = encode_answer(answer)
        if len(payload) <= bytes_max or isinstance(answer, Receipt):
            # What was applied must not be asked for again.
            return answer, payload
        smaller = _smaller(request, answer, bytes_max / len(payload) * SPARE)
        if smaller is None:
            return answer, payload
        request = smaller


async def read_to_fit(ask: Callable[[Request[Any]], Awaitable[Any]], request: Request[Any], bytes_max: int) -> bytes:
    """Return the answer to a read, or to a command that is no command of one pool, as JSON of at most ``bytes_max``
    bytes: with fewer rows and, if a single row is too long, without its long fields.

    Raises ``SolventError``, ``TooLarge`` if even that does not fit.
    """
    answer, payload = await read_page(ask, request, bytes_max)
    if len(payload) > bytes_max:
        payload = encode_to_fit(answer, bytes_max)
    if len(payload) > bytes_max:
        raise too_large(request, len(payload))
    return payload


def too_large(request: Request[Any], size: int) -> TooLarge:
    """Return the refusal of an answer of ``size`` bytes."""
    # For usage, ``top`` asks for fewer groups.
    field = "limit" if hasattr(request, "limit") else "top"
    return TooLarge(field, "a smaller number: the answer does not fit into one message", got=str(size))


def _smaller(request: Any, answer: Any, part: float) -> Request[Any] | None:
    """Return a request for about this part of ``answer``; ``None`` if there is no smaller one."""
    rows = rows_of(answer)
    count = sum([len(card.rates) for card in rows]) if isinstance(answer, CardList) else len(rows)
    if hasattr(request, "limit") and count > 1:
        fewer: Request[Any] = msgspec.structs.replace(request, limit=max(1, min(count - 1, int(count * part))))
        return fewer
    counts = max([len(getattr(row, "counts", ())) for row in rows], default=0)
    if hasattr(request, "counts_max") and counts:
        less: Request[Any] = msgspec.structs.replace(request, counts_max=min(counts - 1, int(counts * part)))
        return less
    return None
