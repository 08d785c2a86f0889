"""What pools say by themselves, as a stream: alerts and recharge requests, in the order of the journal.

They are read from the journal, not from memory: a reader that gives the position of the last event it has dealt with
misses nothing, whatever restarts in between. The index says which frames have any.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from .amounts import shown
from .answers import PoolEvent
from .core import Core
from .errors import InvalidRequest, JournalCorrupt
from .events import NOTICES, Notice
from .frames import decode_section, split_frame
from .pool_id import parse_canonical
from .views import pool_event_of

FRAMES_PER_READ: Final = 64

_POSITION: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,9})", re.ASCII)
_LAST_PLACE: Final = 999_999_999


class Position(NamedTuple):
    """Behind which event of the journal: the frame, and which of its events."""

    frame: int
    place: int

    def __str__(self) -> str:
        return f"{self.frame}.{self.place}"

    @property
    def last_whole_frame(self) -> int:
        """The last frame of which no event is left."""
        return self.frame if self.place == _LAST_PLACE else self.frame - 1


BEGINNING: Final = Position(0, 0)
END: Final = "end"
"""Stands for the position behind all that is journalled."""


def parse_position(position: object, field: str = "after") -> Position:
    """The position that an event carries as text, such as "12.3"; "0.0" is the beginning. Raises ``InvalidRequest``.

    ``END`` is known only to who has the journal, and not taken here.
    """
    match = _POSITION.fullmatch(position) if isinstance(position, str) else None
    if match is None:
        raise InvalidRequest(field, 'the position of an event, such as "12.3"', got=shown(position))
    return Position(int(match[1]), int(match[2]))


def end_of(frame: int) -> Position:
    """Behind all events of ``frame``."""
    return Position(frame, _LAST_PLACE)


class EventSpan(NamedTuple):
    """The events of some frames, and where the next reading begins."""

    events: list[PoolEvent]
    position: Position
    more: bool
    """Whether there is more to be read already."""


async def read_events(
    core: Core, after: Position, wanted: Callable[[str], bool], scale_of: Callable[[str], Awaitable[int]], *, limit: int
) -> EventSpan:
    """At most ``limit`` events behind ``after`` of the pools that are ``wanted``, of a bounded number of frames.

    ``scale_of`` knows the decimal places of a pool by its canonical name.

    Raises ``JournalError``.
    """
    frames = await core.notice_frames(after.frame, FRAMES_PER_READ)
    events: list[PoolEvent] = []
    for number in frames:
        place = 0
        for pool, version, event in await _notices(core, number):
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


async def _notices(core: Core, number: int) -> list[tuple[str, int, Notice]]:
    frames = await core.journal.read(number - 1, 1)
    if not frames or frames[0].number != number:
        raise JournalCorrupt("the frame is missing", frame=number)
    found: list[tuple[str, int, Notice]] = []
    for _, body in split_frame(frames[0]):
        section = decode_section(body, frame=number)
        for version, event in enumerate(section.events, section.first_version):
            if isinstance(event, NOTICES):
                found.append((section.pool, version, event))
    return found
