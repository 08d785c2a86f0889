"""``python -m bench.profile``: the time of a debit layer by layer, and the memory of pools and debits.

py-spy samples the running processes a few hundred times a second, and the operating system reports the time of each
thread. Together they give microseconds of processor time per debit. The sampling itself costs a little.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from rich.table import Table

from .cell import Answer, Order
from .contestants import EMBEDDED, NATS
from .layers import Sample, function_of, layer_of, parse, weigh
from .memory import memory
from .table import console, machine

RATE: Final = 400
"""The samples per second. Each stops the process briefly."""
HOTTEST: Final = 12


def py_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise SystemExit("py-spy is not installed: make .venv/.bench")
    return found


def profile(order: Order, scratch: Path) -> dict[str, Any]:
    """Sample every Python process of a cell while it is under load."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.cell", "--say-when"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as cell:
        assert cell.stdin is not None  # noqa: S101 - narrows the type: they are pipes
        assert cell.stderr is not None  # noqa: S101
        cell.stdin.write(msgspec.json.encode(order))
        cell.stdin.close()
        cell.stdin = None
        cell.stderr.readline()  # A line comes when the load begins.
        processes = _processes(cell.pid)
        began, before = time.perf_counter(), {name: _seconds(each) for name, each in processes.items()}
        samples = _watch(processes, max(1, int(order.seconds - 1)), scratch)
        took = time.perf_counter() - began
        used = {
            name: {thread: seconds - before[name].get(thread, 0.0) for thread, seconds in _seconds(each).items()}
            for name, each in processes.items()
        }
        output, errors = cell.communicate()
    if cell.returncode:
        raise SystemExit(errors.decode(errors="replace"))
    answer = msgspec.json.decode(output, type=Answer)
    if answer.figures is None:
        raise SystemExit(answer.wrong or answer.not_here)
    debits = answer.figures.per_s * took
    return {
        "cpu_us": answer.figures.cpu_us,
        "per_s": answer.figures.per_s,
        "processes": {
            name: {
                "cpu_us": sum(used[name].values()) / debits * 1e6,
                "layers_us": _per_debit(weigh(samples.get(name, []), used[name], layer_of), debits),
                "functions_us": _per_debit(weigh(samples.get(name, []), used[name], function_of), debits),
            }
            for name in processes
        },
    }


def _processes(pid: int) -> dict[str, psutil.Process]:
    """Return the load process and its child processes by name."""
    found = {"load": psutil.Process(pid)}
    for child in found["load"].children(recursive=True):
        command = child.cmdline()
        if "serve" in command:
            found["service"] = child
        elif command and Path(command[0]).name.startswith("nats-server"):
            found["nats-server"] = child
        elif any(part.endswith("sqlite/worker.py") for part in command):
            found["journal"] = child
    return found


def _watch(processes: Mapping[str, psutil.Process], seconds: int, scratch: Path) -> dict[str, list[Sample]]:
    """Return the samples of the Python processes among them."""
    files = {name: scratch / f"{each.pid}.txt" for name, each in processes.items() if name != "nats-server"}
    spies = [
        subprocess.Popen(
            [
                *(py_spy(), "record", "--pid", str(processes[name].pid), "--format", "raw", "--function", "--threads"),
                *("--rate", str(RATE), "--duration", str(seconds), "--output", str(file)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for name, file in files.items()
    ]
    for spy in spies:
        _, said = spy.communicate()
        if spy.returncode:
            raise SystemExit(f"py-spy: {said.decode(errors='replace').strip()[-500:]}")
    return {name: [parse(line) for line in file.read_text().splitlines() if line] for name, file in files.items()}


def _seconds(process: psutil.Process) -> dict[int, float]:
    """Return the processor seconds of each thread so far."""
    return {thread.id: thread.user_time + thread.system_time for thread in process.threads()}


def _per_debit(seconds: Mapping[str, float], debits: float) -> dict[str, float]:
    return {name: used / debits * 1e6 for name, used in seconds.items()}


def layer_table(title: str, found: dict[str, Any]) -> Table:
    table = Table(title=f"{title}: {found['per_s']:,.0f} debits/s while watched")
    table.add_column("process, layer")
    table.add_column("µs per debit", justify="right")
    table.add_column("share", justify="right")
    total = sum(process["cpu_us"] for process in found["processes"].values())
    for name, process in found["processes"].items():
        table.add_section()
        table.add_row(f"[bold]{name}", f"[bold]{process['cpu_us']:.1f}", f"[bold]{process['cpu_us'] / total:.0%}")
        for layer, used in process["layers_us"].items():
            table.add_row(f"  {layer}", f"{used:.1f}", f"{used / total:.0%}")
    return table


def function_table(title: str, found: dict[str, Any]) -> Table:
    table = Table(title=f"{title}: the functions that were at work themselves")
    table.add_column("process: function")
    table.add_column("µs per debit", justify="right")
    for name, process in found["processes"].items():
        table.add_section()
        for function, used in islice(process["functions_us"].items(), HOTTEST):
            table.add_row(f"{name}: {function}", f"{used:.2f}")
    return table


def memory_table(found: dict[str, float]) -> Table:
    table = Table(title="What it takes")
    table.add_column("")
    table.add_column("bytes", justify="right")
    for name, size in found.items():
        table.add_row(name, f"{size:,.0f}")
    return table


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    options.add_argument("--seconds", type=float, default=8.0, help="length of the load that is watched")
    options.add_argument("--workload", default="W1", help="W1 to W7")
    options.add_argument("--callers", type=int, default=64)
    options.add_argument("--asyncio", action="store_true", help="asyncio's own loop instead of uvloop")
    options.add_argument("--no-memory", action="store_true", help="leave out the memory table")
    options.add_argument("--json", action="store_true", help="figures for programs")
    chosen = options.parse_args()
    results: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="solvent-bench-", dir=".") as scratch:
        for contestant in (EMBEDDED, NATS):
            order = Order(
                contestant=contestant,
                workload=chosen.workload,
                callers=chosen.callers,
                seconds=chosen.seconds,
                uvloop=not chosen.asyncio,
                scratch=scratch,
            )
            results[contestant] = profile(order, Path(scratch))
        if not chosen.no_memory:
            results["memory"] = memory(Path(scratch))
    if chosen.json:
        print(json.dumps(results, indent=2))
        return
    out = console()
    for contestant in (EMBEDDED, NATS):
        title = f"{contestant}, {chosen.workload}, {chosen.callers} callers"
        out.print(layer_table(title, results[contestant]))
        out.print(function_table(title, results[contestant]))
    if "memory" in results:
        out.print(memory_table(results["memory"]))
    out.print(results["machine"])


if __name__ == "__main__":
    main()
