"""Who is alive: activation, passivation, eviction, and waiting for a seat."""

from __future__ import annotations

import asyncio
import gc
import random
import unittest.mock
import weakref
from collections import Counter

import pytest

from solvent.actors import Actor, ActorSystem, DeadlineExceeded, Mail, Options, StopReason, Supervision


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Tally(Actor[str]):
    """Counts its mail. Holds what is called ``hold``; stays if told ``stay``."""

    log: list[tuple[str, str]]

    def __init__(self, log: list[tuple[str, str]]) -> None:
        self.log = log
        self.count = 0
        self.stays = False
        self.held: list[Mail[str]] = []

    async def on_start(self) -> None:
        self.log.append(("start", self.context.key))

    def may_passivate(self) -> bool:
        return not self.stays

    def on_stop(self, reason: StopReason) -> None:
        self.log.append((reason, self.context.key))

    def receive(self, batch: list[Mail[str]]) -> None:
        for mail in batch:
            self.count += 1
            self.stays = mail.message == "stay" or (self.stays and mail.message != "go")
            if mail.message == "hold":
                self.held.append(mail)
            else:
                mail.reply(self.count)
            if mail.message == "release":
                for held in self.held:
                    held.reply(self.count)


async def test_an_idle_actor_is_passivated_and_comes_back_fresh() -> None:
    log: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Tally(log), Options(idle_after_s=10))
        assert [await family.ask("a", "x"), await family.ask("a", "x")] == [1, 2]
        await asyncio.sleep(9)
        assert await family.ask("a", "x") == 3  # it was not idle that long
        await asyncio.sleep(11)
        assert family.resident == 0
        assert await family.ask("a", "x") == 1
        assert log == [("start", "a"), ("passivated", "a"), ("start", "a")]
        assert family.statistics().passivations == 1
    assert log[-1] == ("stopped", "a")


@pytest.mark.parametrize("fails", [False, True])
async def test_an_actor_is_idle_from_its_last_answer_on(fails: bool) -> None:
    actor = Tally([])
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: actor, Options(idle_after_s=10))
        held = family.ask("a", "hold", timeout_s=100)
        await asyncio.sleep(20)
        if fails:
            actor.held[0].fail(ValueError("late"))
            with pytest.raises(ValueError, match="late"):
                await held
        else:
            actor.held[0].reply("late")
            assert await held == "late"
        await asyncio.sleep(9)
        assert family.resident == 1
        await asyncio.sleep(1.1)
        assert family.resident == 0


async def test_an_idle_system_schedules_nothing() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Tally([]), Options(idle_after_s=10))
        await family.ask("a", "x")
        await asyncio.sleep(60)
        with unittest.mock.patch.object(loop, "call_at", wraps=loop.call_at) as call_at:
            await asyncio.sleep(1_000)
        assert call_at.call_count == 1  # this very sleep


async def test_the_actor_longest_at_rest_makes_room() -> None:
    log: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Tally(log), Options(resident_max=3))
        for key in "abca":
            await family.ask(key, "x")
        await family.ask("d", "x")
        await family.ask("e", "x")
        assert [key for what, key in log if what == "passivated"] == ["b", "c"]
        assert await family.ask("a", "x") == 3


async def test_nobody_is_evicted_with_mail_unanswered_or_against_its_will() -> None:
    log: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Tally(log), Options(resident_max=3))
        held = family.ask("holds", "hold")
        await family.ask("stays", "stay")
        for key in "abcabc":
            assert await family.ask(key, "x") == 1  # each takes the one seat left
        assert family.resident == 3
        assert await family.ask("holds", "release") == 2
        assert await held == 2
        assert await family.ask("stays", "x") == 2


async def test_when_all_are_busy_new_keys_wait_for_a_seat_in_order() -> None:
    log: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Tally(log), Options(resident_max=2))
        held = [family.ask(key, "hold") for key in "ab"]
        await turns()
        queued = [family.ask(key, "x") for key in "cde"]
        await turns(10)
        assert not any(future.done() for future in queued)
        assert (family.resident, family.statistics().queued) == (2, 3)
        assert await family.ask("a", "release") == 2
        assert await asyncio.gather(*queued) == [1, 1, 1]
        assert [key for what, key in log if what == "start"] == list("abcde")
        assert asyncio.get_running_loop().time() == 0  # a seat that falls free is taken at once
        await family.ask("b", "release")
        await asyncio.gather(*held)


