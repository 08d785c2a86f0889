"""``solvent serve`` as a process of its own, for tests that kill it or measure it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def service_process(directory: Path, nats_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service that answers. Killed at the end, if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "solvent", "serve", "--json", "--data-dir", str(directory), "--nats-url", nats_url),
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("SOLVENT_")},
    )
    try:
        assert process.stdout is not None
        assert b"ready" in await asyncio.wait_for(process.stdout.readline(), 30)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
