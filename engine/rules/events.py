"""What happened to a pool: the entries of its journal, in the past tense.

An event is an array on disk, and its place in the pool's history is its version: the first event of a pool is
version 1. Times are microseconds, amounts units. Fields may be added at the end with a default; their order and the
tags never change, since old journals must read the same.

``parts`` are pairs of (grant, units). ``balance`` is always what is available in the pool after the event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

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
    """Return the parts of an amount that one grant pays alone.

    Prices repeat, over all pools: parts that are equal are one object. The thousands of events that are in memory at
    any time then hold next to nothing that the garbage collector has to walk through.
    """
    return ((grant, units),)


class Opened(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """The pool was opened, with the decimal places of its currency."""

    at: int
    scale: int


class Granted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """A block of credits was granted. Times are as they were requested: ``None`` means now, or never."""

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
    """The number of the recurring grant that made it; 0 if none did."""
    next_at: int | None = None
    """The time of the recurring grant's next grant; ``None`` for never."""
    recharge: int = 0
    """The number of the recharge request that it grants; 0 if it grants none."""
    period_end: int | None = None
    """The end of its period if a recurring grant made it; ``None`` in old journals."""
    opened: bool = False
    """Whether it opened its pool; never set in old journals."""


class Activated(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """A grant that was pending took effect."""

    at: int
    grant: int
    amount: int
    balance: int
    due_at: int


class Expired(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    """What was left of a grant expired. ``due_at`` is when it was due, ``at`` when the pool recorded it."""

    at: int
    grant: int
    amount: int
    balance: int
    due_at: int


class Cut(NamedTuple):
    """The budget or the allowance because of which only a part was debited."""

    by: Literal["budget", "allowance"]
    name: str
    resets_at: int | None
    """When there is room again; ``None`` for a budget that never resets."""


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
    cut: Cut | None = None
    """What stopped a partial debit, if that was a window that is used up; never set in old journals."""

    @property
    def paid(self) -> Parts:
        """The parts that a reversal gives back."""
        return self.parts


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=6):
    """Credits were set aside until ``expires_at``. ``parts`` are the grants that they came from, in burn order."""

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
    """What allowances reserve for it, in addition to ``amount``."""
    by_time: bool = False
    """Whether the caller gave the time of its expiry, and not how long it is to last."""


class Captured(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """A hold was spent: ``parts`` of what was held and, beyond it, ``extra``; ``returned`` went back to its grants.

    The same with allowances: ``held_covers`` of what they had reserved was used, ``extra_covers`` was used beyond it,
    and ``returned_covers`` went back.
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
    """The units that were requested beyond the hold and did not fit."""
    lapsed: int
    """The units of what went back that lapsed: ``Lapsed`` and ``Trimmed`` events follow."""
    occurred_at: int | None = None
    metric: str | None = None
    quantity: str | None = None
    dimensions: msgspec.Raw = _EMPTY_MAP
    charges: tuple[Charge, ...] = ()
    """The budgets that ``extra`` was charged to."""
    warned: tuple[str, ...] = ()
    held_charges: tuple[Charge, ...] = ()
    """The budgets that the held credits were charged to."""
    held_covers: Covers = ()
    extra_covers: Covers = ()
    returned_covers: Covers = ()
    card: int = 0
    """The version of the rate card that priced it; 0 if the amount was given."""

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
    """All of a hold went back to its grants, because a caller released it or because it expired at ``due_at``."""

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
    """The budgets that the debit had been charged to. They are given back ``amount`` less ``beyond_hold``."""
    covers: Covers = ()
    """What allowances are given back, in addition to ``amount``."""
    metric: str | None = None
    beyond_charges: tuple[Charge, ...] = ()
    """The budgets that a capture was charged to for what exceeded its hold. They are given back ``beyond_hold``."""
    beyond_hold: int = 0


class Updated(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=10):
    """The terms of a grant were changed to these. ``changed`` are the names of the terms in the request."""

    at: int
    key: str
    grant: int
    priority: int
    expires_at: int | None
    metadata: msgspec.Raw
    balance: int
    changed: tuple[str, ...]


class Voided(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=11):
    """What was left of a grant was voided. If it was ``pending``, it had not taken effect, and the balance stays."""

    at: int
    grant: int
    amount: int
    balance: int
    pending: bool = False

    @property
    def key(self) -> str:
        return void_key(self.grant)


class Lapsed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=12):
    """Credits came back to a grant that had expired or been voided meanwhile, and ended as its other credits did."""

    at: int
    grant: int
    amount: int
    balance: int


class BudgetSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=13):
    """The terms of a budget were set. ``budget`` is its number if it existed before, else 0."""

    at: int
    budget: int
    balance: int
    terms: BudgetTerms


class BudgetRemoved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=14):
    """A budget was removed."""

    at: int
    budget: int
    balance: int
    name: str


class RatesSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=15):
    """A rate card was set that prices usage from ``effective_at`` on. Recorded in its own stream, not in a pool."""

    at: int
    effective_at: int
    balance: int
    """Always 0: the stream has no credits."""
    card: RateCard


class MovedOut(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=16):
    """Credits went to ``target``, another pool of the customer, whose ``MovedIn`` is in the same frame."""

    at: int
    key: str
    amount: int
    balance: int
    parts: Parts
    target: str
    opened: bool = False
    """Whether it opened the target; never set in old journals."""


class MovedIn(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=17):
    """A part of a grant came from another pool of the customer. It keeps its terms, and is a grant of its own here."""

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
    recurring: int = 0
    """The number of this pool's recurring grant whose credits came back, and roll over; 0 if it is none of this pool's.

    The fields below are there if its credits roll over, in this pool or in that of their recurring grant.
    """
    origin: tuple[str, int] | None = None
    """The other pool whose recurring grant made it, and the number of that."""
    period_end: int | None = None
    """The end of its period."""
    lapsed: int = 0
    """The units of it that may not roll over: ``Trimmed`` follows."""


class AllowanceSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=18):
    """The terms of an allowance were set. ``allowance`` is its number if it existed before, else 0."""

    at: int
    allowance: int
    balance: int
    terms: AllowanceTerms


class AllowanceRemoved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=19):
    """An allowance was removed."""

    at: int
    allowance: int
    balance: int
    name: str


class RecurringSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=20):
    """The terms of a recurring grant were set. ``recurring`` is its number if it existed before, else 0."""

    at: int
    recurring: int
    balance: int
    terms: RecurringTerms
    anchor: int
    next_at: int
    granted: int = 0
    """The units that it grants at once: ``Granted`` follows, and before that ``Trimmed`` if something may not stay."""
    lapsed: int = 0
    """The units that may not roll over by its terms: ``Trimmed`` follows."""
    following: int | None = None
    """The time of the next grant after what it grants at once; ``None`` for never, and in old journals."""


class RecurringEnded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=21):
    """A recurring grant ended: it was cancelled or replaced or, if ``full``, the pool could hold no more credits."""

    at: int
    recurring: int
    balance: int
    name: str
    full: bool = False
    until: int | None = None
    """The end of the period that was granted last, after which no more stays than may roll over; ``None`` if nothing
    was granted, and in old journals: then everything stays."""


class Trimmed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=22):
    """Credits of a recurring grant expired because they exceeded what may roll over from ended periods: a period began
    or ended, or they came back after the end of theirs."""

    at: int
    grant: int
    amount: int
    balance: int


class AlertsSet(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=23):
    """The alerts of the pool were set."""

    at: int
    balance: int
    terms: AlertTerms


class Alerted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=24):
    """An alert fired, caused by the entry before it."""

    at: int
    kind: AlertKind
    balance: int
    place: int = 0
    """The index of the threshold among the terms."""
    about: int = 0
    """The number of the grant, hold, budget or recurring grant that the alert is about."""
    value: bytes = b""
    """The value of the budget's dimension, encoded."""
    amount: int = 0
    """The units left in the grant, returned from the hold, used of the budget, or not granted."""
    limit: int = 0
    """The threshold, the amount of the budget, or what the pool could still take, in units."""
    percent: int = 0
    moment: int | None = None
    """The time at which the grant expires, the budget's window began, or the recurring grant grants next."""
    budget: str | None = None
    """The name of the budget."""
    recurring: str | None = None
    """The name of the recurring grant that could not grant."""


class RechargeRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=25):
    """The balance was below the threshold of the recharge rule, and ``amount`` was requested, until ``until``."""

    at: int
    amount: int
    balance: int
    until: int
    month_start: int
    granted: bool = False
    """Whether the rule grants the request by itself. The grant then follows at once."""
    month_end: int = 0
    """The end of the month for which the request counts; 0 in old journals."""


class RechargeClosed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=26):
    """A recharge request ended without a grant: it was refused, or timed out at ``due_at``."""

    at: int
    recharge: int
    amount: int
    balance: int
    due_at: int | None = None

    @property
    def key(self) -> str:
        return recharge_key(self.recharge)


