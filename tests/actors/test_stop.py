"""Leaving the system: drained, out of time, by an exception, by a cancellation. Nobody is left waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import anyio
import pytest

from solvent.actors import Actor, ActorSystem, DeadLetter, Family, Mail, Options, Stopped, StopReason, Supervision


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Slow(Actor[float]):
    """Takes as many seconds for each message as it says; never answers a negative one."""

    def __init__(self, stopped: list[StopReason] | None = None) -> None:
        self.stopped = stopped if stopped is not None else []

    async def receive(self, batch: list[Mail[float]]) -> None:
        for mail in batch:
            if mail.message >= 0:
                await asyncio.sleep(mail.message)
                mail.reply(mail.message)

    def on_stop(self, reason: StopReason) -> None:
        self.stopped.append(reason)


async def outcome(future: asyncio.Future[object]) -> object:
    (result,) = await asyncio.gather(future, return_exceptions=True)
    return result


async def test_leaving_drains_what_is_pending_and_refuses_what_is_new() -> None:
    stopped: list[StopReason] = []
    async with ActorSystem() as system:
        family = system.register("slow", lambda key: Slow(stopped))
        futures = [family.ask("a", 1.0), family.ask("a", 2.0), family.ask("b", 0.5)]
        await turns()
        futures.append(family.ask("a", 3.0))  # waits while the actor is busy
        stop = asyncio.create_task(system.stop())
        await turns()
        with pytest.raises(Stopped):
            family.ask("a", 1.0)
        with pytest.raises(Stopped):
            family.tell("new", 1.0)
        with pytest.raises(RuntimeError):
            system.register("late", lambda key: Slow())
        await stop
        assert [future.result() for future in futures] == [1.0, 2.0, 0.5, 3.0]
        assert stopped == ["stopped", "stopped"]
        assert family.resident == 0


@pytest.mark.parametrize("messages", [0, 1, 100])
async def test_leaving_takes_no_longer_than_what_is_pending(messages: int) -> None:
    async with ActorSystem() as system:
        family = system.register("slow", lambda key: Slow())
        for number in range(messages):
            family.tell(str(number), -1.0)
    assert asyncio.get_running_loop().time() == 0


async def test_tells_are_worked_off_too() -> None:
    done: list[float] = []

    class Worker(Slow):
        async def receive(self, batch: list[Mail[float]]) -> None:
            await asyncio.sleep(1)
            done.extend(mail.message for mail in batch)

    async with ActorSystem() as system:
        family = system.register("worker", lambda key: Worker())
        family.tell("a", 1.0)
        await turns()
        family.tell("a", 2.0)
    assert done == [1.0, 2.0]


async def test_what_is_not_done_in_time_fails_with_stopped() -> None:
    letters: list[DeadLetter] = []
    loop = asyncio.get_running_loop()
    async with ActorSystem(on_dead_letter=letters.append) as system:
        family = system.register("slow", lambda key: Slow(), Options(default_timeout_s=100))
        busy = family.ask("a", 50.0)
        await turns()
        waiting = family.ask("a", 1.0)
        family.tell("a", 2.0)
        await system.stop(timeout_s=5)
        assert 5 <= loop.time() < 5.1
        for future, delivered in ((busy, True), (waiting, False)):
            error = await outcome(future)
            assert isinstance(error, Stopped)
            assert error.delivered is delivered
        assert [(letter.message, letter.reason) for letter in letters] == [(1.0, "stopped"), (2.0, "stopped")]
        await system.stop()  # again: nothing happens


async def test_a_lone_unanswered_mail_does_not_outlast_the_stop_timeout() -> None:
    async with ActorSystem(stop_timeout_s=1) as system:
        future = system.register("slow", lambda key: Slow()).ask("a", -1.0)
        await turns()
    assert isinstance(await outcome(future), Stopped)
    assert asyncio.get_running_loop().time() < 1.1


async def test_deferred_answers_end_the_drain_as_soon_as_they_are_given() -> None:
    class Deferred(Actor[float]):
        def receive(self, batch: list[Mail[float]]) -> None:
            for mail in batch:
                self.context.loop.call_later(mail.message, mail.reply, "done")

    async with ActorSystem() as system:
        future = system.register("deferred", lambda key: Deferred()).ask("a", 1.0)
    assert future.result() == "done"
    assert asyncio.get_running_loop().time() < 1.1


async def test_an_exception_in_the_block_ends_everything_at_once_and_passes_unwrapped() -> None:
    asked: list[asyncio.Future[object]] = []

    async def block() -> None:
        async with ActorSystem() as system:
            asked.append(system.register("slow", lambda key: Slow()).ask("a", 50.0))
            await turns()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    assert isinstance(await outcome(asked[0]), Stopped)
    assert asyncio.get_running_loop().time() == 0


async def test_after_an_exception_in_the_block_nothing_is_accepted_any_more(caplog: pytest.LogCaptureFixture) -> None:
    class AsksOnTheWayOut(Slow):
        def on_stop(self, reason: StopReason) -> None:
            asked.append(families[1].ask("b", 1.0))

    asked: list[asyncio.Future[object]] = []
    families: list[Family[float]] = []
    system = ActorSystem()

    async def block() -> None:
        async with system:
            families.extend(system.register(name, lambda key: AsksOnTheWayOut()) for name in ("one", "other"))
            await families[0].ask("a", 0.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    assert asked == []
    assert "other/b: stopped" in caplog.text
    with pytest.raises(Stopped):
        families[1].tell("a", 1.0)
    with pytest.raises(RuntimeError):
        system.register("late", lambda key: Slow())


async def test_whoever_waits_for_the_stop_hears_of_an_earlier_end() -> None:
    stops: list[asyncio.Task[None]] = []

    async def block() -> None:
        async with ActorSystem() as system:
            future = system.register("slow", lambda key: Slow(), Options(default_timeout_s=1_000)).ask("a", -1.0)
            stops.append(asyncio.create_task(system.stop(timeout_s=100)))
            future.add_done_callback(lambda future: future.exception())
            await asyncio.sleep(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    await stops[0]
    assert asyncio.get_running_loop().time() == 1


def test_an_interrupt_out_of_one_actor_leaves_the_others_their_turn(
    virtual_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    class Interrupts(Actor[float]):
        def receive(self, batch: list[Mail[float]]) -> None:
            raise KeyboardInterrupt

    async def main() -> object:
        async with ActorSystem(stop_timeout_s=0) as system:
            family = system.register("both", lambda key: Interrupts() if key == "a" else Slow())
            family.tell("a", 0.0)
            return await family.ask("b", 0.0)

    with contextlib.closing(virtual_loop()) as loop:
        task = loop.create_task(main())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        assert loop.run_until_complete(task) == 0.0


@pytest.mark.parametrize("draining", [False, True])
async def test_a_cancelled_block_ends_everything_at_once(draining: bool) -> None:
    futures: list[asyncio.Future[object]] = []

    async def serve() -> None:
        async with ActorSystem() as system:
            family = system.register("slow", lambda key: Slow(), Options(default_timeout_s=100))
            futures.append(family.ask("a", 50.0))
            await asyncio.sleep(0.5 if draining else 60)

    task = asyncio.create_task(serve())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(await outcome(futures[0]), Stopped)
    assert asyncio.get_running_loop().time() == 1


@pytest.mark.parametrize("draining", [False, True])
async def test_a_cancel_scope_around_the_block_may_end_it(draining: bool) -> None:
    asked: list[asyncio.Future[object]] = []
    with anyio.move_on_after(1) as scope:
        async with ActorSystem() as system:
            asked.append(system.register("slow", lambda key: Slow()).ask("a", 50.0))
            await anyio.sleep(0.5 if draining else 60)
    assert scope.cancelled_caught
    assert isinstance(await outcome(asked[0]), Stopped)


async def test_starting_actors_and_those_backing_off_do_not_keep_the_system(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[str] = []
    stopped: list[StopReason] = []

    class Never(Slow):
        async def on_start(self) -> None:
            starts.append(self.context.key)
            if self.context.key == "fails":
                raise OSError
            await asyncio.Event().wait()

    rule = Supervision(backoff_min_s=50, backoff_max_s=50)
    options = Options(default_timeout_s=100, resident_max=2, supervision=rule)
    async with ActorSystem(stop_timeout_s=1) as system:
        family = system.register("never", lambda key: Never(stopped), options)
        futures = [family.ask(key, 1.0) for key in ("starts for ever", "fails", "has no seat")]
        await asyncio.sleep(0.2)
    assert [type(await outcome(future)) for future in futures] == [Stopped] * 3
    await asyncio.sleep(100)
    assert sorted(starts) == ["fails", "fails", "starts for ever"]  # and no restart comes after the end
    assert (stopped, caplog.text.count("on_stop")) == ([], 0)  # nobody was there to be told


async def test_a_task_that_ignores_its_cancellation_once_is_cancelled_again() -> None:
    class Stubborn(Slow):
        async def on_start(self) -> None:
            self.context.spawn(self.work())

        async def work(self) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1_000)
            await asyncio.sleep(1_000)

    async with ActorSystem() as system:
        await system.register("stubborn", lambda key: Stubborn()).ask("a", 0.0)
    assert asyncio.get_running_loop().time() < 2


async def test_an_actor_that_raises_on_stop_keeps_nobody_waiting() -> None:
    class Rude(Slow):
        def on_stop(self, reason: StopReason) -> None:
            raise asyncio.CancelledError

    async with ActorSystem(stop_timeout_s=1) as system:
        family = system.register("rude", lambda key: Rude())
        futures = [family.ask(key, -1.0) for key in "abc"]
        await turns()
    assert [type(await outcome(future)) for future in futures] == [Stopped] * 3


async def test_an_observer_that_raises_does_not_keep_the_system_from_ending() -> None:
    def observer(letter: DeadLetter) -> None:
        raise asyncio.CancelledError

    asked: list[asyncio.Future[object]] = []

    async def block() -> None:
        async with ActorSystem(on_dead_letter=observer) as system:
            asked.append(system.register("slow", lambda key: Slow()).ask("a", 1.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    assert isinstance(await outcome(asked[0]), Stopped)


async def test_64_callers_racing_with_stop_all_get_an_end() -> None:
    ends: list[str] = []
    async with ActorSystem() as system:
        family = system.register("slow", lambda key: Slow())

        async def caller(number: int) -> None:
            while True:
                try:
                    await family.ask(str(number % 5), 0.01)
                except Stopped:
                    ends.append("stopped")
                    return

        async with asyncio.TaskGroup() as group:
            for number in range(64):
                group.create_task(caller(number))
            await asyncio.sleep(1)
            await system.stop(0.02)
    assert len(ends) == 64
