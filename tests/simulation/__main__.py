"""``python -m tests.simulation``: the whole engine under simulated time, network and disk, seed after seed.

Ends with 1 at the first seed that fails, and says how to repeat it.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .bugs import BUGS
from .world import Outcome, run_seed

MEMORY = Path("/dev/shm")
SEEDS_PER_PROCESS = 50
"""What a dead process held stays in memory until the real one ends."""
SAY_EVERY_S = 30.0
"""How often a line says how far it is, where no bar can be drawn."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--minutes", type=float, help="go on from seed to seed for so long instead")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug first")
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first failure")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON per seed: what a parent process reads"
    )
    parser.add_argument("--verbose", action="store_true", help="say what the engine logs")
    chosen = parser.parse_args()
    if chosen.json:
        return _run_here(chosen)
    return _run_in_processes(chosen)


def _run_here(chosen: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.DEBUG if chosen.verbose else logging.CRITICAL)
    if chosen.bug:
        BUGS[chosen.bug]()
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        outcome = run_seed(seed, scratch=MEMORY if MEMORY.is_dir() else None)
        print(msgspec.json.encode(outcome).decode(), flush=True)
        if outcome.failure and not chosen.keep_going:
            break
    sys.stdout.flush()
    # The dead must not be collected: their coroutines would run on.
    os._exit(0)


def _run_in_processes(chosen: argparse.Namespace) -> int:
    began = time.monotonic()
    last = None if chosen.minutes else chosen.first + chosen.seeds
    following, running, tally = chosen.first, list[subprocess.Popen[str]](), _Tally()
    failed: list[Outcome] = []
    progress = _Shown(chosen, began)
    while True:
        over = chosen.minutes is not None and time.monotonic() - began > chosen.minutes * 60
        while len(running) < chosen.jobs and not over and not failed and (last is None or following < last):
            count = SEEDS_PER_PROCESS if last is None else min(SEEDS_PER_PROCESS, last - following)
            running.append(_start(chosen, following, count))
            following += count
        if not running:
            break
        process = running.pop(0)
        assert process.stdout is not None
        for line in process.stdout:
            outcome = msgspec.json.decode(line, type=Outcome)
            tally.add(outcome)
            if outcome.failure:
                progress.print(f"seed {outcome.seed}: {outcome.failure}")
                progress.print(f"  again: make simulate ARGS='--first {outcome.seed} --seeds 1{_bug(chosen)}'")
                if not chosen.keep_going:
                    failed.append(outcome)
            progress.show(tally)
        if process.wait():
            progress.print(f"a process ended with {process.returncode}")
            return 2
    progress.stop()
    print(tally.summary(time.monotonic() - began))
    return 1 if tally.failures else 0


def _bug(chosen: argparse.Namespace) -> str:
    return f" --bug {chosen.bug}" if chosen.bug else ""


def _start(chosen: argparse.Namespace, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.simulation", "--json", "--first", str(first), "--seeds", str(count)]
    if chosen.bug:
        command += ["--bug", chosen.bug]
    if chosen.keep_going:
        command.append("--keep-going")
    if chosen.verbose:
        command.append("--verbose")
    # Sets of names are walked in the order of their hashes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


class _Shown:
    """How far it is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, chosen: argparse.Namespace, began: float) -> None:
        self._seconds = None if chosen.minutes is None else chosen.minutes * 60
        self._seeds = chosen.seeds
        self._began = self._said_at = began
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[tally]}"))
            if self._seconds is None:
                columns = (MofNCompleteColumn(), *columns)  # type: ignore[assignment]
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("", total=self._seconds or self._seeds, tally="")
            self._bar.start()

    def print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.stop()
        print(line, flush=True)

    def show(self, tally: _Tally) -> None:
        now = time.monotonic()
        if self._bar is not None:
            done = tally.seeds if self._seconds is None else min(self._seconds, now - self._began)
            self._bar.update(self._task, completed=done, tally=tally.line())
        elif now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            print(f"{now - self._began:,.0f} s: {tally.line()}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()


class _Tally:
    """What came of all seeds so far."""

    def __init__(self) -> None:
        self.seeds = self.failures = self.requests = self.entries = self.steps = self.told = 0
        self.seconds = 0.0
        self.faults: Counter[str] = Counter()
        self.did: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.failures += bool(outcome.failure)
        self.requests += outcome.requests
        self.entries += outcome.entries
        self.steps += outcome.steps
        self.seconds += outcome.seconds
        self.told += outcome.told
        self.faults.update(outcome.faults)
        self.did.update(outcome.did)

    def line(self) -> str:
        return (
            f"{self.seeds:,} seeds, {self.failures} failed, {self.requests:,} requests, "
            f"{self.faults['crash']:,} crashes, {self.faults.total():,} faults"
        )

    def summary(self, took_s: float) -> str:
        faults, did = (
            "\n".join(f"  {kind:<26} {count:>12,}" for kind, count in sorted(counted.items()))
            for counted in (self.faults, self.did)
        )
        return (
            f"{self.seeds:,} seeds in {took_s:,.0f} s, {self.failures} failed: {self.requests:,} requests, "
            f"{self.entries:,} ledger entries, {self.told:,} events published, {self.steps:,} steps, "
            f"{self.seconds / 3600:,.1f} simulated hours.\nEntries:\n{did}\nFaults:\n{faults}"
        )


if __name__ == "__main__":
    sys.exit(main())
