"""The commands to a pool, in internal form: amounts in units, times in microseconds, dimensions as canonical bytes.

``checking`` makes these from the requests of callers.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from solvent.engine.values.cursors import write_cursor
from solvent.engine.values.dimensions import NO_DIMENSIONS
from solvent.engine.values.terms import KEEP, PRIORITY_DEFAULT, Category, CostBasis, Keep
from solvent.engine.values.times import SECOND_US

from .alerts import AlertTerms
from .allowances import (
    AllowanceTerms,
    Covers,
)
from .budgets import BudgetTerms, Charge
from .rates import RateCard
from .recurring import RecurringTerms

HOLD_TTL_DEFAULT_US: Final = 3_600 * SECOND_US


class Grant(msgspec.Struct, frozen=True, gc=False):
    """Put a block of credits into the pool. ``None`` means now for ``effective_at``, and never for ``expires_at``."""

    key: str
    amount: int
    category: Category = "paid"
    priority: int = PRIORITY_DEFAULT
    effective_at: int | None = None
    expires_at: int | None = None
    cost_basis: CostBasis | None = None
    name: str | None = None
    comment: str | None = None
    metadata: msgspec.Raw = NO_DIMENSIONS


class Debit(msgspec.Struct, frozen=True, gc=False):
    """Consume credits for a usage event; with ``partial``, as much as is available, at least one unit."""

    key: str
    amount: int
    partial: bool = False
    occurred_at: int | None = None
    metric: str | None = None
    quantity: str | None = None
    dimensions: msgspec.Raw = NO_DIMENSIONS
    backfill: bool = False
    """Lifts the limit on how far back ``occurred_at`` may lie, for old traces. It is not recorded."""
    card: int = 0
    """The version of the rate card that priced it; 0 if the caller gave the amount."""


class Hold(msgspec.Struct, frozen=True, gc=False):
    """Set credits aside before the real cost is known: for ``ttl`` microseconds, or until ``expires_at``."""

    key: str
    amount: int
    ttl: int = HOLD_TTL_DEFAULT_US
    metric: str | None = None
    dimensions: msgspec.Raw = NO_DIMENSIONS
    expires_at: int | None = None
    """The time at which it expires, if that was given instead of ``ttl``."""


class Capture(msgspec.Struct, frozen=True, gc=False):
    """Spend a hold: less than it, all of it, or more. What is not spent goes back. A hold is settled once.

    The usage event has the dimensions of the hold, and the metric of the hold unless another is given.
    """

    hold: int
    amount: int
    occurred_at: int | None = None
    metric: str | None = None
    quantity: str | None = None
    card: int = 0
    """The version of the rate card that priced it; 0 if the caller gave the amount."""

    @property
    def key(self) -> str:
        return settlement_key(self.hold)


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give back all of a hold."""

    hold: int

    @property
    def key(self) -> str:
        return settlement_key(self.hold)


class Extend(msgspec.Struct, frozen=True, gc=False):
    """Let an open hold expire later: ``ttl`` microseconds from now, or at ``expires_at``. One of the two is given."""

    key: str
    hold: int
    ttl: int | None = None
    expires_at: int | None = None


class Reverse(msgspec.Struct, frozen=True, gc=False):
    """Undo a debit, or ``amount`` of it, by unwinding what it took from its grants, the last first."""

    key: str
    debit: int
    amount: int | None = None
    paid: tuple[tuple[int, int], ...] | None = None
    """The part of each grant that paid the debit, looked up in the journal; ``None`` if there is no such debit.

    The fields below are looked up with it."""
    dimensions: msgspec.Raw = NO_DIMENSIONS
    """The dimensions of the debit."""
    charges: tuple[Charge, ...] = ()
    """The budgets that the debit was charged to; for a capture, the budgets that the hold was charged to."""
    beyond_charges: tuple[Charge, ...] = ()
    """The budgets that a capture was charged to for what it took ``beyond_hold``."""
    beyond_hold: int = 0
    """The units that a capture took beyond its hold."""
    covers: Covers = ()
    """What allowances had covered of the debit."""
    metric: str | None = None
    """The metric of the debit."""


