"""Crashes: what their mail is told, when the next instance comes, and when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.actors import (
    Actor,
    ActorCrashed,
    ActorFailed,
    ActorSystem,
    DeadLetter,
    DeadlineExceeded,
    Mail,
    Options,
    Stopped,
    Supervision,
)
from solvent.actors.supervision import KEYS_MAX, CrashLog


class Fragile(Actor[str]):
    """Crashes when told to; keeps what is called ``hold``; answers the rest with its own number."""

    made = 0

    def __init__(self) -> None:
        Fragile.made += 1
        self.number = Fragile.made
        self.held: list[Mail[str]] = []

    def receive(self, batch: list[Mail[str]]) -> None:
        for mail in batch:
            if mail.message == "crash":
                raise ValueError("told to")
            if mail.message == "hold":
                self.held.append(mail)
            else:
                mail.reply(self.number)


@pytest.fixture(autouse=True)
def _count_from_one() -> None:
    Fragile.made = 0


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def failure(future: asyncio.Future[object]) -> BaseException:
    (error,) = await asyncio.gather(future, return_exceptions=True)
    assert isinstance(error, BaseException), error
    return error


async def test_a_crash_fails_delivered_mail_and_keeps_what_waits() -> None:
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile())
        held = family.ask("a", "hold")
        await turns()
        before, crash = family.ask("a", "hello"), family.ask("a", "crash")
        await turns(1)
        after = family.ask("a", "hello")
        assert await before == 1  # answered before the crash
        for future in (held, crash):
            error = await failure(future)
            assert isinstance(error, ActorCrashed)
            assert isinstance(error.cause, ValueError)
            assert error.__cause__ is error.cause
            assert error.delivered
        assert await after == 2  # by the next instance
        statistics = family.statistics()
        assert (statistics.crashes, statistics.restarts, statistics.pending) == (1, 1, 0)


async def test_an_answer_from_an_instance_that_crashed_changes_nothing() -> None:
    actors: list[Fragile] = []

    def factory(key: str) -> Fragile:
        actors.append(Fragile())
        return actors[-1]

    async with ActorSystem() as system:
        family = system.register("fragile", factory)
        held = family.ask("a", "hold")
        await turns()
        family.tell("a", "crash")
        assert isinstance(await failure(held), ActorCrashed)
        actors[0].held[0].reply("too late")
        assert family.pending == 0
        with pytest.raises(Stopped):
            actors[0].context.tell_self("from the grave")
        assert await family.ask("a", "hello") == 2


async def test_restarts_wait_longer_each_time_and_mail_waits_with_them() -> None:
    started_at: list[float] = []
    loop = asyncio.get_running_loop()

    class FailsToStart(Actor[str]):
        async def on_start(self) -> None:
            started_at.append(loop.time())
            await asyncio.sleep(0)
            if len(started_at) < 6:
                raise OSError("not yet")

        def receive(self, batch: list[Mail[str]]) -> None:
            for mail in batch:
                mail.reply("at last")

    rule = Supervision(restarts_max=10, window_s=100, backoff_min_s=1, backoff_max_s=4)
    async with ActorSystem() as system:
        family = system.register("slow", lambda key: FailsToStart(), Options(supervision=rule, default_timeout_s=60))
        assert await family.ask("a", "hello") == "at last"
        assert started_at == pytest.approx([0, 0, 1, 3, 7, 11])
        assert family.statistics().activations == 1


async def test_mail_that_waits_for_a_restart_has_its_deadline() -> None:
    rule = Supervision(backoff_min_s=100, backoff_max_s=100, window_s=1_000)
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule, idle_after_s=1_000))
        assert isinstance(await failure(family.ask("a", "crash")), ActorCrashed)
        await family.ask("a", "hello")
        await asyncio.sleep(10)
        family.crash("a", OSError())
        with pytest.raises(DeadlineExceeded) as error:
            await family.ask("a", "hello", timeout_s=5)
        assert not error.value.delivered
        assert 15 <= asyncio.get_running_loop().time() < 15.1


async def test_a_crash_is_logged_with_its_cause_and_what_follows(caplog: pytest.LogCaptureFixture) -> None:
    rule = Supervision(restarts_max=1)
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule))
        for fate in ("restarting in 0.000 s", "given up"):
            await failure(family.ask("a", "crash"))
            assert f"fragile/a crashed, {fate}" in caplog.text
        assert caplog.text.count("ValueError: told to") == 2
        caplog.clear()
        await family.ask("b", "hello")
        family.crash("b", OSError())
        assert caplog.text == ""  # whoever crashed it knows why


async def test_too_many_crashes_give_up_until_the_window_has_passed() -> None:
    letters: list[DeadLetter] = []
    rule = Supervision(restarts_max=2, window_s=10, backoff_min_s=0.1)
    async with ActorSystem(on_dead_letter=letters.append) as system:
        family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule))
        for _ in range(2):
            assert isinstance(await failure(family.ask("a", "crash")), ActorCrashed)
        await asyncio.sleep(1)
        waiting = family.ask("a", "hello")
        family.crash("a", OSError())
        error = await failure(waiting)
        assert isinstance(error, ActorFailed)
        assert not error.delivered
        assert family.resident == 0
        with pytest.raises(ActorFailed) as refusal:
            family.ask("a", "hello")
        assert 0 < refusal.value.retry_after_s <= 10
        with pytest.raises(ActorFailed):
            family.tell("a", "hello")
        assert await family.ask("b", "hello") == 4  # other keys are served
        await asyncio.sleep(refusal.value.retry_after_s)
        assert await family.ask("a", "hello") == 5
        assert family.statistics().given_up == 1
        await turns()
        assert [letter.reason for letter in letters] == ["failed"]


async def test_crashes_are_remembered_across_passivation() -> None:
    rule = Supervision(restarts_max=1, window_s=100)
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule, idle_after_s=1))
        assert isinstance(await failure(family.ask("a", "crash")), ActorCrashed)
        await asyncio.sleep(5)
        assert family.resident == 0
        await failure(family.ask("a", "crash"))
        with pytest.raises(ActorFailed):
            family.ask("a", "hello")


async def test_giving_up_escalates_out_of_the_system_and_ends_every_ask() -> None:
    rule = Supervision(restarts_max=0, escalate=True)
    pending: list[asyncio.Future[object]] = []

    async def block() -> None:
        async with ActorSystem() as system:
            family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule))
            pending.extend([family.ask(key, "hold") for key in "bcd"])
            await turns()
            pending.append(family.ask("a", "crash"))
            await asyncio.sleep(1_000)

    with pytest.raises(ActorFailed) as escalated:
        await block()
    assert asyncio.get_running_loop().time() < 1
    assert escalated.value.key == "a"
    assert isinstance(escalated.value.cause, ValueError)
    assert [type(await failure(future)) for future in pending] == [Stopped, Stopped, Stopped, ActorCrashed]


async def test_what_escalates_ends_every_ask_before_the_block_has_cleaned_up() -> None:
    rule = Supervision(restarts_max=0, escalate=True)
    ended: list[bool] = []

    async def block() -> None:
        async with ActorSystem() as system:
            family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule))
            held = family.ask("b", "hold")
            for key in "acd":  # several at once
                family.tell(key, "crash")
            try:
                await asyncio.sleep(1_000)
            finally:
                with anyio.CancelScope(shield=True):
                    await turns()
                ended.append(isinstance(held.exception(), Stopped))

    with pytest.raises(ActorFailed):
        await block()
    assert ended == [True]


async def test_escalation_wins_over_the_error_the_caller_got() -> None:
    rule = Supervision(restarts_max=0, escalate=True)
    with pytest.raises(ActorFailed):
        async with ActorSystem() as system:
            await system.register("fragile", lambda key: Fragile(), Options(supervision=rule)).ask("a", "crash")


async def test_a_factory_that_raises_is_a_crash() -> None:
    def factory(key: str) -> Fragile:
        raise LookupError(key)

    async with ActorSystem() as system:
        family = system.register("none", factory, Options(supervision=Supervision(restarts_max=2, backoff_min_s=0.1)))
        error = await failure(family.ask("a", "hello"))
        assert isinstance(error, ActorFailed)
        assert isinstance(error.cause, LookupError)
        assert family.statistics().crashes == 3


async def test_an_async_receive_that_raises_is_a_crash() -> None:
    class Busy(Actor[str]):
        async def receive(self, batch: list[Mail[str]]) -> None:
            await asyncio.sleep(1)
            batch[0].reply("done")
            raise ValueError("half way")

    async with ActorSystem() as system:
        family = system.register("busy", lambda key: Busy())
        first, second = family.ask("a", "1"), family.ask("a", "2")
        assert await first == "done"
        assert isinstance(await failure(second), ActorCrashed)


async def test_an_answer_from_receive_that_cannot_be_awaited_is_a_crash() -> None:
    class Forgets(Actor[str]):
        def receive(self, batch: list[Mail[str]]) -> Awaitable[None] | None:
            return "no awaitable"  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    async with ActorSystem() as system:
        family = system.register("forgets", lambda key: Forgets())
        error = await failure(family.ask("a", "hello"))
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.cause, TypeError)


async def test_an_exception_without_words_reaches_every_caller() -> None:
    class SpeechlessError(Exception):
        def __repr__(self) -> str:
            raise ValueError

    class Speechless(Fragile):
        def receive(self, batch: list[Mail[str]]) -> None:
            raise SpeechlessError

    options = Options(supervision=Supervision(restarts_max=1))
    async with ActorSystem() as system:
        family = system.register("speechless", lambda key: Speechless(), options)
        for future in [family.ask("a", "1"), family.ask("a", "2")]:
            assert "SpeechlessError" in str(await failure(future))
        await failure(family.ask("a", "3"))
        with pytest.raises(ActorFailed, match="SpeechlessError"):
            family.ask("a", "4")


async def await_cancelled() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def read_cancelled() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    future.result()


@pytest.mark.parametrize("work", [await_cancelled, read_cancelled])
async def test_a_cancellation_nobody_asked_for_is_a_crash(work: Callable[[], None]) -> None:
    class Cancelled(Actor[str]):
        def receive(self, batch: list[Mail[str]]) -> None:
            return work()

    async with ActorSystem() as system:
        family = system.register("cancelled", lambda key: Cancelled())
        error = await failure(family.ask("a", "hello"))
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.cause, asyncio.CancelledError)


async def test_crash_from_outside_reaches_chosen_keys_and_spares_their_waiting_mail() -> None:
    lost = OSError("the write failed")
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile())
        held = {key: family.ask(key, "hold") for key in "abcd"}
        await turns()
        waiting = {key: family.ask(key, "hello") for key in "abcd"}
        assert family.crash_all(lost, "ab", counts=False) == 2
        assert family.crash("c", lost)
        assert not family.crash("unknown", lost)
        for key in "abc":
            assert await failure(held[key]) is lost
            assert await waiting[key] > 4  # a new instance
        assert await waiting["d"] == 4
        assert not held["d"].done()
        assert family.crash_all(lost) == 4
        assert await failure(held["d"]) is lost


async def test_crashes_that_do_not_count_never_wait_and_never_give_up() -> None:
    loop = asyncio.get_running_loop()
    rule = Supervision(restarts_max=1, backoff_min_s=5, backoff_max_s=5)
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule))
        for number in range(1, 20):
            assert await family.ask("a", "hello") == number
            family.crash("a", OSError(), counts=False)
        assert loop.time() == 0


async def test_a_crash_while_starting_cancels_the_start_and_starts_again() -> None:
    starts: list[str] = []

    class Slow(Actor[str]):
        async def on_start(self) -> None:
            starts.append("begun")
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                starts.append("cancelled")
                raise

        def receive(self, batch: list[Mail[str]]) -> None:
            for mail in batch:
                mail.reply("hello")

    async with ActorSystem() as system:
        family = system.register("slow", lambda key: Slow())
        future = family.ask("a", "hello")
        await turns()
        assert family.crash("a", OSError())
        assert await future == "hello"
        assert starts == ["begun", "cancelled", "begun"]


@pytest.mark.parametrize("raises", [False, True])
async def test_an_actor_may_crash_itself_in_the_middle_of_its_batch(raises: bool) -> None:
    class Suspicious(Fragile):
        def receive(self, batch: list[Mail[str]]) -> None:
            if self.number <= 2:
                family.crash("a", OSError("I cannot trust myself"))
                if raises:
                    raise ValueError("nor go on")
            else:
                super().receive(batch)

    rule = Supervision(backoff_min_s=5)
    async with ActorSystem() as system:
        family = system.register("suspicious", lambda key: Suspicious(), Options(idle_after_s=1, supervision=rule))
        assert isinstance(await failure(family.ask("a", "hello")), OSError)
        assert isinstance(await failure(family.ask("a", "hello")), OSError)
        await asyncio.sleep(3)  # nobody takes what waits for its restart for idle
        assert await family.ask("a", "hello") == 3
        assert (family.statistics().crashes, family.statistics().passivations) == (2, 0)


@pytest.mark.parametrize("raises", [False, True])
async def test_an_actor_may_crash_itself_instead_of_starting(raises: bool) -> None:
    begun: list[int] = []

    class Suspicious(Fragile):
        def on_start(self) -> Coroutine[None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
            if self.number == 1:
                family.crash("a", OSError("not like this"))
                if raises:
                    raise ValueError("nor at all")
            return self.begin()

        async def begin(self) -> None:
            begun.append(self.number)

    async with ActorSystem() as system:
        family = system.register("suspicious", lambda key: Suspicious())
        assert await family.ask("a", "hello") == 2
        assert (family.statistics().crashes, begun) == (1, [2])


async def test_what_no_future_can_carry_is_refused_and_crashes_nobody() -> None:
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile())
        assert await family.ask("a", "hello") == 1
        with pytest.raises(TypeError):
            family.crash("a", StopIteration())
        assert await family.ask("a", "hello") == 1


async def test_back_off_holds_even_if_the_crash_came_while_mail_was_about_to_be_delivered() -> None:
    loop = asyncio.get_running_loop()
    rule = Supervision(backoff_min_s=2)
    async with ActorSystem() as system:
        family = system.register("fragile", lambda key: Fragile(), Options(supervision=rule))
        assert await family.ask("a", "hello") == 1
        family.crash("a", OSError())
        assert await family.ask("a", "hello") == 2
        future = family.ask("a", "hello")
        family.crash("a", OSError())
        assert await future == 3
        assert loop.time() >= 2


@pytest.mark.parametrize("backoff_s", [0.0, 0.1, 3.0])
async def test_the_next_instance_waits_for_the_last_one_s_tasks(backoff_s: float) -> None:
    living: list[int] = []

    class Lingers(Actor[str]):
        async def on_start(self) -> None:
            assert not living
            living.append(1)
            self.context.spawn(self.linger())

        async def linger(self) -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                await asyncio.sleep(0.5)  # cleaning up takes its time
                living.clear()

        def receive(self, batch: list[Mail[str]]) -> None:
            for mail in batch:
                mail.reply("hello")

    async with ActorSystem() as system:
        rule = Supervision(backoff_min_s=backoff_s)
        family = system.register("lingers", lambda key: Lingers(), Options(supervision=rule))
        for _ in range(2):  # the first restart is immediate
            await family.ask("a", "hello")
            family.crash("a", OSError())
        crashed_at = asyncio.get_running_loop().time()
        assert await family.ask("a", "hello") == "hello"
        assert asyncio.get_running_loop().time() - crashed_at == pytest.approx(max(0.5, backoff_s))
        assert family.statistics().crashes == 2


async def test_an_actor_given_up_is_not_started_anew_while_its_last_tasks_run() -> None:
    living: list[int] = []

    class Lingers(Fragile):
        async def on_start(self) -> None:
            assert not living
            for seconds in (4, 5):
                living.append(seconds)
                self.context.spawn(self.linger(seconds))

        async def linger(self, seconds: int) -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                await asyncio.sleep(seconds)
                living.remove(seconds)

    options = Options(supervision=Supervision(restarts_max=0, window_s=1))
    async with ActorSystem() as system:
        family = system.register("lingers", lambda key: Lingers(), options)
        assert isinstance(await failure(family.ask("a", "crash")), ActorCrashed)
        await asyncio.sleep(4.5)
        with pytest.raises(ActorFailed) as refusal:
            family.ask("a", "hello")
        assert isinstance(refusal.value.cause, ValueError)
        assert refusal.value.retry_after_s == Options().retry_after_s
        await asyncio.sleep(0.6)
        assert await family.ask("a", "hello") == 2
        assert family.statistics().crashes == 1


@settings(derandomize=True)
@given(st.lists(st.floats(0, 20), max_size=30), st.integers(0, 4))
def test_never_more_restarts_than_allowed_in_any_window(gaps: list[float], restarts_max: int) -> None:
    rule = Supervision(restarts_max=restarts_max, window_s=30)
    log, now = CrashLog(rule), 0.0
    restarted_at: list[float] = []
    for gap in gaps:
        now += gap
        log.forget(now)
        if log.failure("a", now) is None:
            delay_s = log.crashed("a", ValueError(), now)
            if delay_s is not None:
                assert 0 <= delay_s <= rule.backoff_max_s
                restarted_at.append(now)
        assert len([at for at in restarted_at if at > now - rule.window_s]) <= restarts_max
    log.forget(now + rule.window_s)
    assert len(log) == 0


def test_a_crash_counts_for_one_window_and_no_longer() -> None:
    log = CrashLog(Supervision(restarts_max=2, window_s=30))
    assert [log.crashed("a", ValueError(), now) is None for now in (0.0, 20.0, 40.0, 60.0, 69.0)] == [
        *[False] * 4,
        True,
    ]


def test_the_least_recently_crashed_is_forgotten_first() -> None:
    log = CrashLog(Supervision(window_s=30))
    for key, now in (("a", 0.0), ("b", 10.0), ("a", 20.0)):
        log.crashed(key, ValueError(), now)
    log.forget(39.0)
    assert (len(log), log.due_at()) == (2, 40.0)
    log.forget(40.0)
    assert (len(log), log.due_at()) == (1, 50.0)


def test_the_memory_of_crashes_is_bounded() -> None:
    log = CrashLog(Supervision())
    for n in range(KEYS_MAX + 100):
        log.crashed(str(n), ValueError(), float(n) / 1e6)
    assert len(log) == KEYS_MAX


@pytest.mark.parametrize("bad", [{"restarts_max": -1}, {"window_s": 0}, {"backoff_min_s": 9, "backoff_max_s": 1}])
def test_a_rule_that_makes_no_sense_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Supervision(**bad)  # type: ignore[arg-type]
