"""What happened to a pool: the entries of its journal, in the past tense.

An event is an array on disk, and its place in the pool's history is its version: the first event of a pool is
version 1. Times are microseconds, amounts units. Fields may be added at the end with a default; their order and the
tags are for ever, since old journals must read the same.

``parts`` are pairs of (grant, units). ``balance`` is always what is available in the pool after the event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from solvent.engine.values.terms import Category, CostBasis

from .alerts import AlertKind, AlertTerms
from .allowances import AllowanceTerms, Covers
from .budgets import BudgetTerms, Charge
from .commands import recharge_key, settlement_key, void_key
from .rates import RateCard
from .recurring import RecurringTerms

Parts: TypeAlias = tuple[tuple[int, int], ...]

_EMPTY_MAP: Final = msgspec.Raw(b"\x80")


@lru_cache(maxsize=4_096)
def parts_of_one(grant: int, units: int) -> Parts:
    """The parts of what one grant pays alone.

    Prices repeat, over all pools: parts that are equal are one object. The thousands of events that are in memory at
    any time then hold next to nothing that the garbage collector has to walk through.
    """
    return ((grant, units),)


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
    recurring: int = 0
    """The recurring grant that made it, if one did."""
    next_at: int | None = None
    """When that makes the next; ``None``: never."""
    recharge: int = 0
    """The recharge request that it grants, if it does."""


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
    """Usage was paid for: ``amount`` by grants, ``parts`` in burn order, and before that ``covers`` by allowances."""

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
    covers: Covers = ()

    @property
    def paid(self) -> Parts:
        """What a reversal unwinds."""
        return self.parts


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
    covers: Covers = ()
    """What allowances keep for it, beyond ``amount``."""


class Captured(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """A hold was spent: ``parts`` of what was held and, beyond it, ``extra``; ``returned`` went back to its grants.

    So with allowances: ``held_covers`` of what they kept, ``extra_covers`` beyond it, ``returned_covers`` given back.
    """

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
    held_covers: Covers = ()
    extra_covers: Covers = ()
    returned_covers: Covers = ()

    @property
    def key(self) -> str:
        return settlement_key(self.hold)

    @property
    def covers(self) -> Covers:
        return self.held_covers + self.extra_covers

    @property
    def paid(self) -> Parts:
        return self.parts + self.extra


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
    """What the debit had been charged to, and is given back ``amount`` less ``beyond_hold``."""
    covers: Covers = ()
    """What allowances are given back, beyond ``amount``."""
    metric: str | None = None
    beyond_charges: tuple[Charge, ...] = ()
    """What a capture had been charged to for what it took beyond its hold, and is given back ``beyond_hold``."""
    beyond_hold: int = 0


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


class AllowanceSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=18):
    """An allowance has these terms from now on. ``allowance`` is its number if it had others before, else 0."""

    at: int
    allowance: int
    balance: int
    terms: AllowanceTerms


class AllowanceRemoved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=19):
    """An allowance covers nothing any more."""

    at: int
    allowance: int
    balance: int
    name: str


class RecurringSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=20):
    """A recurring grant has these terms. ``recurring`` is its number if it had others before, else 0."""

    at: int
    recurring: int
    balance: int
    terms: RecurringTerms
    anchor: int
    next_at: int


class RecurringEnded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=21):
    """Nothing more is granted: it was cancelled or replaced or, ``full``, the pool can hold no more."""

    at: int
    recurring: int
    balance: int
    name: str
    full: bool = False


class Trimmed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=22):
    """Credits of a recurring grant expired because no more than a maximum rolls over into the next period."""

    at: int
    grant: int
    amount: int
    balance: int


class AlertsSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=23):
    """The alerts of the pool have these terms from now on."""

    at: int
    balance: int
    terms: AlertTerms


class Alerted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=24):
    """The pool has something to say, because of the entry before it."""

    at: int
    kind: AlertKind
    balance: int
    place: int = 0
    """Of a threshold among the terms."""
    about: int = 0
    """A grant, a hold, or a budget, by number."""
    value: bytes = b""
    """That of the budget's dimension, encoded."""
    amount: int = 0
    """What is left of a grant, came back from a hold, or is used of a budget."""
    limit: int = 0
    """The threshold, or the budget's amount."""
    percent: int = 0
    moment: int | None = None
    """When the grant expires, or the budget's window began."""
    budget: str | None = None
    """The budget's name."""


class RechargeRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=25):
    """The balance is below the threshold of the recharge rule: ``amount`` is asked for, until ``until``."""

    at: int
    amount: int
    balance: int
    until: int
    month_start: int
    granted: bool = False
    """Whether the rule grants it by itself: the grant follows at once."""
    month_end: int = 0
    """When the month is over for which it counts. 0 in old journals."""


class RechargeClosed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=26):
    """A request for credits came to nothing: it was refused, or timed out at ``due_at``."""

    at: int
    recharge: int
    amount: int
    balance: int
    due_at: int | None = None

    @property
    def key(self) -> str:
        return recharge_key(self.recharge)


class OutboxMoved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=27):
    """Everything up to frame ``frame`` was published. In a stream of its own, not in a pool's history."""

    at: int
    frame: int
    balance: int = 0


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
    | AllowanceSet
    | AllowanceRemoved
    | RecurringSet
    | RecurringEnded
    | Trimmed
    | AlertsSet
    | Alerted
    | RechargeRequested
    | RechargeClosed
    | OutboxMoved
)
Keyed: TypeAlias = (
    Granted | Debited | Held | Captured | Released | Reversed | Updated | Voided | MovedOut | RechargeClosed
)
"""Events that answer a command, filed under its key. What can end only once has a key of its own, that of its end."""
KEYED: Final = (
    Debited,
    Granted,
    Held,
    Captured,
    Released,
    Reversed,
    Updated,
    Voided,
    MovedOut,
    RechargeClosed,
)
"""``Keyed``, for ``isinstance``."""
Setting: TypeAlias = (
    Opened
    | BudgetSet
    | BudgetRemoved
    | RatesSet
    | AllowanceSet
    | AllowanceRemoved
    | RecurringSet
    | RecurringEnded
    | AlertsSet
    | OutboxMoved
)
"""Events that answer a command without a key: to ask for the same again changes nothing."""
SETTINGS: Final = (
    Opened,
    BudgetSet,
    BudgetRemoved,
    RatesSet,
    AllowanceSet,
    AllowanceRemoved,
    RecurringSet,
    RecurringEnded,
    AlertsSet,
    OutboxMoved,
)
"""``Setting``, for ``isinstance``."""
ANSWERS: Final = (*KEYED, *SETTINGS)
"""The events that answer a command; the others follow from time or from these."""
Notice: TypeAlias = Alerted | RechargeRequested | RechargeClosed
"""Events that are published."""
NOTICES: Final = (Alerted, RechargeRequested, RechargeClosed)
"""``Notice``, for ``isinstance``."""


def answering(events: tuple[Event, ...], version: int) -> tuple[Keyed | Setting, int]:
    """The event that answers a command, and its version: what opened the pool stands before it, what lapsed after it.

    ``version`` is the pool's before all of them. Behind an alert nothing is an answer: it follows from one.
    """
    event = events[0]
    if isinstance(event, Debited):
        return event, version + 1
    found: tuple[Keyed | Setting, int] | None = None
    for place, event in enumerate(events, version + 1):
        if isinstance(event, (Alerted, RechargeRequested)):
            break
        if isinstance(event, ANSWERS):
            found = event, place
    assert found is not None  # noqa: S101 - narrows the type: every command has an answer
    return found
