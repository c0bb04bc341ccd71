"""FAISS's binary indexes over the distinct codes: flat, HNSW, inverted lists, hash tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isqrt
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import bytes_per_code
from llmhash.errors import InputError, MissingExtraError, suggest
from llmhash.index.approximate import DistinctCodesIndex, check_setting
from llmhash.index.base import NO_DISTANCE, NO_KEY
from llmhash.index.postings import Bytes
from llmhash.index.sharing import Rows

FaissKind = Literal["flat", "hnsw", "ivf", "hash", "multihash"]
Settings = Mapping[str, int]

# What was shaped by so many codes is built anew once it holds this many times as many.
_GROWTH = 4
# FAISS wants so many codes a centroid to train on; more improve little.
_CODES_PER_CENTROID = 39
# FAISS reads a hash as one word and goes through all its flips.
_MOST_HASH_BITS, _MOST_FLIPS = 62, 8
# FAISS's counting selection keeps k places of 8 bytes a distance and query; it takes 32 queries at a time.
_COUNTING_BYTES, _QUERIES_AT_A_TIME = 1 << 27, 32


class _Kind(NamedTuple):
    """A binary index of FAISS.

    Attributes:
        type: Its class.
        least: Its settings and their least values.
        shape: From bits, number of codes and given settings: all settings.
        make: From the module, dimensions and all settings: an empty index.
        tune: Sets what may change after it was built.
    """

    type: str
    least: Settings
    shape: Callable[[int, int, Settings], Settings]
    make: Callable[[Any, int, Settings], Any]
    tune: Callable[[Any, Settings], None]


class FaissIndex(DistinctCodesIndex):
    """Nearest neighbours by Hamming distance through a binary index of FAISS (extra `faiss`).

    "flat" is exact. "hnsw" is a graph; "ivf" clusters the codes and looks into the nearest clusters; "hash"
    looks into the buckets of the codes' first bits, "multihash" into those of several groups of bits. Lists
    and buckets are chosen by the number of codes, and chosen anew as it grows.

    Attributes:
        bits: Bits in a code.
        kind: Which of FAISS's indexes it is.
    """

    _title, _kind, _part = "FAISS index", "llmhash.faiss", "faiss"

    def __init__(self, bits: int, kind: FaissKind = "hnsw", **settings: int) -> None:
        """Make an empty index.

        Args:
            bits: Bits in a code, 1 to 4096.
            kind: "flat", "hnsw", "ivf", "hash" or "multihash".
            **settings: As FAISS names them. hnsw: `M` edges a node (16), `efConstruction` (100) and
                `efSearch` (64) candidates. ivf: `nlist` clusters (twice the root of the number of codes), of
                which `nprobe` (64) are searched. hash: `b` bits a hash and up to `nflip` (4) flips of it.
                multihash: `nhash` hashes (4 to 8) of `b` bits, and `nflip` (2). By default `b` leaves a few
                codes a bucket.

        Raises:
            InputError: There is no such kind or setting, or a number is out of range.
            MissingExtraError: FAISS is not installed.
        """
        super().__init__(bits)
        if kind not in _KINDS:
            raise InputError(f"there is no FAISS kind {kind!r}; {suggest(str(kind), _KINDS)}")
        self.kind: FaissKind = kind
        self._given = {name: self._checked(name, value) for name, value in settings.items()}
        self._check_hashes(_KINDS[kind].shape(bits, self.few, self._given))
        _faiss()
        if kind == "flat":
            self.few = 0
        self._index: Any = None
        self._built_for = 0

    def _checked(self, name: str, value: int) -> int:
        least = _KINDS[self.kind].least
        if name not in least:
            raise InputError(f"FAISS's {self.kind} index has no setting {name!r}; {suggest(name, least)}")
        return check_setting(name, value, least[name])

    def _check_hashes(self, settings: Settings) -> None:
        if "b" not in settings:
            return
        hashes, width, flips = settings.get("nhash", 1), settings["b"], settings["nflip"]
        most = min(_MOST_HASH_BITS, self.bits // hashes)
        if not 1 <= width <= most:
            raise InputError(f"{hashes} hashes of {width} bits do not fit into {self.bits} bits or one word.")
        if flips > _MOST_FLIPS or flips > width:
            raise InputError(f"nflip must be at most {min(_MOST_FLIPS, width)}, not {flips}.")

    def _describe(self) -> dict[str, Any]:
        return {"engine": self.kind, "settings": self._given, "built_for": self._built_for}

    @classmethod
    def _described(cls, about: Mapping[str, Any]) -> Self:
        index = cls(about["bits"], about["engine"], **about["settings"])
        index._built_for = check_setting("built_for", about["built_for"], 0)
        return index

    def _held(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def _hold(self, codes: Bytes, threads: int) -> None:
        with _limited(threads) as faiss:
            if self._index is None or len(codes) > _GROWTH * self._built_for:
                self._index = None  # What it held would take its memory twice.
                self._index = self._made(faiss, codes)
            if self._index is not None:
                self._index.add(codes[self._index.ntotal :])

    def _made(self, faiss: Any, codes: Bytes) -> Any:
        """An empty index that suits the codes; None while there are too few for as many centroids."""
        kind, shape = _KINDS[self.kind], self._shape(len(codes))
        if self.kind == "ivf" and len(codes) < _CODES_PER_CENTROID * shape["nlist"]:
            return None
        made = kind.make(faiss, 8 * bytes_per_code(self.bits), shape)
        if self.kind == "ivf":
            rng = np.random.default_rng(0)
            sample = rng.choice(len(codes), _CODES_PER_CENTROID * shape["nlist"], replace=False)
            made.train(codes[np.sort(sample)])
        self._built_for = len(codes)
        kind.tune(made, shape)
        return made

    def _shape(self, count: int) -> Settings:
        return _KINDS[self.kind].shape(self.bits, count, self._given)

    def _can_find(self, count: int, k: int, filtered: bool) -> bool:
        # Flat is exact, ties included, unless its codes are sifted by a filter.
        exact = self.kind == "flat"
        return super()._can_find(count, k, filtered) and not (exact and (filtered or self._batch(count) < 1))

    def _batch(self, count: int) -> int:
        """Queries that the flat index may take at a time."""
        return min(_QUERIES_AT_A_TIME, _COUNTING_BYTES // (8 * count * (self.bits + 1)))

    def _find(self, asked: Bytes, count: int, threads: int) -> tuple[Rows, NDArray[np.uint16]]:
        if self.kind == "flat":
            self._index.query_batch_size = self._batch(count)
        with _limited(threads):
            distances, numbers = self._index.search(np.ascontiguousarray(asked), count)
        # Where FAISS finds none, it says -1 and the largest int32.
        near = np.where(numbers == NO_KEY, NO_DISTANCE, distances).astype(np.uint16)
        return numbers, near

    def _dump(self) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = _faiss().serialize_index_binary(self._index)
        return image

    def _restore(self, image: NDArray[np.uint8]) -> None:
        faiss = _faiss()
        index, kind = faiss.deserialize_index_binary(image), _KINDS[self.kind]
        if type(index) is not getattr(faiss, kind.type) or index.d != 8 * bytes_per_code(self.bits):
            raise ValueError("FAISS's index is of another kind or width")
        kind.tune(index, self._shape(max(1, self._built_for)))
        self._index = index


def _log2(count: int) -> int:
    return max(1, count.bit_length() - 1)


def _graph_shape(bits: int, count: int, given: Settings) -> Settings:
    return {"M": 16, "efConstruction": 100, "efSearch": 64, **given}


def _make_graph(faiss: Any, dimensions: int, settings: Settings) -> Any:
    return faiss.IndexBinaryHNSW(dimensions, settings["M"])


def _tune_graph(index: Any, settings: Settings) -> None:
    index.hnsw.efConstruction, index.hnsw.efSearch = settings["efConstruction"], settings["efSearch"]


def _lists_shape(bits: int, count: int, given: Settings) -> Settings:
    return {"nlist": 2 * isqrt(count), "nprobe": 64, **given}


def _make_lists(faiss: Any, dimensions: int, settings: Settings) -> Any:
    return faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(dimensions), dimensions, settings["nlist"])


def _tune_lists(index: Any, settings: Settings) -> None:
    index.nprobe = settings["nprobe"]


def _hash_shape(bits: int, count: int, given: Settings) -> Settings:
    width = given.get("b", min(bits, max(1, _log2(count) - 4)))
    return {"b": width, "nflip": min(4, width), **given}


def _make_hash(faiss: Any, dimensions: int, settings: Settings) -> Any:
    return faiss.IndexBinaryHash(dimensions, settings["b"])


def _hashes_shape(bits: int, count: int, given: Settings) -> Settings:
    # Four hashes at least: a few longer ones find less.
    width = given.get("b", max(1, min(_log2(count) - 1, bits // given.get("nhash", 4))))
    return {"nhash": max(1, min(8, bits // width)), "b": width, "nflip": min(2, width), **given}


def _make_hashes(faiss: Any, dimensions: int, settings: Settings) -> Any:
    return faiss.IndexBinaryMultiHash(dimensions, settings["nhash"], settings["b"])


def _tune_hash(index: Any, settings: Settings) -> None:
    index.nflip = settings["nflip"]


def _flat_shape(bits: int, count: int, given: Settings) -> Settings:
    return given


def _make_flat(faiss: Any, dimensions: int, settings: Settings) -> Any:
    return faiss.IndexBinaryFlat(dimensions)


def _tune_flat(index: Any, settings: Settings) -> None:
    # Counting by distance is faster than a heap and keeps ties in the order of their numbers.
    index.use_heap = False


_KINDS: dict[str, _Kind] = {
    "flat": _Kind("IndexBinaryFlat", {}, _flat_shape, _make_flat, _tune_flat),
    "hnsw": _Kind(
        "IndexBinaryHNSW",
        {"M": 2, "efConstruction": 1, "efSearch": 1},
        _graph_shape,
        _make_graph,
        _tune_graph,
    ),
    "ivf": _Kind("IndexBinaryIVF", {"nlist": 1, "nprobe": 1}, _lists_shape, _make_lists, _tune_lists),
    "hash": _Kind("IndexBinaryHash", {"b": 1, "nflip": 0}, _hash_shape, _make_hash, _tune_hash),
    "multihash": _Kind(
        "IndexBinaryMultiHash", {"nhash": 1, "b": 1, "nflip": 0}, _hashes_shape, _make_hashes, _tune_hash
    ),
}


def _faiss() -> Any:
    """The module `faiss`.

    Raises:
        MissingExtraError: It is not installed.
    """
    # OpenMP reads this once, as it is loaded. Threads that spin while they wait make FAISS a hundred times
    # slower where other processes want the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("The FAISS index", "faiss") from error
    return faiss


@contextmanager
def _limited(threads: int) -> Iterator[Any]:
    """The module, with so many OpenMP threads; afterwards as many as before, for others count on them."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(before)
