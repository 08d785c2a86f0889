"""A low priority for what people do not wait for, so that those who are waited for get a core at once."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import struct
import sys
from typing import Final

NICENESS: Final = 15
"""A thirtieth of a core where others want all of it."""
SLICE_NS: Final = 100_000_000
"""The longest that Linux takes. A process is due within its slice, so one with a long slice never comes before another.
With the usual one of 1.4 to 3 ms it does, and once it is there it stays for a tick of 4 ms, whatever its niceness:
measured, that was most of the time that a debit waited for a core beside a busy usage process."""

_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""The number of the system call, which no library offers."""
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""``struct sched_attr``: size, policy, flags, nice, priority, runtime, deadline, period."""
_SCHED_OTHER: Final = 0

log = logging.getLogger(__name__)


def go_to_background() -> None:
    """Give this process, which should not have threads yet, a low priority, and a long slice where Linux (6.12 and
    later) has such. Older ones take no notice, and where it is forbidden the low priority has to do."""
    niceness = os.nice(NICENESS)
    number = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        return
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, _SCHED_OTHER, 0, niceness, 0, SLICE_NS, 0, 0)
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, 0, attributes, 0):
        log.info("no long slice: %s", os.strerror(ctypes.get_errno()))
