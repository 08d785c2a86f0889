"""Where the processor time of a process goes, from samples of its stacks: by layer and by function.

What each thread has used is known from the operating system; a thread's samples say what it used that for. So a thread
that mostly waits for the disk, and is sampled while it does, has no more on its account than it used.
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

# The first of these that a frame's file holds names its layer. The innermost frame that is somebody's counts: the
# standard library's json, decimal or heapq are on the account of who called them.
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
    """From the outermost on."""
    times: int


def parse(line: str) -> Sample:
    """A line of py-spy's ``raw`` format with threads: frames from the outermost on, and how often it was seen."""
    stack, _, count = line.rstrip().rpartition(" ")
    thread, *frames = stack.split(";")
    found = _THREAD.match(thread)
    return Sample(int(found[1]) if found else 0, frames, int(count))


def layer_of(sample: Sample) -> str:
    """The layer of the innermost frame that has one."""
    if any("_connection_worker_thread" in frame for frame in sample.frames):
        # Whatever it does there is SQLite at work.
        return SQLITE_THREADS
    for frame in reversed(sample.frames):
        for word, layer in LAYERS:
            if word in frame:
                return layer
    return POOL_THREAD if any("concurrent/futures" in frame for frame in sample.frames) else OTHER


def function_of(sample: Sample) -> str:
    """The function that was at work itself."""
    return sample.frames[-1] if sample.frames else OTHER


def weigh(
    samples: Iterable[Sample], seconds_of: Mapping[int, float], name: Callable[[Sample], str]
) -> dict[str, float]:
    """The processor seconds of each ``name``, most first. ``seconds_of`` are those of the threads."""
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
