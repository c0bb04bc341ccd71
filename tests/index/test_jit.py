import subprocess
import sys

import numpy as np
import pytest

from llmhash.index.jit import frozen, kernel


def test_importing_compiles_nothing_and_loads_no_numba():
    code = (
        "import sys, numpy, llmhash\n"
        "from llmhash import FlatIndex\n"
        "from llmhash.index import UsearchIndex, asymmetric_search\n"
        "FlatIndex(64).add(numpy.zeros((3, 8), 'uint8'))\n"
        "assert not {'numba', 'torch', 'usearch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_there_is_no_folder_to_keep_machine_code_in(monkeypatch):
    from numba.core import caching

    def refuse(_):
        raise PermissionError("read-only")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)

    @kernel
    def double(value: int) -> int:
        return value * 2

    assert double(4) == 8


def test_the_folder_fills_up_while_compiling(monkeypatch):
    from numba.core import caching

    @kernel
    def double(value: int) -> int:
        return value * 2

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", fail)
    assert double(4) == 8
    assert double(5) == 10


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6),
        np.arange(6).reshape(2, 3).T,
        np.frombuffer(b"0" * 17, np.uint8)[1:].view(np.uint64),
        np.zeros((0, 4)),
    ],
)
def test_frozen(array):
    before = array.flags.writeable
    view = frozen(array)
    np.testing.assert_array_equal(view, array)
    assert view.flags.c_contiguous
    assert view.flags.aligned
    assert not view.flags.writeable
    assert array.flags.writeable == before
