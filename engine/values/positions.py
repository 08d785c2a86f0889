"""Positions in the stream of published events. A position is the last event of the journal that a reader has seen."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .amounts import shown
from .errors import InvalidRequest

_POSITION: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,9})", re.ASCII)
_LAST_PLACE: Final = 999_999_999


class Position(NamedTuple):
    """The position after one event of the journal."""

    frame: int
    """The number of the frame that has the event."""
    place: int
    """The place of the event in its frame."""

    def __str__(self) -> str:
        return f"{self.frame}.{self.place}"

    @property
    def last_whole_frame(self) -> int:
        """The last frame that has no events after this position."""
        return self.frame if self.place == _LAST_PLACE else self.frame - 1


BEGINNING: Final = Position(0, 0)
END: Final = "end"
"""Stands for the position after everything in the journal."""


def parse_position(position: object, field: str = "after") -> Position:
    """Return the position that an event has as text, such as "12.3"; "0.0" is the beginning. Raises ``InvalidRequest``.

    ``END`` is not accepted here: only code that has the journal can resolve it.
    """
    match = _POSITION.fullmatch(position) if isinstance(position, str) else None
    if match is None:
        raise InvalidRequest(field, 'the position of an event, such as "12.3"', got=shown(position))
    return Position(int(match[1]), int(match[2]))


def end_of(frame: int) -> Position:
    """Return the position after all events of ``frame``."""
    return Position(frame, _LAST_PLACE)
