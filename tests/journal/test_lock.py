"""One writer per directory: real processes, real signals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from solvent.engine.journal.lock import exclusive
from solvent.engine.runtime.files import LOCK_NAME
from solvent.engine.values.errors import JournalLocked

HOLDER = """
import sys
from pathlib import Path
from solvent.engine.values.errors import JournalLocked
from solvent.engine.journal.lock import exclusive

try:
    with exclusive(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except JournalLocked as refusal:
    print("locked by", refusal.holder_pid, flush=True)
"""


@contextmanager
def holder(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that asks for the lock, and what it said. It keeps the lock until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_who_has_the_lock(tmp_path: Path) -> None:
    with exclusive(tmp_path), holder(tmp_path) as (_, said):
        assert said == f"locked by {os.getpid()}"
    with holder(tmp_path) as (_, said):
        assert said == "held"


def test_we_are_refused_while_another_process_has_it(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, said):
        assert said == "held"
        with pytest.raises(JournalLocked) as refused, exclusive(tmp_path):
            pass
        assert refused.value.holder_pid == process.pid
        assert refused.value.directory == str(tmp_path)
        assert f"process {process.pid}" in str(refused.value)


def test_kill_9_of_the_holder_releases_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, said):
        assert said == "held"
        process.kill()
        process.wait(timeout=10)
        with exclusive(tmp_path):
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_the_lock_is_released_at_the_end_of_the_block_however_it_ends(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path):
        raise ZeroDivisionError
    with exclusive(tmp_path):
        pass
    with holder(tmp_path) as (_, said):
        assert said == "held"


def test_the_same_process_cannot_take_it_twice_and_keeps_it_when_it_tries(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        with pytest.raises(JournalLocked) as refused, exclusive(tmp_path):
            pass
        assert refused.value.holder_pid == os.getpid()
        with holder(tmp_path) as (_, said):
            assert said == f"locked by {os.getpid()}"


@pytest.mark.parametrize("content", [b"", b"not a number", b"\xff\xfe\x00", b"-1\n", "٣\n".encode()])
def test_a_lock_file_with_anything_in_it_still_locks(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK_NAME).write_bytes(content + b"x" * 100)
    with exclusive(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
        (tmp_path / LOCK_NAME).write_bytes(content)
        with pytest.raises(JournalLocked) as refused, exclusive(tmp_path):
            pass
        assert refused.value.holder_pid is None
        assert "another process" in str(refused.value)


def test_directories_are_locked_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with exclusive(tmp_path / "a"), exclusive(tmp_path / "b"), holder(tmp_path / "b") as (_, said):
        assert said.startswith("locked")
