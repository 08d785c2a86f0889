"""The bounds of an engine, as its user sets them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from solvent.actors import Options
from solvent.engine.rules.limits import LIMITS_DEFAULT, Limits


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of an engine."""

    mailbox_max: int = 4_096
    """The number of commands that may wait for one pool, or for the disk. More are refused as ``Overloaded``."""
    pending_max: int = 65_536
    """The same limit for all pools together."""
    resident_max: int = 10_000
    """The number of pools in memory at once. Any other pool is a row on disk; loading takes tens of microseconds."""
    idle_after_s: float = 60.0
    """Seconds without a command after which a pool leaves memory."""
    timeout_s: float = 10.0
    """Seconds after which a command that is still unanswered fails as ``Unavailable``."""
    stop_timeout_s: float = 30.0
    """Seconds that pending commands have to finish when the engine closes."""
    limits: Limits = LIMITS_DEFAULT
    usage: Literal["on demand", "always"] = "on demand"
    """The start of the usage process: with the first question about usage, or with the engine."""
    usage_threads: int = 1
    """The number of threads that answer a question about usage. More are faster, but slow debits down meanwhile."""
    usage_timeout_s: float = 30.0
    """Seconds after which a question about usage fails as ``Unavailable``."""

    clock_ahead_max_s: float = 600.0
    """The seconds by which the clock may leap ahead while the engine runs. A larger step is not believed."""
    clock_gap_max_s: float = 30 * 86_400.0
    """The seconds since the last frame of the journal that are believed at a start."""

    @property
    def options(self) -> Options:
        """The bounds of the actors."""
        return Options(
            mailbox_max=self.mailbox_max,
            pending_max=self.pending_max,
            resident_max=self.resident_max,
            idle_after_s=self.idle_after_s,
            default_timeout_s=self.timeout_s,
        )


SETTINGS_DEFAULT: Final = Settings()
