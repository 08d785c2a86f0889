"""Positions in the stream of what pools say: behind which event of the journal a reader stands."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .amounts import shown
from .errors import InvalidRequest

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
