"""``python -m bench.mailbox``: empty asks a second through the actor runtime, and through its alternatives.

All contestants take turns in one process. Each has one mailbox per actor with the same bound, and answers through a
future. They differ in how a message waits and which task wakes up for it. The peers have one task per actor and no
deadlines, supervision or passivation. The runtime has all of them switched on, so the comparison favours the peers.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from rich.console import Console
from rich.table import Table

from solvent.actors import Actor, ActorSystem, Mail, Options

MAILBOX_MAX = 1_024  # messages; the runtime's own default

Ask: TypeAlias = Callable[[int], asyncio.Future[None]]
"""A function that sends an empty message to the actor with a number, and returns the future of its answer."""
Letter: TypeAlias = tuple[None, asyncio.Future[None]]
"""The mail of a peer: the message and the future of its answer."""


class Idle(Actor[None]):
    """An actor that answers and does nothing else."""

    def receive(self, batch: list[Mail[None]]) -> None:
        for mail in batch:
            mail.reply(None)


@asynccontextmanager
async def runtime(actors: int) -> AsyncIterator[Ask]:
    """The runtime of ``actors/``."""
    keys = [f"actor-{number}" for number in range(actors)]
    async with ActorSystem() as system:
        family = system.register("idle", lambda key: Idle(), Options(mailbox_max=MAILBOX_MAX, resident_max=actors))
        yield lambda number: family.ask(keys[number], None)


def answer(letter: Letter) -> None:
    _, future = letter
    if not future.done():  # the caller may have left
        future.set_result(None)


@asynccontextmanager
async def queues(actors: int) -> AsyncIterator[Ask]:
    """An ``asyncio.Queue`` and a task per actor."""
    loop = asyncio.get_running_loop()
    mailboxes: list[asyncio.Queue[Letter]] = [asyncio.Queue(MAILBOX_MAX) for _ in range(actors)]

    async def actor(mailbox: asyncio.Queue[Letter]) -> None:
        while True:
            answer(await mailbox.get())

    def ask(number: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = loop.create_future()
        mailboxes[number].put_nowait((None, future))
        return future

    tasks = [asyncio.create_task(actor(mailbox)) for mailbox in mailboxes]
    yield ask
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def streams(actors: int) -> AsyncIterator[Ask]:
    """An anyio memory object stream and a task per actor."""
    loop = asyncio.get_running_loop()
    mailboxes = [anyio.create_memory_object_stream[Letter](MAILBOX_MAX) for _ in range(actors)]

    async def actor(mailbox: AsyncIterator[Letter]) -> None:
        async for letter in mailbox:
            answer(letter)

    def ask(number: int) -> asyncio.Future[None]:
        future: asyncio.Future[None] = loop.create_future()
        mailboxes[number][0].send_nowait((None, future))
        return future

    async with anyio.create_task_group() as group:
        for _, receiver in mailboxes:
            group.start_soon(actor, receiver)
        yield ask
        for sender, _ in mailboxes:
            sender.close()
    for _, receiver in mailboxes:
        receiver.close()


CONTESTANTS: dict[str, Callable[[int], AbstractAsyncContextManager[Ask]]] = {
    "actors": runtime,
    "asyncio.Queue": queues,
    "anyio stream": streams,
}


@dataclass(frozen=True)
class Figures:
    """The figures of one run."""

    asks_per_s: float
    cpu_us_per_ask: float
    """The processor time per ask, which a busy neighbour blurs less."""


async def measure(
    contestant: Callable[[int], AbstractAsyncContextManager[Ask]],
    *,
    callers: int,
    actors: int,
    burst: int,
    seconds: float,
) -> Figures:
    """Let ``callers`` ask in a closed loop, each going over all actors. All actors are awake before.

    With a ``burst`` of one, most of the time is the loop waking the callers. Larger bursts show the mailboxes.
    """
    async with contestant(actors) as ask:
        for number in range(actors):
            await ask(number)
        answered = 0
        gc.collect()
        started, cpu = time.perf_counter(), time.process_time()
        until = started + seconds

        async def caller(number: int) -> None:
            nonlocal answered
            actor = number * 7_919 % actors
            while time.perf_counter() < until:
                answers = [ask(actor) for _ in range(burst)]
                for future in answers:
                    await future
                answered += burst
                actor = (actor + 104_729) % actors

        await asyncio.gather(*(caller(number) for number in range(callers)))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return Figures(answered / seconds, cpu / answered * 1e6)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.mailbox", description=__doc__)
    options.add_argument("--seconds", type=float, default=2.0, help="length of each run")
    options.add_argument("--runs", type=int, default=5, help="runs of each contestant; medians are shown")
    options.add_argument("--callers", type=int, default=64)
    options.add_argument("--actors", type=int, default=1_000)
    options.add_argument("--burst", type=int, default=1, help="asks a caller sends to one actor before it waits")
    options.add_argument("--json", action="store_true", help="figures for programs")
    options.add_argument("--uvloop", action="store_true", help="run on uvloop instead of asyncio's own loop")
    chosen = options.parse_args()
    results: dict[str, list[Figures]] = {name: [] for name in CONTESTANTS}
    for _ in range(chosen.runs):
        for name, contestant in CONTESTANTS.items():
            with asyncio.Runner(loop_factory=uvloop() if chosen.uvloop else None) as runner:
                asks = measure(
                    contestant, callers=chosen.callers, actors=chosen.actors, burst=chosen.burst, seconds=chosen.seconds
                )
                results[name].append(runner.run(asks))
            print(f"  {name}: {results[name][-1].asks_per_s:,.0f} asks/s", file=sys.stderr)
    medians = {name: median(runs) for name, runs in results.items()}
    if chosen.json:
        figures = {name: vars(each) for name, each in medians.items()}
        print(json.dumps({"medians": figures, "runs": chosen.runs, "machine": machine()}, indent=2))
    else:
        show(medians, chosen)


def median(runs: list[Figures]) -> Figures:
    return Figures(
        statistics.median(each.asks_per_s for each in runs), statistics.median(each.cpu_us_per_ask for each in runs)
    )


def uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop


def machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def show(medians: dict[str, Figures], chosen: argparse.Namespace) -> None:
    load = f"{chosen.callers:,} callers, {chosen.actors:,} actors, bursts of {chosen.burst}"
    table = Table(title=f"Empty asks: {load}, medians of {chosen.runs} runs")
    for column in ("", "asks/s", "ratio", "CPU µs/ask"):
        table.add_column(column, justify="left" if not column else "right")
    for name, each in medians.items():
        ratio = each.asks_per_s / medians["asyncio.Queue"].asks_per_s
        table.add_row(name, f"{each.asks_per_s:,.0f}", f"{ratio:.1f}×", f"{each.cpu_us_per_ask:.2f}")
    console = Console()
    console.print(table)
    console.print(machine())


if __name__ == "__main__":
    main()
