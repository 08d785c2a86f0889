"""When a pool asks for credits by itself, though nothing happens to it; and what old journals say of it."""

from __future__ import annotations

import msgspec
import pytest

from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.alerts import AlertTerms, RechargeTerms
from solvent.engine.rules.commands import (
    Debit,
    Grant,
    GrantRecharge,
    PoolCommand,
    RefuseRecharge,
    SetAlerts,
    SettingCommand,
)
from solvent.engine.rules.decide import decide
from solvent.engine.rules.due import due, pass_time
from solvent.engine.rules.events import (
    AlertsSet,
    Debited,
    Event,
    Granted,
    Opened,
    RechargeClosed,
    RechargeRequested,
)
from solvent.engine.rules.evolve import apply, fold
from solvent.engine.rules.pool import LOOK, Pool

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
NOVEMBER = 1_793_491_200 * SECOND
"""2026-11-01T00:00Z"""
DECEMBER = NOVEMBER + 30 * DAY
RULE = RechargeTerms(below=5, target=10, timeout_us=HOUR)


def do(pool: Pool, command: PoolCommand | SettingCommand, at: int) -> tuple[Event, ...]:
    assert not due(pool, at)
    events = decide(pool, command, at)
    assert isinstance(events, tuple), events
    for event in events:
        apply(pool, event)
    return events


def empty_pool(rule: RechargeTerms, at: int) -> Pool:
    """With a rule, after everything was spent."""
    pool = Pool()
    do(pool, Grant("g", rule.target), at)
    do(pool, SetAlerts(AlertTerms(recharge=rule)), at)
    do(pool, Debit("d", rule.target), at)
    return pool


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, (Granted, Opened))]


@pytest.mark.parametrize("restart", ["none", "snapshot", "fold"])
def test_the_pause_after_a_refusal_ends_on_the_schedule(restart: str) -> None:
    pool = empty_pool(RULE, NOVEMBER)
    assert pool.alerts is not None
    request = pool.alerts.recharge.request
    do(pool, RefuseRecharge(request), NOVEMBER + 1)
    if restart == "snapshot":
        pool = decode_pool(encode_pool(pool))
    assert pool.schedule == [(NOVEMBER + 1 + HOUR, LOOK)]
    assert pass_time(pool, NOVEMBER + HOUR) == []
    (asked,) = pass_time(pool, NOVEMBER + 1 + HOUR)
    assert isinstance(asked, RechargeRequested)
    assert (asked.at, asked.amount, asked.until) == (NOVEMBER + 1 + HOUR, 10, NOVEMBER + 1 + 2 * HOUR)


def test_a_look_that_finds_nothing_is_gone() -> None:
    pool = empty_pool(RULE, NOVEMBER)
    assert pool.alerts is not None
    do(pool, RefuseRecharge(pool.alerts.recharge.request), NOVEMBER)
    do(pool, Grant("g2", 10), NOVEMBER)
    assert due(pool, NOVEMBER + HOUR) == ()
    assert pass_time(pool, NOVEMBER + HOUR) == []
    assert pool.schedule == []


def test_time_that_passed_while_nothing_ran_makes_one_request_and_not_one_for_each_timeout() -> None:
    pool = empty_pool(RULE, NOVEMBER)
    facts = pass_time(pool, NOVEMBER + 20 * DAY)
    assert kinds(facts) == ["RechargeClosed", "RechargeRequested"]
    assert {event.at for event in facts} == {NOVEMBER + 20 * DAY}


def test_a_pool_that_grants_to_itself_does_so_once_for_each_step() -> None:
    rule = msgspec.structs.replace(RULE, grants=True, monthly_max=12)
    pool = empty_pool(rule, NOVEMBER)
    assert pool.available == 10
    # What the month has left is not enough for the threshold: nothing is asked for twice because of that.
    events = do(pool, Debit("e", 9), NOVEMBER + 1)
    assert [event.amount for event in events if isinstance(event, RechargeRequested)] == [2]
    assert pool.available == 3
    assert pool.schedule[0] == (DECEMBER, LOOK)
    facts = pass_time(pool, DECEMBER + 3 * DAY)
    assert [event.amount for event in facts if isinstance(event, RechargeRequested)] == [7]
    assert (pool.available, pass_time(pool, DECEMBER + 3 * DAY)) == (10, [])


