"""A small actor runtime: bounded mailboxes, supervision, passivation.

An actor is an object that owns some state and is handed its mail in batches; a *family* is all actors of one kind,
addressed by key. Actors exist only while they have something to do, a crashed one is replaced, and every ask ends.
Start reading at ``system``, then ``family``; write a subclass of ``Actor``.
"""

from .actor import Actor, Context, StopReason
from .answers import Answers, Place
from .deadletters import DeadLetter
from .errors import ActorCrashed, ActorError, ActorFailed, DeadlineExceeded, MailboxFull, Stopped
from .family import ActorRef, Family
from .mailbox import Mail, reply_all
from .options import Options
from .statistics import Statistics
from .supervision import Supervision
from .system import ActorSystem
from .timers import Timer

__all__ = [
    "Actor",
    "ActorCrashed",
    "ActorError",
    "ActorFailed",
    "ActorRef",
    "ActorSystem",
    "Answers",
    "Context",
    "DeadLetter",
    "DeadlineExceeded",
    "Family",
    "Mail",
    "MailboxFull",
    "Options",
    "Place",
    "Statistics",
    "StopReason",
    "Stopped",
    "Supervision",
    "Timer",
    "reply_all",
]
