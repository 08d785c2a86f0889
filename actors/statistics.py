"""What a family of actors has done so far, in numbers.

``Counters`` are bumped by the runtime, once a batch wherever that is possible, and belong to it alone.
``Statistics`` is a copy for readers; totals count from the start of the system and never fall.
"""

from dataclasses import dataclass

__all__ = ["Counters", "Statistics"]


class Counters:
    """The running totals of one family."""

    __slots__ = (
        "activations",
        "batch_max",
        "crashes",
        "dead_letters",
        "delivered",
        "expired",
        "given_up",
        "passivations",
        "refused",
        "restarts",
    )

    def __init__(self) -> None:
        self.activations = 0
        self.batch_max = 0
        self.crashes = 0
        self.dead_letters = 0
        self.delivered = 0
        self.expired = 0
        self.given_up = 0
        self.passivations = 0
        self.refused = 0
        self.restarts = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """One family at one moment."""

    resident: int
    """Actors holding a seat now: starting, running, resting or about to restart."""
    queued: int
    """Keys that have mail but no seat yet, because every resident is busy."""
    pending: int
    """Messages waiting or unanswered now."""
    activations: int
    """Times an actor was brought to life by a message; restarts are counted apart."""
    passivations: int
    crashes: int
    restarts: int
    given_up: int
    delivered: int
    """Messages handed to actors, tells and timers included."""
    refused: int
    """Messages refused with ``MailboxFull``."""
    expired: int
    """Asks ended by their deadline, delivered or not."""
    dead_letters: int
    """Messages that reached no actor, and answers that found nobody."""
    batch_max: int
    """The largest number of messages handed over at once."""
