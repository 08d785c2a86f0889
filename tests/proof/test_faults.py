"""A full disk, files that cannot be written, a client that is gone: the service says so, loses nothing, goes on."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from solvent import DebitRequest, Engine, Receipt, SolventError, Unavailable, connect
from solvent.engine.audit.verify import verify_journal
from solvent.transports.nats.client import Client
from solvent.transports.nats.launcher import nats_server
from tests.ledgers import whole_ledger
from tests.nats.conftest import DEADLINE_S, service_process, until

CLIENT = Path(__file__).with_name("ask_until_killed.py")
DISK_BYTES = 6 << 20
CALLERS = 32
LOAD = {"padding": "x" * 700}
CLIENT_KILLS = 4


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own, in memory. Skips where that is not allowed."""
    folder.mkdir()
    if shutil.which("mount") is None or sys.platform != "linux":
        pytest.skip("there is no mount(8) of Linux here")
    words = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={DISK_BYTES}", *options)), "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class SmallDisk:
    """Where a journal lies that runs out of room, and how it gets room again."""

    def __init__(self, folder: Path, limit: Callable[[int], None], enlarge: Callable[[int], None]) -> None:
        self.folder, self.limit, self.enlarge = folder, limit, enlarge


@contextmanager
def full_file_system(scratch: Path) -> Iterator[SmallDisk]:
    with mounted(scratch / "disk") as folder:

        def enlarge(pid: int) -> None:
            subprocess.run(["mount", "-o", f"remount,size={64 * DISK_BYTES}", str(folder)], check=True)

        yield SmallDisk(folder, lambda pid: None, enlarge)


@contextmanager
def file_size_limit(scratch: Path) -> Iterator[SmallDisk]:
    """A file that must not grow any more: for SQLite a write that fails, as on a full disk, and any user may do it."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("limits of another process cannot be set here")

    def limit(pid: int, size: int) -> None:
        for each in (pid, *(child.pid for child in psutil.Process(pid).children())):
            resource.prlimit(each, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    yield SmallDisk(scratch, lambda pid: limit(pid, DISK_BYTES // 3), lambda pid: limit(pid, resource.RLIM_INFINITY))


class Load:
    """Callers that debit until told to stop, each key until it has an answer or the disk is full."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.receipts: dict[str, Receipt] = {}
        self.open: set[str] = set()
        """Keys that were asked for and have no answer."""
        self.failures: list[SolventError] = []
        self.stop = asyncio.Event()

    async def run(self) -> None:
        await asyncio.gather(*(self._call(number) for number in range(CALLERS)))

    async def _call(self, number: int) -> None:
        call = 0
        while not self.stop.is_set():
            key = f"{number}-{call}"
            self.open.add(key)
            await self.ask(key)
            call += 1

    async def ask(self, key: str) -> None:
        try:
            self.receipts[key] = await self._client.debit("acme", "1", key=key, dimensions=LOAD)
            self.open.discard(key)
        except SolventError as error:
            assert error.retry_safe, error
            self.failures.append(error)
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", [full_file_system, file_size_limit])
async def test_a_full_disk_stops_debits_and_nothing_else(tmp_path: Path, small_disk: Any) -> None:
    with small_disk(tmp_path) as disk:
        journal = disk.folder / "journal"
        async with (
            nats_server() as url,
            service_process(journal, url) as service,
            connect(url, timeout_s=2.0) as client,
        ):
            await client.grant("acme", "1000000", key="g")
            disk.limit(service.running.pid)
            load = Load(client)
            loading = asyncio.create_task(load.run())
            await until(lambda: len(load.failures) >= CALLERS)
            load.stop.set()
            await loading
            acknowledged = len(load.receipts)
            assert acknowledged > 100, "the disk was full from the beginning"
            assert {type(error) for error in load.failures} == {Unavailable}
            assert service.running.returncode is None, "the service ended"
            disk.enlarge(service.running.pid)

            async def room() -> bool:
                try:
                    return (await client.balance("acme")).spent >= acknowledged
                except SolventError:
                    return False

            await until(room)
            for key in sorted(load.open):
                async with asyncio.timeout(DEADLINE_S):
                    while key in load.open:
                        await load.ask(key)
            assert (await client.balance("acme")).spent == len(load.receipts)
            assert (await client.debit("acme", "1", key="after")).amount == 1

            async def usage_is_whole() -> bool:
                try:
                    return (await client.usage("acme", consistent=True)).total.events == len(load.receipts) + 1
                except SolventError:
                    return False

            # A file that had no room for its own beginning is made anew.
            await until(usage_is_whole)
            assert await service.stop() == 0
        print(f"{len(load.failures)} debits failed for want of room, after {acknowledged}; {len(load.receipts)} in all")
        assert verify_journal(journal).problems == []
        async with Engine.open(journal) as engine:
            debits = {entry.key: entry for entry in await whole_ledger(engine, "acme") if entry.kind == "debit"}
            assert debits.keys() == load.receipts.keys() | {"after"}
            assert all(debits[key].id == receipt.id for key, receipt in load.receipts.items())


