"""The service of the demo: a process of its own, so that a kill destroys what a crash would.

``kill`` is SIGKILL: the process runs no handler, flushes nothing and closes no connection in order. The block that
opened the service ends it, whatever happens in the block.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import Process

from solvent.engine.values.errors import Unavailable

START_DEADLINE_S: Final = 20.0
STOP_DEADLINE_S: Final = 10.0


class Service:
    """``solvent serve`` on a journal, on a NATS server that the demo runs."""

    def __init__(self, directory: Path, nats_url: str, log: Path) -> None:
        self._arguments = [
            sys.executable,
            "-m",
            "solvent",
            "serve",
            "--data-dir",
            str(directory),
            "--nats-url",
            nats_url,
            "--json",
        ]
        self._log = log
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The id of the running process."""
        return self._running.pid

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise RuntimeError("the service was never started")
        return self._process

    async def start(self) -> None:
        """Start the process and wait until it serves. Raises ``Unavailable`` with its output if it does not."""
        # The caller's own settings must not send the service to another NATS server or folder.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SOLVENT_")}
        with self._log.open("ab") as log:
            self._process = await anyio.open_process(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                # A session of its own: Ctrl-C in the terminal goes to the demo, which then stops the service.
                start_new_session=True,
            )
        if not await self._says_ready():
            raise Unavailable(f"the service did not start: {self._last_words()}")

    async def kill(self) -> None:
        """Kill the process with ``kill -9``, and wait until it is gone."""
        self._running.kill()
        await self._running.wait()

    async def stop(self) -> int:
        """Ask the process to stop, and return its exit code. Kill it if it does not stop."""
        self._running.terminate()
        with anyio.move_on_after(STOP_DEADLINE_S):
            return await self._running.wait()
        await self.kill()
        return -signal.SIGKILL

    async def aclose(self) -> None:
        """End the process if it still runs."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()
        if self._process is not None:
            await self._process.aclose()

    async def _says_ready(self) -> bool:
        """Return whether the process prints its ready line before the deadline, instead of ending or hanging."""
        output = self._running.stdout
        with anyio.move_on_after(START_DEADLINE_S):
            try:
                return output is not None and bool(await output.receive())
            except anyio.EndOfStream:
                return False
        return False

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@asynccontextmanager
async def service(directory: Path, nats_url: str, log: Path) -> AsyncIterator[Service]:
    """Start a service for the length of a block."""
    running = Service(directory, nats_url, log)
    try:
        await running.start()
        yield running
    finally:
        with anyio.CancelScope(shield=True):
            await running.aclose()
