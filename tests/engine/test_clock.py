"""A wall clock that leaps is not believed: nothing expires by it, and debits go on at the time that can be trusted."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent import Engine, InvalidRequest, Settings
from solvent.engine.audit.verify import verify_journal
from solvent.engine.runtime.clock import DRIFT, TrustedClock
from solvent.engine.runtime.machine import MACHINE

S = 1_000_000
MINUTE, HOUR, DAY = 60 * S, 3_600 * S, 86_400 * S
START = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * S
YEAR = 365 * DAY


class Clocks:
    """Both clocks of a machine, in the hands of the test."""

    def __init__(self, wall: int = START) -> None:
        self.wall, self.elapsed = wall, 12_345

    def pass_(self, us: int) -> None:
        self.wall += us
        self.elapsed += us

    def trusted(self, *, last_at: int | None = None) -> TrustedClock:
        clock = TrustedClock(lambda: self.wall, lambda: self.elapsed, ahead_max_us=10 * MINUTE, gap_max_us=30 * DAY)
        clock.begin(last_at)
        return clock


def open_engine(directory: Path | str, clocks: Clocks, **settings: float):  # type: ignore[no-untyped-def]
    return Engine.open(
        directory,
        now_us=lambda: clocks.wall,
        elapsed_us=lambda: clocks.elapsed,
        settings=Settings(**settings),  # type: ignore[arg-type]
    )


# -- The clock alone


def test_a_leap_ahead_is_not_believed_and_time_goes_on_by_the_other_clock(caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    clocks.pass_(HOUR)
    assert clock.now_us() == START + HOUR
    clocks.wall += YEAR
    clocks.pass_(5 * S)
    with caplog.at_level(logging.ERROR):
        assert clock.now_us() == START + HOUR + 5 * S
    assert "is not believed (it leapt ahead)" in caplog.text
    assert "solvent clock confirm" in caplog.text
    clocks.pass_(DAY)
    state = clock.state()
    assert (state.now, state.wall, state.doubt) == (START + HOUR + 5 * S + DAY, clocks.wall, "ahead")
    # The clock is back.
    clocks.wall -= YEAR
    assert clock.now_us() == clocks.wall
    assert clock.state().doubt is None


def test_a_leap_that_somebody_confirms_is_believed() -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    clocks.wall += YEAR
    assert clock.now_us() == START
    assert clock.confirm()
    assert clock.now_us() == START + YEAR
    assert not clock.confirm(), "there is nothing left to confirm"
    clocks.pass_(DAY)
    assert clock.now_us() == START + YEAR + DAY


def test_a_small_step_is_believed_and_many_small_steps_are_a_leap() -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    clocks.wall += 9 * MINUTE
    assert clock.now_us() == START + 9 * MINUTE
    seen = 0
    for _ in range(10):
        clocks.pass_(2 * S)
        clocks.wall += 9 * MINUTE
        seen = clock.now_us()
    assert clock.state().doubt == "ahead"
    assert seen <= START + 10 * MINUTE + 20 * S


def test_steps_below_the_interval_of_looks_add_up() -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    for _ in range(2_000):
        clocks.pass_(1)
        clocks.wall += S - 2
        clock.now_us()
    assert clock.state().doubt == "ahead"


def test_a_clock_that_drifts_is_believed_for_ever() -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    for _ in range(400):
        clocks.pass_(DAY)
        clocks.wall += DAY // DRIFT - 1
        assert clock.now_us() == clocks.wall


def test_the_sleep_of_the_machine_is_no_leap() -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    clocks.pass_(90 * DAY)
    assert clock.now_us() == START + 90 * DAY


def test_a_clock_that_goes_back_for_a_moment_is_believed_when_it_returns() -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    clocks.wall -= YEAR
    assert clock.now_us() == START - YEAR
    clocks.pass_(HOUR)
    clocks.wall += YEAR
    assert clock.now_us() == START + HOUR
    assert clock.state().doubt is None


@pytest.mark.parametrize(
    ("since", "doubt"),
    [
        (0, None),
        (30 * DAY, None),
        (30 * DAY + S, "gap"),
        (YEAR, "gap"),
        (-10 * MINUTE, None),
        (-10 * MINUTE - S, "behind"),
        (-YEAR, "behind"),
    ],
)
def test_at_the_start_the_last_frame_is_all_there_is(since: int, doubt: str | None) -> None:
    clocks = Clocks(START + since)
    clock = clocks.trusted(last_at=START)
    clocks.pass_(HOUR)
    state = clock.state()
    assert state.doubt == doubt
    assert state.now == START + HOUR + (0 if doubt else since)
    if doubt is not None:
        # It is set right.
        clocks.wall = START + 2 * HOUR
        assert clock.state() == (START + 2 * HOUR, START + 2 * HOUR, None)


@given(st.lists(st.tuples(st.integers(0, 3 * DAY), st.integers(-YEAR, YEAR)), max_size=20))
def test_the_time_is_never_ahead_of_what_passed_by_more_than_is_allowed(steps: list[tuple[int, int]]) -> None:
    clocks = Clocks()
    clock = clocks.trusted()
    passed = 0
    for us, leap in steps:
        clocks.pass_(us)
        clocks.wall += leap
        passed += us
        assert clock.now_us() <= START + passed + 10 * MINUTE + passed // DRIFT + S


def test_the_machine_counts() -> None:
    before = MACHINE.elapsed_us()
    began = time.monotonic_ns()
    while time.monotonic_ns() < began + 2_000_000:
        pass
    assert MACHINE.elapsed_us() - before >= 1_900


# -- The engine


async def test_a_clock_a_year_ahead_for_one_command_expires_and_grants_nothing(tmp_path: Path) -> None:
    clocks = Clocks()
    async with open_engine(tmp_path, clocks) as engine:
        await engine.grant("acme", 1_000, key="g", expires_at="2026-12-01T00:00:00Z")
        await engine.set_recurring("acme", "plan", "100", period="month", roll_over="all")
        held = await engine.hold("acme", 50, key="h", ttl_s=3_600)
        before = await engine.balance("acme")
        clocks.wall += YEAR
        clocks.pass_(S)
        receipt = await engine.debit("acme", 1, key="k")
        assert receipt.recorded_at == datetime.fromtimestamp(START // S + 1, UTC)
        balance = await engine.balance("acme")
        assert (balance.available, balance.expired, balance.held) == (before.available - 1, 0, 50)
        status = await engine.clock()
        assert (status.not_believed, status.wall_clock - status.time) == ("ahead", timedelta(days=365))
        assert engine.statistics()["clock_not_believed"] == 1
        with pytest.raises(InvalidRequest):
            # Later than the engine's time, whatever the machine says.
            await engine.debit("acme", 1, key="later", occurred_at="2027-06-01T00:00:00Z")
        clocks.wall -= YEAR
        assert (await engine.debit("acme", 1, key="k2")).balance == before.available - 2
        assert (await engine.clock()).not_believed is None
        assert (await engine.capture("acme", held.id, 50)).amount == 50
    assert verify_journal(tmp_path).problems == []


async def test_what_is_due_by_trusted_time_falls_due_while_the_clock_is_not_believed(tmp_path: Path) -> None:
    clocks = Clocks()
    async with open_engine(tmp_path, clocks) as engine:
        await engine.grant("acme", 10, key="g", expires_at=datetime.fromtimestamp(START // S + 3_600, UTC))
        clocks.wall += YEAR
        assert (await engine.balance("acme")).available == 10
        clocks.pass_(HOUR)
        balance = await engine.balance("acme")
        assert (balance.available, balance.expired) == (0, 10)


async def test_a_confirmed_leap_lets_things_fall_due_and_outlives_a_restart(tmp_path: Path) -> None:
    clocks = Clocks()
    async with open_engine(tmp_path, clocks) as engine:
        await engine.grant("acme", 10, key="g", expires_at="2026-12-01T00:00:00Z")
        await engine.grant("acme", 5, key="stays")
    clocks.wall += YEAR
    async with open_engine(tmp_path, clocks) as engine:
        assert (await engine.clock()).not_believed == "gap"
        assert (await engine.balance("acme")).available == 15
    for turn in range(2):
        async with open_engine(tmp_path, clocks) as engine:
            if turn == 0:
                assert (await engine.confirm_clock()).not_believed is None
            assert (await engine.clock()).not_believed is None, "the journal has the time now"
    async with open_engine(tmp_path, clocks) as engine:
        balance = await engine.balance("acme")
        assert (balance.available, balance.expired) == (5, 10)
        assert (await engine.usage("acme", period="today", consistent=True)).total.credits == 0
    proof = verify_journal(tmp_path)
    assert proof.problems == []


async def test_a_clock_behind_the_journal_is_not_believed_at_the_start(tmp_path: Path) -> None:
    clocks = Clocks()
    async with open_engine(tmp_path, clocks) as engine:
        await engine.grant("acme", 10, key="g")
    clocks.wall -= DAY
    async with open_engine(tmp_path, clocks) as engine:
        assert (await engine.clock()).not_believed == "behind"
        assert (await engine.debit("acme", 1, key="k")).recorded_at == datetime.fromtimestamp(START // S, UTC)


async def test_the_bounds_are_settings(tmp_path: Path) -> None:
    clocks = Clocks()
    async with open_engine(tmp_path, clocks, clock_ahead_max_s=1e9, clock_gap_max_s=1e9) as engine:
        await engine.grant("acme", 10, key="g")
        clocks.wall += YEAR
        assert (await engine.clock()).not_believed is None
    async with open_engine(tmp_path, clocks, clock_ahead_max_s=5, clock_gap_max_s=1e9) as engine:
        clocks.wall += 6 * S
        assert (await engine.clock()).not_believed == "ahead"


async def test_a_clock_of_a_test_is_believed() -> None:
    clocks = Clocks()
    async with Engine.open(":memory:", now_us=lambda: clocks.wall) as engine:
        await engine.grant("acme", 10, key="g", expires_at="2026-12-01T00:00:00Z")
        clocks.wall += YEAR
        assert (await engine.balance("acme")).expired == 10
        assert (await engine.clock()).not_believed is None


async def test_the_command_line_shows_and_confirms_it(tmp_path: Path) -> None:
    clocks = Clocks(START - 5 * YEAR)
    async with open_engine(tmp_path, clocks) as engine:
        await engine.grant("acme", 10, key="g")

    async def solvent(*arguments: str) -> str:
        command = [sys.executable, "-m", "solvent", "clock", *arguments, "--data-dir", str(tmp_path)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        return done.stdout

    assert "much later than the last frame" in await solvent()
    assert "is believed" in await solvent("confirm")
    assert "is believed" in await solvent()
