"""Asking, telling and answering; bounds and deadlines; callers that leave."""

from __future__ import annotations

import asyncio
import weakref
from collections import defaultdict

import pytest

from solvent.actors import (
    Actor,
    ActorSystem,
    DeadLetter,
    DeadlineExceeded,
    Mail,
    MailboxFull,
    Options,
    Stopped,
)


class Echo(Actor[int]):
    """Answers at once with what it was sent, and notes what it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def receive(self, batch: list[Mail[int]]) -> None:
        for mail in batch:
            self.seen.append(mail.message)
            mail.reply(mail.message)


class Keeper(Actor[int]):
    """Keeps its mail until the test answers."""

    def __init__(self) -> None:
        self.mail: list[Mail[int]] = []

    def receive(self, batch: list[Mail[int]]) -> None:
        self.mail += batch


class Gate(Actor[int]):
    """Is busy with each batch until the test opens the gate."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.batches: list[list[int]] = []

    async def receive(self, batch: list[Mail[int]]) -> None:
        self.batches.append([mail.message for mail in batch])
        await self.open.wait()
        for mail in batch:
            mail.reply(mail.message)


async def turns(count: int = 5) -> None:
    """Let the loop turn: enough for an actor to start and to be handed its mail."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_ask_returns_the_future_of_the_answer() -> None:
    async with ActorSystem() as system:
        family = system.register("echo", lambda key: Echo())
        future = family.ask("a", 7)
        assert isinstance(future, asyncio.Future)
        assert await future == 7
        assert await family.ref("a").ask(8) == 8
        assert repr(family.ref("a")) == "<ActorRef echo/a>"


async def test_all_that_waits_arrives_in_one_batch_in_order() -> None:
    actor = Echo()
    async with ActorSystem() as system:
        family = system.register("echo", lambda key: actor)
        assert await asyncio.gather(*[family.ask("a", n) for n in range(100)]) == list(range(100))
        assert actor.seen == list(range(100))
        assert family.statistics().batch_max == 100


async def test_order_is_kept_for_each_of_64_concurrent_callers() -> None:
    actors: defaultdict[str, Echo] = defaultdict(Echo)
    async with ActorSystem() as system:
        family = system.register("echo", lambda key: actors[key])

        async def caller(number: int) -> None:
            for step in range(50):
                assert await family.ask(str(step % 3), number * 1_000 + step) == number * 1_000 + step

        await asyncio.gather(*[caller(number) for number in range(64)])
        assert family.statistics().delivered == 64 * 50
    for actor in actors.values():
        for number in range(64):
            own = [message for message in actor.seen if message // 1_000 == number]
            assert own == sorted(own)


async def test_mail_accumulates_while_an_awaitable_receive_runs() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        family = system.register("gate", lambda key: gate)
        first = family.ask("a", 0)
        await turns()
        rest = [family.ask("a", n) for n in (1, 2, 3)]
        await turns()
        assert gate.batches == [[0]]
        gate.open.set()
        assert await asyncio.gather(first, *rest) == [0, 1, 2, 3]
        assert gate.batches == [[0], [1, 2, 3]]


async def test_a_mail_may_be_answered_after_receive_has_returned() -> None:
    keeper = Keeper()
    async with ActorSystem() as system:
        family = system.register("keeper", lambda key: keeper)
        first, second = family.ask("a", 1), family.ask("a", 2)
        await turns()
        keeper.mail[1].reply("two")
        keeper.mail[0].fail(ValueError("one"))
        assert await second == "two"
        with pytest.raises(ValueError, match="one"):
            await first
        assert family.statistics().pending == 0


async def test_the_first_answer_wins_and_later_ones_change_nothing() -> None:
    keeper = Keeper()
    async with ActorSystem() as system:
        family = system.register("keeper", lambda key: keeper)
        future = family.ask("a", 1)
        await turns()
        keeper.mail[0].reply("first")
        keeper.mail[0].reply("second")
        keeper.mail[0].fail(ValueError())
        assert await future == "first"
        assert (family.pending, family.statistics().dead_letters) == (0, 0)


async def test_a_tell_is_delivered_and_answering_it_is_harmless() -> None:
    echo = Echo()
    async with ActorSystem() as system:
        family = system.register("echo", lambda key: echo)
        family.tell("a", 1)
        family.ref("a").tell(2)
        assert family.pending == 2
        await turns()
        assert echo.seen == [1, 2]
        assert (family.pending, family.statistics().dead_letters) == (0, 0)


async def test_a_full_mailbox_refuses_at_once_and_counts_the_unanswered() -> None:
    keeper = Keeper()
    async with ActorSystem() as system:
        family = system.register("keeper", lambda key: keeper, Options(mailbox_max=3, retry_after_s=0.25))
        futures = [family.ask("a", 1), family.ask("a", 2)]
        await turns()
        futures.append(family.ask("a", 3))  # two delivered and unanswered, one waiting
        with pytest.raises(MailboxFull) as refusal:
            family.ask("a", 4)
        assert (refusal.value.full, refusal.value.pending, refusal.value.pending_max) == ("mailbox", 3, 3)
        assert (refusal.value.retry_after_s, refusal.value.delivered) == (0.25, False)
        with pytest.raises(MailboxFull):
            family.tell("a", 4)
        futures.append(family.ask("b", 0))  # another actor's mailbox is its own
        keeper.mail[0].reply(None)
        futures.append(family.ask("a", 4))  # one answered, one accepted: exactly
        with pytest.raises(MailboxFull):
            family.ask("a", 5)
        assert family.statistics().refused == 3
        await turns()
        for mail in keeper.mail:
            mail.reply(None)
        await asyncio.gather(*futures)


async def test_a_flood_over_many_keys_is_refused_too() -> None:
    keeper = Keeper()
    async with ActorSystem() as system:
        family = system.register("keeper", lambda key: keeper, Options(pending_max=10))
        futures = [family.ask(str(n), n) for n in range(10)]
        with pytest.raises(MailboxFull) as refusal:
            family.ask("another", 0)
        assert refusal.value.full == "family"
        await turns()
        assert family.resident == 10  # the refused key left no trace
        keeper.mail.pop().reply(None)
        futures.append(family.ask("another", 0))
        await turns()
        for mail in keeper.mail:
            mail.reply(None)
        await asyncio.gather(*futures)


async def test_a_deadline_tells_whether_the_message_was_delivered() -> None:
    gate, loop = Gate(), asyncio.get_running_loop()
    async with ActorSystem(sweep_interval_s=0.05) as system:
        family = system.register("gate", lambda key: gate, Options(default_timeout_s=3))
        delivered = family.ask("a", 0, timeout_s=1)
        await turns()
        waiting = family.ask("a", 1, timeout_s=2)
        default = family.ask("a", 2)
        for future, is_delivered, due_at in ((delivered, True, 1), (waiting, False, 2), (default, False, 3)):
            with pytest.raises(DeadlineExceeded) as error:
                await future
            assert error.value.delivered is is_delivered
            assert due_at <= loop.time() <= due_at + 0.06
        gate.open.set()
        await turns()
        assert gate.batches == [[0]]  # what expired in the mailbox is never delivered
        assert family.statistics().expired == 3
        assert (await family.ask("a", 3), family.statistics().activations) == (3, 1)  # the actor took no harm


async def test_an_expired_mail_holds_its_place_until_the_actor_lets_go() -> None:
    keeper = Keeper()
    letters: list[DeadLetter] = []
    async with ActorSystem(on_dead_letter=letters.append) as system:
        family = system.register("keeper", lambda key: keeper, Options(mailbox_max=1, idle_after_s=1))
        with pytest.raises(DeadlineExceeded):
            await family.ask("a", 1, timeout_s=1)
        with pytest.raises(MailboxFull):
            family.ask("a", 2)
        await asyncio.sleep(10)
        assert family.resident == 1
        keeper.mail[0].reply("late")
        assert family.pending == 0
        await turns()
        assert letters == [DeadLetter("keeper", "a", 1, "unclaimed")]


async def test_mail_whose_deadline_has_passed_is_not_delivered_even_before_the_sweep() -> None:
    echo = Echo()
    async with ActorSystem(sweep_interval_s=100) as system:
        family = system.register("echo", lambda key: echo)
        future = family.ask("a", 1, timeout_s=0)
        with pytest.raises(DeadlineExceeded) as error:
            await future
        assert error.value.delivered is False
        assert echo.seen == []


async def test_a_deadline_holds_for_an_actor_that_was_at_rest_and_for_one_that_never_is() -> None:
    keeper, loop = Keeper(), asyncio.get_running_loop()
    async with ActorSystem() as system:
        family = system.register("keeper", lambda key: keeper, Options(idle_after_s=1_000))
        family.tell("a", 0)
        for resting_s in (500, 0):
            await asyncio.sleep(resting_s)
            asked_at = loop.time()
            with pytest.raises(DeadlineExceeded):
                await family.ask("a", 1, timeout_s=1)
            assert 1 <= loop.time() - asked_at < 1.1


async def test_nobody_is_handed_an_empty_batch() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        family = system.register("gate", lambda key: gate)
        family.ask("a", 1).cancel()
        await turns()
        assert gate.batches == []
        gate.open.set()
        assert await family.ask("a", 2) == 2


async def test_what_was_answered_is_let_go_even_if_something_never_is() -> None:
    class Letter:
        pass

    class Holder(Actor[Letter]):
        held: list[Mail[Letter]]

        def receive(self, batch: list[Mail[Letter]]) -> None:
            if not hasattr(self, "held"):
                self.held = [batch.pop(0)]
            for mail in batch:
                mail.reply(None)

    letters: weakref.WeakSet[Letter] = weakref.WeakSet()

    def letter() -> Letter:
        letters.add(letter := Letter())
        return letter

    async with ActorSystem(stop_timeout_s=0) as system:
        family = system.register("holder", lambda key: Holder())
        held = family.ask("a", letter(), timeout_s=1_000)
        for _ in range(1_000):
            await family.ask("a", letter())
        assert len(letters) < 100
        held.cancel()


async def test_a_deadline_that_is_no_number_has_passed() -> None:
    async with ActorSystem() as system:
        family = system.register("echo", lambda key: Echo())
        with pytest.raises(DeadlineExceeded):
            await family.ask("a", 1, timeout_s=float("nan"))
        assert family.pending == 0


async def test_a_cancelled_caller_withdraws_mail_that_still_waits() -> None:
    echo = Echo()
    letters: list[DeadLetter] = []
    async with ActorSystem(on_dead_letter=letters.append) as system:
        family = system.register("echo", lambda key: echo)

        async def caller() -> None:
            await family.ask("a", 1)

        task = asyncio.create_task(caller())
        await asyncio.sleep(0)
        kept = family.ask("a", 2)
        task.cancel()
        assert await kept == 2
        assert echo.seen == [2]
        await turns()
        assert letters == [DeadLetter("echo", "a", 1, "cancelled")]
        assert family.pending == 0
        assert task.cancelled()


async def test_a_caller_that_leaves_after_delivery_changes_nothing_for_the_actor() -> None:
    keeper = Keeper()
    async with ActorSystem() as system:
        family = system.register("keeper", lambda key: keeper)
        futures = [family.ask("a", 1), family.ask("a", 2)]
        await turns()
        for future in futures:
            future.cancel()
        assert family.pending == 2
        keeper.mail[0].reply("nobody hears this")
        keeper.mail[1].fail(ValueError("nor this"))
        assert (family.pending, family.statistics().dead_letters) == (0, 2)


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_a_dead_letter_observer_that_raises_is_not_called_again(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[DeadLetter] = []

    def observer(letter: DeadLetter) -> None:
        calls.append(letter)
        raise error

    async with ActorSystem(on_dead_letter=observer) as system:
        family = system.register("echo", lambda key: Echo())
        for n in range(3):
            family.ask("a", n).cancel()
        await turns()
        assert await family.ask("a", 9) == 9
        family.ask("a", 4).cancel()
        await turns()
        assert family.statistics().dead_letters == 4
    assert (len(calls), caplog.text.count("observer raised")) == (1, 1)


async def test_a_flood_of_dead_letters_reaches_the_observer_in_bounded_number() -> None:
    calls: list[DeadLetter] = []
    async with ActorSystem(on_dead_letter=calls.append) as system:
        family = system.register("echo", lambda key: Echo(), Options(mailbox_max=10_000))
        for n in range(5_000):
            family.ask("a", n).cancel()
        await turns()
        assert family.statistics().dead_letters == 5_000
        assert 0 < len(calls) < 1_000


async def test_registering_a_name_twice_or_outside_of_the_block_is_refused() -> None:
    system = ActorSystem()
    with pytest.raises(RuntimeError):
        system.register("echo", lambda key: Echo())
    async with system:
        family = system.register("echo", lambda key: Echo())
        with pytest.raises(ValueError, match="echo"):
            system.register("echo", lambda key: Echo())
    with pytest.raises(RuntimeError):
        system.register("other", lambda key: Echo())
    with pytest.raises(Stopped):
        family.ask("a", 1)


@pytest.mark.parametrize("interval_s", [0, -1, float("inf"), float("nan")])
def test_a_sweep_that_never_comes_or_never_ends_is_refused(interval_s: float) -> None:
    with pytest.raises(ValueError, match="sweep_interval_s"):
        ActorSystem(sweep_interval_s=interval_s)


@pytest.mark.parametrize("name", ["mailbox_max", "pending_max", "resident_max", "idle_after_s", "default_timeout_s"])
def test_a_bound_that_bounds_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Options(**{name: 0})  # type: ignore[arg-type]
