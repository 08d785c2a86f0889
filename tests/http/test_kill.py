"""The real service, killed with -9 while clients debit over HTTP: nothing is lost, and nothing is booked twice."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from solvent.transports.http.client import HttpClient, connect_http

CALLERS = 16
DEBITS_EACH = 60
KILLS = 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def start(directory: Path, port: int) -> asyncio.subprocess.Process:
    """Start the service, and wait until it says that it serves."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "solvent", "serve", "--data-dir", str(directory)),
        *("--http", f"127.0.0.1:{port}", "--no-nats", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        ready = json.loads(await process.stdout.readline())
    assert ready == {"ready": f"http://127.0.0.1:{port}", "http": f"http://127.0.0.1:{port}"}
    return process


@asynccontextmanager
async def service(directory: Path) -> AsyncIterator[tuple[list[asyncio.subprocess.Process], int]]:
    """Run the service; the last of the list is the one that runs."""
    port = free_port()
    running = [await start(directory, port)]
    try:
        yield running, port
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.slow
async def test_a_killed_service_loses_nothing_and_books_nothing_twice(tmp_path: Path) -> None:
    async with service(tmp_path / "journal") as (running, port):
        async with connect_http(f"http://127.0.0.1:{port}", timeout_s=60) as client:
            await client.grant("acme", "100000", key="g")
            done: set[str] = set()

            async def call(number: int) -> None:
                for debit in range(DEBITS_EACH):
                    key = f"{number}-{debit}"
                    assert (await client.debit("acme", "1", key=key)).amount == 1
                    done.add(key)

            async with asyncio.TaskGroup() as tasks:
                for number in range(CALLERS):
                    tasks.create_task(call(number))
                for kill in range(1, KILLS + 1):
                    while len(done) < kill * CALLERS * DEBITS_EACH // (KILLS + 1):
                        await asyncio.sleep(0.005)
                    running[-1].kill()
                    await running[-1].wait()
                    running.append(await start(tmp_path / "journal", port))
            await check(client)
        running[-1].send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running[-1].wait(), 30) == 0


async def check(client: HttpClient) -> None:
    balance = await client.balance("acme")
    assert balance.spent == Decimal(CALLERS * DEBITS_EACH)
    keys: list[str] = []
    cursor: str | None = None
    while True:
        page = await client.ledger("acme", limit=500, cursor=cursor)
        keys += [entry.key for entry in page.entries if entry.kind == "debit" and entry.key is not None]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(keys) == len(set(keys)) == CALLERS * DEBITS_EACH


async def test_a_service_without_nats_needs_an_address(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "solvent", "serve", "--data-dir", str(tmp_path / "journal"), "--no-nats", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert b'"field": "http"' in out + err or b'"field":"http"' in out + err
    assert not (tmp_path / "journal").exists()


async def test_nats_and_http_are_served_together(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "solvent", "serve", "--data-dir", str(tmp_path / "journal"), "--nats-port", "0"),
        *("--http", "127.0.0.1:0", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        assert ready["ready"].startswith("nats://")
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{ready['http']}/readyz")).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
