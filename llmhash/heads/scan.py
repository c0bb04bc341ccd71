"""The scan head: codes for the asymmetric scan alone, by residual quantization in the space that queries see.

A query is `a x + e`, a share of the document x that answers it and noise (both centred; see
`llmhash.heads.query_model`). With S the covariance of the noise, `L = S^(-1/2)` maps queries to a space in
which it is about the same in all directions. Were it normal, the document that a query q most likely belongs
to would be the one of least `||L q - a L x||`. There a code stands for the sum v of one table entry a byte,
chosen for its distance from `a L x` alone. Nothing holds codes to the signs of logits, which costs much of
what few bits can tell: Hamming distance between these codes ranks poorly.

Distances need `||v||^2`, which no sum over bytes is. As in other additive quantizers it could be stored
beside the code (Babenko and Lempitsky 2014, "Additive Quantization for Extreme Vector Compression"). Here the
last byte stands for a vector and an offset together, both learned, so that codes stay as short and one
look-up a byte is enough (see `llmhash.heads.codebook`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures, mean_vector
from llmhash.heads.codebook import Bytes, Codebook
from llmhash.heads.codebook_fit import Progress, fit_codebook, membership
from llmhash.heads.error_sampling import mapped, rows_by_error
from llmhash.heads.projection import itq_start
from llmhash.heads.query_model import query_model, shrinkage_at

# Documents that tables are fitted to at most.
_FIT_ROWS = 200_000
# Rounds of k-means over vectors and offsets of the last byte.
_LAST_ROUNDS = 8
# Keeps the regression of the norms well posed where few documents take a value.
_DAMPING = 1.0
# Rows at a time of products with a table.
_BLOCK_ROWS = 1 << 15


def fit_scan(
    features: TrainingFeatures, bits: int, *, seed: int = 0, progress: Progress | None = None
) -> AffineHead:
    """Fit a head whose codebook serves the asymmetric scan alone.

    Args:
        features: What queries are off their sources is learned from queries of known sources; without any, it
            is taken to be what documents are off their nearest others.
        bits: Bits in a code, a multiple of 8.
        seed: Of the sample that tables are fitted to, and of where they start.
        progress: Called with (round, rounds, message).

    Raises:
        InputError: Codes are not whole bytes.
    """
    if bits % 8:
        raise InputError(
            f"scan looks tables up by whole bytes of a code: ask for {bits - bits % 8 + 8} bits, not {bits}."
        )
    queries = query_model(features)
    whitening = queries.whitening(shrinkage_at(bits))
    document_map = queries.share * whitening
    mean = mean_vector(features.documents)
    query_mean: FloatArray = mean if queries.shift is None else mean + queries.shift
    rows = rows_by_error(features.documents, mean, document_map, _FIT_ROWS, seed)
    white = mapped(features.documents[rows], mean, document_map)
    start = itq_start(white, bits, seed=seed)
    book = fit_codebook(white, start, parallel=0.0, pull=0.0, rows=len(white), seed=seed, progress=progress)
    tables, offsets = fit_last_byte(white, book, seed)
    weight: FloatArray = start.weight @ document_map
    return AffineHead(
        weight,
        start.bias - weight @ mean,
        query_bias=None if queries.shift is None else start.bias - weight @ query_mean,
        codebook=Codebook(
            tables,
            mean=mean,
            weights=np.zeros(2, np.float32),
            offsets=offsets,
            document_map=document_map,
            query_mean=query_mean,
            query_map=whitening,
            query_shift=-whitening @ query_mean,
        ),
    )


def fit_last_byte(x: FloatArray, book: Codebook, seed: int) -> tuple[FloatArray, FloatArray]:
    """The tables with a new last one, and offsets, of least `||x - v||^2 + (||v||^2 / 2 + o)^2`.

    The offsets of the bytes before are the regression of `-||v||^2 / 2` on them, v being without the last.

    Args:
        x: float32 (n, d), documents in the mapped space, centred.
        book: Fitted to them, without offsets.
        seed: Of where k-means starts.

    Returns:
        float32 (m, 256, d) and float32 (m, 256).
    """
    codes = book.encode(x, np.zeros((len(x), book.bits), np.float32))[:, :-1]
    before = book.decode(codes)
    half = np.square(before).sum(axis=1) / 2
    offsets = np.zeros(book.tables.shape[:2], np.float32)
    offsets[:-1] = _additive(-half, codes)
    excess = half + replace(book, offsets=offsets).constants(codes)
    left = x - before

    def balance(some: NDArray[np.int64] | slice, vectors: FloatArray) -> FloatArray:
        """The offset that makes up for the norm that a last vector leaves."""
        added: FloatArray = -(excess[some] + np.einsum("nd,nd->n", vectors, before[some] + vectors / 2))
        return added

    taken = np.random.default_rng(seed).permutation(len(x))[:256]
    table, own = np.zeros_like(book.tables[-1]), np.zeros(256, np.float32)
    table[: len(taken)], own[: len(taken)] = left[taken], balance(taken, left[taken])
    for _ in range(_LAST_ROUNDS):
        values = _nearest(left, before, excess, table, own)
        chosen, counts = membership(values[:, None]), np.bincount(values, minlength=256)
        some = counts > 0
        table[some] = (chosen.T @ left)[some] / counts[some, None]
        own[some] = (chosen.T @ balance(slice(None), table[values]))[some] / counts[some]
    offsets[-1] = own
    return np.concatenate([book.tables[:-1], table[None]]), offsets


def _nearest(
    left: FloatArray, before: FloatArray, excess: FloatArray, table: FloatArray, own: FloatArray
) -> NDArray[np.int64]:
    """The value of the last byte of least loss, int64 (n,)."""
    squares = np.square(table).sum(axis=1)
    values = np.empty(len(left), np.int64)
    for start in range(0, len(left), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        missed = excess[part, None] + before[part] @ table.T + squares / 2 + own
        values[part] = (squares - 2 * (left[part] @ table.T) + np.square(missed)).argmin(axis=1)
    return values


def _additive(targets: FloatArray, codes: Bytes) -> FloatArray:
    """Terms float32 (m, 256) of the bytes that add up to the targets of codes: ridge regression."""
    from scipy.sparse.linalg import lsqr

    width = codes.shape[1]
    if width == 0:
        return np.zeros((0, 256), np.float32)
    mean = targets.mean(dtype=np.float64)
    terms = lsqr(membership(codes.astype(np.int64)), targets - mean, damp=_DAMPING)[0]
    shared: FloatArray = (terms.reshape(width, 256) + mean / width).astype(np.float32)
    return shared
