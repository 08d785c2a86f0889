"""What every contestant is to the harness: set up for a workload, it gives each caller something to call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Job: TypeAlias = Callable[[int], Awaitable[int]]
"""Does a caller's job of that number, returns once it is durable, and says how many units were spent."""
BlockingJob: TypeAlias = Callable[[int], int]
"""The same for a contestant whose methods block: its callers are threads."""


class NotHere(Exception):
    """A contestant cannot run on this machine: says what is missing."""


class WrongBooks(Exception):
    """A contestant's books do not say what it acknowledged."""


class Session(ABC):
    """A contestant that is ready for a workload."""

    async def flushes(self) -> int | None:
        """How many times it has flushed to the disk, if it can tell."""
        return None

    @abstractmethod
    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        """Compare its books with what was acknowledged in all, warm-up included. Raises ``WrongBooks``.

        Returns figures that are known only then.
        """

    def check_ended(self, *, debits: int, units: int) -> dict[str, float]:
        """The same once everything is closed, from the files."""
        return {}


class AsyncSession(Session):
    @abstractmethod
    def caller(self, number: int) -> Job:
        """What the caller of that number does."""


class ThreadSession(Session):
    @abstractmethod
    def caller(self, number: int) -> BlockingJob:
        """What the caller of that number does."""


def expect(what: str, found: object, wanted: object) -> None:
    """Raises ``WrongBooks`` if they differ."""
    if found != wanted:
        raise WrongBooks(f"{what}: the books say {found}, acknowledged were {wanted}")
