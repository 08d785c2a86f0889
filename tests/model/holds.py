"""The model of holds. See "Holds" in docs/credits.md.

What is held was promised: it is spent whatever has happened to its grant since, and goes back to where it came from.
"""

from __future__ import annotations

from solvent.engine.rules.commands import Capture, Extend, Hold

from .allowances import Free, covers_of, give_back
from .debits import check_date
from .lines import Dims, Refused, decoded, passed_on
from .pool import ModelPool, OpenHold, Payment
from .times import DAY
from .units import parts_of

AHEAD_MAX, OPEN_MAX = DAY, 7 * DAY
"""How far ahead a hold may expire when that is said, and after its start."""


def hold(pool: ModelPool, command: Hold) -> None:
    """Set aside what allowances that count credits cover, and of grants what is left to pay."""
    dims, amount = decoded(command.dimensions), command.amount
    ends = pool.at + command.ttl if command.expires_at is None else command.expires_at
    if not pool.at < ends <= pool.at + AHEAD_MAX:
        raise Refused("Unfit", "expires_at")
    pool.allowances.check_dims(dims, hold=True)
    free, opens = pool.allowances.cover(dims, pool.at, amount, only="credits")
    pays = amount - len(free)
    if pays > pool.available:
        raise Refused("Insufficient", amount, pool.available, len(free), opens)
    pool.budgets.check_dims(dims)
    if stop := pool.budgets.stop(dims, pool.at, pays, hold=True):
        raise stop
    charges = pool.budgets.charges(dims, pool.at)
    warned = pool.budgets.warned(dims, pool.at, pays, hold=True)
    number, units = pool.next, pool.take(pays, "held")
    pool.allowances.use(free)
    usage = pool.budgets.record(number, dims, pool.at, pays, hold=True)
    pool.holds[number] = OpenHold(free, units, ends, dims, command.metric, usage, charges, pool.at)
    pool.write(
        "Held",
        **passed_on(command, "key", "metric"),
        amount=pays,
        parts=parts_of(units),
        expires_at=ends,
        dimensions=dims,
        charges=charges,
        warned=warned,
        covers=covers_of(free),
        by_time=command.expires_at is not None,
    )
    pool.alerts.cause("Held", dims)
    pool.note("a hold by both" if free and units else "a hold by allowances" if free else "a hold by grants")


def extend(pool: ModelPool, command: Extend) -> None:
    """Let a hold end later: not as early as before, not more than a day from now or seven from its start."""
    hold = pool.holds.get(command.hold)
    if hold is None:
        state = pool.state_of_hold(command.hold)
        raise Refused("UnknownEntry", "hold", command.hold) if state == "open" else Refused("Conflict", f"hold_{state}")
    ends = command.expires_at if command.ttl is None else pool.at + command.ttl
    assert ends is not None
    if ends <= hold.ends or ends > pool.at + AHEAD_MAX or ends > hold.made + OPEN_MAX:
        if hold.ends < ends <= pool.at + AHEAD_MAX:
            pool.note("a hold has lasted too long to be extended")
        raise Refused("Unfit", "expires_at" if command.ttl is None else "ttl_s")
    hold.ends = ends
    pool.write("Extended", **passed_on(command, "key", "hold", "ttl"), expires_at=ends)
    pool.note("a hold is extended")


