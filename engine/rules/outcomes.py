"""What a pool can say to a command: events, the answer it gave before, or why not."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from .allowances import Reset
from .budgets import Stop
from .events import Event, Keyed

EntryName: TypeAlias = Literal["grant", "hold", "debit", "recharge"]
"""What a command can be about that the pool may not have."""
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
UnfitField: TypeAlias = Literal["amount", "effective_at", "ends_at", "expires_at", "occurred_at", "starts_at"]


class Insufficient(msgspec.Struct, frozen=True, gc=False):
    """Refusal: less is available than was asked for, even with what allowances would cover."""

    requested: int
    available: int
    covered: int = 0
    reset: Reset | None = None
    """The allowance in the way that has room again first."""


class OverBudget(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the credits are there, but a budget does not let them be spent."""

    stop: Stop


class Unchanged(msgspec.Struct, frozen=True, gc=False):
    """Things are as they were asked to be: nothing to do."""


class UnknownPool(msgspec.Struct, frozen=True, gc=False):
    """Refusal: nothing was ever granted here."""


class KeyTaken(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the key belongs to another request, entry ``version``."""

    key: str
    version: int


class UnknownEntry(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the pool has no such grant, hold or debit."""

    what: EntryName
    number: int


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Refusal: the pool is not in a state for it. ``reason`` is a stable word."""

    reason: ConflictReason
    message: str


class Unfit(msgspec.Struct, frozen=True, gc=False):
    """Refusal: ``field`` does not fit the pool as it is now."""

    field: UnfitField
    expected: str


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """The request was granted before, by the entry ``version``: answer as then, change nothing."""

    event: Keyed
    version: int


Refusal: TypeAlias = Insufficient | OverBudget | UnknownPool | UnknownEntry | KeyTaken | Conflict | Unfit


Outcome: TypeAlias = tuple[Event, ...] | Repeat | Unchanged | Refusal


Prior: TypeAlias = tuple[Keyed, int]
"""The event that used a key before, and its version."""
