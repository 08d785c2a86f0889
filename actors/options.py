"""The bounds of a family of actors. Every queue in the runtime has its limit here, beside the reason for its value."""

from dataclasses import dataclass, field

from .supervision import Supervision

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The bounds of one family. Each must be positive; ``idle_after_s`` may be infinite."""

    mailbox_max: int = 1_024
    """Messages of one actor that are waiting or not yet answered; one more is refused at once."""
    pending_max: int = 100_000
    """The same over the whole family: a flood over many keys. A pending ask takes about half a kilobyte."""
    resident_max: int = 10_000
    """Actors alive at once. Beyond it the one longest at rest makes room; if all are busy, new keys queue."""
    idle_after_s: float = 60.0
    """Time at rest after which an actor is passivated."""
    default_timeout_s: float = 10.0
    """Deadline of an ask that names none."""
    retry_after_s: float = 0.05
    """The hint in a refusal."""
    supervision: Supervision = field(default_factory=Supervision)

    def __post_init__(self) -> None:
        for name in ("mailbox_max", "pending_max", "resident_max", "idle_after_s", "default_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
