"""The answer to what time it is: the engine's time, and whether the wall clock is believed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from solvent.engine.values.readable import Readable


class ClockStatus(Readable, msgspec.Struct, frozen=True, kw_only=True):
    """The engine's clock."""

    time: datetime
    """The engine's time, by which entries are dated and things fall due."""
    wall_clock: datetime
    """The time of the machine's clock."""
    not_believed: Literal["ahead", "gap", "behind"] | None = None
    """Why the machine's clock is not believed: it leapt ahead while the engine ran; or, at the start, it was much later
    than the last frame of the journal (a gap), or earlier (behind). ``None`` if it is believed."""
