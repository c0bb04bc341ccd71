from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhash.codes import Codes, describe_codes
from llmhash.errors import FormatError, InputError

WIDTHS = [1, 7, 8, 9, 20, 63, 64, 65, 128, 256, 1000, 4096]


def random_bits(n: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, size=(n, bits), dtype=np.uint8)


@pytest.mark.parametrize("bits", WIDTHS)
def test_pack_and_unpack_are_inverse(bits: int) -> None:
    values = random_bits(13, bits)
    codes = Codes.pack(values)
    assert codes.bits == bits
    assert codes.packed.shape == (13, (bits + 7) // 8)
    np.testing.assert_array_equal(codes.unpack(), values)
    np.testing.assert_array_equal(codes.to_pm1(), 2 * values.astype(np.int8) - 1)


@given(bits=st.integers(1, 320), seed=st.integers(0, 2**16))
def test_hamming_counts_differing_bits(bits: int, seed: int) -> None:
    left, right = random_bits(5, bits, seed), random_bits(4, bits, seed + 1)
    distances = Codes.pack(left).hamming(Codes.pack(right))
    assert distances.dtype == np.uint16
    np.testing.assert_array_equal(distances, (left[:, None] != right[None]).sum(-1))


def test_hamming_in_blocks_equals_hamming_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = Codes.pack(random_bits(50, 100))
    whole = codes.hamming(codes)
    monkeypatch.setattr("llmhash.codes._HAMMING_BLOCK", 1)
    np.testing.assert_array_equal(codes.hamming(codes), whole)


def test_a_bit_is_a_logit_above_zero_strictly() -> None:
    codes = Codes.from_logits(np.array([[0.0, -0.0, 1e-30, -1.0, 2.0]]))
    np.testing.assert_array_equal(codes.unpack(), [[0, 0, 1, 0, 1]])


def test_the_first_logit_is_the_top_bit_of_the_first_byte() -> None:
    assert Codes.from_logits(np.array([[1.0] + [-1.0] * 8])).packed.tolist() == [[128, 0]]


def test_to_int64_reads_the_bytes_big_endian() -> None:
    values = random_bits(20, 64)
    codes = Codes.pack(values)
    np.testing.assert_array_equal(codes.to_int64(), codes.packed.view(">i8")[:, 0])
    assert Codes.pack(np.array([[1] + [0] * 11])).to_int64().tolist() == [-(2**63)]
    with pytest.raises(InputError, match="at most 64 bits"):
        Codes.pack(random_bits(1, 65)).to_int64()


@pytest.mark.parametrize("mmap", [False, True])
def test_save_and_load(tmp_path, mmap: bool) -> None:
    codes = Codes.pack(random_bits(9, 20))
    codes.save(tmp_path / "queries.npy", side="query", hasher="abc")
    loaded = Codes.load(tmp_path / "queries.npy", mmap=mmap)
    assert loaded.bits == 20
    np.testing.assert_array_equal(loaded.packed, codes.packed)
    assert describe_codes(tmp_path / "queries.npy") == {
        "format": 1,
        "bits": 20,
        "side": "query",
        "hasher": "abc",
    }


def test_load_refuses_what_it_cannot_read(tmp_path) -> None:
    path = tmp_path / "codes.npy"
    with pytest.raises(InputError, match="does not exist"):
        Codes.load(path)
    Codes.pack(random_bits(9, 20)).save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FormatError, match="not a readable"):
        Codes.load(path)
    path.with_suffix(".json").write_text(json.dumps({"format": 99, "bits": 20}))
    with pytest.raises(FormatError, match="newer llmhash"):
        describe_codes(path)


def test_refusals() -> None:
    with pytest.raises(InputError, match="from 1 to 4096, not 0"):
        Codes(np.zeros((1, 0), np.uint8), 0)
    with pytest.raises(InputError, match=r"shape \(n, 2\)"):
        Codes(np.zeros((1, 3), np.uint8), 16)
    with pytest.raises(InputError, match="must be zero"):
        Codes(np.full((1, 2), 255, np.uint8), 12)
    with pytest.raises(InputError, match="NaN"):
        Codes.from_logits(np.array([[np.nan]]))
    with pytest.raises(InputError, match="cannot be compared"):
        Codes.pack(random_bits(1, 8)).hamming(Codes.pack(random_bits(1, 9)))


def test_rows_are_taken_by_slices_and_arrays() -> None:
    values = random_bits(6, 12)
    codes = Codes.pack(values)
    np.testing.assert_array_equal(codes[2:4].unpack(), values[2:4])
    np.testing.assert_array_equal(codes[np.array([5, 0])].unpack(), values[[5, 0]])