class OutboxMoved(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=27):
    """Everything up to frame ``frame`` was published. Recorded in its own stream, not in a pool."""

    at: int
    frame: int
    balance: int = 0


class Extended(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=28):
    """A hold expires later, at ``expires_at``."""

    at: int
    key: str
    hold: int
    balance: int
    expires_at: int
    ttl: int | None = None
    """How long from then on, if that was given; ``None`` if the caller gave the time."""


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
    | Extended
)
Keyed: TypeAlias = (
    Granted | Debited | Held | Captured | Released | Reversed | Updated | Voided | MovedOut | RechargeClosed | Extended
)
"""The events that answer a command, filed under its key. The end of what can end only once has its own key."""
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
    Extended,
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
"""The events that answer a command without a key. Repeating such a command changes nothing."""
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
"""The events that are published."""
NOTICES: Final = (Alerted, RechargeRequested, RechargeClosed)
"""``Notice``, for ``isinstance``."""


def answering(events: tuple[Event, ...], version: int) -> tuple[Keyed | Setting, int]:
    """Return the event that answers a command, and its version. ``Opened`` may come before it, ``Lapsed`` after it.

    ``version`` is the pool's version before all ``events``. No answer comes after an alert: alerts follow from answers.
    """
    event = events[0]
    if isinstance(event, Debited):
        return event, version + 1
    found: tuple[Keyed | Setting, int] | None = None
    for place, event in enumerate(events, version + 1):
        if isinstance(event, (Alerted, RechargeRequested)):
            break
        if isinstance(event, ANSWERS) and not (isinstance(event, Granted) and event.recurring):
            found = event, place
    assert found is not None  # noqa: S101 - narrows the type: every command has an answer
    return found
