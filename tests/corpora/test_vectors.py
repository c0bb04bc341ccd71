from __future__ import annotations

import numpy as np
import pytest

from llmhash.corpora import read_vectors
from llmhash.errors import InputError


def test_npy_of_any_number_kind(tmp_path) -> None:
    values = np.arange(6).reshape(3, 2)
    for dtype in (np.float16, np.float64, np.int32):
        np.save(tmp_path / "v.npy", values.astype(dtype))
        loaded = read_vectors(tmp_path / "v.npy")
        assert loaded.dtype == np.float32
        np.testing.assert_array_equal(loaded, values)


@pytest.mark.parametrize("fixed", [False, True])
def test_parquet_lists(tmp_path, fixed: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    kind = pa.list_(pa.float32(), 2) if fixed else pa.list_(pa.float64())
    column = pa.array([[1.0, 2.0], [3.0, 4.0]], type=kind)
    parquet.write_table(pa.table({"id": ["a", "b"], "embedding": column}), tmp_path / "v.parquet")
    np.testing.assert_array_equal(read_vectors(tmp_path / "v.parquet"), [[1, 2], [3, 4]])
    ragged = pa.array([[1.0], [3.0, 4.0]])
    parquet.write_table(pa.table({"embedding": ragged}), tmp_path / "r.parquet")
    with pytest.raises(InputError, match="not all equally long"):
        read_vectors(tmp_path / "r.parquet")


def test_refusals(tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_vectors(tmp_path / "none.npy")
    np.save(tmp_path / "v.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"shape \(n, d\)"):
        read_vectors(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", np.array([["a"]]))
    with pytest.raises(InputError, match="must hold numbers"):
        read_vectors(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", np.zeros((0, 4)))
    with pytest.raises(InputError, match="holds no vectors"):
        read_vectors(tmp_path / "v.npy")
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="not a readable"):
        read_vectors(tmp_path / "v.npy")
    (tmp_path / "v.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"from \.npy and \.parquet"):
        read_vectors(tmp_path / "v.bin")
