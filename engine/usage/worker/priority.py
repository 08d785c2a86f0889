"""A low priority for background processes, so that processes that callers wait for get a core at once."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import struct
import sys
from typing import Final

NICENESS: Final = 15
"""The niceness of the process: a thirtieth of a core while others need all of it."""
SLICE_NS: Final = 100_000_000
"""The slice of the process, the longest that Linux accepts. A process is due within its slice, so one with a long slice
never preempts another. With the usual slice of 1.4 to 3 ms it does, and then it keeps the core for a tick of 4 ms,
whatever its niceness. Measured, that was most of a debit's wait for a core next to a busy usage process."""

_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""The number of the system call, which no library offers."""
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""The layout of ``struct sched_attr``: size, policy, flags, nice, priority, runtime, deadline, period."""
_SCHED_OTHER: Final = 0

log = logging.getLogger(__name__)


def go_to_background() -> None:
    """Give this process a low priority, and a long slice on Linux 6.12 and later. Call this before starting threads.

    Older versions ignore the slice. Where setting it is forbidden, the low priority must suffice."""
    niceness = os.nice(NICENESS)
    number = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        return
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, _SCHED_OTHER, 0, niceness, 0, SLICE_NS, 0, 0)
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, 0, attributes, 0):
        log.info("no long slice: %s", os.strerror(ctypes.get_errno()))
