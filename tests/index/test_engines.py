import subprocess
import sys

import numpy as np
import pytest

from llmhash.errors import FormatError, InputError
from llmhash.index import (
    ENGINES,
    FlatIndex,
    Index,
    MihIndex,
    check_engine,
    choose_engine,
    load_index,
    make_index,
)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_finds_what_it_holds(make_codes, engine):
    if engine.startswith("faiss"):
        pytest.importorskip("faiss")
    index = make_index(engine, 64)
    assert isinstance(index, Index)
    packed = make_codes(50, 64, 0)
    index.add(packed)
    distances, keys = index.search(packed, 1)
    assert not distances.any()
    assert keys[:, 0].tolist() == list(range(50))


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ("auto", "flat")])
def test_saved_engines(make_codes, engine, tmp_path):
    if engine.startswith("faiss"):
        pytest.importorskip("faiss")
    packed = make_codes(300, 64, 0)
    index = make_index(engine, 64)
    index.add(packed)
    index.save(tmp_path / "index")
    loaded = load_index(engine, tmp_path / "index", packed, 64)
    for before, after in zip(index.search(packed[:9], 7), loaded.search(packed[:9], 7), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(FormatError):
        load_index(engine, tmp_path / "index", packed[:-1], 64)
    others = {name for name in ENGINES if name not in ("auto", "flat", engine)}
    for other in sorted(others):
        with pytest.raises(FormatError):
            load_index(other, tmp_path / "index", packed, 64)


def test_the_automatic_engine():
    assert type(make_index("auto", 64)) is FlatIndex
    assert type(make_index("mih", 64)) is MihIndex
    assert choose_engine(1_000_000, 64, 10) == "flat"
    assert choose_engine(100_000_000, 64, 10) == "mih"
    assert choose_engine(100_000_000, 1024, 10) == "flat"
    assert choose_engine(100_000_000, 64, 100_000) == "flat"


def test_unknown_engines(tmp_path):
    with pytest.raises(InputError, match="did you mean usearch"):
        check_engine("usaerch")
    with pytest.raises(InputError, match="saves nothing"):
        load_index("flat", tmp_path / "index", np.empty((0, 8), np.uint8), 64)


def test_engines_load_nothing_before_they_are_used():
    code = "import sys, llmhash.index\nassert not {'numba', 'faiss', 'usearch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
