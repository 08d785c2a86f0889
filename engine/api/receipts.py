"""The durable answer to a command.

A receipt stores units and microseconds. Its public properties convert them to credits and datetimes when they are read,
so that a service that answers thousands of debits a second converts only what it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from solvent.engine.values.amounts import SCALE_MAX, to_decimal
from solvent.engine.values.pool_id import PoolLike, parse_pool
from solvent.engine.values.readable import Readable
from solvent.engine.values.terms import HoldState
from solvent.engine.values.times import to_datetime


class Allocation(Readable, msgspec.Struct, frozen=True, gc=False):
    """The part of a debit that one grant paid."""

    grant: str
    """The id of the grant, such as "g1"."""
    amount: Decimal
    """What the grant paid, in credits."""

    def __str__(self) -> str:
        return f"{self.grant}: {self.amount}"


class Coverage(Readable, msgspec.Struct, frozen=True, gc=False):
    """The part of a usage event that an allowance paid instead of a grant."""

    allowance: str
    """The name of the allowance."""
    amount: Decimal
    """What the allowance paid, in credits."""

    def __str__(self) -> str:
        return f"{self.allowance}: {self.amount}"


class Settlement(Readable, msgspec.Struct, frozen=True, gc=False):
    """The end of a hold. Amounts are in credits."""

    entry: str
    """The id of the entry: "d5" of a capture, "r5" of a release or of the expiry."""
    captured: Decimal
    """What was spent of the hold and beyond it. What allowances paid is in the receipt of the capture."""
    returned: Decimal
    """What was not spent."""
    lapsed: Decimal
    """The returned credits that were lost because their grant had expired or been voided."""
    uncovered: Decimal
    """What was requested beyond the hold and did not fit."""

    def __str__(self) -> str:
        return f"{self.entry}: {self.captured} captured, {self.returned} returned"


class Details(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The fields that only some receipts have. Amounts are in units, times in microseconds."""

    hold: int | None = None
    expires_at_us: int | None = None
    debit: int | None = None
    returned_units: int = 0
    lapsed_units: int = 0
    uncovered_units: int = 0
    warnings: tuple[str, ...] = ()
    card: int | None = None
    covers_units: tuple[tuple[str, int], ...] = ()
    """The units that each allowance paid, as (allowance, units)."""
    granted_units: int = 0
    next_at_us: int | None = None
    cut: tuple[str, ...] = ()
    state: HoldState | None = None
    settled_units: tuple[str, int, int, int, int] | None = None
    """The entry that settled the hold, and the units captured, returned, lapsed and uncovered."""
    opened: bool = False
    stopped_by: str | None = None
    resets_at_us: int | None = None


NO_DETAILS = Details()


class _Asked:
    """The pool and the key of the request that a receipt answers. They are no part of the receipt's JSON."""

    __slots__ = ("_key", "_pool")

    _pool: PoolLike
    _key: str | None


