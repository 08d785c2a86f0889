"""The model of reversals. See "Reversals" in docs/credits.md."""

from __future__ import annotations

from solvent.engine.rules.commands import Reverse

from .allowances import Free, covers_of, give_back
from .lines import Refused
from .pool import ModelPool
from .units import Place, Unit, parts_of


def reverse(pool: ModelPool, command: Reverse) -> None:
    """Undo a debit or a capture, or a part of it: what was taken last goes back first."""
    paid = pool.payments.get(command.debit)
    if paid is None:
        raise Refused("UnknownEntry", "debit", command.debit)
    if not paid.units:
        raise Refused("Conflict", "already_reversed")
    count = len(paid.units) if command.amount is None else command.amount
    if count > len(paid.units):
        raise Refused("Unfit", "amount")
    if stays(pool, paid.units[-count:]) > pool.room:
        pool.note("a reversal of more than the pool can take")
        raise Refused("Unfit", "amount")
    undone = paid.units[-count:]
    del paid.units[-count:]
    free = [each for each in undone if isinstance(each, Free)]
    units = [each for each in undone if isinstance(each, Unit)]
    beyond = sum(unit.is_beyond for unit in units)
    paid.usage.amount -= len(units) - beyond
    if paid.beyond is not None:
        paid.beyond.amount -= beyond
    give_back(pool, free)
    parts, lapsing = parts_of(units), pool.come_back(units)
    pool.write(
        "Reversed",
        key=command.key,
        debit=command.debit,
        amount=len(units),
        parts=parts,
        lapsed=sum(map(len, lapsing)),
        requested=command.amount,
        dimensions=paid.dims,
        charges=paid.charges,
        covers=covers_of(free),
        metric=paid.metric,
        beyond_charges=paid.beyond_charges if beyond else (),
        beyond_hold=beyond,
    )
    pool.alerts.cause("Reversed")
    pool.note("a reversal in part" if paid.units else "a reversal of all that was left")
    if beyond:
        pool.note("a reversal of what a capture took beyond its hold")
    if lapsing:
        pool.note("credits come back from a reversal to a grant that is over")
    if pool.budgets.is_another_window(pool.at, paid.charges, paid.dims):
        pool.note("a reversal in another window of a budget")
    pool.lapse(lapsing)


def stays(pool: ModelPool, units: list[Free | Unit]) -> int:
    """Return how many units of credit would be left after they came back."""
    back = [unit for unit in units if isinstance(unit, Unit)]
    before: list[tuple[Place, bool]] = [(unit.place, unit.is_beyond) for unit in back]
    lapsing = pool.come_back(back)
    for unit, (place, is_beyond) in zip(back, before, strict=True):
        unit.place, unit.is_beyond = place, is_beyond
    return len(back) - sum(map(len, lapsing))
