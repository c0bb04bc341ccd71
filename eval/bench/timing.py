"""Measuring side by side: contestants take turns, so that what else the machine does meets all of them."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Call = Callable[[], Any]


def take_turns(calls: Mapping[str, Sequence[Call]], chunk: int = 1) -> dict[str, list[float]]:
    """Seconds of each contestant's calls, made in turns of `chunk` until nobody has any left.

    A contestant with fewer calls than the others drops out early.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for start in range(0, max(map(len, calls.values()), default=0), chunk):
        for name, own in calls.items():
            seconds[name] += [timed(call) for call in own[start : start + chunk]]
    return seconds


def timed(call: Call) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def anonymous_bytes() -> int:
    """Memory of this process that no file backs, after giving back what is free; Linux only, else 0."""
    gc.collect()
    if not sys.platform.startswith("linux"):
        return 0
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Of the GNU C library.
    if trim is not None:
        trim(0)
    return memory_status()["RssAnon"]


def memory_status() -> dict[str, int]:
    """The bytes that Linux counts for this process, by name: RssAnon, RssFile, VmRSS and the like."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines if fields[-1] == "kB"}
