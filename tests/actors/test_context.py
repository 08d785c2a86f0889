"""What an actor can do: messages to itself, timers, spawned work. All of it ends with the actor."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable

import pytest

from solvent.actors import Actor, ActorCrashed, ActorSystem, Mail, MailboxFull, Options, Stopped, Timer


class Script(Actor[str]):
    """Notes when it got what, and answers with its notes."""

    def __init__(self) -> None:
        self.notes: list[tuple[float, str]] = []

    def receive(self, batch: list[Mail[str]]) -> Awaitable[None] | None:
        for mail in batch:
            self.notes.append((round(self.context.loop.time(), 3), mail.message))
            mail.reply(self.notes)
        return None


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def living(system: ActorSystem, options: Options | None = None) -> Script:
    """Return an actor that is up, at the key ``a`` of the family ``script``."""
    actors: list[Script] = []

    def factory(key: str) -> Script:
        actors.append(Script())
        return actors[-1]

    await system.register("script", factory, options).ask("a", "hello")
    return actors[0]


async def test_a_message_to_itself_comes_behind_what_waits() -> None:
    async with ActorSystem() as system:
        actor = await living(system)
        assert actor.context.key == "a"
        actor.context.tell_self("one")
        actor.context.tell_self("two")
        await turns()
        assert [text for _, text in actor.notes] == ["hello", "one", "two"]


async def test_a_message_to_itself_is_bounded_like_any_other() -> None:
    async with ActorSystem() as system:
        actor = await living(system, Options(mailbox_max=1))
        actor.context.tell_self("one")
        with pytest.raises(MailboxFull) as refusal:
            actor.context.tell_self("two")
        assert refusal.value.full == "mailbox"


async def test_a_message_to_itself_is_refused_when_the_family_is_full() -> None:
    async with ActorSystem() as system:
        actor = await living(system, Options(pending_max=1))
        actor.context.tell_self("one")
        with pytest.raises(MailboxFull) as refusal:
            actor.context.tell_self("two")
        assert refusal.value.full == "family"


async def test_a_message_to_itself_arrives_even_while_the_system_drains() -> None:
    class Counts(Script):
        def receive(self, batch: list[Mail[str]]) -> None:
            super().receive(batch)
            if len(self.notes) < 5:
                self.context.tell_self("again")

    actor = Counts()
    async with ActorSystem() as system:
        system.register("counts", lambda key: actor).tell("a", "first")
    assert len(actor.notes) == 5


async def test_a_timer_delivers_its_message_later_and_once() -> None:
    async with ActorSystem() as system:
        actor = await living(system)
        timer = actor.context.timer(2.5, "later")
        activity = [timer.active]
        await asyncio.sleep(10)
        activity.append(timer.active)
        assert activity == [True, False]
        assert actor.notes[1:] == [(2.5, "later")]
        assert not actor.context.timers


async def test_a_timer_may_fire_at_once_but_not_before_what_waits() -> None:
    async with ActorSystem() as system:
        actor = await living(system)
        actor.context.tell_self("first")
        actor.context.timer(0, "then")
        await turns()
        assert actor.notes[1:] == [(0, "first"), (0, "then")]


async def test_a_cancelled_timer_delivers_nothing() -> None:
    async with ActorSystem() as system:
        actor = await living(system)
        timer = actor.context.timer(2.5, "later")
        timer.cancel()
        timer.cancel()
        await asyncio.sleep(10)
        assert len(actor.notes) == 1
        assert not actor.context.timers


async def test_a_repeating_timer_does_not_drift_and_skips_what_the_actor_is_too_busy_for() -> None:
    class Busy(Script):
        timer: Timer[str]

        async def on_start(self) -> None:
            self.timer = self.context.timer(1, "tick", repeat=True)

        async def receive(self, batch: list[Mail[str]]) -> None:
            super().receive(batch)
            if len(self.notes) == 2:
                await asyncio.sleep(3.5)

    actor = Busy()
    async with ActorSystem() as system:
        family = system.register("busy", lambda key: actor)
        family.tell("a", "hello")
        await asyncio.sleep(7.5)
        assert actor.notes == [(0, "hello"), (1, "tick"), (4.5, "tick"), (5, "tick"), (6, "tick"), (7, "tick")]
        actor.timer.cancel()
        await asyncio.sleep(5)
        assert len(actor.notes) == 6


@pytest.mark.parametrize("end", ["crash", "idle", "stop"])
async def test_timers_and_spawned_work_end_with_the_actor(end: str) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1 if end == "idle" else 1_000)
        finally:
            ended.append("work")

    async with ActorSystem() as system:
        actor = await living(system, Options(idle_after_s=2))
        context = actor.context
        context.spawn(work())
        timer = context.timer(4, "late")
        if end == "crash":
            context.spawn(divide_by_zero())
        if end == "stop":
            await system.stop()
        await asyncio.sleep(10)
        assert ended == ["work"]
        assert not timer.active
        assert len(actor.notes) == 1
        for use in (lambda: context.tell_self("x"), lambda: context.timer(1, "x")):
            with pytest.raises(Stopped):
                use()
        never_run = work()
        with pytest.raises(Stopped):
            context.spawn(never_run)
        assert inspect.getcoroutinestate(never_run) == inspect.CORO_CLOSED


async def divide_by_zero() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


async def test_an_exception_in_spawned_work_crashes_the_actor() -> None:
    class Holds(Script):
        def receive(self, batch: list[Mail[str]]) -> None:
            self.context.spawn(divide_by_zero())

    async with ActorSystem() as system:
        family = system.register("holds", lambda key: Holds())
        with pytest.raises(ActorCrashed) as error:
            await family.ask("a", "hello")
        assert isinstance(error.value.cause, ZeroDivisionError)


@pytest.mark.parametrize(("delay_s", "repeat"), [(-1.0, False), (0.0, True), (float("nan"), False)])
async def test_a_timer_without_a_proper_delay_is_refused(delay_s: float, repeat: bool) -> None:
    async with ActorSystem() as system:
        actor = await living(system)
        with pytest.raises(ValueError, match="delay_s"):
            actor.context.timer(delay_s, "x", repeat=repeat)


async def test_an_actor_does_not_see_its_callers_context_variables() -> None:
    variable = contextvars.ContextVar("variable", default="the system's")

    class Reads(Script):
        async def on_start(self) -> None:
            self.at_start = variable.get()

        def receive(self, batch: list[Mail[str]]) -> None:
            for mail in batch:
                mail.reply((self.at_start, variable.get()))

    async with ActorSystem() as system:
        family = system.register("reads", lambda key: Reads())
        variable.set("the caller's")
        assert await family.ask("a", "hello") == ("the system's", "the system's")
