"""The machine as an engine uses it: SQLite files, threads, randomness. A simulation provides another machine."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite
import anyio.to_thread
from anyio import CapacityLimiter

from .sqlite import Connection

T = TypeVar("T")


class Machine:
    """The real machine."""

    def connect(self, path: Path) -> Awaitable[aiosqlite.Connection]:
        """Open or create the SQLite file at ``path`` for writing, in its own thread. Raises ``sqlite3.Error``."""
        return aiosqlite.connect(path, isolation_level=None, factory=Connection)

    def in_thread(self, work: Callable[[], T], *, limiter: CapacityLimiter | None = None) -> Awaitable[T]:
        """Run ``work`` in a thread once ``limiter`` allows it. Returns and raises what ``work`` does."""
        return anyio.to_thread.run_sync(work, limiter=limiter)

    def random_bits(self, count: int) -> int:
        """Return an unpredictable number of ``count`` bits."""
        return secrets.randbits(count)


MACHINE: Final = Machine()
