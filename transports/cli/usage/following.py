"""The wait for a usage file that is behind its journal.

If this process opened the folder itself, it waits, because no other process updates the file. A service updates it all
the time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from solvent.engine.api.credits import Credits
from solvent.engine.api.usage_answers import UsageStatus
from solvent.engine.values.errors import Unavailable
from solvent.transports.cli.progress import frames_bar
from solvent.transports.cli.target import Target

from .filters import naming_options
from .question import Question

T = TypeVar("T")

LOOK_EVERY_S: Final = 0.05
AT_ONCE_S: Final = 0.1
"""Long enough for the engine to find a mistake, and too short for a progress bar."""
STILL_MAX_S: Final = 10.0
"""The seconds that the usage file may stand still before the wait ends."""


async def ask_caught_up(target: Target, question: Question, work: Callable[[Credits], Awaitable[T]]) -> T:
    """Run ``work`` on the target when the usage file covers its whole journal."""
    async with target.open() as credits:
        with naming_options(question.filter_options):
            if target.nats_url is None:
                # Report a bad question at once, not after a long catch-up.
                with anyio.move_on_after(AT_ONCE_S):
                    return await work(credits)
                await _follow(credits, "usage", question.environment, _is_caught_up)
            return await work(credits)


async def rebuild_and_follow(target: Target, environment: str) -> UsageStatus:
    """Rebuild the usage file, and wait for it. Raises ``Unavailable`` if that fails or stands still."""
    async with target.open() as credits:
        with naming_options(()):
            begun = await credits.rebuild_usage(environment=environment)

        def is_done(status: UsageStatus) -> bool:
            return status.rebuilt is None and status.position >= begun.journal

        status = await _follow(credits, "rebuild", environment, is_done)
    if status.failure is not None:
        raise Unavailable(f"the new usage file could not be built, the old one stays: {status.failure}")
    if not is_done(status):
        raise Unavailable(f"the usage file has stood still for {STILL_MAX_S:g} s at frame {status.position}")
    return status


def _is_caught_up(status: UsageStatus) -> bool:
    return status.position >= status.journal


async def _follow(
    credits: Credits, label: str, environment: str, is_there: Callable[[UsageStatus], bool]
) -> UsageStatus:
    """Wait until ``is_there`` or the usage file stands still, with a progress bar on stderr if that is a terminal."""
    with frames_bar(label) as show:
        place: tuple[int, int | None] | None = None
        moved_at = time.monotonic()
        while True:
            status = await credits.usage_status(environment=environment)
            show(status.position if status.rebuilt is None else status.rebuilt, status.journal)
            if is_there(status):
                return status
            if place != (status.position, status.rebuilt):
                place, moved_at = (status.position, status.rebuilt), time.monotonic()
            elif time.monotonic() - moved_at > STILL_MAX_S:
                return status
            await anyio.sleep(LOOK_EVERY_S)
