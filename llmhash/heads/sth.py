"""Self-taught hashing: documents' codes from their neighbour graph, then a linear SVM that learns each bit.

Zhang, Wang, Cai and Lu, "Self-Taught Hashing for Fast Similarity Search" (SIGIR 2010). Step one: Laplacian
eigenmaps of the k-nearest-neighbour graph, `L y = lambda D y`, thresholded at their medians. Step two: one
SVM a bit, so that texts from elsewhere get codes too.

Two other ways are ours. Medians halve the documents by each eigenmap, through clusters too, and late
eigenmaps, mostly noise, have as many bits as early ones: a diffusion map weighs them instead, and a rotation
spreads them over the bits and finds cuts between clusters. And a ridge regression learns all bits at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import check_bits
from llmhash.errors import InputError, suggest
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import AnyFeatures, FloatArray, TrainingFeatures, is_sparse, refuse_not_dense
from llmhash.heads.projection import itq_rotation
from llmhash.heads.sign import median_thresholds

Progress = Callable[[int, int, str], None]
Learner = Literal["svm", "ridge"]
_LEARNERS = ("svm", "ridge")


def fit_sth(
    features: TrainingFeatures,
    bits: int,
    *,
    seed: int = 0,
    neighbours: int = 25,
    diffusion: float | None = None,
    regularization: float = 1.0,
    learner: Learner = "svm",
    max_rows: int = 20_000,
    progress: Progress | None = None,
) -> AffineHead:
    """Self-taught hashing of the documents.

    Differs from the paper: LIBLINEAR's squared hinge in place of LIBSVM's hinge, and in a corpus above
    `max_rows` the graph is of a sample. `diffusion` and the learner "ridge" are not the paper's.

    Args:
        features: Dense or word weights. Their neighbours are those of the highest cosine.
        bits: Bits in a code, fewer than there are documents.
        seed: Decides the sample, where the eigensolver and the rotation start, and the SVMs' order of
            examples.
        neighbours: k of the graph; the paper's 25.
        diffusion: None cuts the eigenmaps at their medians, as the paper does. A number t weighs each by
            `(1 - lambda)^t`, as a walk of t steps on the graph does, and rotates them towards their signs.
        regularization: C of the SVMs or of the regression, a squared error's weight beside the penalty's.
        learner: "svm", or of dense features "ridge": bits -1 and 1 by least squares, in little time.
        max_rows: Documents that take part.
        progress: Called with (bit, bits, message).

    Raises:
        InputError: `bits` is not from 1 to 4096, there are no more documents than bits, or a setting is out
            of range.
    """
    check_bits(bits)
    if learner not in _LEARNERS:
        raise InputError(f"learner cannot be {learner!r}; {suggest(str(learner), _LEARNERS)}")
    refuse_not_dense("sth", features.documents, words=learner == "svm")
    if neighbours < 1 or max_rows < 2 or not regularization > 0:
        raise InputError("neighbours must be at least 1, max_rows at least 2, and regularization above 0.")
    if diffusion is not None and not 0 <= diffusion < np.inf:
        raise InputError(f"diffusion must be at least 0, not {diffusion}.")
    rows = np.arange(features.count)
    if len(rows) > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), max_rows, replace=False))
    if len(rows) <= bits + 1:
        raise InputError(f"sth needs more than {bits + 1} documents for {bits} bits, not {len(rows)}.")
    documents = features.documents[rows]
    eigenmaps, values = laplacian_eigenmaps(_neighbour_graph(documents, neighbours), bits, seed)
    if diffusion is None:
        codes = eigenmaps > median_thresholds(eigenmaps)
    else:
        # Beyond 1 an eigenmap tells neighbours apart.
        diffused = eigenmaps * np.maximum(1.0 - values, 0.0).astype(np.float32) ** np.float32(diffusion)
        codes = diffused @ itq_rotation(diffused, seed=seed)[0] > 0
    if learner == "ridge":
        return regress(documents, codes, regularization)
    return _learn(documents, codes, regularization, seed, progress)


def laplacian_eigenmaps(graph: Any, count: int, seed: int) -> tuple[FloatArray, NDArray[np.float64]]:
    """The `count` smallest non-trivial solutions of `L y = lambda D y`.

    Args:
        graph: W, a symmetric sparse array (n, n) of non-negative weights; D is its row sums, L = D - W.
        count: Fewer than n - 1.
        seed: Decides where the iteration starts.

    Returns:
        y float32 (n, count), and lambda float64 (count,), ascending.
    """
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import eigsh

    scale = 1.0 / np.sqrt(np.maximum(graph.sum(axis=1), np.finfo(np.float64).tiny))
    normalised = diags_array(scale) @ graph @ diags_array(scale)
    start = np.random.default_rng(seed).uniform(size=graph.shape[0])
    # The largest eigenvalues of D^-1/2 W D^-1/2 are the smallest of the Laplacian.
    values, vectors = eigsh(normalised, k=count + 1, which="LA", v0=start)
    order = np.argsort(-values)[1:]
    ordered = vectors[:, order]
    largest = np.take_along_axis(ordered, np.abs(ordered).argmax(axis=0)[None, :], axis=0)
    maps: FloatArray = (scale[:, None] * ordered * np.sign(largest)).astype(np.float32)
    return maps, 1.0 - values[order]


def _neighbour_graph(documents: AnyFeatures, neighbours: int) -> Any:
    """Cosines (not below 0) to each document's nearest ones; an edge where either is the other's."""
    from scipy.sparse import csr_array
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    unit = normalize(documents)
    search = NearestNeighbors(n_neighbors=min(neighbours, documents.shape[0] - 1), metric="cosine").fit(unit)
    graph = csr_array(search.kneighbors_graph(mode="distance"))
    graph.data = np.maximum(1.0 - graph.data, 0.0)
    symmetric = graph.maximum(graph.T)
    symmetric.setdiag(0)
    # A document without an edge gets one to itself: its degree is divided by.
    symmetric.setdiag((symmetric.sum(axis=1) == 0).astype(np.float64))
    return symmetric


def regress(documents: FloatArray, codes: NDArray[np.bool_], regularization: float) -> AffineHead:
    """The affine map of least squared error to the codes as -1 and 1: `(X'X + I / C) W = X'Y`, both centred.

    Args:
        documents: X, float32 (n, d).
        codes: Bool (n, b).
        regularization: C.
    """
    centre, signs = documents.mean(axis=0, dtype=np.float64), np.where(codes, 1.0, -1.0)
    inputs, level = documents - centre, signs.mean(axis=0)
    gram = inputs.T @ inputs + np.eye(len(centre)) / regularization
    weight = np.linalg.solve(gram, inputs.T @ (signs - level)).T
    return AffineHead(weight.astype(np.float32), (level - weight @ centre).astype(np.float32))


def _learn(
    documents: AnyFeatures,
    codes: NDArray[np.bool_],
    regularization: float,
    seed: int,
    progress: Progress | None,
) -> AffineHead:
    """A linear SVM a bit; a bit that all documents share is its constant."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    centre = (
        np.zeros(documents.shape[1]) if is_sparse(documents) else documents.mean(axis=0, dtype=np.float64)
    )
    # The SVM's bias is regularised, so that features far from zero would bend it.
    inputs = documents if is_sparse(documents) else (documents - centre).astype(np.float32)
    weight = np.zeros((codes.shape[1], documents.shape[1]))
    bias = np.where(codes[0], 1.0, -1.0)
    for bit, column in enumerate(codes.T):
        if column.any() and not column.all():
            # LIBLINEAR's own tolerance: scikit-learn's is a thousand times as strict, for the same codes.
            svm = LinearSVC(C=regularization, dual=True, tol=0.1, random_state=seed)
            with warnings.catch_warnings():
                # A bit that is a little off is still a bit.
                warnings.simplefilter("ignore", ConvergenceWarning)
                svm.fit(inputs, column)
            weight[bit], bias[bit] = svm.coef_[0], svm.intercept_[0]
        if progress is not None:
            progress(bit + 1, codes.shape[1], "support vector machines")
    return AffineHead(weight.astype(np.float32), (bias - weight @ centre).astype(np.float32))
