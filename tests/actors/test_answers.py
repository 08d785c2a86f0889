"""Many asks at once: every place is filled once, whatever becomes of its message, and then the asker hears of all."""

from __future__ import annotations

import asyncio

import pytest

from solvent.actors import (
    Actor,
    ActorCrashed,
    ActorSystem,
    Answers,
    DeadlineExceeded,
    Family,
    Mail,
    MailboxFull,
    Options,
    Stopped,
)


class Worker(Actor[int]):
    """Answers even numbers, fails for odd ones, keeps negative ones, and dies of zero."""

    def __init__(self, kept: list[Mail[int]], seen: list[int]) -> None:
        self.kept, self.seen = kept, seen

    def receive(self, batch: list[Mail[int]]) -> None:
        for mail in batch:
            self.seen.append(mail.message)
            if mail.message == 0:
                raise RuntimeError("zero")
            if mail.message < 0:
                self.kept.append(mail)
            elif mail.message % 2:
                mail.fail(ValueError(mail.message))
            else:
                mail.reply(mail.message)


class Bench:
    """One family of workers, and what they kept and saw."""

    def __init__(self) -> None:
        self.kept: list[Mail[int]] = []
        self.seen: list[int] = []
        self.told = 0

    def ask(self, family: Family[int], *asks: tuple[str, int]) -> asyncio.Future[Answers]:
        done: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()

        def then(answers: Answers) -> None:
            self.told += 1
            done.set_result(answers)

        answers = Answers(len(asks), then)
        family.ask_all((key, message, place) for (key, message), place in zip(asks, answers.places(), strict=True))
        return done

    def register(self, system: ActorSystem, **options: float) -> Family[int]:
        return system.register("worker", lambda _: Worker(self.kept, self.seen), Options(**options))  # type: ignore[arg-type]


async def test_every_answer_stands_in_its_place_and_errors_are_values() -> None:
    bench = Bench()
    async with ActorSystem() as system:
        family = bench.register(system)
        answers = await bench.ask(family, ("a", 2), ("b", 4), ("a", 3), ("a", 6))
    assert [answers.values[place] for place in (0, 1, 3)] == [2, 4, 6]
    assert isinstance(answers.values[2], ValueError)
    assert answers.errors == 1
    assert [message for message in bench.seen if message != 4] == [2, 3, 6]


async def test_beyond_the_bounds_each_message_is_refused_in_its_place() -> None:
    bench = Bench()
    async with ActorSystem() as system:
        family = bench.register(system, mailbox_max=2, pending_max=3)
        done = bench.ask(family, ("a", -1), ("a", -2), ("a", -3), ("b", -4), ("b", -5), ("c", -6))
        await asyncio.sleep(0.01)
        assert sorted(bench.seen) == [-4, -2, -1]
        assert not done.done()
        for mail in bench.kept:
            mail.reply("late")
        answers = await done
    assert [type(value) for value in answers.values] == [str, str, MailboxFull, str, MailboxFull, MailboxFull]
    assert [value.full for value in answers.values if isinstance(value, MailboxFull)] == ["mailbox", "family", "family"]
    assert family.pending == 0


async def test_what_outlives_its_deadline_is_answered_and_an_answer_after_it_changes_nothing() -> None:
    bench = Bench()
    async with ActorSystem(sweep_interval_s=0.01) as system:
        family = bench.register(system, default_timeout_s=0.03)
        answers = await bench.ask(family, ("a", 2), ("a", -1))
        assert answers.values[0] == 2
        assert isinstance(answers.values[1], DeadlineExceeded)
        assert answers.values[1].delivered
        bench.kept[0].reply("too late")
        assert isinstance(answers.values[1], DeadlineExceeded)
        assert family.pending == 0
    assert bench.told == 1


async def test_a_crash_and_a_stop_are_told_to_all_that_are_unanswered() -> None:
    bench = Bench()
    async with ActorSystem() as system:
        family = bench.register(system)
        crashed = await bench.ask(family, ("a", 2), ("a", -1), ("a", 0))
        assert crashed.values[0] == 2
        assert [type(value) for value in crashed.values[1:]] == [ActorCrashed, ActorCrashed]
        waiting = bench.ask(family, ("b", -1))
        await asyncio.sleep(0.01)
        await system.stop(timeout_s=0.01)
        assert isinstance((await waiting).values[0], Stopped)
        refused = await bench.ask(family, ("c", 2))
        assert isinstance(refused.values[0], Stopped)


async def test_no_place_is_filled_twice() -> None:
    answers = Answers(2, lambda _: None)
    first, second = answers.places()
    assert not first.done()
    first.set_result(1)
    assert first.done()
    assert not second.done()
    second.set_exception(ValueError())
    assert second.done()
    assert answers.errors == 1


@pytest.mark.parametrize("size", [1, 3])
async def test_nothing_is_told_before_the_last_answer(size: int) -> None:
    told: list[Answers] = []
    answers = Answers(size, told.append)
    for place in answers.places():
        await asyncio.sleep(0)
        assert not told
        place.set_result(None)
        # Not even after it: whoever answers does not run the asker's code.
        assert not told
    await asyncio.sleep(0)
    assert told == [answers]