def capture(pool: ModelPool, command: Capture) -> None:
    """Spend a hold: its quota first, then its credits; what is not spent goes back, what is more is a debit."""
    hold = pool.holds.get(command.hold)
    if hold is None:
        raise Refused("UnknownEntry", "hold", command.hold)
    check_date(pool, command.occurred_at)
    dims, metric = hold.dims, command.metric or hold.metric
    # An allowance of a quantity pays now: when the hold was made, the quantity was not known.
    measured: list[Free] = []
    if command.quantity is not None:
        measured, _ = pool.allowances.cover(dims, pool.at, command.amount, metric, command.quantity, only="quantity")
    rest = command.amount - len(measured)
    free, kept_free = hold.free[:rest], hold.free[rest:]
    rest -= len(free)
    spent, kept = hold.units[:rest], hold.units[rest:]
    beyond = rest - len(spent)
    more, pays = beyond_hold(pool, dims, beyond)
    uncovered = beyond - len(more) - pays
    charges = pool.budgets.charges(dims, pool.at) if pays else ()
    warned = pool.budgets.warned(dims, pool.at, pays) if pays else ()
    del pool.holds[command.hold]
    for unit in spent:
        unit.place = "spent"
    extra = pool.take(pays, "spent")
    for unit in extra:
        unit.is_beyond = True
    pool.allowances.use([*measured, *more])
    give_back(pool, kept_free)
    lapsing = pool.come_back(kept)
    number = pool.next
    hold.usage.amount, hold.usage.is_open_hold = len(spent), False
    usage = pool.budgets.record(number, dims, pool.at, len(extra)) if extra else None
    pool.payments[number] = Payment(
        [*free, *measured, *more, *spent, *extra], dims, metric, hold.usage, hold.charges, usage, charges
    )
    pool.settle(f"\x01hold:{command.hold}", "captured", (command, metric))
    pool.write(
        "Captured",
        **passed_on(command, "hold", "occurred_at", "quantity", "card"),
        amount=len(spent) + len(extra),
        parts=parts_of(spent),
        extra=parts_of(extra),
        returned=parts_of(kept),
        uncovered=uncovered,
        lapsed=sum(map(len, lapsing)),
        metric=metric,
        dimensions=dims,
        charges=charges,
        warned=warned,
        held_charges=hold.charges,
        held_covers=covers_of(free),
        extra_covers=covers_of([*measured, *more]),
        returned_covers=covers_of(kept_free),
    )
    pool.alerts.cause("Captured", dims if extra else None)
    if lapsing:
        pool.note("credits come back from a capture to a grant that is over")
    pool.lapse(lapsing)
    is_less = bool(kept or kept_free)
    pool.note("a capture of more" if more or extra else "a capture of less" if is_less else "a capture of all")
    if pool.budgets.is_another_window(pool.at, hold.charges, dims):
        pool.note("a capture in another window of a budget")


def beyond_hold(pool: ModelPool, dims: Dims, amount: int) -> tuple[list[Free], int]:
    """Return the units that allowances pay beyond a hold, and how many grants do: all of it together or nothing."""
    if not amount:
        return [], 0
    free, _ = pool.allowances.cover(dims, pool.at, amount, only="credits")
    pays = amount - len(free)
    if pays > pool.available:
        pool.note("a capture beyond what there is")
        return [], 0
    if pool.budgets.stop(dims, pool.at, pays) or pool.budgets.lacks_any(dims):
        pool.note("a capture of more, stopped by a budget")
        return [], 0
    return free, pays


def release(pool: ModelPool, number: int) -> None:
    if number not in pool.holds:
        raise Refused("UnknownEntry", "hold", number)
    end_hold(pool, number, None)


def end_hold(pool: ModelPool, number: int, due_at: int | None) -> None:
    """Give all of a hold back: because that was asked, or because it ended at ``due_at``."""
    hold = pool.holds.pop(number)
    give_back(pool, hold.free)
    hold.usage.amount, hold.usage.is_open_hold = 0, False
    lapsing = pool.come_back(hold.units)
    pool.settle(f"\x01hold:{number}", "released" if due_at is None else "expired")
    pool.write(
        "Released",
        hold=number,
        amount=len(hold.units),
        parts=parts_of(hold.units),
        lapsed=sum(map(len, lapsing)),
        due_at=due_at,
        dimensions=hold.dims,
    )
    pool.alerts.cause("Released", expired_hold=None if due_at is None else (number, len(hold.units)))
    if lapsing:
        pool.note("credits come back from a hold to a grant that is over")
    pool.lapse(lapsing)
