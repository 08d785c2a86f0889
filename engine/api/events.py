"""What pools say by themselves: alerts and recharge requests."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from solvent.engine.values.readable import Readable

EventKind: TypeAlias = Literal[
    "low",
    "depleted",
    "expiring_soon",
    "budget_reached",
    "hold_expired",
    "recharge_requested",
    "recharge_refused",
    "recharge_timed_out",
]


class PoolEvent(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Something that a pool said by itself. What a kind has nothing to say of is ``None``."""

    kind: EventKind
    pool: str
    version: int
    recorded_at: datetime
    available: Decimal
    position: str
    """Where it stands among all events of the journal: ``events(after=...)`` and ``past_events`` go on behind it."""
    limit: Decimal | None = None
    """The threshold, or the budget's amount."""
    percent: int | None = None
    amount: Decimal | None = None
    """What is left of a grant, came back from a hold, is used of a budget, or is asked for."""
    grant: str | None = None
    hold: str | None = None
    budget: str | None = None
    value: str | int | float | bool | None = None
    """That of the dimension for which the budget counts on its own."""
    expires_at: datetime | None = None
    """When the grant expires, or the request."""
    recharge: str | None = None
    granted: bool = False
    """Whether the pool grants the recharge by itself."""


class EventPage(Readable, msgspec.Struct, frozen=True, gc=False):
    """Some events, oldest first. ``position`` goes on behind what was looked at; ``more``: at once."""

    events: tuple[PoolEvent, ...]
    position: str
    more: bool
