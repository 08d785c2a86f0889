"""The garbage collector of a process that must not pause."""

from __future__ import annotations

import gc
from typing import Final

YOUNG_MAX: Final = 1_000
"""New objects before a collection, which takes a fifth of a millisecond. With ten times as many, debits waited up to
17 ms."""


def tune_collector(young_max: int = YOUNG_MAX) -> None:
    """Keep pauses for garbage collection short in this process. Call this once everything is set up.

    Objects that exist by then are left out of all collections (``gc.freeze``). A collection begins after ``young_max``
    new objects, whatever the default of this Python version. Solvent makes many objects and few cycles, so the
    collector has little to do. Measured at 12,000 debits a second: before, full collections took 25 to 45 ms, one every
    two seconds; after, they do not show. This tunes the whole process, so an application decides for itself;
    ``solvent serve`` calls it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(young_max)
