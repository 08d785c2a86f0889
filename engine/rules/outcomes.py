"""The outcomes of a command: events, a repeat of an earlier answer, or a refusal."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from .allowances import Reset
from .budgets import Lack, Stop
from .events import Event, Keyed

EntryName: TypeAlias = Literal["grant", "hold", "debit", "recharge"]
"""The kinds of entry that a command can name and the pool may not have."""
ConflictReason: TypeAlias = Literal[
    "already_reversed",
    "grant_expired",
    "grant_voided",
    "hold_captured",
    "hold_released",
    "hold_expired",
    "recharge_granted",
    "recharge_refused",
    "recharge_timed_out",
    "too_many_budgets",
    "too_many_allowances",
    "too_many_recurring",
    "too_many_rate_cards",
]
UnfitField: TypeAlias = Literal[
    "amount", "dimensions", "effective_at", "ends_at", "expires_at", "occurred_at", "starts_at", "ttl_s"
]


class Insufficient(msgspec.Struct, frozen=True, gc=False):
    """Refusal: less is available than was requested, even with what allowances would cover."""

    requested: int
    available: int
    covered: int = 0
    reset: Reset | None = None
    """The first allowance to have room again, of those that could not cover the whole amount."""


class OverBudget(msgspec.Struct, frozen=True, gc=False):
    """Refusal: there are enough credits, but a budget would be exceeded."""

    stop: Stop


class Unchanged(msgspec.Struct, frozen=True, gc=False):
    """The state is already as requested: nothing to do."""

    next_at: int | None = None
    """The time of the next grant, if it is about a recurring grant."""


class UnknownPool(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the pool does not exist."""


class KeyTaken(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the key belongs to another request, entry ``version``."""

    key: str
    version: int


class UnknownEntry(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the pool has no such grant, hold or debit."""

    what: EntryName
    number: int


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the state of the pool does not allow the command. ``reason`` is a stable word."""

    reason: ConflictReason
    message: str


class Unfit(msgspec.Struct, frozen=True, gc=False):
    """Refusal: ``field`` does not fit the pool as it is now."""

    field: UnfitField
    expected: str
    """What was expected. If there is a ``most``, ``{}`` stands for it."""
    most: int | None = None
    """The largest amount that would fit, in units."""


def lacking(lack: Lack) -> Unfit:
    """Return the refusal of usage without a dimension that it must have."""
    return Unfit("dimensions", f'the dimension "{lack.dimension}": {lack.by} counts each of its values on its own')


Prior: TypeAlias = tuple[Keyed, int]
"""The event that used a key before, and its version."""


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """The same request was answered before, by the entry ``version``. Give the same answer and change nothing."""

    event: Keyed
    version: int
    ended: Prior | None = None
    """Of a hold: the entry that settled it; ``None`` if it is open."""
    expires_at: int | None = None
    """Of a hold that is open: when it expires by now."""


Refusal: TypeAlias = Insufficient | OverBudget | UnknownPool | UnknownEntry | KeyTaken | Conflict | Unfit


Outcome: TypeAlias = tuple[Event, ...] | Repeat | Unchanged | Refusal
