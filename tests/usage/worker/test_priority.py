"""What goes to the background is behind everybody else."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from solvent.engine.usage.worker.priority import NICENESS, SLICE_NS

SHOW = """
import ctypes, os, platform, struct
from solvent.engine.usage.worker.priority import go_to_background
go_to_background()
if platform.machine() in ("x86_64", "aarch64") and platform.system() == "Linux":
    found = ctypes.create_string_buffer(48)
    number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
    assert ctypes.CDLL(None).syscall(number, 0, found, 48, 0) == 0
    print(os.nice(0), *struct.unpack("=IIQiIQQQ", found.raw)[:6])
else:
    print(os.nice(0))
"""


def test_a_process_in_the_background_has_a_low_priority_and_a_long_slice() -> None:
    shown = subprocess.run([sys.executable, "-c", SHOW], check=True, capture_output=True, text=True)
    niceness, *attributes = map(int, shown.stdout.split())
    assert niceness == min(os.nice(0) + NICENESS, 19)
    if not attributes:
        pytest.skip("slices are looked at on Linux only")
    size, policy, _, same_niceness, _, runtime = attributes
    assert (size, policy, same_niceness) == (48, os.SCHED_OTHER, niceness)
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    if release < (6, 12):
        pytest.skip("Linux before 6.12 has no slices")
    assert runtime == SLICE_NS
