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
    receive(target, units, pool.name, command.key)


def receive(pool: ModelPool, units: Sequence[Unit], source: str, key: str) -> None:
    """Take in units of another pool: a grant for each of theirs, with the same terms."""
    pool.open()
    for old, each in by_block(units):
        new = Block(
            pool.next, len(each), old.category, old.priority, old.created, old.starts, old.ends, key, 0, old.label,
            is_pending=False,
        )  # fmt: skip
        new.take_effect()
        pool.blocks[new.number] = new
        pool.write(
            "MovedIn",
            source=source,
            source_grant=old.number,
            source_key=key,
            amount=len(each),
            category=new.category,
            priority=new.priority,
            created_at=new.created,
            effective_at=new.starts,
            expires_at=new.ends,
            **new.label,
        )
        pool.alerts.cause("MovedIn")
        pool.note("credits that never expire were moved" if old.ends is None else "credits that expire were moved")
    pool.alerts.make()
