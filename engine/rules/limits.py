"""Limits on how far a usage event's own time may lie from the time at which it is recorded."""

from __future__ import annotations

from typing import Final

import msgspec

from solvent.engine.values.times import DAY_US, SECOND_US

from .outcomes import Unfit


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The farthest that a usage event's own time may lie from the pool's clock, in microseconds."""

    occurred_back_max_us: int = 400 * DAY_US
    occurred_ahead_max_us: int = 300 * SECOND_US


HOLD_AHEAD_MAX_US: Final = DAY_US
"""The farthest from now that a hold may expire, when it is made and when it is extended."""
HOLD_MAX_US: Final = 7 * DAY_US
"""The longest that a hold may stay open from its start, however often it is extended."""
LIMITS_DEFAULT: Final = Limits()


def check_occurred_at(occurred_at: int, at: int, limits: Limits, backfill: bool) -> Unfit | None:
    """Return the refusal of an event's own time; ``None`` if it is within ``limits``."""
    if occurred_at > at + limits.occurred_ahead_max_us:
        return Unfit("occurred_at", f"at most {limits.occurred_ahead_max_us // SECOND_US} seconds ahead of now")
    if occurred_at < at - limits.occurred_back_max_us and not backfill:
        return Unfit("occurred_at", f"at most {limits.occurred_back_max_us // DAY_US} days ago")
    return None
