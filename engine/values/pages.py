"""The most rows that a page of each list may have."""

from __future__ import annotations

from typing import Final

from .amounts import shown
from .errors import InvalidRequest

LEDGER_PAGE_MAX: Final = 1_000
POOL_PAGE_MAX: Final = 1_000
EVENT_PAGE_MAX: Final = 1_000
LIST_PAGE_MAX: Final = 1_000
"""Of grants, holds, counts and all other lists of a pool or a customer."""


def check_limit(limit: object, limit_max: int) -> int:
    """Return ``limit`` if a page may have that many rows.

    Raises ``InvalidRequest`` unless ``limit`` is an ``int`` and ``1 <= limit <= limit_max``.
    """
    if type(limit) is int and 1 <= limit <= limit_max:
        return limit
    raise InvalidRequest("limit", f"a whole number from 1 to {limit_max}", got=shown(limit))
