"""The exit codes of ``solvent``: one number per kind of "no", for scripts that branch on it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from solvent.engine.values.errors import (
    IdempotencyConflict,
    InvalidRequest,
    JournalError,
    NotFound,
    Overloaded,
    Refused,
    SolventError,
    StateConflict,
    Unavailable,
)
from solvent.transports.nats.discovery import AlreadyServed
from solvent.transports.nats.refusals import NotPermitted


class Exit(IntEnum):
    """The exit codes. They are part of the public interface: a number never changes its meaning."""

    OK = 0
    UNEXPECTED = 1
    INVALID = 2
    REFUSED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNAVAILABLE = 6
    JOURNAL = 7
    DIFFERENCE = 8
    NOT_PERMITTED = 9
    INTERRUPTED = 130


_MEANING: Final[dict[Exit, str]] = {
    Exit.OK: "done",
    Exit.UNEXPECTED: "unexpected error",
    Exit.INVALID: "usage or invalid request",
    Exit.REFUSED: "refused: insufficient credits or budget",
    Exit.NOT_FOUND: "no such pool or journal",
    Exit.CONFLICT: "conflict: the key was used for another request, or another service answers already",
    Exit.UNAVAILABLE: "unavailable or overloaded: ask again with the same key",
    Exit.JOURNAL: "the journal is locked, damaged or cannot be written",
    Exit.DIFFERENCE: "a verification or a check of the demo found a difference",
    Exit.NOT_PERMITTED: "the NATS server does not permit it",
    Exit.INTERRUPTED: "interrupted",
}

EXIT_CODES_HELP: Final = "Exit codes: " + ", ".join(f"{code.value} {text}" for code, text in _MEANING.items()) + "."
"""The exit codes as ``--help`` shows them."""

_BY_ERROR: Final[tuple[tuple[type[SolventError], Exit], ...]] = (
    (Refused, Exit.REFUSED),
    (InvalidRequest, Exit.INVALID),
    (NotFound, Exit.NOT_FOUND),
    (IdempotencyConflict, Exit.CONFLICT),
    (StateConflict, Exit.CONFLICT),
    (Overloaded, Exit.UNAVAILABLE),
    (Unavailable, Exit.UNAVAILABLE),
    (AlreadyServed, Exit.CONFLICT),
    (NotPermitted, Exit.NOT_PERMITTED),
    (JournalError, Exit.JOURNAL),
)


def exit_code(error: SolventError) -> Exit:
    """Return the exit code of an error. An error that this version does not know is ``UNEXPECTED``."""
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return code
    return Exit.UNEXPECTED
