"""Recurring grants: what setting one changes, and when it grants next.

Within one period, a recurring grant of a name grants once, also if it is cancelled and set again. Terms that describe
what is set already change nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from solvent.engine.rules.commands import SetRecurring
from solvent.engine.rules.due import recur, trim
from solvent.engine.rules.events import Alerted, Event, Granted, RecurringEnded, RecurringSet, Trimmed, Voided
from solvent.engine.rules.evolve import fold
from solvent.engine.rules.outcomes import Conflict, Outcome, Unchanged, Unfit
from solvent.engine.rules.pool import LIVE, Pool, granted_until
from solvent.engine.rules.recurring import RECURRING_MAX, Recurring, RecurringTerms, grant_at
from solvent.engine.values.recurrence import Rhythm, period_at, same_times

_RHYTHM: Final = {"anchor": None, "period": "day", "every": 1, "zone": "UTC", "starts_at": None}
"""Stands for every rhythm, where only the other terms are compared."""


def decide_recurring(pool: Pool, command: SetRecurring, at: int, opened: tuple[Event, ...]) -> Outcome:
    """Decide the terms of a recurring grant. ``opened`` are the events that open its pool, if it is new."""
    given = command.terms
    plan = next((each for each in pool.recurring.values() if each.terms.name == given.name), None)
    if plan is None:
        return _begin(pool, command, at, opened)
    terms = _completed(command, plan)
    anchor = plan.anchor if given.anchor is None else given.anchor
    rhythm = Rhythm(anchor, terms.period, terms.every, terms.zone)
    starts = _start(command, plan, at, same=same_times(rhythm, plan.rhythm))
    if starts is not None and starts < at:
        return Unfit("starts_at", "now or later")
    next_at = _next(pool, plan, rhythm, starts, at)
    next_at = _first_with_something(terms, rhythm, next_at)
    if terms.ends_at is not None and terms.ends_at <= next_at:
        return end(pool, plan, at) if terms.ends_at > at else Unfit("ends_at", "a time after now")
    if next_at == plan.next_at and same_times(rhythm, plan.rhythm) and _rest(terms) == _rest(plan.terms):
        return Unchanged(next_at)
    return _set(pool, plan.number, terms, anchor, next_at, at, ())


def _begin(pool: Pool, command: SetRecurring, at: int, opened: tuple[Event, ...]) -> Outcome:
    """Decide a recurring grant that is not there now. If its last period still runs, it has granted that already."""
    given = command.terms
    before = next((each for each in reversed(pool.ended.values()) if each.terms.name == given.name), None)
    until = None if before is None else granted_until(pool, before)
    starts = given.starts_at
    if starts is not None and starts < at:
        return Unfit("starts_at", "now or later")
    if before is not None and until is not None and until > at:
        anchor = before.anchor if given.anchor is None else given.anchor
        rhythm = Rhythm(anchor, given.period, given.every, given.zone)
        starts = _start(command, before, at, same=same_times(rhythm, before.rhythm))
        next_at = _next(pool, before, rhythm, starts, at, resumed=until)
    else:
        next_at = at if starts is None else starts
        anchor = next_at if given.anchor is None else given.anchor
        rhythm = Rhythm(anchor, given.period, given.every, given.zone)
    if given.ends_at is not None and given.ends_at <= next_at:
        return Unfit("ends_at", "a time after now, after starts_at and after the period that is granted already")
    if len(pool.recurring) >= RECURRING_MAX:
        return Conflict("too_many_recurring", f"a pool has at most {RECURRING_MAX} recurring grants")
    next_at = _first_with_something(given, rhythm, next_at)
    return _set(pool, 0 if before is None else before.number, given, anchor, next_at, at, opened)


def _completed(command: SetRecurring, plan: Recurring) -> RecurringTerms:
    """Return the terms of a command, with those that it leaves out as they are."""
    given = command.terms
    kept = {name: getattr(plan.terms, name) for name in command.left_out}
    for name in ("anchor", "starts_at"):
        if getattr(given, name) is None:
            kept[name] = getattr(plan.terms, name)
    return msgspec.structs.replace(given, **kept)


def _start(command: SetRecurring, plan: Recurring, at: int, *, same: bool) -> int | None:
    """Return the start that a command asks for; ``None`` if it asks for none.

    Only a new rhythm can start now: the same one is running.
    """
    asked = command.terms.starts_at
    if asked is not None and (asked >= at or asked != plan.terms.starts_at):
        return asked
    starts_part = command.terms.prorate and "prorate" not in command.left_out and not same
    return at if command.start == "now" or (starts_part and plan.last_grant) else None


def _next(
    pool: Pool, plan: Recurring, rhythm: Rhythm, starts: int | None, at: int, *, resumed: int | None = None
) -> int:
    """Return when ``plan`` grants next by ``rhythm``; ``starts`` is the start that was asked for.

    If it has ended, its last period runs until ``resumed``.
    """
    until = granted_until(pool, plan)
    if until is None:
        return plan.next_at if starts is None else starts
    if same_times(rhythm, plan.rhythm):
        usual = plan.next_at if resumed is None else resumed
        return usual if starts is None else max(starts, until)
    return period_at(rhythm, at)[1] if starts is None else starts


def _first_with_something(terms: RecurringTerms, rhythm: Rhythm, next_at: int) -> int:
    """Return the time of the first grant that is not 0, as the part of a period may be."""
    amount, end = grant_at(terms, rhythm, next_at)
    return next_at if amount else end


def _rest(terms: RecurringTerms) -> RecurringTerms:
    return msgspec.structs.replace(terms, **_RHYTHM)


def _set(
    pool: Pool, number: int, terms: RecurringTerms, anchor: int, next_at: int, at: int, opened: tuple[Event, ...]
) -> tuple[Event, ...]:
    """Return the events of new terms, and of what they grant and cut at once."""
    told = RecurringSet(at, number, pool.available, terms, anchor, next_at)
    after = fold(pool, (*opened, told))
    plan = after.recurring[number or after.version]
    facts: tuple[Event, ...] = ()
    following: int | None = next_at
    if next_at <= at:
        facts = recur(after, plan, at)
        last = facts[-1]
        following = last.next_at if isinstance(last, Granted) else last.moment if isinstance(last, Alerted) else None
    elif number:
        facts = tuple(trim(after, number, terms.roll_over, at, at))
    granted = sum([event.amount for event in facts if isinstance(event, Granted)])
    lapsed = sum([event.amount for event in facts if isinstance(event, Trimmed)])
    told = msgspec.structs.replace(told, granted=granted, lapsed=lapsed, following=following)
    return *opened, told, *facts


def cancel(pool: Pool, recurring: Recurring, at_once: bool, at: int) -> Outcome:
    """Decide the end of a recurring grant; with ``at_once``, also of what is left of its last grant."""
    block = pool.blocks.get(recurring.last_grant)
    over = block is None or block.state != LIVE or (block.expires_at is not None and block.expires_at <= at)
    if not at_once or block is None or over:
        return end(pool, recurring, at)
    balance = pool.available - block.available
    return Voided(at, block.number, block.available, balance), *end(pool, recurring, at, balance=balance)


def end(pool: Pool, recurring: Recurring, at: int, *, balance: int | None = None) -> tuple[Event, ...]:
    """Return the end of a recurring grant, and of what an older version let stand beyond its roll-over."""
    balance = pool.available if balance is None else balance
    until = granted_until(pool, recurring)
    ended = RecurringEnded(at, recurring.number, balance, recurring.terms.name, until=until)
    return ended, *trim(pool, recurring.number, recurring.terms.roll_over, at, at, balance=balance)