class Receipt(_Asked, Readable, msgspec.Struct, frozen=True, gc=False, array_like=True, eq=False):
    """The durable answer to a command. The same key gives the same receipt again, marked ``replayed``.

    Two receipts are equal if their contents are equal, even if their amounts are stored at different scales.
    """

    id: str
    """The id of the entry, made of a letter for its kind and the pool's version: ``g1`` a grant, ``d2`` a debit or
    capture, ``h3`` a hold, ``r4`` a release, a reversal or the refusal of a recharge, ``u5`` an update, ``v6`` a
    voiding, ``b7`` a budget, ``c8`` a rate card, ``t9`` a transfer, ``f10`` an allowance, ``p11`` a recurring grant,
    ``n12`` alerts, ``e13`` an extension of a hold, ``o1`` the pool itself. Empty if the command changed nothing.
    """
    version: int
    """The version of the pool after this entry. Each entry of a pool adds one."""
    replayed: bool
    """Whether this is the first receipt again, because the same request was sent before."""
    scale: int
    """The decimal places of the currency: the units of this receipt are 10^-scale credits."""
    amount_units: int
    balance_units: int
    recorded_at_us: int
    parts_units: tuple[tuple[int, int], ...] = ()
    """The part of each grant as (grant number, units), in burn order."""
    details: Details = NO_DETAILS

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Receipt):
            return NotImplemented
        return self._at_scale(SCALE_MAX) == other._at_scale(SCALE_MAX)

    def __ne__(self, other: object) -> bool:
        # Defined here too: msgspec's own ``__ne__`` compares structs declared with ``eq=False`` by identity.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.id, self.version, self.recorded_at_us))

    def _shown(self) -> Iterable[tuple[str, object]]:
        """Yield the public properties, not the units behind them."""
        asked = (("pool", self.pool), ("key", self.key))
        yield from ((name, value) for name, value in asked if value is not None)
        yield from (("id", self.id), ("amount", self.amount), ("balance", self.balance))
        rest: dict[str, object] = {
            "covered": self.covered,
            "allocations": self.allocations,
            "allowances": self.allowances,
            "hold": self.hold,
            "state": None if self.state == "open" else self.state,
            "settlement": self.settlement,
            "debit": self.debit,
            "returned": self.returned,
            "lapsed": self.lapsed,
            "uncovered": self.uncovered,
            "card": self.card,
            "warnings": self.warnings,
            "cut": self.cut,
            "expires_at": self.expires_at,
            "granted": self.granted,
            "next_at": self.next_at,
            "opened_pool": self.opened_pool,
            "stopped_by": self.stopped_by,
            "resets_at": self.resets_at,
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
                granted_units=details.granted_units * factor,
                covers_units=tuple([(allowance, units * factor) for allowance, units in details.covers_units]),
                settled_units=details.settled_units and _scaled(details.settled_units, factor),
            ),
        )

    @property
    def pool(self) -> str | None:
        """The pool of the request, such as "acme/website-1". It is no part of the receipt's JSON, so it is ``None`` if
        you decoded the receipt yourself, and for a rate card, which has no pool."""
        pool = getattr(self, "_pool", None)
        return None if pool is None else str(parse_pool(pool))

    @property
    def key(self) -> str | None:
        """The idempotency key of the request; ``None`` if the request has none, and wherever ``pool`` is ``None``."""
        return getattr(self, "_key", None)

    @property
    def amount(self) -> Decimal:
        """The credits that were granted, spent, held, given back or voided. What allowances paid is in ``covered``."""
        return to_decimal(self.amount_units, self.scale)

    @property
    def balance(self) -> Decimal:
        """The credits that were available in the pool just after this entry."""
        return to_decimal(self.balance_units, self.scale)

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """The grants that paid, are held or got credits back, in burn order. Empty for entries about a grant itself."""
        return tuple(Allocation(f"g{grant}", to_decimal(part, self.scale)) for grant, part in self.parts_units)

    @property
    def covered(self) -> Decimal:
        """The credits that allowances paid in addition to ``amount``, reserve for a hold, or got back."""
        return to_decimal(sum([units for _, units in self.details.covers_units]), self.scale)

    @property
    def allowances(self) -> tuple[Coverage, ...]:
        """The part of ``covered`` that each allowance paid, reserves or got back."""
        return tuple(Coverage(name, to_decimal(units, self.scale)) for name, units in self.details.covers_units)

    @property
    def recorded_at(self) -> datetime:
        """The time at which the entry was recorded."""
        return to_datetime(self.recorded_at_us)

    @property
    def hold(self) -> str | None:
        """The id of the hold that was captured, released or extended; ``None`` for other entries."""
        return None if self.details.hold is None else f"h{self.details.hold}"

    @property
    def state(self) -> HoldState | None:
        """What has become of a hold by now, "open" in its first receipt; ``None`` for other entries."""
        return self.details.state

    @property
    def stopped_by(self) -> str | None:
        """The "budget bots" or "allowance free" because of which only a part was debited; ``None`` if none was."""
        return self.details.stopped_by

    @property
    def resets_at(self) -> datetime | None:
        """The time at which what stopped a partial debit has room again; ``None`` if nothing did, or it never has."""
        return None if self.details.resets_at_us is None else to_datetime(self.details.resets_at_us)

    @property
    def opened_pool(self) -> bool:
        """Whether this opened a pool: the one that it is about or, of a transfer, the target."""
        return self.details.opened

    @property
    def settlement(self) -> Settlement | None:
        """How a hold that is asked for again was settled; ``None`` while it is open, and for other entries."""
        settled = self.details.settled_units
        if settled is None:
            return None
        entry, *units = settled
        return Settlement(entry, *[to_decimal(each, self.scale) for each in units])

    @property
    def debit(self) -> str | None:
        """The id of the debit that was reversed; ``None`` for other entries."""
        return None if self.details.debit is None else f"d{self.details.debit}"

    @property
    def expires_at(self) -> datetime | None:
        """The time at which the hold expires unless it is settled before, extensions included; ``None`` for others."""
        return None if self.details.expires_at_us is None else to_datetime(self.details.expires_at_us)

    @property
    def returned(self) -> Decimal:
        """The credits that a capture did not spend, or that a release or a reversal gave back."""
        return to_decimal(self.details.returned_units, self.scale)

    @property
    def lapsed(self) -> Decimal:
        """The returned or reversed credits that were lost, because their grant had expired or been voided, or because
        no more of their recurring grant may roll over."""
        return to_decimal(self.details.lapsed_units, self.scale)

    @property
    def uncovered(self) -> Decimal:
        """The credits that a capture requested beyond its hold and that were not spent, because they did not fit."""
        return to_decimal(self.details.uncovered_units, self.scale)

    @property
    def granted(self) -> Decimal:
        """The credits that setting a recurring grant granted at once."""
        return to_decimal(self.details.granted_units, self.scale)

    @property
    def next_at(self) -> datetime | None:
        """The time of the next grant of the recurring grant that was set; ``None`` for other entries, and for never."""
        return None if self.details.next_at_us is None else to_datetime(self.details.next_at_us)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The names of budgets that were exceeded but only warn."""
        return self.details.warnings

    @property
    def cut(self) -> tuple[str, ...]:
        """The names of fields that a transport left out because they do not fit into one of its messages.

        The command was done all the same. ``Credits.allocations`` reads ``allocations`` page by page. If ``allowances``
        is cut, one line without a name has what they paid together.
        """
        return self.details.cut

    @property
    def card(self) -> int | None:
        """The version of the rate card that priced the debit; ``None`` if no card did."""
        return self.details.card


def _scaled(settled: tuple[str, int, int, int, int], factor: int) -> tuple[str, int, int, int, int]:
    entry, captured, returned, lapsed, uncovered = settled
    return entry, captured * factor, returned * factor, lapsed * factor, uncovered * factor


# Slots are written past the struct, which is frozen: what was asked is no part of its value.
_keep_pool: Callable[[Receipt, PoolLike], None] = vars(_Asked)["_pool"].__set__
_keep_key: Callable[[Receipt, str | None], None] = vars(_Asked)["_key"].__set__


def asked_for(receipt: Receipt, pool: PoolLike, key: str | None) -> Receipt:
    """Return ``receipt``, which from now on knows the pool and the key that it was asked for."""
    _keep_pool(receipt, pool)
    _keep_key(receipt, key)
    return receipt


class AllocationPage(Readable, msgspec.Struct, frozen=True, gc=False):
    """A page of the allocations of an entry, in burn order."""

    pool: str
    entry: str
    """The id of the entry, such as "d2"."""
    allocations: tuple[Allocation, ...]
    next_cursor: str | None = None
    """The cursor of the next page; ``None`` if this is the last."""
