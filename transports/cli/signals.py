"""Signals for commands that run until they are stopped: Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus


async def call_on_signal(
    ending: Callable[[], object], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Call ``ending`` at the first SIGINT or SIGTERM. The task reports its start when it receives signals."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            ending()
            return
