"""Events as a stream: what was said before, then what is said now, each once and in order; embedded and over NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any, cast

import pytest

from solvent import Credits, InvalidRequest, PoolEvent
from solvent.engine.values.positions import Position, parse_position

ROUNDS = 30
POOLS = ("acme", "acme/web", "globex")


async def set_up(credits: Credits) -> None:
    for pool in (*POOLS, "staging@acme"):
        await credits.grant(pool, "10", key="g")
        await credits.set_alerts(pool, low=["5"])


async def sound(credits: Credits, pool: str, number: int) -> None:
    """The pool says that it is low, then that it is empty, and is filled again."""
    await credits.debit(pool, "6", key=f"a{number}")
    await credits.debit(pool, "4", key=f"b{number}")
    await credits.grant(pool, "10", key=f"g{number}")


async def journalled(credits: Credits, **scope: Any) -> list[PoolEvent]:
    events: list[PoolEvent] = []
    after = "0.0"
    while True:
        page = await credits.past_events(**scope, after=after, limit=7)
        events += page.events
        after = page.position
        if not page.more:
            return events


async def take(events: AsyncIterator[PoolEvent], count: int) -> list[PoolEvent]:
    """The next ``count``."""
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(count)]


def streamed(credits: Credits, **scope: Any) -> aclosing[Any]:
    return aclosing(cast("Any", credits.events(**scope)))


def positions(events: list[PoolEvent]) -> list[Position]:
    return [parse_position(event.position) for event in events]


@pytest.mark.parametrize("scope", [{}, {"customer": "acme"}, {"pool": "acme/web"}])
async def test_what_was_said_before_is_followed_by_what_is_said_now(credits: Credits, scope: dict[str, str]) -> None:
    await set_up(credits)
    for number in range(3):
        for pool in POOLS:
            await sound(credits, pool, number)
    async with streamed(credits, **scope, after="0.0") as events:
        earlier = await take(events, 2)
        # Said while the reader is somewhere in the past.
        async with asyncio.TaskGroup() as saying:
            for pool in (*POOLS, "staging@acme"):
                saying.create_task(sound(credits, pool, 9))
        expected = await journalled(credits, **scope)
        later = await take(events, len(expected) - 2)
        assert earlier + later == expected
        await sound(credits, "acme/web", 10)
        assert [event.kind for event in await take(events, 2)] == ["low", "depleted"]


async def test_whoever_reads_while_it_is_said_misses_and_repeats_nothing(credits: Credits) -> None:
    await set_up(credits)

    async def say(pool: str) -> None:
        for number in range(ROUNDS):
            await sound(credits, pool, number)

    async def read(after: str | None) -> list[PoolEvent]:
        async with streamed(credits, after=after) as events:
            return await take(events, 2 * ROUNDS * len(POOLS))

    async def read_in_parts() -> list[PoolEvent]:
        """As one that is started again after every few events."""
        found: list[PoolEvent] = []
        while len(found) < 2 * ROUNDS * len(POOLS):
            async with streamed(credits, after=found[-1].position if found else "0.0") as events:
                found += await take(events, 5)
        return found

    reading = [asyncio.create_task(read("0.0")), asyncio.create_task(read(None)), asyncio.create_task(read_in_parts())]
    # Who begins with what is said from now on has begun by then.
    await asyncio.sleep(0.3)
    async with asyncio.TaskGroup() as saying:
        for pool in POOLS:
            saying.create_task(say(pool))
    expected = await journalled(credits)
    assert len(expected) == 2 * ROUNDS * len(POOLS)
    assert all(earlier < later for earlier, later in pairwise(positions(expected)))
    for task in reading:
        assert await task == expected


async def test_the_end_is_a_position(credits: Credits) -> None:
    await set_up(credits)
    await sound(credits, "acme", 1)
    page = await credits.past_events(after="end")
    assert (page.events, page.more) == ((), False)
    await sound(credits, "globex", 2)
    assert [event.pool for event in (await credits.past_events(after=page.position)).events] == ["globex", "globex"]
    async with streamed(credits, after=page.position) as events:
        assert [event.pool for event in await take(events, 2)] == ["globex", "globex"]


@pytest.mark.parametrize("after", ["yesterday", "", "1", "-1.0", "1.2.3", "999999.1", 7])
async def test_a_position_that_is_none_of_this_journal_is_refused(credits: Credits, after: Any) -> None:
    """Waiting behind the end of a journal, a reader would miss all that comes before."""
    await set_up(credits)
    with pytest.raises(InvalidRequest) as invalid:
        await credits.past_events(after=after)
    assert invalid.value.field == "after"
    with pytest.raises(InvalidRequest) as invalid:
        async with streamed(credits, after=after) as events:
            await take(events, 1)
    assert invalid.value.field == "after"


@pytest.mark.parametrize("scope", [{"pool": "a/b/c"}, {"customer": ""}, {"environment": "\n"}])
async def test_a_scope_that_is_none_is_refused(credits: Credits, scope: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as invalid:
        credits.events(**cast("Any", scope))
    assert invalid.value.field == next(iter(scope))
