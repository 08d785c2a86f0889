"""What happened to a pool: the entries of its journal, in the past tense.

An event is an array on disk, and its place in the pool's history is its version: the first event of a pool is
version 1. Times are microseconds, amounts units. Fields may be added at the end with a default; their order and the
tags are for ever, since old journals must read the same.

``parts`` are pairs of (grant, units). ``balance`` is always what is available in the pool after the event.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from .budgets import BudgetTerms, Charge
from .commands import Category, CostBasis, settlement_key, void_key
from .rates import RateCard

Parts: TypeAlias = tuple[tuple[int, int], ...]

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
    parts: Parts
    requested: int
    partial: bool
    occurred_at: int | None = None
    metric: str | None = None
    quantity: str | None = None
    dimensions: msgspec.Raw = _EMPTY_MAP
    charges: tuple[Charge, ...] = ()
    warned: tuple[str, ...] = ()
    card: int = 0
    """The version of the rate card that priced it; 0 if the amount was given."""

    @property
    def paid(self) -> Parts:
        """What a reversal unwinds."""
        return self.parts

    @property
    def counted(self) -> tuple[Charge, ...]:
        """Where a reversal gives back: of a capture over two windows, in that of its hold."""
        return self.charges


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=6):
    """Credits were set aside until ``expires_at``. ``parts`` says from which grants, in burn order."""

    at: int
    key: str
    amount: int
    balance: int
    parts: Parts
    expires_at: int
    metric: str | None = None
    dimensions: msgspec.Raw = _EMPTY_MAP
    charges: tuple[Charge, ...] = ()
    warned: tuple[str, ...] = ()


class Captured(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """A hold was spent: ``parts`` of what was held and, beyond it, ``extra``; ``returned`` went back to its grants."""

    at: int
    hold: int
    amount: int
    """What was spent, ``extra`` included."""
    balance: int
    parts: Parts
    extra: Parts
    returned: Parts
    uncovered: int
    """What was asked for beyond the hold and did not fit."""
    lapsed: int
    """How much of what went back did not stay: ``Lapsed`` events follow."""
    occurred_at: int | None = None
    metric: str | None = None
    quantity: str | None = None
    dimensions: msgspec.Raw = _EMPTY_MAP
    charges: tuple[Charge, ...] = ()
    """Of ``extra``."""
    warned: tuple[str, ...] = ()
    held_charges: tuple[Charge, ...] = ()
    """Of what was held."""

    @property
    def key(self) -> str:
        return settlement_key(self.hold)

    @property
    def paid(self) -> Parts:
        return self.parts + self.extra

    @property
    def counted(self) -> tuple[Charge, ...]:
        return self.held_charges or self.charges


class Released(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=8):
    """All of a hold went back to its grants: because it was asked, or because it expired, at ``due_at``."""

    at: int
    hold: int
    amount: int
    balance: int
    parts: Parts
    lapsed: int
    due_at: int | None = None
    dimensions: msgspec.Raw = _EMPTY_MAP

    @property
    def key(self) -> str:
        return settlement_key(self.hold)


class Reversed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=9):
    """A debit, or a part of it, was undone: ``parts`` went back to the grants that had paid it."""

    at: int
    key: str
    debit: int
    amount: int
    balance: int
    parts: Parts
    lapsed: int
    requested: int | None = None
    dimensions: msgspec.Raw = _EMPTY_MAP
    charges: tuple[Charge, ...] = ()
    """What the debit had been charged to, and is given back."""


class Updated(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=10):
    """The terms of a grant are now these. ``changed`` are the names of those that were asked for."""

    at: int
    key: str
    grant: int
    priority: int
    expires_at: int | None
    metadata: msgspec.Raw
    balance: int
    changed: tuple[str, ...]


class Voided(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=11):
    """What was left of a grant was taken away. ``pending``: it had not taken effect, so the balance stays."""

    at: int
    grant: int
    amount: int
    balance: int
    pending: bool = False

    @property
    def key(self) -> str:
        return void_key(self.grant)


class Lapsed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=12):
    """Credits came back to a grant that had expired or been voided meanwhile, and went where the others had gone."""

    at: int
    grant: int
    amount: int
    balance: int


class BudgetSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=13):
    """A budget has these terms from now on. ``budget`` is its number if it had others before, else 0."""

    at: int
    budget: int
    balance: int
    terms: BudgetTerms


class BudgetRemoved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=14):
    """A budget limits nothing any more."""

    at: int
    budget: int
    balance: int
    name: str


class RatesSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=15):
    """A rate card prices what occurs from ``effective_at`` on. In a stream of its own, not in a pool's history."""

    at: int
    effective_at: int
    balance: int
    """Zero: nothing is granted here."""
    card: RateCard


class MovedOut(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=16):
    """Credits went to another pool of the customer, ``target``, in the same frame in which it got them."""

    at: int
    key: str
    amount: int
    balance: int
    parts: Parts
    target: str


class MovedIn(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=17):
    """A part of a grant came from another pool of the customer, and keeps its terms: a grant of its own from now on."""

    at: int
    source: str
    source_grant: int
    source_key: str
    amount: int
    balance: int
    category: Category
    priority: int
    created_at: int
    effective_at: int
    expires_at: int | None
    cost_basis: CostBasis | None
    name: str | None
    comment: str | None
    metadata: msgspec.Raw


Event: TypeAlias = (
    Opened
    | Granted
    | Activated
    | Expired
    | Debited
    | Held
    | Captured
    | Released
    | Reversed
    | Updated
    | Voided
    | Lapsed
    | BudgetSet
    | BudgetRemoved
    | RatesSet
    | MovedOut
    | MovedIn
)
Keyed: TypeAlias = Granted | Debited | Held | Captured | Released | Reversed | Updated | Voided | MovedOut
"""Events that answer a command, filed under its key. A hold's end and a grant's voiding have keys of their own."""
KEYED: Final = (Debited, Granted, Held, Captured, Released, Reversed, Updated, Voided, MovedOut)
"""``Keyed``, for ``isinstance``."""
Setting: TypeAlias = BudgetSet | BudgetRemoved | RatesSet
"""Events that answer a command without a key: to ask for the same again changes nothing."""
SETTINGS: Final = (BudgetSet, BudgetRemoved, RatesSet)
"""``Setting``, for ``isinstance``."""
ANSWERS: Final = (*KEYED, *SETTINGS)
"""The events that answer a command; the others follow from time or from these."""
