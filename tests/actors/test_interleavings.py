"""Random lives: whatever is asked, crashed, cancelled, evicted or stopped in whatever order, the promises hold.

- Every ask ends. With an answer: delivered exactly once. With an error that says undelivered: never delivered.
- No message is delivered twice, and each actor gets its messages in the order they were sent.
- Never more residents than seats, never two living instances of a key, no more pending than the bounds.
- At the end nothing is pending and no task is left.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.actors import (
    Actor,
    ActorError,
    ActorFailed,
    ActorSystem,
    DeadlineExceeded,
    Family,
    Mail,
    MailboxFull,
    Options,
    Stopped,
    StopReason,
    Supervision,
)

KEYS = "abcdef"
RESIDENT_MAX = 3
MAILBOX_MAX = 4
PENDING_MAX = 12


@dataclass(frozen=True)
class Ask:
    key: str
    act: str
    timeout_s: float


@dataclass(frozen=True)
class Tell:
    key: str
    act: str


@dataclass(frozen=True)
class Cancel:
    index: int


@dataclass(frozen=True)
class Crash:
    keys: tuple[str, ...]
    counts: bool


@dataclass(frozen=True)
class Wait:
    seconds: float


Step: TypeAlias = Ask | Tell | Cancel | Crash | Wait
acts = st.sampled_from(["answer", "answer", "later", "busy", "never", "crash", "spawn", "fail"])
keys = st.sampled_from(KEYS)
steps = st.one_of(
    st.builds(Ask, keys, acts, st.sampled_from([0.0, 0.3, 2.0, 20.0])),
    st.builds(Ask, keys, acts, st.just(20.0)),
    st.builds(Tell, keys, acts),
    st.builds(Cancel, st.integers(0, 50)),
    st.builds(Crash, st.lists(keys, max_size=6).map(tuple), st.booleans()),
    st.builds(Wait, st.sampled_from([0.0, 0.0, 0.05, 0.5, 3.0])),
)


@dataclass
class World:
    """What the test saw."""

    sent: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    delivered: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    asks: dict[int, asyncio.Future[object]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    """What the supervisor would otherwise take for a crash."""
    starts: int = 0


class Player(Actor[tuple[int, str]]):
    def __init__(self, world: World, key: str) -> None:
        self.world = world
        self.key = key

    async def on_start(self) -> None:
        self.world.starts += 1
        self.context.spawn(self.presence())
        await asyncio.sleep(0.01)
        if self.world.starts % 5 == 0:
            raise OSError("a bad start")

    async def presence(self) -> None:
        """Hold the key for as long as anything of this instance runs, briefly even after its end."""
        if self.key in self.world.running:
            self.world.violations.append(f"two instances of {self.key}")
        self.world.running.add(self.key)
        try:
            await asyncio.sleep(0.2)
        finally:
            await asyncio.sleep(0.02)
            self.world.running.discard(self.key)

    def may_passivate(self) -> bool:
        return self.key != "f"

    def on_stop(self, reason: StopReason) -> None:
        if reason == "passivated" and self.key == "f":
            self.world.violations.append("passivated against its will")

    def receive(self, batch: list[Mail[tuple[int, str]]]) -> Awaitable[None] | None:
        self.world.delivered[self.key] += [mail.message[0] for mail in batch]
        busy: list[Mail[tuple[int, str]]] = []
        for mail in batch:
            number, act = mail.message
            match act:
                case "answer":
                    mail.reply(number)
                case "fail":
                    mail.fail(ValueError(number))
                case "later":
                    self.context.loop.call_later(0.3, mail.reply, number)
                case "busy":
                    busy.append(mail)
                case "spawn":
                    self.context.spawn(self.work(mail))
                case "crash":
                    raise RuntimeError("told to")
        return self.work(*busy) if busy else None

    async def work(self, *batch: Mail[tuple[int, str]]) -> None:
        await asyncio.sleep(0.4)
        for mail in batch:
            mail.reply(mail.message[0])


async def play(script: list[Step], drain_s: float) -> None:
    world = World()
    rule = Supervision(restarts_max=2, window_s=2, backoff_min_s=0.1, backoff_max_s=0.5)
    options = Options(
        mailbox_max=MAILBOX_MAX,
        pending_max=PENDING_MAX,
        resident_max=RESIDENT_MAX,
        idle_after_s=1,
        supervision=rule,
    )
    async with ActorSystem() as system:
        family = system.register("player", lambda key: Player(world, key), options)
        for number, step in enumerate(script):
            await perform(step, number, world, family)
            assert family.resident <= RESIDENT_MAX
            assert family.pending <= PENDING_MAX
        await system.stop(drain_s)
        judge(world)
        assert (family.pending, family.resident) == (0, 0)


async def perform(step: Step, number: int, world: World, family: Family[tuple[int, str]]) -> None:
    match step:
        case Ask(key, act, timeout_s):
            try:
                world.asks[number] = family.ask(key, (number, act), timeout_s=timeout_s)
            except (MailboxFull, ActorFailed):
                return
            world.sent[key].append(number)
        case Tell(key, act):
            try:
                family.tell(key, (number, act))
            except (MailboxFull, ActorFailed):
                return
            world.sent[key].append(number)
        case Cancel(index):
            if world.asks:
                list(world.asks.values())[index % len(world.asks)].cancel()
        case Crash(chosen, counts):
            family.crash_all(LookupError("from outside"), chosen or None, counts=counts)
        case Wait(seconds):
            await asyncio.sleep(seconds)


def judge(world: World) -> None:
    assert not world.violations
    everything = [number for numbers in world.delivered.values() for number in numbers]
    assert len(everything) == len(set(everything))
    for key, numbers in world.delivered.items():
        assert set(numbers) <= set(world.sent[key])
        assert numbers == sorted(numbers)
    for number, future in world.asks.items():
        assert future.done(), f"ask {number} was left waiting"
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            assert future.result() == number
            assert number in everything
        elif isinstance(error, (DeadlineExceeded, Stopped, ActorFailed)):
            assert error.delivered is (number in everything)
        else:
            assert not isinstance(error, ActorError) or error.delivered
            assert number in everything


@settings(max_examples=300, derandomize=True)
@given(script=st.lists(steps, max_size=60), drain_s=st.sampled_from([0.0, 0.5, 30.0]))
def test_the_promises_hold_for_every_interleaving(
    virtual_loop: Callable[[], asyncio.AbstractEventLoop],
    nothing_is_left: Callable[[asyncio.AbstractEventLoop], None],
    script: list[Step],
    drain_s: float,
) -> None:
    with asyncio.Runner(loop_factory=virtual_loop) as runner:
        runner.run(play(script, drain_s))
        nothing_is_left(runner.get_loop())
