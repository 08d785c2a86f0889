"""What pools say by themselves, as a stream: alerts and recharge requests, in the order of the journal.

They are read from the journal, not from memory: a reader that gives the position of the last event it has dealt with
misses nothing, whatever restarts in between. The index says which frames have any.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from solvent.engine.api.events import PoolEvent
from solvent.engine.journal.frames import decode_section, split_frame
from solvent.engine.pools.partition import Partition
from solvent.engine.rules.events import NOTICES, Notice
from solvent.engine.rules.views import pool_event_of
from solvent.engine.values.errors import JournalCorrupt
from solvent.engine.values.pool_id import parse_canonical
from solvent.engine.values.positions import Position, end_of

FRAMES_PER_READ: Final = 64


class EventSpan(NamedTuple):
    """The events of some frames, and where the next reading begins."""

    events: list[PoolEvent]
    position: Position
    more: bool
    """Whether there is more to be read already."""


async def read_events(
    partition: Partition,
    after: Position,
    wanted: Callable[[str], bool],
    scale_of: Callable[[str], Awaitable[int]],
    *,
    limit: int,
) -> EventSpan:
    """At most ``limit`` events behind ``after`` of the pools that are ``wanted``, of a bounded number of frames.

    ``scale_of`` knows the decimal places of a pool by its canonical name.

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
