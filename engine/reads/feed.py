"""The events that pools publish, as a stream: alerts and recharge requests, in the order of the journal.

They are read from the journal, not from memory. A reader that passes the position of the last event it has processed
misses nothing, whatever restarts in between. The index knows which frames have such events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import PastEventsRequest
from solvent.engine.journal.frames import decode_section, split_frame
from solvent.engine.journal.listeners import Changes
from solvent.engine.pools.partition import Partition
from solvent.engine.pools.pools import Pools
from solvent.engine.rules.commands import MoveOutbox, Read
from solvent.engine.rules.events import NOTICES, Notice
from solvent.engine.rules.views.events import pool_event_of
from solvent.engine.values.errors import InvalidRequest, JournalCorrupt
from solvent.engine.values.pages import EVENT_PAGE_MAX, check_limit
from solvent.engine.values.pool_id import (
    PoolLike,
    check_id,
    customer_prefixes,
    environment_prefix,
    outbox_stream,
    parse_canonical,
    parse_pool,
)
from solvent.engine.values.positions import END, Position, end_of, parse_position

FRAMES_PER_READ: Final = 64


class EventSpan(NamedTuple):
    """The events of some frames, and the position where the next read begins."""

    events: list[PoolEvent]
    position: Position
    more: bool
    """Whether there is already more to read."""


class Feed:
    """The published events of an engine's pools, as pages and as an endless stream."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    async def page(self, request: PastEventsRequest) -> EventPage:
        """Return a page of published events. Raises ``InvalidRequest``, ``JournalError``."""
        check_limit(request.limit, EVENT_PAGE_MAX)
        wanted = chosen(request.pool, request.customer, request.environment)
        partition = await self._pools.partition()
        after = _begin(request.after, partition)
        span = await read_events(partition, after, wanted, self._pools.scale_of_pool, limit=request.limit)
        return EventPage(tuple(span.events), str(span.position), span.more)

    def events(self, after: str | None, wanted: Callable[[str], bool]) -> AsyncIterator[PoolEvent]:
        """Iterate over the events of the pools that are ``wanted``, from ``after`` on (default: now).

        Raises ``InvalidRequest`` at once for a position that is not one of this journal.
        """
        return self._events(self.begin(after), wanted)

    def begin(self, after: str | None) -> Position:
        """Return ``after`` as a position, the end of the journal for ``None``. Raises ``InvalidRequest``."""
        return _begin(END if after is None else after, self._pools.services.partition)

    async def _events(self, after: Position, wanted: Callable[[str], bool]) -> AsyncIterator[PoolEvent]:
        async for span in self.spans(after, wanted):
            for event in span.events:
                yield event

    async def spans(self, after: Position, wanted: Callable[[str], bool]) -> AsyncIterator[EventSpan]:
        """Iterate over the events of all pools whose canonical names are ``wanted``, from ``after`` on and as they
        happen, with the positions that they reach. Raises ``JournalError``.
        """
        while True:
            ring = self._pools.services.listeners.notices.listen()
            partition = await self._pools.partition()
            span = await read_events(partition, after, wanted, self._pools.scale_of_pool, limit=EVENT_PAGE_MAX)
            yield span
            after = span.position
            if not span.more:
                await ring

    async def published(self, publisher: str) -> Position:
        """Return the position up to which ``publisher`` has noted that it has published events."""
        return await self._pools.ask_stream(outbox_stream(publisher), Read("outbox"), Position)

    async def note_published(self, publisher: str, frame: int) -> None:
        """Note durably that ``publisher`` has published the events of all frames up to ``frame``."""
        await self._pools.ask_stream(outbox_stream(publisher), MoveOutbox(frame), Receipt)

    @contextmanager
    def following(self) -> Iterator[Changes]:
        """Collect the pools with durable changes, for the length of a block."""
        changes = Changes()
        followers = self._pools.services.listeners.changes
        followers.append(changes)
        try:
            yield changes
        finally:
            followers.remove(changes)


def chosen(pool: PoolLike | None, customer: str | None, environment: str) -> Callable[[str], bool]:
    """Return a predicate on canonical names: the pool, any of the customer's pools, or any of the environment's."""
    if pool is not None:
        return parse_pool(pool).canonical.__eq__
    check_id(environment, "environment")
    if customer is None:
        return lambda name: name.startswith(environment_prefix(environment))
    prefixes = customer_prefixes(environment, check_id(customer, "customer"))
    return lambda name: name.startswith(prefixes)


def _begin(after: str, partition: Partition) -> Position:
    """Parse ``after`` as a position. Raises ``InvalidRequest`` for a position beyond the end of the journal."""
    last = partition.writer.last_number
    if after == END:
        return end_of(last)
    position = parse_position(after)
    if position.frame > last:
        # A reader that waits there would miss all events before it.
        raise InvalidRequest("after", f"a position of this journal, which ends with frame {last}", got=after)
    return position


async def read_events(
    partition: Partition,
    after: Position,
    wanted: Callable[[str], bool],
    scale_of: Callable[[str], Awaitable[int]],
    *,
    limit: int,
) -> EventSpan:
    """Return at most ``limit`` events of the ``wanted`` pools from ``after`` on, out of a bounded number of frames.

    ``scale_of`` returns the decimal places of a pool by its canonical name.

    Raises ``JournalError``.
    """
    frames = await partition.notice_frames(after.frame, FRAMES_PER_READ)
    events: list[PoolEvent] = []
    for number in frames:
        place = 0
        for pool, version, event in await _notices(partition, number):
            place += 1
            if Position(number, place) <= after:
                continue
            if len(events) == limit:
                return EventSpan(events, after, True)
            after = Position(number, place)
            if wanted(pool):
                name = str(parse_canonical(pool))
                events.append(pool_event_of(event, name, version, str(after), await scale_of(pool)))
        after = max(after, end_of(number))
    return EventSpan(events, after, len(frames) == FRAMES_PER_READ)


async def _notices(partition: Partition, number: int) -> list[tuple[str, int, Notice]]:
    frames = await partition.journal.read(number - 1, 1)
    if not frames or frames[0].number != number:
        raise JournalCorrupt("the frame is missing", frame=number)
    found: list[tuple[str, int, Notice]] = []
    for _, body in split_frame(frames[0]):
        section = decode_section(body, frame=number)
        for version, event in enumerate(section.events, section.first_version):
            if isinstance(event, NOTICES):
                found.append((section.pool, version, event))
    return found
