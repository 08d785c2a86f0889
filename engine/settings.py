"""The bounds of an engine, as its user sets them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from solvent.actors import Options
from solvent.engine.rules.limits import LIMITS_DEFAULT, Limits


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of an engine."""

    mailbox_max: int = 4_096
    """Commands that may wait for one pool, or for the disk, before more are refused as ``Overloaded``."""
    pending_max: int = 65_536
    """The same over all pools together."""
    resident_max: int = 10_000
    """Pools held in memory at once. The others are a row on disk; waking one takes some tens of microseconds."""
    idle_after_s: float = 60.0
    """Seconds without a command after which a pool leaves memory."""
    timeout_s: float = 10.0
    """Seconds after which a command that is still unanswered fails as ``Unavailable``."""
    stop_timeout_s: float = 30.0
    """Seconds that commands under way are given when the engine is closed."""
    limits: Limits = LIMITS_DEFAULT
    usage: Literal["on demand", "always"] = "on demand"
    """When the usage process runs: from the first question about usage on, or from the start."""
    usage_threads: int = 1
    """Threads with which a question about usage is answered. More are faster, at the cost of debits meanwhile."""
    usage_timeout_s: float = 30.0
    """Seconds after which a question about usage fails as ``Unavailable``."""

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
