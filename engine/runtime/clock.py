"""The engine's clock: the wall clock, as long as it agrees with a clock that only counts.

A wall clock can be set: by a person, by NTP, by a machine that wakes up in the wrong year. If it were believed at once,
a leap ahead for a moment would expire credits and grant periods for good. So its advance is compared with a second
clock, which nobody sets and which counts while the machine sleeps. A step ahead that is too large is not believed. Time
then goes on from the last trusted time, at the pace of the second clock, until the wall clock is back or an operator
confirms it. At a start there is nothing to compare with but the journal.

All times are microseconds. Those of the wall clock are since 1970, UTC; those of the second clock have any origin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

Doubt: TypeAlias = Literal["ahead", "gap", "behind"]
"""Why the wall clock is not believed: it leapt ahead while the engine ran; at the start, it was too long after the last
frame of the journal, or before it."""

LOOK_US: Final = 1_000_000
"""The advance of the wall clock after which it is compared again. A smaller leap does no harm."""
DRIFT: Final = 144
"""The part of the time passed by which the two clocks may drift apart for good: 10 minutes a day. More than that, in
however many small steps, counts as a leap."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger(__name__)


class ClockState(NamedTuple):
    """What the clocks say."""

    now: int
    """The engine's time."""
    wall: int
    """The wall clock's time, believed or not."""
    doubt: Doubt | None
    """Why the wall clock is not believed; ``None`` if it is."""


class TrustedClock:
    """The time of one engine. ``now_us`` is its clock; call ``begin`` before anything is dated by it."""

    __slots__ = (
        "_ahead_max",
        "_at",
        "_doubt",
        "_elapsed",
        "_gap_max",
        "_look_at",
        "_offset",
        "_seen",
        "_trusted",
        "_wall",
    )

    def __init__(
        self, wall: Callable[[], int], elapsed: Callable[[], int] | None, *, ahead_max_us: int, gap_max_us: int
    ) -> None:
        """``wall`` and ``elapsed`` are the two clocks. Without the second one, the first is believed.

        ``ahead_max_us`` is the largest step ahead that is believed while the engine runs, ``gap_max_us`` the longest
        time since the last frame that is believed at the start.
        """
        self._wall = wall
        self._elapsed = elapsed
        self._ahead_max = ahead_max_us
        self._gap_max = gap_max_us
        self._doubt: Doubt | None = None
        self._offset = 0
        """The wall clock minus the second clock, as far as that is believed."""
        self._trusted = 0
        """The engine's time minus the second clock, as of the last look."""
        self._at = 0
        """The second clock at the last look."""
        self._seen = self._look_at = 0
        """The range of the wall clock in which there is no need to look."""

    def begin(self, last_at: int | None) -> None:
        """Begin with the time of the last frame of the journal; ``None`` if there is no frame."""
        if self._elapsed is None:
            return
        wall, elapsed = self._wall(), self._elapsed()
        self._at, self._offset, self._trusted = elapsed, wall - elapsed, wall - elapsed
        if last_at is None:
            return
        if wall - last_at > self._gap_max:
            self._doubt = "gap"
        elif last_at - wall > self._ahead_max:
            self._doubt = "behind"
        if self._doubt is not None:
            self._trusted = last_at - elapsed
            self._warn(wall, last_at)

    def now_us(self) -> int:
        """Return the engine's time."""
        wall = self._wall()
        # This is asked for each batch of debits, and nearly always answered here.
        return wall if self._seen <= wall < self._look_at else self._look(wall)

    def confirm(self) -> bool:
        """Believe the wall clock from now on. Returns whether it was not believed before."""
        if self._doubt is None or self._elapsed is None:
            return False
        wall = self._wall()
        self._believe(wall, self._elapsed())
        log.warning("the clock was confirmed by an operator: it is %s", _told(wall))
        return True

    def state(self) -> ClockState:
        """Return what the clocks say now."""
        now = self.now_us()
        return ClockState(now, self._wall(), self._doubt)

    def _look(self, wall: int) -> int:
        if self._elapsed is None:
            return wall
        elapsed = self._elapsed()
        passed = max(0, elapsed - self._at)
        self._at = elapsed
        offset = wall - elapsed
        trusted = elapsed + self._trusted
        if self._doubt is None:
            if offset - self._offset > self._ahead_max:
                self._doubt = "ahead"
                self._look_at = 0
                self._warn(wall, trusted)
                return trusted
            may_drift = passed // DRIFT
            self._offset += max(-may_drift, min(offset - self._offset, may_drift))
            self._trusted = offset
            self._seen, self._look_at = wall, wall + LOOK_US
            return wall
        if self._doubt == "ahead":
            is_back = offset - self._offset <= self._ahead_max
        else:
            is_back = -self._ahead_max <= wall - trusted <= self._gap_max
        if not is_back:
            return trusted
        self._believe(wall, elapsed)
        log.warning("the clock is back at %s, and believed again", _told(wall))
        return wall

    def _believe(self, wall: int, elapsed: int) -> None:
        self._doubt = None
        self._at, self._offset, self._trusted = elapsed, wall - elapsed, wall - elapsed
        self._seen, self._look_at = wall, wall + LOOK_US

    def _warn(self, wall: int, trusted: int) -> None:
        log.error(
            "the clock says %s, and that is not believed (%s): time goes on from %s, and what falls due later waits "
            "until the clock is back, or somebody confirms it with solvent clock confirm",
            _told(wall),
            REASONS[self._doubt or "ahead"],
            _told(trusted),
        )


REASONS: Final[dict[Doubt, str]] = {
    "ahead": "it leapt ahead",
    "gap": "the last frame of the journal is much older",
    "behind": "the journal has a later frame",
}


def _told(moment: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="seconds")
    except OverflowError:
        return f"{moment} microseconds since 1970"
