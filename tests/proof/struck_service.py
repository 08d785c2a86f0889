"""``solvent serve`` that is killed with SIGKILL in the middle of one phase of its work. Started by the tests beside it.

Usage: struck_service.py PHASE SEED REPORT serve ... The kill comes a moment after the phase was entered, at one of its
first turns; if the phase is over by then, at the next. Nothing else of the service is changed. Just before it, the name
of the phase is appended to the file REPORT. While it is under way the phase cannot end.

The phase "usage" is of the usage process, which takes the service with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import psutil

from solvent.engine.projections.index import Index
from solvent.engine.projections.projector import Projector
from solvent.engine.projections.snapshots import Snapshots
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.engine.usage.process import UsageProcess
from solvent.engine.usage.worker import worker as usage_worker

LONGEST_S = {"snapshot": 0.003, "index": 0.006, "usage": 0.02, "recovery": 0.15}
"""How long after its beginning a phase is struck at most."""
TURNS_MAX = 4

phase, seed, report = sys.argv[1:4]
dice = Random(seed)


def strike() -> None:
    with open(report, "a") as file:
        file.write(f"{phase}\n")
    if phase == "usage":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class Striking:
    """One phase, entered again and again until a strike finds it under way."""

    def __init__(self) -> None:
        self._turns = dice.randrange(TURNS_MAX) if phase != "recovery" else 0
        self._turn = threading.Lock()
        self._entered = 0

    def enter(self) -> int:
        if self._turns:
            self._turns -= 1
            return -1
        self._entered += 1
        threading.Thread(target=self._later, args=(self._entered, dice.uniform(0, LONGEST_S[phase]))).start()
        return self._entered

    def _later(self, entered: int, after_s: float) -> None:
        time.sleep(after_s)
        with self._turn:
            if self._entered == entered:
                strike()

    def leave(self, entered: int) -> None:
        if entered > 0:
            with self._turn:
                self._entered += 1


def struck_in(owner: Any, name: str) -> None:
    """Strike in a coroutine function."""
    work, striking = getattr(owner, name), Striking()

    async def struck(*arguments: Any, **named: Any) -> Any:
        entered = striking.enter()
        try:
            return await work(*arguments, **named)
        finally:
            striking.leave(entered)

    setattr(owner, name, struck)


def writing_process() -> int:
    """Wait for the process that writes the journal."""
    while True:
        for child in psutil.Process().children():
            if any(part.endswith("sqlite/worker.py") for part in child.cmdline()):
                return child.pid
        time.sleep(0.01)


def strike_at_checkpoint(directory: Path) -> None:
    """The journal's own file, beside its log, is written by checkpoints only: strike when it changes."""
    turns = dice.randrange(TURNS_MAX // 2)
    # A checkpoint takes a few milliseconds: as long as a thread waits for its turn, usually.
    sys.setswitchinterval(0.0002)

    def changed() -> tuple[int, int]:
        try:
            found = (directory / JOURNAL_NAME).stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def watch() -> None:
        nonlocal turns
        # Not what the creation of the journal does, nor the recovery.
        time.sleep(1.0)
        writer = writing_process()
        before = changed()
        while True:
            time.sleep(0.0001)
            if (now := changed()) != before:
                if not turns:
                    # It would take the checkpoint to its end.
                    os.kill(writer, signal.SIGKILL)
                    strike()
                turns -= 1
                time.sleep(0.05)
                before = changed()
                continue
            before = now

    threading.Thread(target=watch, daemon=True).start()


def usage_main() -> None:
    """As ``usage_worker.main``, struck while it follows the journal."""
    striking, follow = Striking(), usage_worker.follow

    def struck(*arguments: Any, **named: Any) -> bool:
        entered = striking.enter()
        try:
            return follow(*arguments, **named)
        finally:
            striking.leave(entered)

    usage_worker.follow = struck
    del sys.argv[1:5]
    usage_worker.main()


def serve() -> None:
    words = sys.argv[4:]
    directory = Path(words[words.index("--data-dir") + 1])
    prepare: dict[str, Callable[[], None]] = {
        "snapshot": lambda: struck_in(Snapshots, "save"),
        "index": lambda: struck_in(Index, "project"),
        "recovery": lambda: struck_in(Projector, "catch_up"),
        "checkpoint": lambda: strike_at_checkpoint(directory),
        "usage": start_usage_here,
    }
    prepare[phase]()
    from solvent.transports.cli.main import main

    sys.argv[1:] = words
    main()


def start_usage_here() -> None:
    begin = UsageProcess.__init__

    def begun(self: UsageProcess, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        worker = self._command[self._command.index("solvent.engine.usage.worker.worker") + 1 :]
        self._command = [sys.executable, __file__, phase, seed, report, "usage-process", *worker]

    UsageProcess.__init__ = begun  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[4] == "usage-process":
        usage_main()
    else:
        serve()
