"""The model of transfers. See "Resource pools and transfers" in docs/credits.md."""

from __future__ import annotations

from collections.abc import Sequence

from solvent.engine.rules.commands import Transfer

from .lines import Refused, passed_on
from .pool import ModelPool
from .units import Block, Unit, by_block, parts_of


def transfer(pool: ModelPool, command: Transfer) -> None:
    """Move units to another pool of the customer: both sides or none. It is opened only if that is asked for."""
    target = pool.customer[command.target]
    if not target.log and not command.open_pool:
        pool.note("a transfer to a pool that does not exist")
        raise Refused("UnknownPool")
    if command.amount > pool.available:
        raise Refused("Insufficient", command.amount, pool.available, 0, None)
    if command.amount > target.room:
        raise Refused("Unfit", "amount")
    units = pool.take(command.amount, "moved_out")
    pool.write(
        "MovedOut", **passed_on(command, "key", "amount", "target"), parts=parts_of(units), opened=not target.log
    )
    pool.alerts.cause("MovedOut")
    receive(target, units, pool, command.key)


def receive(pool: ModelPool, units: Sequence[Unit], source: ModelPool, key: str) -> None:
    """Take in units of another pool: a grant for each of theirs, with the same terms.

    What rolls over remembers its plan, and is the plan's again where it comes back to.
    """
    pool.open()
    for old, each in by_block(units):
        origin = (old.origin or (source.name, old.plan)) if old.rolls else None
        plan = 0 if origin is None or origin[0] != pool.name else origin[1]
        new = Block(
            pool.next, len(each), old.category, old.priority, old.created, old.starts, old.ends, key, plan, old.label,
            is_pending=False, rolls=old.rolls, period_end=old.period_end if old.rolls else None,
            origin=None if plan else origin,
        )  # fmt: skip
        new.take_effect()
        pool.blocks[new.number] = new
        excess = 0
        if plan and (new.period_end or 0) <= pool.at and not new.is_over(pool.at):
            excess = min(len(each), pool.plans.excess(pool, plan, pool.at))
        pool.write(
            "MovedIn",
            source=source.name,
            source_grant=old.number,
            source_key=key,
            amount=len(each),
            category=new.category,
            priority=new.priority,
            created_at=new.created,
            effective_at=new.starts,
            expires_at=new.ends,
            **new.label,
            recurring=plan,
            origin=new.origin,
            period_end=new.period_end,
            lapsed=excess,
        )
        pool.alerts.cause("MovedIn")
        if excess:
            pool.note("credits of a plan were moved back beyond what rolls over")
            for unit in new.units[:excess]:
                unit.place = "expired"
            pool.write("Trimmed", grant=new.number, amount=excess)
            pool.alerts.cause("Trimmed")
        if origin is not None:
            pool.note("credits of a plan were moved back" if plan else "credits of a plan were moved away")
        pool.note("credits that never expire were moved" if old.ends is None else "credits that expire were moved")
    pool.alerts.make()