async def test_mail_that_waits_for_a_seat_has_its_deadline() -> None:
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Tally([]), Options(resident_max=1))
        held = family.ask("a", "hold")
        await turns()
        with pytest.raises(DeadlineExceeded) as error:
            await family.ask("b", "x", timeout_s=1)
        assert error.value.delivered is False
        assert (family.pending, family.statistics().queued) == (1, 0)
        await family.ask("a", "release")
        await held
        assert await family.ask("b", "x") == 1


async def test_an_actor_that_changes_its_mind_makes_room() -> None:
    class Undecided(Tally):
        def may_passivate(self) -> bool:
            return asyncio.get_running_loop().time() >= 3

    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Undecided([]), Options(resident_max=1))
        await family.ask("a", "x")
        assert await family.ask("b", "x") == 1
        assert 3 <= asyncio.get_running_loop().time() < 3.1


async def test_an_actor_that_is_given_up_leaves_its_seat_to_the_queue() -> None:
    class Broken(Tally):
        def receive(self, batch: list[Mail[str]]) -> None:
            if self.context.key != "a":
                super().receive(batch)
            elif batch[0].message == "crash":
                raise ValueError

    options = Options(resident_max=1, supervision=Supervision(restarts_max=0))
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Broken([]), options)
        family.ask("a", "hold").add_done_callback(lambda future: future.exception())
        await turns()
        queued = family.ask("b", "x")
        family.tell("a", "crash")
        assert await queued == 1


@pytest.mark.parametrize("deed", ["tell", "spawn", "crash"])
async def test_an_actor_that_finds_something_to_do_when_asked_to_leave_stays(deed: str) -> None:
    log: list[tuple[str, str]] = []

    class Busy(Tally):
        def may_passivate(self) -> bool:
            if asyncio.get_running_loop().time() < 1.5:
                match deed:
                    case "tell":
                        self.context.tell_self("x")
                    case "spawn":
                        self.context.spawn(asyncio.sleep(0.5))
                    case _:
                        family.crash("a", OSError(), counts=False)
            return True

    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Busy(log), Options(idle_after_s=1))
        await family.ask("a", "x")
        await asyncio.sleep(1.6)
        assert family.resident == 1
        assert family.statistics().delivered == (2 if deed == "tell" else 1)
        await asyncio.sleep(2)
        assert family.resident == 0
        assert [what for what, _ in log] == ["start", *(["start"] if deed == "crash" else []), "passivated"]


async def test_a_long_queue_of_keys_that_cannot_start_is_worked_off() -> None:
    def factory(key: str) -> Tally:
        if key == "first":
            return Tally([])
        raise LookupError(key)

    options = Options(resident_max=1, supervision=Supervision(restarts_max=0), mailbox_max=10)
    async with ActorSystem() as system:
        family = system.register("tally", factory, options)
        held = family.ask("first", "hold")
        await turns()
        queued = [family.ask(str(n), "x") for n in range(3_000)]
        await family.ask("first", "release")
        await held
        errors = await asyncio.gather(*queued, return_exceptions=True)
        assert Counter(type(error).__name__ for error in errors) == {"ActorFailed": 3_000}


async def test_random_keys_never_exceed_the_seats_and_every_ask_is_answered() -> None:
    living: set[str] = set()
    most = 0

    class Member(Actor[str]):
        async def on_start(self) -> None:
            nonlocal most
            assert self.context.key not in living
            living.add(self.context.key)
            most = max(most, len(living))
            await asyncio.sleep(0.001)

        def on_stop(self, reason: StopReason) -> None:
            living.remove(self.context.key)

        def receive(self, batch: list[Mail[str]]) -> None:
            for mail in batch:
                mail.reply(self.context.key)

    rng = random.Random(7)
    async with ActorSystem() as system:
        family = system.register("member", lambda key: Member(), Options(resident_max=20))

        async def caller() -> None:
            for _ in range(100):
                key = str(rng.randrange(2_000))
                assert await family.ask(key, "x") == key
                assert family.resident <= 20

        await asyncio.gather(*[caller() for _ in range(64)])
        statistics = family.statistics()
        assert (most, statistics.delivered, statistics.pending) == (20, 6_400, 0)
        assert statistics.activations - statistics.passivations == family.resident


