"""The interface of contestants: set up for a workload, a session gives each caller a function to call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Job: TypeAlias = Callable[[int], Awaitable[int]]
"""A function that does a caller's job with a number, and returns the units spent once the job is durable."""
BlockingJob: TypeAlias = Callable[[int], int]
"""A job of a contestant whose methods block, so that its callers are threads."""


class NotHere(Exception):
    """A contestant cannot run on this machine. The message names what is missing."""


class WrongBooks(Exception):
    """A contestant's books differ from what it acknowledged."""


class Session(ABC):
    """A contestant that is ready for a workload."""

    async def flushes(self) -> int | None:
        """Return the number of flushes to the disk, ``None`` if it is unknown."""
        return None

    @abstractmethod
    async def check(self, *, debits: int, units: int) -> dict[str, float]:
        """Compare the books with all that was acknowledged, warm-up included. Raises ``WrongBooks``.

        Returns the figures that are known only at the end.
        """

    def check_ended(self, *, debits: int, units: int) -> dict[str, float]:
        """Do the same from the files, after everything is closed."""
        return {}


class AsyncSession(Session):
    @abstractmethod
    def caller(self, number: int) -> Job:
        """Return the job of the caller with this number."""


class ThreadSession(Session):
    @abstractmethod
    def caller(self, number: int) -> BlockingJob:
        """Return the job of the caller with this number."""


def expect(what: str, found: object, wanted: object) -> None:
    """Raise ``WrongBooks`` if the two differ."""
    if found != wanted:
        raise WrongBooks(f"{what}: the books say {found}, acknowledged were {wanted}")
