"""What callers saw: every command with all its attempts, every read. What a checker judges by, and nothing else.

Times are seconds on one clock that all callers share. Answers are plain values, so that a history can be written down
by one process and judged by another.
"""

from __future__ import annotations

from typing import Any

import msgspec

from solvent import Balance, LedgerEntry, Receipt, SolventError


class Attempt(msgspec.Struct):
    """One request for a command, and what came of it."""

    began: float
    ended: float | None = None
    """``None``: nothing was heard, it may still happen."""
    receipt: Receipt | None = None
    error: dict[str, Any] | None = None
    """What was refused, as on the wire; not ``unavailable``, which says nothing."""


class Command(msgspec.Struct):
    """What a caller wants done once, whatever it takes."""

    pool: str
    kind: str
    args: dict[str, Any]
    key: str
    """Of commands that have none, such as captures: a name for this history only."""
    attempts: list[Attempt] = []
    group: str | None = None
    """The atomic batch that it is part of: it is only ever asked for with the whole of it."""

    @property
    def receipt(self) -> Receipt | None:
        """The first receipt that was heard of."""
        return next((attempt.receipt for attempt in self.attempts if attempt.receipt is not None), None)

    @property
    def is_open(self) -> bool:
        """Whether nobody knows yet what came of it."""
        return not self.attempts or all(attempt.ended is None for attempt in self.attempts)


class Read(msgspec.Struct):
    """A balance, and when it was asked for and heard."""

    pool: str
    began: float
    ended: float
    balance: Balance


class History(msgspec.Struct):
    """All of it."""

    commands: list[Command] = []
    reads: list[Read] = []

    @property
    def requests(self) -> int:
        """How many answers were asked for."""
        return len(self.reads) + sum(len(command.attempts) for command in self.commands)


def error_of(error: SolventError) -> dict[str, Any]:
    """The error with its numbers, as plain values."""
    return {"code": error.code, **{name: msgspec.to_builtins(getattr(error, name)) for name in error.fields}}


__all__ = ["Attempt", "Balance", "Command", "History", "LedgerEntry", "Read", "Receipt", "error_of"]