class UpdateGrant(msgspec.Struct, frozen=True, gc=False):
    """Change the terms of a grant. ``KEEP`` leaves a term as it is."""

    key: str
    grant: int
    priority: int | Keep = KEEP
    expires_at: int | Keep | None = KEEP
    metadata: msgspec.Raw | Keep = KEEP


class VoidGrant(msgspec.Struct, frozen=True, gc=False):
    """Take away what is left of a grant, not what is held or spent. A grant is voided once."""

    grant: int

    @property
    def key(self) -> str:
        return void_key(self.grant)


class Page(msgspec.Struct, frozen=True, gc=False):
    """The part of a list that is asked for."""

    limit: int
    after: Any = None
    """The place where the page before ends; ``None`` for the first page."""
    about: tuple[Any, ...] = ()
    """The list, as its cursors know it."""
    state: str | None = None
    """The state that grants have to be in; ``None`` for any."""
    name: str = ""
    """The name of the budget or the allowance whose counts are read."""
    counts_max: int = 0
    """The most counts of each budget or allowance."""

    def cursor(self, more: bool, place: object) -> str | None:
        """Return the cursor of the next page, which begins after ``place``; ``None`` if there are no ``more``."""
        return write_cursor(self.about, place) if more else None


WHOLE: Final = Page(2**62, counts_max=2**62)
"""All of a list, for readers inside the engine."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """Read the pool after everything that was acknowledged before."""

    what: Literal[
        "balance",
        "grants",
        "holds",
        "budgets",
        "budget.counts",
        "allowances",
        "allowance.counts",
        "recurring",
        "alerts",
        "rates",
        "outbox",
        "due",
        "scale",
    ] = "balance"
    page: Page | None = None
    """The part of the list, for those that are lists."""


class Report(msgspec.Struct, frozen=True, gc=False):
    """Debit what a metered quantity costs by the rate card that was in effect when it occurred."""

    key: str
    metric: str
    quantity: str
    partial: bool = False
    occurred_at: int | None = None
    dimensions: msgspec.Raw = NO_DIMENSIONS
    backfill: bool = False

    def debit(self, units: int, card: int) -> Debit:
        """Return the debit of this report, priced by version ``card`` of the rate card."""
        return Debit(
            self.key,
            units,
            self.partial,
            self.occurred_at,
            self.metric,
            self.quantity,
            self.dimensions,
            self.backfill,
            card,
        )


class CaptureReport(msgspec.Struct, frozen=True, gc=False):
    """Capture a hold with what a metered quantity costs by the rate card that was in effect when it occurred."""

    hold: int
    quantity: str
    metric: str | None = None
    """The metric; ``None`` for that of the hold."""
    occurred_at: int | None = None

    @property
    def key(self) -> str:
        return settlement_key(self.hold)

    def capture(self, units: int, card: int) -> Capture:
        """Return the capture of this report, priced by version ``card`` of the rate card."""
        return Capture(self.hold, units, self.occurred_at, self.metric, self.quantity, card)


class Transfer(msgspec.Struct, frozen=True, gc=False):
    """Move unspent credits to another pool of the same customer and currency."""

    key: str
    amount: int
    target: str
    """The canonical form of the pool that receives the credits."""
    open_pool: bool = False
    """Whether to open the target if it does not exist. It is no part of what makes two requests the same."""


class SetRates(msgspec.Struct, frozen=True, gc=False):
    """Set the rate card that prices usage from ``effective_at`` on; ``None`` for now."""

    card: RateCard
    effective_at: int | None = None


class SetBudget(msgspec.Struct, frozen=True, gc=False):
    """Set the terms of a budget. Setting the terms that it already has changes nothing."""

    terms: BudgetTerms


class RemoveBudget(msgspec.Struct, frozen=True, gc=False):
    """Remove a budget. Removing one that does not exist changes nothing."""

    name: str


class OpenPool(msgspec.Struct, frozen=True, gc=False):
    """Open a pool with nothing in it."""


class SetAllowance(msgspec.Struct, frozen=True, gc=False):
    """Set the terms of an allowance."""

    terms: AllowanceTerms


class RemoveAllowance(msgspec.Struct, frozen=True, gc=False):
    """Remove an allowance."""

    name: str


class SetRecurring(msgspec.Struct, frozen=True, gc=False):
    """Set the terms of a recurring grant."""

    terms: RecurringTerms
    left_out: tuple[str, ...] = ()
    """The names of the terms that keep their values if there is such a recurring grant. ``anchor`` and ``starts_at``
    do so if they are ``None``."""
    start: Literal["now"] | None = None
    """Whether a new rhythm starts now, and not at its next boundary."""


class CancelRecurring(msgspec.Struct, frozen=True, gc=False):
    """End a recurring grant; with ``at_once``, also void what is left of its last grant."""

    name: str
    at_once: bool = False


class SetAlerts(msgspec.Struct, frozen=True, gc=False):
    """Set all alerts of the pool."""

    terms: AlertTerms


class MoveOutbox(msgspec.Struct, frozen=True, gc=False):
    """Record that everything up to a frame was published."""

    frame: int


class GrantRecharge(msgspec.Struct, frozen=True, gc=False):
    """Grant what a recharge request asks for, or ``amount``. A request is settled once."""

    recharge: int
    amount: int | None = None
    cost_basis: CostBasis | None = None
    expires_at: int | None = None
    comment: str | None = None

    @property
    def key(self) -> str:
        return recharge_key(self.recharge)


class RefuseRecharge(msgspec.Struct, frozen=True, gc=False):
    """Refuse a recharge request."""

    recharge: int

    @property
    def key(self) -> str:
        return recharge_key(self.recharge)


class Check(msgspec.Struct, frozen=True, gc=False):
    """Check whether a debit would be allowed now, and which grants would pay. Writes nothing."""

    amount: int
    dimensions: msgspec.Raw = NO_DIMENSIONS
    metric: str | None = None
    quantity: str | None = None


PoolCommand: TypeAlias = (
    Grant
    | Debit
    | Hold
    | Capture
    | Release
    | Extend
    | Reverse
    | UpdateGrant
    | VoidGrant
    | Transfer
    | GrantRecharge
    | RefuseRecharge
)
"""The commands that a pool decides once per key."""
KeyedCommand: TypeAlias = PoolCommand | Report | CaptureReport
SettingCommand: TypeAlias = (
    OpenPool
    | SetBudget
    | RemoveBudget
    | SetRates
    | SetAllowance
    | RemoveAllowance
    | SetRecurring
    | CancelRecurring
    | SetAlerts
    | MoveOutbox
)
"""The commands that set a state. They have no key, and repeating one changes nothing."""
SETTING_COMMANDS: Final = (
    OpenPool,
    SetBudget,
    RemoveBudget,
    SetRates,
    SetAllowance,
    RemoveAllowance,
    SetRecurring,
    CancelRecurring,
    SetAlerts,
    MoveOutbox,
)
"""``SettingCommand``, for ``isinstance``."""
Command: TypeAlias = KeyedCommand | SettingCommand
"""All commands. A ``Report`` becomes a ``Debit``, and a ``CaptureReport`` a ``Capture``, before the pool decides it."""


def settlement_key(hold: int) -> str:
    """Return the key under which the end of a hold is filed. Callers cannot use it: keys have no control characters."""
    return f"\x01hold:{hold}"


def void_key(grant: int) -> str:
    """Return the key under which the voiding of a grant is filed."""
    return f"\x01void:{grant}"


def recurring_key(recurring: int, moment: int) -> str:
    """Return the key under which the grant that a recurring grant makes at ``moment`` is filed."""
    return f"\x01recurring:{recurring}:{moment}"


def recharge_key(recharge: int) -> str:
    """Return the key under which the end of a recharge request is filed."""
    return f"\x01recharge:{recharge}"
