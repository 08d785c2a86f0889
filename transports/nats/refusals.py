"""What a NATS server or the absence of a service refuses, as errors that say whether anything can have happened.

A NATS server says at once that a message may not be published, that a subject may not be subscribed to, and that nobody
has the subject of a request. None of these is an outage: waiting does not help.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, TypeAlias

from solvent.engine.values.errors import SolventError, Unavailable

Action: TypeAlias = Literal["connect", "publish", "subscribe"]

_DENIAL: Final = re.compile(rb'-ERR\s+\'Permissions Violation for (Publish|Subscription) to "((?:[^"\\\r\n]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
_UNKNOWN: Final = (
    "an earlier copy of the request may have been applied: the outcome is unknown, and its key tells it later"
)
_NOTHING: Final = "nothing was applied"


class NotPermitted(SolventError):
    """NATS does not let this client do what the request needs. ``action`` is what it refused, ``subject`` where.

    Nothing was applied, unless ``outcome_unknown`` is true: then the permission was taken away while the request was
    under way. A retry does not help before the permission is given.
    """

    code = "not_permitted"
    status = 403
    fields = ("action", "subject", "outcome_unknown")

    def __init__(self, action: Action, subject: str, *, outcome_unknown: bool = False) -> None:
        fate = _UNKNOWN if outcome_unknown else _NOTHING
        super().__init__(f"{_REASONS[action].format(subject)}; {fate}")
        self.action: Action = action
        self.subject = subject
        self.outcome_unknown = outcome_unknown


_REASONS: Final[dict[Action, str]] = {
    "connect": "the NATS server refuses these credentials ({})",
    "publish": "NATS does not permit these credentials to publish to {}: check the environment and the customer of the "
    "pool, or ask for the permission",
    "subscribe": "NATS does not permit these credentials to subscribe to {}, so that no answer can arrive: ask for the "
    "permission, or give a permitted inbox_prefix",
}


class NoService(Unavailable):
    """No service answers for ``environment`` on this NATS. Nothing was applied. A retry helps once there is one."""

    code = "no_service"
    fields = ("environment",)
    outcome_unknown = False

    def __init__(self, environment: str) -> None:
        super().__init__(
            f"no service answers for the environment {environment!r} on this NATS: nothing was applied. "
            "Check its name, and that the service runs"
        )
        self.environment = environment


class Denial(NamedTuple):
    """What a NATS server said that it does not permit."""

    action: Action
    subject: str


def parse_denial(line: bytes) -> Denial | None:
    """Return what a line of the NATS protocol denies; ``None`` if it denies nothing that is known here."""
    match = _DENIAL.match(line)
    if match is None:
        return None
    subject = _ESCAPED.sub(r"\1", match[2].decode(errors="replace"))
    return Denial("publish" if match[1] == b"Publish" else "subscribe", subject)
