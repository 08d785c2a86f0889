"""Steps of a measurement in processes of their own, so that they do not share memory and garbage."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

import psutil

P = ParamSpec("P")
T = TypeVar("T")


def apart(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``step``, a function of a module, in a new interpreter."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        return one.submit(step, *args, **kwargs).result()


def peak_bytes() -> int:
    """Return the most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """Return the memory that this process has now."""
    size: int = psutil.Process().memory_info().rss
    return size
