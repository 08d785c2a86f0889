"""What happened to a pool: the entries of its journal, in the past tense.

An event is an array on disk, and its place in the pool's history is its version: the first event of a pool is
version 1. Times are microseconds, amounts units. Fields may be added at the end with a default; their order and the
tags are for ever, since old journals must read the same.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from .commands import Category, CostBasis

_EMPTY_MAP: Final = msgspec.Raw(b"\x80")


class Opened(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """The pool came to be, with the decimal places that its currency keeps."""

    at: int
    scale: int


class Granted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """A block of credits was put in. Times are as they were requested: ``None`` means now, or never."""

    at: int
    key: str
    amount: int
    balance: int
    """What is available in the pool after it."""
    category: Category
    priority: int
    effective_at: int | None
    expires_at: int | None
    cost_basis: CostBasis | None = None
    name: str | None = None
    comment: str | None = None
    metadata: msgspec.Raw = _EMPTY_MAP


class Activated(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """A grant that was pending took effect."""

    at: int
    grant: int
    amount: int
    balance: int
    due_at: int


class Expired(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    """What was left of a grant expired. ``due_at`` is when it was due, ``at`` when the pool wrote it down."""

    at: int
    grant: int
    amount: int
    balance: int
    due_at: int


class Debited(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=5):
    """Credits were consumed. ``parts`` says how much each grant paid, in burn order."""

    at: int
    key: str
    amount: int
    balance: int
    parts: tuple[tuple[int, int], ...]
    requested: int
    partial: bool
    occurred_at: int | None = None
    metric: str | None = None
    quantity: str | None = None
    dimensions: msgspec.Raw = _EMPTY_MAP


Event: TypeAlias = Opened | Granted | Activated | Expired | Debited
Keyed: TypeAlias = Granted | Debited
"""Events that carry an idempotency key."""