async def test_a_message_sent_during_passivation_starts_the_actor_again() -> None:
    answers: list[asyncio.Future[object]] = []

    class Restless(Tally):
        def on_stop(self, reason: StopReason) -> None:
            if reason == "passivated" and not answers:
                answers.append(family.ask(self.context.key, "x"))

    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Restless([]), Options(idle_after_s=1))
        await family.ask("a", "x")
        await asyncio.sleep(1.5)
        assert await answers[0] == 1


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_raising_on_stop_is_only_logged(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    class Rude(Tally):
        def on_stop(self, reason: StopReason) -> None:
            raise error

    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Rude([]), Options(idle_after_s=1))
        await family.ask("a", "x")
        await asyncio.sleep(2)
        assert family.resident == 0
    assert "on_stop raised" in caplog.text


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_raising_may_passivate_is_a_crash_that_stops_nobody_s_deadline(error: type[BaseException]) -> None:
    class Torn(Tally):
        def may_passivate(self) -> bool:
            raise error

    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Torn([]), Options(idle_after_s=1))
        await family.ask("a", "x")
        await asyncio.sleep(0.99)
        held = family.ask("b", "hold", timeout_s=2)
        await asyncio.sleep(0.5)
        assert family.statistics().crashes == 1
        with pytest.raises(DeadlineExceeded):
            await held


async def test_an_actor_that_crashes_itself_when_asked_to_leave_has_not_left() -> None:
    class Crashes(Tally):
        def may_passivate(self) -> bool:
            assert family.crash("a", OSError(), counts=False)
            raise ValueError("once is enough")

    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Crashes([]), Options(idle_after_s=1))
        await family.ask("a", "x")
        await asyncio.sleep(1.5)
        statistics = family.statistics()
        assert (statistics.crashes, statistics.passivations, statistics.resident) == (1, 0, 1)


async def test_a_passivated_actor_leaves_no_object_behind() -> None:
    remains: list[weakref.ref[Tally]] = []

    def factory(key: str) -> Tally:
        actor = Tally([])
        remains.append(weakref.ref(actor))
        return actor

    async with ActorSystem() as system:
        family = system.register("tally", factory, Options(resident_max=10))
        gc.collect()
        gc.disable()  # reference counts alone must do it: a million passivations must not feed the collector
        try:
            for n in range(100):
                await family.ask(str(n), "x")
            await turns()
            assert sum(ref() is not None for ref in remains) == 10
        finally:
            gc.enable()


async def test_work_spawned_at_rest_keeps_an_actor_resident_too() -> None:
    actor = Tally([])
    async with ActorSystem() as system:
        family = system.register("tally", lambda key: actor, Options(idle_after_s=1, resident_max=1))
        await family.ask("a", "x")
        await turns()
        actor.context.spawn(asyncio.sleep(5))
        with pytest.raises(DeadlineExceeded):  # nor does it make room
            await family.ask("b", "x", timeout_s=3)
        assert family.resident == 1
        await asyncio.sleep(4)
        assert (family.resident, len(actor.context.tasks)) == (0, 0)


async def test_running_spawned_work_keeps_an_actor_resident() -> None:
    class Worker(Tally):
        def receive(self, batch: list[Mail[str]]) -> None:
            self.context.spawn(asyncio.sleep(5))
            super().receive(batch)

    async with ActorSystem() as system:
        family = system.register("tally", lambda key: Worker([]), Options(idle_after_s=1))
        await family.ask("a", "x")
        await asyncio.sleep(4)
        assert family.resident == 1
        await asyncio.sleep(3)
        assert family.resident == 0
