"""Why a message got no answer: every error the runtime itself raises.

Each carries the family and key it is about, and ``delivered``: False means that the message surely never reached
the actor, so sending it again cannot do its work twice. True means that the actor saw it and the outcome is unknown.
Errors an actor answers with (``Mail.fail``) are the actor's own and pass through untouched.
"""

from typing import Literal, TypeAlias

__all__ = ["ActorCrashed", "ActorError", "ActorFailed", "DeadlineExceeded", "Full", "MailboxFull", "Stopped"]

Full: TypeAlias = Literal["mailbox", "family"]


class ActorError(Exception):
    """Base of the runtime's errors."""

    delivered: bool = False

    def __init__(self, text: str, *, family: str, key: str) -> None:
        super().__init__(f"{family}/{key}: {text}")
        self.family, self.key = family, key


def _told(cause: BaseException) -> str:
    """Put an actor's exception into words, even one whose ``repr`` raises: its callers must be told something."""
    try:
        return repr(cause)
    except Exception:  # noqa: BLE001 - whatever an actor's exception does, its callers must not hang
        return type(cause).__name__


class MailboxFull(ActorError):
    """Refused at once: too many messages are waiting or unanswered already. Nothing was queued.

    ``full`` tells whether this actor's mailbox or the whole family has reached its bound; ``pending`` and
    ``pending_max`` are that bound's numbers. ``retry_after_s`` is a hint, to be spread by the caller.
    """

    def __init__(
        self, *, family: str, key: str, full: Full, pending: int, pending_max: int, retry_after_s: float
    ) -> None:
        super().__init__(f"{full} is full ({pending} of {pending_max} pending)", family=family, key=key)
        self.full: Full = full
        self.pending, self.pending_max = pending, pending_max
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ActorError):
    """No answer came in time. Whether the work was done is known only if ``delivered`` is False: it was not."""

    def __init__(self, *, family: str, key: str, delivered: bool) -> None:
        state = "delivered, outcome unknown" if delivered else "never delivered"
        super().__init__(f"deadline exceeded ({state})", family=family, key=key)
        self.delivered = delivered


class ActorCrashed(ActorError):
    """The actor died with this message in its hands; ``cause`` is what killed it. The outcome is unknown."""

    delivered = True

    def __init__(self, *, family: str, key: str, cause: BaseException) -> None:
        super().__init__(f"crashed: {_told(cause)}", family=family, key=key)
        self.cause = cause
        self.__cause__ = cause


class ActorFailed(ActorError):
    """The actor crashed too often and was given up; the message was never delivered.

    A message sent ``retry_after_s`` or more from now may start it again. ``cause`` is its last crash.
    """

    def __init__(self, *, family: str, key: str, cause: BaseException, retry_after_s: float) -> None:
        super().__init__(f"given up after repeated crashes, the last being {_told(cause)}", family=family, key=key)
        self.cause = cause
        self.retry_after_s = retry_after_s
        self.__cause__ = cause


class Stopped(ActorError):
    """The system, or the actor this context belonged to, has stopped or is stopping."""

    def __init__(self, *, family: str, key: str, delivered: bool = False) -> None:
        super().__init__("stopped", family=family, key=key)
        self.delivered = delivered
