"""The machine as an engine uses it: SQLite files, threads, randomness. A simulation provides another machine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite
import anyio.to_thread
from anyio import CapacityLimiter

from .sqlite import Connection

T = TypeVar("T")


_COUNTING: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The clock that only counts. On Linux, only ``CLOCK_BOOTTIME`` goes on while the machine sleeps; on macOS,
``CLOCK_MONOTONIC`` does."""


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

    def elapsed_us(self) -> int:
        """Return the microseconds since some moment, by a clock that nobody sets and that counts during sleep."""
        return time.clock_gettime_ns(_COUNTING) // 1_000


MACHINE: Final = Machine()
