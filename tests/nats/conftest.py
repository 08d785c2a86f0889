"""Real parts for the tests of the transports: nats-servers that can be killed, services in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import nats
import pytest
from nats.aio.client import Client as RawNats

from solvent import Engine
from solvent.transports.nats.launcher import find_nats_server, nats_server
from solvent.transports.nats.service import serving
from tests.one_task import in_one_task

T = TypeVar("T")
DEADLINE_S = 20.0
"""For what takes milliseconds, on a machine that may be busy."""


class Served(NamedTuple):
    """An engine, and the NATS that it is served at."""

    engine: Engine
    url: str


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            holds = condition()
            if holds is True or (isinstance(holds, Awaitable) and await holds):
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def served_in(directory: Path, *, url: str | None = None) -> AsyncIterator[Served]:
    """An engine on ``directory``, served at ``url`` or at a nats-server of its own."""
    async with AsyncExitStack() as stack:
        at = url if url is not None else await stack.enter_async_context(nats_server())
        engine = await stack.enter_async_context(Engine.open(directory))
        await stack.enter_async_context(serving(engine, at))
        yield Served(engine, at)


@asynccontextmanager
async def raw_connection(url: str) -> AsyncIterator[RawNats]:
    """nats-py as it comes: what a program that does not know Solvent has."""
    connection = await nats.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


class NatsProcess:
    """A nats-server that can be killed and started again on the same port."""

    def __init__(self, scratch: Path, config: str) -> None:
        self._scratch = scratch
        self._config = scratch / "nats.conf"
        self._config.write_text(config)
        self._process: asyncio.subprocess.Process | None = None
        self._port = -1

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self._process = await asyncio.create_subprocess_exec(
            str(find_nats_server()),
            *("--config", str(self._config), "--addr", "127.0.0.1", "--port", str(self._port)),
            *("--ports_file_dir", str(self._scratch), "--log", str(self._scratch / "nats.log")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ports = self._scratch / f"nats-server_{self._process.pid}.ports"
        await until(lambda: ports.exists() and ports.read_text().endswith("}"))
        self._port = int(msgspec.json.decode(ports.read_bytes())["nats"][0].rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def reload(self, config: str) -> None:
        """Have it read another configuration, while it runs."""
        self._config.write_text(config)
        self.signal(signal.SIGHUP)

    async def kill(self) -> None:
        self._running.kill()
        await self._running.wait()

    async def aclose(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def nats_process(scratch: Path, config: str = "") -> AsyncIterator[NatsProcess]:
    """A running nats-server with ``config`` for the length of a block."""
    server = NatsProcess(scratch, config)
    try:
        await server.start()
        yield server
    finally:
        await server.aclose()


class ServiceProcess:
    """``python -m solvent serve`` on a journal, behind a NATS that somebody else runs."""

    def __init__(self, directory: Path, url: str) -> None:
        self._words = ("serve", "--data-dir", str(directory), "--nats-url", url, "--json")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start the process, and wait until it says that it serves."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SOLVENT_")}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "solvent", *self._words),
            stdin=subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            line = await self._process.stdout.readline()
        assert b"ready" in line, f"the service did not start: {line!r}"

    async def kill(self) -> None:
        """``kill -9``, and wait until the process is gone."""
        self.running.kill()
        assert await self._end() == -signal.SIGKILL

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.running.terminate()
        async with asyncio.timeout(DEADLINE_S):
            return await self._end()

    async def aclose(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._end()

    async def _end(self) -> int:
        """Wait for the end of the process and of its output, which uvloop does not take for one."""
        await self.running.communicate()
        code = self.running.returncode
        assert code is not None
        return code


@asynccontextmanager
async def service_process(directory: Path, url: str) -> AsyncIterator[ServiceProcess]:
    """A service in a process of its own for the length of a block."""
    service = ServiceProcess(directory, url)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


def error_of(data: bytes, headers: Mapping[str, str] | None) -> dict[str, object]:
    """The error of a reply, after a look at whether headers and body say the same."""
    assert headers is not None, f"no error: {data[:200]!r}"
    error: dict[str, object] = msgspec.json.decode(data)["error"]
    text = headers["Nats-Service-Error"]
    assert text
    assert text.isascii()
    assert text.isprintable()
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)
    return {"status": int(headers["Nats-Service-Error-Code"]), **error}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An engine on an empty journal, served in this process at a nats-server of its own."""
    async with in_one_task(served_in(tmp_path / "journal")) as served:
        yield served
