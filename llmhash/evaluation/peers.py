"""Product quantizers of FAISS at the same bytes per document: PQ, OPQ followed by PQ, and RaBitQ.

They are fitted on the documents that the heads are fitted on, and score all documents by inner product with
the float query, so that they compare with `asymmetric_scan`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError, MissingExtraError
from llmhash.evaluation.rankings import Block, Ranking
from llmhash.evaluation.retrieval import PerQuery, RetrievalTask, evaluate
from llmhash.evaluation.summary import Measurement, TrainedOn, average, mean_seconds

PEERS = ("pq", "opq", "rabitq")

# FAISS's default of 50 outer iterations is worth several points of retention with few sub-quantizers. With
# many it takes minutes a fit and gains nothing (10 equal 25 at 32), so their product is bounded.
_OPQ_ITERATIONS, _OPQ_LEAST, _OPQ_BUDGET = 50, 10, 800
_CENTROIDS = 256
_RABITQ_QUERY_BITS = 8

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Peer:
    """A fitted peer that has encoded the task's documents.

    Attributes:
        ranking: Scores all documents.
        bytes_per_document: Bytes of a code, factors included.
        model_bytes: Codebooks and rotation in float32.
        settings: Its settings, in words.
        seconds: Of the fit and of encoding the documents.
    """

    ranking: Ranking
    bytes_per_document: int
    model_bytes: int
    settings: str
    seconds: dict[str, float]


def peer_names(names: Sequence[str]) -> list[str]:
    """Names of peers, "faiss" standing for all.

    Raises:
        InputError: A name is unknown.
        MissingExtraError: FAISS is not installed.
    """
    chosen = list(dict.fromkeys(peer for name in names for peer in (PEERS if name == "faiss" else (name,))))
    for name in chosen:
        if name not in PEERS:
            raise InputError(f"unknown peer {name!r}; there are faiss, {', '.join(PEERS)}.")
    if chosen:
        _faiss()
    return chosen


def measure_peers(
    task: RetrievalTask,
    training: FloatArray,
    *,
    names: Sequence[str],
    bits: Sequence[int],
    seeds: Sequence[int],
    trained_on: TrainedOn,
    threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[Measurement], list[str]]:
    """Fit and measure peers, PQ and OPQ at every width of whole bytes, RaBitQ at its own.

    Args:
        task: What to measure on.
        training: float32 (n, d), document embeddings to fit on.
        names: From `peer_names`.
        bits: Widths, as the heads have them.
        seeds: Each peer is fitted once per seed.
        trained_on: As of the heads.
        threads: FAISS's threads; more of them change sums and so, slightly, the fits.
        progress: Called with a line before each fit.

    Returns:
        The measurements, and notes on what was left out.
    """
    if names and len(training) < _CENTROIDS:
        return [], [
            f"peers left out: {len(training)} documents, and a sub-quantizer has {_CENTROIDS} centroids."
        ]
    measurements: list[Measurement] = []
    notes: list[str] = []
    for name in names:
        for width in (task.dim,) if name == "rabitq" else bits:
            obstacle = _obstacle(name, width, task.dim)
            if obstacle is not None:
                notes.append(f"{name} at {width} bits left out: {obstacle}.")
                continue
            runs: list[_Run] = []
            for seed in seeds:
                if progress is not None:
                    progress(f"{name}, {width} bits, seed {seed}")
                with _threads(threads):
                    peer = fit_peer(name, training, task, width, seed=seed, threads=threads)
                    runs.append((peer, *evaluate(task, peer.ranking)))
            measurements.append(_measurement(name, width, runs, trained_on))
    return measurements, notes


def fit_peer(
    name: str, training: FloatArray, task: RetrievalTask, bits: int, *, seed: int, threads: int = 1
) -> Peer:
    """Fit a peer and encode the task's documents.

    Args:
        name: "pq" or "opq", with bits / 8 sub-quantizers of 8 bits, or "rabitq", a bit a dimension and two
            factors.
        training: float32 (n, d), at least 256 rows.
        task: Whose documents to encode.
        bits: A multiple of 8 (RaBitQ does not take it).
        seed: Of k-means, or of RaBitQ's random rotation.
        threads: For the settings' text.
    """
    if name == "rabitq":
        return _fit_rabitq(training, task, seed, threads)
    return _fit_quantizer(training, task, bits // 8, name == "opq", seed, threads)


@dataclass(frozen=True, eq=False)
class CodebookRanking:
    """Inner products with decoded codes, which is what a quantizer's distance tables add up to.

    Attributes:
        queries: float32 (q, d).
        decoded: float32 (u, d), the distinct codes decoded.
        code: int64 (n,), the distinct code of each document, so that equal codes tie exactly.
    """

    queries: FloatArray
    decoded: FloatArray
    code: NDArray[np.int64]

    def block(self, queries: slice) -> Block:
        """Scores of all documents."""
        return Block((self.queries[queries] @ self.decoded.T)[:, self.code])


@dataclass(frozen=True, eq=False)
class RabitqRanking:
    """RaBitQ's own estimate of all inner products, by an exhaustive search."""

    queries: FloatArray
    index: Any

    def block(self, queries: slice) -> Block:
        """Scores of all documents."""
        values, rows = self.index.search(self.queries[queries], self.index.ntotal)
        scores = np.full_like(values, -np.inf)
        np.put_along_axis(scores, rows, values, axis=1)
        return Block(scores)


