import os
import threading
from functools import partial

import pytest

from llmhash.errors import InputError
from llmhash.index.threads import run, thread_count


def test_every_task_runs_once_whatever_the_threads():
    for threads in (1, 2, 5, 50):
        done: list[int] = []
        run([partial(done.append, i) for i in range(20)], threads)
        assert sorted(done) == list(range(20))
    run([], 3)


def test_threads_work_at_the_same_time():
    meeting = threading.Barrier(3, timeout=30)
    run([meeting.wait] * 3, 3)


def test_one_thread_is_the_callers_own():
    names = []
    run([lambda: names.append(threading.current_thread())] * 4, 1)
    assert set(names) == {threading.current_thread()}


def test_the_first_error_reaches_the_caller_and_stops_the_rest():
    done = []

    def fail():
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        run([fail, *[lambda: done.append(1)] * 1000], 1)
    assert done == []
    with pytest.raises(KeyError, match="broken"):
        run([threading.Event().is_set, fail, fail], 3)


def test_many_callers_share_the_pool():
    totals = [0] * 8

    def call(i):
        for _ in range(20):
            parts: list[int] = []
            run([partial(parts.append, 1)] * 6, 4)
            totals[i] += len(parts)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert totals == [120] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_forked_child_has_its_own_pool():
    meeting = threading.Barrier(2, timeout=30)
    run([meeting.wait] * 2, 2)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run([threading.Barrier(2, timeout=10).wait] * 2, 2)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_thread_count(monkeypatch):
    monkeypatch.delenv("LLMHASH_THREADS", raising=False)
    assert thread_count() >= 1
    if hasattr(os, "sched_getaffinity"):
        assert thread_count() == min(256, len(os.sched_getaffinity(0)))
    monkeypatch.setenv("LLMHASH_THREADS", "3")
    assert thread_count() == 3
    assert thread_count(7) == 7
    for bad in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("LLMHASH_THREADS", bad)
        with pytest.raises(InputError, match="LLMHASH_THREADS"):
            thread_count()
    for bad in (0, -2, 1.0, True, "4"):
        with pytest.raises(InputError, match="threads must be"):
            thread_count(bad)
