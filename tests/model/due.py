"""The model of time: what happens to a pool though nobody asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from .holds import end_hold
from .plans import recur, trim
from .pool import ModelPool

Happening: TypeAlias = Literal[
    "a hold ends by itself",
    "a plan grants",
    "a request ends",
    "a request is made",
    "a grant takes effect",
    "a grant ends",
    "a grant ends soon",
    "a plan has ended and its last period ends",
]


def pass_time(pool: ModelPool, now: int) -> None:
    """Do what is due: one thing after another, the earliest first, and of those of one moment the oldest.

    A pool's clock is never set back. What is late is written with the present time, and when it was due.
    """
    pool.at = max(pool.clock, now)
    while (first := min(moments(pool), default=None)) is not None and first[0] <= pool.at:
        happen(pool, *first)
        pool.alerts.make()


def moments(pool: ModelPool) -> Iterator[tuple[int, int, Happening]]:
    """Yield what will happen by itself: when, to which entry, and what it is."""
    for number, hold in pool.holds.items():
        yield hold.ends, number, "a hold ends by itself"
    for plan in pool.plans.all:
        yield plan.next, plan.number, "a plan grants"
    if request := pool.alerts.open_request:
        yield request.until, request.number, "a request ends"
    if (moment := pool.alerts.requests_next()) is not None:
        yield moment, 0, "a request is made"
    for number, block in pool.blocks.items():
        if block.is_pending:
            yield block.starts, number, "a grant takes effect"
        elif block.ends is not None and block.those("left"):
            yield block.ends, number, "a grant ends"
            if (soon := pool.alerts.expiring_soon(number)) is not None:
                yield soon, number, "a grant ends soon"
        ends = block.period_end
        if block.rolls and block.plan and ends and block.those("left") and pool.plans.excess(pool, block.plan, ends):
            yield ends, number, "a plan has ended and its last period ends"


def happen(pool: ModelPool, moment: int, number: int, what: Happening) -> None:
    if what != "a request is made":
        pool.note(what)
    match what:
        case "a hold ends by itself":
            pool.moment = moment
            end_hold(pool, number, moment)
            pool.moment = None
        case "a plan grants":
            recur(pool, next(plan for plan in pool.plans.all if plan.number == number))
        case "a request ends":
            request = pool.alerts.open_request
            assert request is not None
            pool.alerts.close(request, "timed_out", moment)
        case "a request is made":
            # ``pass_time`` makes it with all alerts.
            is_paused = pool.clock < pool.alerts.asks_again_at
            pool.note("a pause of requests ends" if is_paused else "a month of requests begins")
        case "a grant takes effect":
            block = pool.blocks[number]
            block.take_effect()
            pool.write("Activated", grant=number, amount=block.amount, due_at=moment)
            pool.alerts.cause("Activated")
        case "a grant ends":
            block = pool.blocks[number]
            lost = block.those("left")
            for unit in lost:
                unit.place = "expired"
            if block.those("held"):
                pool.note("a grant ends while credits of it are held")
            pool.write("Expired", grant=number, amount=len(lost), due_at=moment)
            pool.alerts.cause("Expired")
        case "a plan has ended and its last period ends":
            trim(pool, pool.blocks[number].plan, moment)
        case "a grant ends soon":
            pool.alerts.alert_expiring_soon(number)
