"""How a person ends a command that runs until it is ended: with Ctrl-C, or SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus


async def call_on_signal(
    ending: Callable[[], object], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Call ``ending`` at the first SIGINT or SIGTERM. The task has started once the signals reach it."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            ending()
            return
