"""The demo end to end, as a newcomer runs it: real processes, a real kill, few events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

TRACE = Path(__file__).parents[3] / "shared" / "data" / "azure_llm_2023_code.csv"

pytestmark = pytest.mark.slow


def start_demo(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """The demo, with its temporary files under ``tmp_path``."""
    return subprocess.Popen(
        [sys.executable, "-m", "solvent", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def run_demo(tmp_path: Path, *options: str) -> str:
    process = start_demo(tmp_path, *options)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert list(tmp_path.iterdir()) == [], "everything is removed"
    return said


def test_the_demo_proves_what_it_shows(tmp_path: Path) -> None:
    said = run_demo(tmp_path, "--events", "4000", "--seconds", "6")
    for sentence in (
        "kill -9",
        "started again as process",
        "acknowledged debits are in the ledger",
        "0 debits are there that nobody asked for",
        "one to one, none twice",
        "no balance was ever below zero",
        "solvent verify",
        "Who spent it",
        "all 9 checks passed",
    ):
        assert sentence in said
    assert "✗" not in said


def test_the_demo_runs_on_a_real_trace(tmp_path: Path) -> None:
    if not TRACE.is_file():
        pytest.skip(f"the trace {TRACE.name} is not beside this checkout")
    said = run_demo(tmp_path, "--data", str(TRACE), "--events", "3000", "--seconds", "6")
    assert "azure_llm_2023_code.csv" in said
    assert "all 9 checks passed" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = start_demo(tmp_path, "--seconds", "60", "--events", "200000")
    assert process.stdout is not None
    for line in process.stdout:
        if "callers debit" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    time.sleep(0.2)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert list(tmp_path.iterdir()) == []
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
