"""The process's one thread pool, for kernels that release the GIL.

It is made when it is first needed, made again in a forked child, and shared by all callers. Each call says
how many threads it may use; the calling thread is one of them, so `threads=1` never touches the pool.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock

import numpy as np

from llmhash.errors import InputError

#: Environment variable that sets how many threads a call uses when it does not say.
THREADS_VARIABLE = "LLMHASH_THREADS"
# More than any call should ask for; the executor starts a thread only when none of its own is idle.
_MOST_THREADS = 256

_lock = Lock()
_pool: ThreadPoolExecutor | None = None


def thread_count(threads: int | None = None) -> int:
    """Threads that a call may use: what it asks for, else `default_threads()`.

    Raises:
        InputError: The number is not a whole number of at least 1.
    """
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
            raise InputError(f"threads must be a whole number of at least 1, not {threads!r}.")
        return min(int(threads), _MOST_THREADS)
    return default_threads()


def default_threads() -> int:
    """Threads that a call uses when it does not say: `LLMHASH_THREADS`, else the usable cores.

    Raises:
        InputError: The variable is not a whole number of at least 1.
    """
    wanted = os.environ.get(THREADS_VARIABLE, "").strip()
    if not wanted:
        return min(_usable_cores(), _MOST_THREADS)
    if not wanted.isdecimal() or int(wanted) < 1:
        raise InputError(f"{THREADS_VARIABLE} must be a whole number of at least 1, not {wanted!r}.")
    return min(int(wanted), _MOST_THREADS)


def run(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    """Run independent tasks on up to `threads` threads, the calling one included, and wait for all.

    Raises:
        BaseException: What the first failing task raised; tasks not yet begun are then left out.
    """
    waiting = deque(tasks)

    def work() -> None:
        while (task := _next(waiting)) is not None:
            try:
                task()
            except BaseException:
                waiting.clear()
                raise

    helpers = [_executor().submit(work) for _ in range(min(threads, len(tasks)) - 1)]
    try:
        work()
    finally:
        # A helper that has not begun finds nothing left to do: other callers may hold the pool's threads.
        started = [helper for helper in helpers if not helper.cancel()]
        if started:
            wait(started)
    for helper in started:
        helper.result()


def _next(waiting: deque[Callable[[], None]]) -> Callable[[], None] | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="llmhash")
        return _pool


def _forget_pool() -> None:
    """In a forked child: the parent's threads are not there, and its lock may be held for ever."""
    global _lock, _pool
    _lock, _pool = Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
