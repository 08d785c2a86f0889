"""A pool of the model: its journal, its credits unit by unit, and what it owes to holds and debits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .alerts import Alerts
from .allowances import Allowances, Free
from .branches import Branch
from .budgets import Budgets, Charges, Usage
from .lines import Dims, Line
from .plans import Plans
from .units import Block, Place, Unit, by_block

SCALE = 6
HOLDS_MAX = 2**63 - 1
"""The most units that a pool holds: left, held, and of grants that have not taken effect."""


@dataclass(eq=False)
class OpenHold:
    """A hold, by its entry."""

    free: list[Free]
    units: list[Unit]
    ends: int
    dims: Dims
    metric: str | None
    usage: Usage
    charges: Charges
    made: int


@dataclass(eq=False)
class Payment:
    """A debit or a capture: what paid for it and is not reversed, the first taken first."""

    units: list[Free | Unit]
    dims: Dims
    metric: str | None
    usage: Usage
    charges: Charges
    beyond: Usage | None = None
    """What a capture took beyond its hold."""
    beyond_charges: Charges = ()


class KeyUse(NamedTuple):
    """What a key was used for."""

    entry: int
    request: object
    became: str


class ModelPool:
    """A pool. ``customer`` are all pools of its customer by name, itself among them."""

    def __init__(self, name: str, customer: dict[str, ModelPool], met: Counter[str]) -> None:
        self.name = name
        self.customer = customer
        self.met = met
        self.log: list[Line] = []
        self.clock = self.at = 0
        """The time of the newest line, and that of what is being written."""
        self.moment: int | None = None
        """When it should have been written, if it is a hold that ends late."""
        self.blocks: dict[int, Block] = {}
        self.holds: dict[int, OpenHold] = {}
        self.payments: dict[int, Payment] = {}
        self.budgets = Budgets()
        self.allowances = Allowances()
        self.plans = Plans()
        self.alerts = Alerts(self)
        self.keys: dict[str, KeyUse] = {}

    def note(self, branch: Branch) -> None:
        self.met[branch] += 1

    def write(self, kind: str, /, **about: Any) -> int:
        """Write a line. Returns its number: that of the grant, hold or debit that it makes."""
        self.clock = self.at
        self.log.append(Line(kind, self.at, self.available, about))
        return len(self.log)

    @property
    def next(self) -> int:
        """The number of the next line."""
        return len(self.log) + 1

    def open(self) -> None:
        if not self.log:
            self.log.append(Line("Opened", self.at, 0, {"scale": SCALE}))
            self.clock = self.at

    def settle(self, key: str, became: str, request: object = None) -> None:
        """Remember how a hold, a grant or a request ended: by the next line."""
        self.keys[key] = KeyUse(self.next, request, became)

    def state_of_hold(self, number: int) -> str:
        use = self.keys.get(f"\x01hold:{number}")
        return "open" if use is None else use.became

    @property
    def available(self) -> int:
        return sum(len(block.those("left")) for block in self.blocks.values())

    @property
    def room(self) -> int:
        """How much more a pool can take. What was spent, expired or moved away is not there any more."""
        counts = [block.count() for block in self.blocks.values()]
        return HOLDS_MAX - sum(count["left"] + count["held"] + count["pending"] for count in counts)

    def burn_order(self) -> list[Block]:
        """Priority, lower first; the sooner expiry, never last; promotional before paid; the older first."""
        return sorted(
            (block for block in self.blocks.values() if block.those("left")),
            key=lambda block: (
                block.priority,
                float("inf") if block.ends is None else block.ends,
                ["promotional", "paid"].index(block.category),
                block.starts,
                block.created,
                block.number,
            ),
        )

    def take(self, amount: int, place: Place) -> list[Unit]:
        """Move units that are left, in burn order."""
        units = [unit for block in self.burn_order() for unit in block.those("left")][:amount]
        assert len(units) == amount
        for unit in units:
            unit.place, unit.is_beyond = place, False
        return units

    def put_in(
        self,
        amount: int,
        category: str,
        *,
        key: str,
        priority: int = 50,
        effective_at: int | None = None,
        ends: int | None = None,
        plan: int = 0,
        next_at: int | None = None,
        period_end: int | None = None,
        recharge: int = 0,
        opened: bool = False,
        **label: Any,
    ) -> Block:
        """Add a grant."""
        starts = self.at if effective_at is None else effective_at
        label = {"cost_basis": None, "name": None, "comment": None, "metadata": {}, **label}
        block = Block(
            self.next, amount, category, priority, self.at, starts, ends, key, plan, label,
            is_pending=starts > self.at, rolls=bool(plan) and ends is None, period_end=period_end
        )  # fmt: skip
        self.blocks[block.number] = block
        if block.is_pending:
            self.note("a grant takes effect later")
        else:
            block.take_effect()
        self.write(
            "Granted",
            key=key,
            amount=amount,
            category=category,
            priority=priority,
            effective_at=effective_at,
            expires_at=ends,
            **label,
            recurring=plan,
            next_at=next_at,
            recharge=recharge,
            opened=opened,
            period_end=period_end,
        )
        return block

    def void(self, block: Block) -> None:
        """Take away what is left; not what is held or spent."""
        was_pending, lost = block.is_pending, block.those("left")
        block.is_pending, block.is_voided = False, True
        for unit in lost:
            unit.place = "voided"
        if was_pending:
            self.note("a grant that has not taken effect is voided")
        self.settle(f"\x01void:{block.number}", "voided")
        amount = block.amount if was_pending else len(lost)
        self.write("Voided", grant=block.number, amount=amount, pending=was_pending)
        self.alerts.cause("Voided")

    def come_back(self, units: Sequence[Unit]) -> list[list[Unit]]:
        """Give units back to their grants. Returns those that cannot stay: because their grant is over, or because more
        would stand from ended periods of a plan than may roll over."""
        lapsing: list[list[Unit]] = []
        moment = self.at if self.moment is None else self.moment
        for block, each in by_block(units):
            for unit in each:
                unit.place, unit.is_beyond = "left", False
            if block.is_over(self.at):
                lapsing.append(each)
            elif block.rolls and block.plan and (block.period_end or 0) <= moment:
                # Those before, which cannot stay either, are still counted.
                leaving = [one for one in lapsing if one[0].block.plan == block.plan]
                count = sum(len(one) for one in leaving if not one[0].block.is_over(self.at))
                excess = max(0, self.plans.excess(self, block.plan, moment) - count)
                if excess:
                    lapsing.append(each[:excess])
        return lapsing

    def lapse(self, lapsing: Iterable[list[Unit]]) -> None:
        """Let units that came back go where the others of their grant have gone."""
        for units in lapsing:
            block = units[0].block
            kind = "Lapsed" if block.is_over(self.at) else "Trimmed"
            for unit in units:
                unit.place = "voided" if block.is_voided else "expired"
            if kind == "Trimmed":
                self.note("credits come back beyond what rolls over")
            self.write(kind, grant=block.number, amount=len(units))
            self.alerts.cause(kind)