@contextmanager
def sealable(scratch: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder, and what makes it and all in it unwritable: for root by the file system, else by its modes."""
    if os.geteuid() == 0:
        with mounted(scratch / "disk") as folder:

            def remount() -> None:
                subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)

            yield folder, remount
        return
    folder = scratch / "disk"
    folder.mkdir()

    def set_modes(file_mode: int, folder_mode: int) -> None:
        for each in folder.rglob("*"):
            if each.is_file():
                each.chmod(file_mode)
        (folder / "journal").chmod(folder_mode)

    try:
        yield folder, lambda: set_modes(0o400, 0o500)
    finally:
        set_modes(0o600, 0o700)


async def test_files_that_cannot_be_written_are_named_and_can_be_read(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "journal") as engine:
        await engine.grant("acme", "10", key="g")
        await engine.debit("acme", "1", key="k")
    with sealable(tmp_path) as (folder, seal):
        shutil.copytree(tmp_path / "journal", folder / "journal")
        seal()

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "solvent", *words, "--data-dir", str(folder / "journal")]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

        served = await asyncio.to_thread(run, "serve", "--nats-port", "0")
        assert served.returncode == 7, served
        assert str(folder / "journal") in served.stderr
        assert "Traceback" not in served.stderr
        proven = await asyncio.to_thread(run, "verify", "--json")
        assert proven.returncode == 0, proven
        assert msgspec.json.decode(proven.stdout)["debits"] == 1
        exported = await asyncio.to_thread(run, "export", str(tmp_path / "export"), "--json")
        assert exported.returncode == 0, exported
        assert msgspec.json.decode(exported.stdout)["entries"] == 3


async def ask_and_kill(url: str, run: str, after_s: float) -> list[dict[str, Any]]:
    """What a client said until it was killed, ``after_s`` seconds after its first answer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), url, run, stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    assert process.stdout is not None
    said: list[bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        while not said or b"acknowledged" not in said[-1]:
            said.append(await process.stdout.readline())
    reading = asyncio.create_task(process.stdout.read())
    await asyncio.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    lines = b"".join(said) + await reading
    assert await process.wait() == -signal.SIGKILL
    # The last line may have been cut by the kill.
    return [msgspec.json.decode(line) for line in lines.splitlines() if line.endswith(b"}")]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_client_that_is_killed_leaves_nothing_half_done(tmp_path: Path, effort: int) -> None:
    journal = tmp_path / "journal"
    asked: dict[str, int] = {}
    acknowledged: set[str] = set()
    under_way = 0
    async with nats_server() as url, service_process(journal, url) as service, connect(url) as survivor:
        for name in "ab":
            await survivor.grant(f"acme/{name}", "1000000", key="g")
        beside, stop = 0, asyncio.Event()

        async def go_on() -> None:
            nonlocal beside
            while not stop.is_set():
                await survivor.debit("other", "1", key=f"beside-{beside}")
                beside += 1

        await survivor.grant("other", "1000000", key="g")
        going_on = asyncio.create_task(go_on())
        for kill in range(CLIENT_KILLS * effort):
            said = await ask_and_kill(url, f"run{kill}", 0.1 + 0.05 * (kill % 4))
            asked |= {line["asked"]: line["kind"] for line in said if "asked" in line}
            acknowledged |= {line["acknowledged"] for line in said if "acknowledged" in line}
            assert not [line for line in said if "error" in line]
            under_way += sum("asked" in line for line in said) - sum("acknowledged" in line for line in said)
            before = beside
            await until(lambda before=before: beside > before or going_on.done())  # type: ignore[misc]
        stop.set()
        await going_on
        assert await service.stop() == 0
    assert verify_journal(journal).problems == []
    async with Engine.open(journal) as engine:
        ledgers = {name: await whole_ledger(engine, f"acme/{name}") for name in "ab"}
        keys = {
            (name, kind): [str(entry.key) for entry in entries if entry.kind == kind]
            for name, entries in ledgers.items()
            for kind in ("debit", "transfer_out", "transfer_in")
        }
        for (name, kind), found in keys.items():
            # What arrives by a transfer has its key on the other side.
            assert kind == "transfer_in" or len(found) == len(set(found)), f"a key was used twice in {name}"
        both = {key for key in keys["a", "debit"] if asked.get(key) == 2}
        assert both == set(keys["b", "debit"]), "an atomic batch has one side"
        assert len(keys["a", "transfer_out"]) == len(keys["b", "transfer_in"]), "a transfer has one side"
        done = {*keys["a", "debit"], *keys["a", "transfer_out"]}
        assert acknowledged <= done <= asked.keys()
        lost = [key for key in asked if key not in acknowledged]
        # Asked again, those without an answer are done once: the first time, or now.
        for key in lost:
            match asked[key]:
                case 0:
                    receipt = await engine.debit("acme/a", "1", key=key)
                case 1:
                    receipt = await engine.transfer("acme/a", "acme/b", "1", key=key, open_pool=True)
                case _:
                    requests = [DebitRequest(pool=f"acme/{name}", amount="1", key=key) for name in "ab"]
                    (answer, _) = await engine.batch(requests, atomic=True)
                    assert isinstance(answer, Receipt)
                    receipt = answer
            assert receipt.replayed == (key in done)
        kinds = [sum(kind == each for kind in asked.values()) for each in range(3)]
        assert (await engine.balance("acme/a")).available == Decimal(1_000_000 - sum(kinds))
        assert (await engine.balance("acme/b")).available == Decimal(1_000_000 + kinds[1] - kinds[2])
        assert (await engine.balance("other")).spent == beside
    print(
        f"{CLIENT_KILLS * effort} clients killed with {under_way} requests under way, of {len(asked)} asked for; "
        f"{len(lost)} had no answer, {len(done - acknowledged)} of them were done; {beside} debits beside them"
    )
    assert under_way >= CLIENT_KILLS * effort, "the kills found nothing under way"
    assert beside > 0
