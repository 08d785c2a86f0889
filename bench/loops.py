"""The event loop that all contestants run on: uvloop's where it is installed, as ``solvent serve`` does."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, uvloop: bool = True) -> T:
    """Run ``main`` to its end on uvloop, or on asyncio's own loop if uvloop is off or not installed."""
    if not uvloop or importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    import uvloop as loop

    with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
        return runner.run(main)