def test_what_a_grant_leaves_open_is_asked_for_in_the_same_step() -> None:
    pool = empty_pool(RULE, NOVEMBER)
    amounts: list[int] = []
    while pool.alerts is not None and (request := pool.alerts.recharge.request):
        events = do(pool, GrantRecharge(request, 1), NOVEMBER + 1)
        amounts += [event.amount for event in events if isinstance(event, RechargeRequested)]
    assert (amounts, pool.available) == ([9, 8, 7, 6], 5)


def old(event: RechargeRequested) -> RechargeRequested:
    """A request as it was written before it said when its month ends."""
    fields: list[object] = msgspec.msgpack.decode(msgspec.msgpack.encode(event))
    return msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:-1]), type=RechargeRequested)


def test_a_pool_of_an_old_journal_that_fell_silent_asks_again() -> None:
    begin: list[Event] = [
        Opened(NOVEMBER, 6),
        Granted(NOVEMBER, "g", 10, 10, "paid", 50, None, None),
        AlertsSet(NOVEMBER, 10, AlertTerms(recharge=RULE)),
        Debited(NOVEMBER, "d", 10, 0, ((2, 10),), 10, False),
        old(RechargeRequested(NOVEMBER, 10, 0, NOVEMBER + HOUR, NOVEMBER, False, DECEMBER)),
    ]
    timed_out = RechargeClosed(NOVEMBER + 2 * HOUR, 5, 10, 0, NOVEMBER + HOUR)
    assert kinds(pass_time(fold(Pool(), [*begin, timed_out]), NOVEMBER + DAY)) == ["RechargeRequested"]
    refused = RechargeClosed(NOVEMBER, 5, 10, 0)
    pool = fold(Pool(), [*begin, refused])
    assert pass_time(pool, NOVEMBER + HOUR - 1) == []
    assert kinds(pass_time(pool, NOVEMBER + HOUR)) == ["RechargeRequested"]


def test_a_pool_of_an_old_journal_whose_month_was_used_up_asks_in_the_next() -> None:
    rule = msgspec.structs.replace(RULE, grants=True, monthly_max=10)
    events: list[Event] = [
        Opened(NOVEMBER, 6),
        AlertsSet(NOVEMBER, 0, AlertTerms(recharge=rule)),
        old(RechargeRequested(NOVEMBER, 10, 0, NOVEMBER + HOUR, NOVEMBER, True, DECEMBER)),
        Granted(NOVEMBER, "r", 10, 10, "paid", 50, None, None, recharge=3),
        Debited(NOVEMBER, "d", 10, 0, ((4, 10),), 10, False),
    ]
    pool = fold(Pool(), events)
    # It is not known when that month ends, but by when it surely has.
    assert pass_time(pool, DECEMBER) == []
    (asked, _) = pass_time(pool, DECEMBER + 2 * DAY)
    assert isinstance(asked, RechargeRequested)
    assert (asked.month_start, asked.month_end) == (DECEMBER, DECEMBER + 31 * DAY)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Honolulu", "Europe/Paris"])
def test_another_time_zone_does_not_begin_the_month_anew(zone: str) -> None:
    rule = msgspec.structs.replace(RULE, grants=True, monthly_max=15)
    pool = empty_pool(rule, NOVEMBER + 3 * HOUR)
    do(pool, Debit("e", 10), NOVEMBER + 4 * HOUR)
    for number, at in enumerate((NOVEMBER + 5 * HOUR, DECEMBER - 1)):
        pass_time(pool, at)
        terms = AlertTerms(recharge=msgspec.structs.replace(rule, zone=(zone, "UTC")[number]))
        do(pool, SetAlerts(terms), at)
        if pool.available:
            do(pool, Debit(f"f{number}", pool.available), at)
        assert pool.granted == 25
    assert kinds(pass_time(pool, DECEMBER)) == ["RechargeRequested"]
    assert pool.granted == 35
