"""The processor time of a process by layer and by function, from samples of its stacks.

The operating system reports the time of each thread, and the thread's samples divide it. So a thread that mostly waits
for the disk, and is sampled while it waits, is charged no more than it used.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

OTHER: Final = "other Python"
SQLITE_THREADS: Final = "SQLite threads (index, snapshots)"
POOL_THREAD: Final = "worker threads (look-ups)"
NOT_SEEN: Final = "threads without Python"

# The first of these names in a frame's file gives its layer. The innermost frame with a layer counts, so the standard
# library's json, decimal or heapq are charged to their callers.
LAYERS: Final = (
    ("transports/", "transports"),
    ("engine/", "engine"),
    ("actors/", "actors"),
    ("bench/", "load"),
    ("nats/", "nats-py"),
    ("asyncio/", "asyncio or uvloop, with its system calls"),
    ("anyio/", "anyio"),
)
_THREAD: Final = re.compile(r"thread \((\d+)\)")


class Sample(NamedTuple):
    thread: int
    frames: Sequence[str]
    """The frames, outermost first."""
    times: int


def parse(line: str) -> Sample:
    """Parse a line of py-spy's ``raw`` format with threads: frames, outermost first, and how often they were seen."""
    stack, _, count = line.rstrip().rpartition(" ")
    thread, *frames = stack.split(";")
    found = _THREAD.match(thread)
    return Sample(int(found[1]) if found else 0, frames, int(count))


def layer_of(sample: Sample) -> str:
    """Return the layer of the innermost frame that has one."""
    if any("_connection_worker_thread" in frame for frame in sample.frames):
        # All its work is SQLite's.
        return SQLITE_THREADS
    for frame in reversed(sample.frames):
        for word, layer in LAYERS:
            if word in frame:
                return layer
    return POOL_THREAD if any("concurrent/futures" in frame for frame in sample.frames) else OTHER


def function_of(sample: Sample) -> str:
    """Return the innermost function."""
    return sample.frames[-1] if sample.frames else OTHER


def weigh(
    samples: Iterable[Sample], seconds_of: Mapping[int, float], name: Callable[[Sample], str]
) -> dict[str, float]:
    """Return the processor seconds of each ``name``, the most first. ``seconds_of`` has those of the threads."""
    by_thread: dict[int, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        by_thread[sample.thread][name(sample)] += sample.times
    seconds: dict[str, float] = defaultdict(float)
    for thread, used in seconds_of.items():
        counts = by_thread.get(thread)
        if counts is None:
            seconds[NOT_SEEN] += used
            continue
        for each, count in counts.items():
            seconds[each] += used * count / counts.total()
    return dict(sorted(((each, used) for each, used in seconds.items() if used > 0), key=lambda each: -each[1]))
