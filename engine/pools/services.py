"""What the actors of an engine share: the current partition, and what outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from solvent.engine.journal.listeners import Listeners
from solvent.engine.rules.limits import Limits

from .borrowing import Loans
from .partition import Partition
from .rate_books import RateBooks
from .refusals import Refusals
from .scales import Scales


@dataclass(slots=True, kw_only=True, eq=False)
class Services:
    """The shared services, passed to every new actor."""

    now_us: Callable[[], int]
    """The clock, in microseconds since 1970, UTC."""
    limits: Limits
    scales: Scales
    partition: Partition
    """The current partition. The host replaces it after a failure of the journal or the index."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while ``partition`` can be used; cleared while it is being replaced."""
    rate_books: RateBooks
    listeners: Listeners
    refusals: Refusals
    loans: Loans
