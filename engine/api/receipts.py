"""The durable answer to a command.

A receipt holds units and microseconds; its public properties convert when they are read, so that a service that answers
thousands of debits a second converts only what it sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from solvent.engine.values.amounts import SCALE_MAX, to_decimal
from solvent.engine.values.readable import Readable
from solvent.engine.values.times import to_datetime


class Allocation(Readable, msgspec.Struct, frozen=True, gc=False):
    """The part of a debit that one grant paid."""

    grant: str
    amount: Decimal

    def __str__(self) -> str:
        return f"{self.grant}: {self.amount}"


class Coverage(Readable, msgspec.Struct, frozen=True, gc=False):
    """The part of a usage event that an allowance paid: no grant did."""

    allowance: str
    amount: Decimal

    def __str__(self) -> str:
        return f"{self.allowance}: {self.amount}"


class Details(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What only some receipts say. Units and microseconds."""

    hold: int | None = None
    expires_at_us: int | None = None
    debit: int | None = None
    returned_units: int = 0
    lapsed_units: int = 0
    uncovered_units: int = 0
    warnings: tuple[str, ...] = ()
    card: int | None = None
    covers_units: tuple[tuple[str, int], ...] = ()
    """(allowance, units)"""


NO_DETAILS = Details()


class Receipt(Readable, msgspec.Struct, frozen=True, gc=False, array_like=True, eq=False):
    """The durable answer to a command. The same key gives the same receipt again, marked ``replayed``.

    Equal are receipts that say the same, whether or not they keep their amounts in the same units.
    """

    id: str
    """The letter of its kind and its version in the pool: ``g1`` a grant, ``d2`` a debit or capture, ``h3`` a hold,
    ``r4`` a release, a reversal or the refusal of a recharge, ``u5`` an update, ``v6`` a voiding, ``b7`` a budget,
    ``c8`` a rate card, ``t9`` a transfer, ``f10`` an allowance, ``p11`` a recurring grant, ``n12`` alerts, ``o1`` the
    pool itself. Empty if nothing was to change.
    """
    version: int
    """The pool's version with this entry: each entry of a pool is one version."""
    replayed: bool
    scale: int
    amount_units: int
    balance_units: int
    recorded_at_us: int
    parts_units: tuple[tuple[int, int], ...] = ()
    """(grant number, units) in burn order."""
    details: Details = NO_DETAILS

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Receipt):
            return NotImplemented
        return self._at_scale(SCALE_MAX) == other._at_scale(SCALE_MAX)

    def __ne__(self, other: object) -> bool:
        # Said here too: that of msgspec compares what a class without ``eq`` is, not what it says.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.id, self.version, self.recorded_at_us))

    def _shown(self) -> Iterable[tuple[str, object]]:
        """Yield what its owner reads: the properties, not the units behind them."""
        yield from (("id", self.id), ("amount", self.amount), ("balance", self.balance))
        rest: dict[str, object] = {
            "covered": self.covered,
            "allocations": self.allocations,
            "allowances": self.allowances,
            "hold": self.hold,
            "debit": self.debit,
            "returned": self.returned,
            "lapsed": self.lapsed,
            "uncovered": self.uncovered,
            "card": self.card,
            "warnings": self.warnings,
            "expires_at": self.expires_at,
            "recorded_at": self.recorded_at,
            "replayed": self.replayed,
        }
        yield from ((name, value) for name, value in rest.items() if value)

    def _at_scale(self, scale: int) -> tuple[object, ...]:
        factor, details = 10 ** (scale - self.scale), self.details
        return (
            self.id,
            self.version,
            self.replayed,
            self.recorded_at_us,
            self.amount_units * factor,
            self.balance_units * factor,
            [(grant, units * factor) for grant, units in self.parts_units],
            msgspec.structs.replace(
                details,
                returned_units=details.returned_units * factor,
                lapsed_units=details.lapsed_units * factor,
                uncovered_units=details.uncovered_units * factor,
                covers_units=tuple([(allowance, units * factor) for allowance, units in details.covers_units]),
            ),
        )

    @property
    def amount(self) -> Decimal:
        """What was granted, spent, set aside, given back or taken away of grants. ``covered`` is beside it."""
        return to_decimal(self.amount_units, self.scale)

    @property
    def balance(self) -> Decimal:
        """What was available in the pool just after it."""
        return to_decimal(self.balance_units, self.scale)

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """Which grants paid, are held, or got back, in burn order. Empty for what is about a grant itself."""
        return tuple(Allocation(f"g{grant}", to_decimal(part, self.scale)) for grant, part in self.parts_units)

    @property
    def covered(self) -> Decimal:
        """What allowances paid beside ``amount``, or keep for a hold, or were given back."""
        return to_decimal(sum([units for _, units in self.details.covers_units]), self.scale)

    @property
    def allowances(self) -> tuple[Coverage, ...]:
        """Which allowances that was."""
        return tuple(Coverage(name, to_decimal(units, self.scale)) for name, units in self.details.covers_units)

    @property
    def recorded_at(self) -> datetime:
        return to_datetime(self.recorded_at_us)

    @property
    def hold(self) -> str | None:
        """The hold that was captured or released."""
        return None if self.details.hold is None else f"h{self.details.hold}"

    @property
    def debit(self) -> str | None:
        """The debit that was reversed."""
        return None if self.details.debit is None else f"d{self.details.debit}"

    @property
    def expires_at(self) -> datetime | None:
        """When a hold expires unless it is settled before."""
        return None if self.details.expires_at_us is None else to_datetime(self.details.expires_at_us)

    @property
    def returned(self) -> Decimal:
        """What a capture did not spend, or a release gave back."""
        return to_decimal(self.details.returned_units, self.scale)

    @property
    def lapsed(self) -> Decimal:
        """How much of what was returned or reversed did not stay, because its grant had expired or been voided."""
        return to_decimal(self.details.lapsed_units, self.scale)

    @property
    def uncovered(self) -> Decimal:
        """What a capture asked for beyond its hold that did not fit: it was not spent."""
        return to_decimal(self.details.uncovered_units, self.scale)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Budgets that only warn, and would not have let it pass."""
        return self.details.warnings

    @property
    def card(self) -> int | None:
        """The version of the rate card that priced it."""
        return self.details.card