#: A fitted peer, its metrics of each query, and the seconds that scoring took.
_Run = tuple[Peer, PerQuery, float]


def _obstacle(name: str, bits: int, dim: int) -> str | None:
    """Why a peer cannot do a width, or None."""
    if name != "rabitq" and bits % 8:
        return "no whole number of bytes"
    if name != "rabitq" and bits // 8 > dim:
        return f"more sub-quantizers than the {dim} dimensions"
    return None


def _measurement(name: str, bits: int, runs: Sequence[_Run], trained_on: TrainedOn) -> Measurement:
    """The runs of one peer at one width, averaged."""
    peer = runs[0][0]
    return Measurement(
        head=name,
        bits=bits,
        scoring="asymmetric_scan",
        trained_on=trained_on,
        bytes_per_document=peer.bytes_per_document,
        model_bytes=peer.model_bytes,
        values=average([values for _, values, _ in runs]),
        seeds=len(runs),
        seconds=mean_seconds([{**each.seconds, "search": seconds} for each, _, seconds in runs]),
        settings=peer.settings,
    )


def _fit_quantizer(
    training: FloatArray, task: RetrievalTask, parts: int, rotated: bool, seed: int, threads: int
) -> Peer:
    """PQ with `parts` bytes, after OPQ's rotation where `rotated`."""
    faiss = _faiss()
    # Every sub-quantizer takes equally many dimensions: zeros fill up, as FAISS's own padding does.
    width = -(-task.dim // parts) * parts
    began = time.perf_counter()
    settings = [f"FAISS {faiss.__version__}", f"{parts} sub-quantizers", f"{threads} thread(s)"]
    model_bytes = 4 * _CENTROIDS * width
    if rotated:
        rotation = faiss.OPQMatrix(task.dim, parts, width)
        rotation.niter = min(_OPQ_ITERATIONS, max(_OPQ_LEAST, _OPQ_BUDGET // parts))
        guide = _product_quantizer(faiss, width, parts, seed)
        rotation.pq = guide  # A borrowed pointer: `guide` must outlive the training.
        rotation.train(training)
        model_bytes += 4 * width * task.dim
        settings.insert(1, f"{rotation.niter} OPQ iterations")
        turn = rotation.apply
    else:

        def turn(vectors: FloatArray) -> FloatArray:
            return np.pad(vectors, ((0, 0), (0, width - task.dim)))

    quantizer = _product_quantizer(faiss, width, parts, seed)
    quantizer.train(turn(training))
    fitted = time.perf_counter()
    codes = quantizer.compute_codes(turn(task.documents))
    seconds = {"fit": fitted - began, "encode": time.perf_counter() - fitted}
    distinct, code = np.unique(codes, axis=0, return_inverse=True)
    ranking = CodebookRanking(turn(task.queries), quantizer.decode(distinct), code.reshape(-1))
    return Peer(ranking, int(quantizer.code_size), model_bytes, ", ".join(settings), seconds)


def _product_quantizer(faiss: Any, dim: int, parts: int, seed: int) -> Any:
    quantizer = faiss.ProductQuantizer(dim, parts, 8)
    quantizer.cp.seed = seed
    quantizer.cp.min_points_per_centroid = 1  # No warnings on standard error for small corpora.
    return quantizer


def _fit_rabitq(training: FloatArray, task: RetrievalTask, seed: int, threads: int) -> Peer:
    """RaBitQ after a random rotation, which its error bound assumes."""
    faiss = _faiss()
    began = time.perf_counter()
    rotation = faiss.RandomRotationMatrix(task.dim, task.dim)
    rotation.init(seed)
    index = faiss.IndexRaBitQ(task.dim, faiss.METRIC_INNER_PRODUCT)
    index.qb = _RABITQ_QUERY_BITS
    index.train(rotation.apply(training))
    fitted = time.perf_counter()
    index.add(rotation.apply(task.documents))
    seconds = {"fit": fitted - began, "encode": time.perf_counter() - fitted}
    settings = f"FAISS {faiss.__version__}, {_RABITQ_QUERY_BITS}-bit queries, {threads} thread(s)"
    model_bytes = 4 * task.dim * (task.dim + 1)
    ranking = RabitqRanking(rotation.apply(task.queries), index)
    return Peer(ranking, int(index.code_size), model_bytes, settings, seconds)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """FAISS's threads, which belong to the process, set for a while."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("The comparison with FAISS", "faiss") from error
    return faiss
