"""The events that a pool publishes without being asked: alerts and recharge requests."""

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
    "grant_skipped",
    "recharge_requested",
    "recharge_refused",
    "recharge_timed_out",
]


class PoolEvent(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """An alert or a recharge request of a pool. Fields that a kind does not have are ``None``."""

    kind: EventKind
    pool: str
    """The name of the pool."""
    version: int
    """The version of the pool after this event."""
    recorded_at: datetime
    """The time at which the event was recorded."""
    available: Decimal
    """The credits that were available just after this event."""
    position: str
    """The position of this event in the journal. ``events(after=...)`` and ``past_events`` continue after it."""
    limit: Decimal | None = None
    """The threshold that was crossed, the amount of the budget, or what the pool could still take, in credits."""
    percent: int | None = None
    """The threshold as a percentage; ``None`` if it was an amount."""
    amount: Decimal | None = None
    """The credits left in the grant, returned from the hold, used of the budget, requested by the recharge, or not
    granted."""
    grant: str | None = None
    """The id of the grant that expires soon."""
    hold: str | None = None
    """The id of the hold that expired."""
    budget: str | None = None
    """The name of the budget that was reached."""
    value: str | int | float | bool | None = None
    """The value of the dimension for which the budget counts on its own."""
    expires_at: datetime | None = None
    """The time at which the grant or the recharge request expires."""
    recharge: str | None = None
    """The id of the recharge request, such as "q7"."""
    recurring: str | None = None
    """The name of the recurring grant that could not grant for a period."""
    granted: bool = False
    """Whether the pool grants the recharge by itself."""
    cut: tuple[str, ...] = ()
    """The names of fields that were left out because they do not fit into a message."""


class EventPage(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of events, oldest first."""

    events: tuple[PoolEvent, ...]
    position: str
    """The position to continue from: pass it as ``after``."""
    more: bool
    """Whether more events can be read now."""
