"""The processes that contestants run next to the load: started on loopback, stopped at the end, their time counted."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

from .session import NotHere

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0


def processor_time_s() -> float:
    """Return the processor time of this process and its running descendants. Those that have ended are left out."""
    total = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def find_program(name: str, *folders: Path) -> str:
    """Return the path of the program. Raises ``NotHere``."""
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        raise NotHere(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    command: Sequence[str], *, log: Path, is_ready: Callable[[], bool], environment: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a server for the length of a block, once it ``is_ready``. Raises ``NotHere`` with the end of its log."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if environment is None else {**os.environ, **environment},
        )
    try:
        until = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            if process.returncode is not None or time.monotonic() > until:
                said = await asyncio.to_thread(log.read_text, errors="replace")
                raise NotHere(f"{command[0]} does not start: {said[-500:].strip()}")
            await asyncio.sleep(0.01)
        yield process
    finally:
        await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask the process to end, and kill it if it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def accepts(port: int) -> bool:
    """Return whether a process listens on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
