"""Fitting an additive codebook to documents, on top of a fitted affine head.

The bytes are first taken one after the other, as residual quantization does: k-means over the 256 values of a
byte, started from the bits that the head gives. Then all tables are fitted together, a linear least squares
problem while the codes stand still, and all codes are searched anew, in turns. A value that few documents
take is drawn to what its eight bits stand for alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, mean_vector
from llmhash.heads.codebook import SIGNS, Bytes, Codebook

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_KMEANS_ROUNDS, _CG_STEPS = 10, 15
# Of the squared residual, where rounding takes over: few documents are solved in few steps.
_CG_TOLERANCE = 1e-12
# Documents, by bytes of a code, from which on it is faster to multiply by how often two values stand together
# than by the codes.
_FEW = 3000
# How many documents the prior of a value weighs as much as.
_PRIOR = 1.0
# Keeps the prior's own regression well posed where bits are constant.
_RIDGE = 1e-3

Progress = Callable[[int, int, str], None]


def fit_codebook(
    documents: FloatArray,
    head: AffineHead,
    *,
    pull: float,
    rounds: int,
    progress: Progress | None = None,
) -> Codebook:
    """Fit tables to documents.

    Args:
        documents: float32 (n, d).
        head: Gives their logits; a multiple of 8 bits.
        pull: Weight of the logits' signs, in units of the documents' mean squared distance from their mean
            over the logits' spread: 0 lets codes leave the signs wherever that lowers the error.
        rounds: How often tables are fitted to codes and codes found anew.
        progress: Called with (round, rounds, message).
    """
    mean = mean_vector(documents)
    logits = head.document_logits(documents)
    x = documents - mean
    spread = float(np.sqrt(np.square(logits).mean())) or 1.0
    weight = pull * float(np.square(x).sum(axis=1).mean()) / spread
    tables, codes = residual_tables(x, logits, weight)
    book = Codebook(tables, mean, np.array([weight], np.float32))
    for turn in range(rounds):
        if progress is not None:
            progress(turn + 1, rounds, "codebook")
        codes = book.encode(documents, logits)
        book = replace(book, tables=_fit_tables(x, codes, book.tables))
    return book


def residual_tables(x: FloatArray, logits: FloatArray, pull: float) -> tuple[FloatArray, Bytes]:
    """Tables and codes, byte after byte on what the bytes before leave over.

    Args:
        x: float32 (n, d), centred.
        logits: float32 (n, 8 m), whose signs the values of each byte start from.
        pull: Weight of the logits' signs.

    Returns:
        float32 (m, 256, d) and uint8 (n, m).
    """
    width = logits.shape[1] // 8
    codes = Codes.from_logits(logits).packed
    tables = np.empty((width, 256, x.shape[1]), np.float32)
    residual = x.copy()
    for byte in range(width):
        values = codes[:, byte].astype(np.int64)
        towards = pull * (logits[:, 8 * byte : 8 * byte + 8] @ SIGNS.T)
        for _ in range(_KMEANS_ROUNDS):
            table = _means(residual, values)
            costs = np.einsum("ad,ad->a", table, table) - 2 * (residual @ table.T) - towards
            values = costs.argmin(axis=1)
        tables[byte], codes[:, byte] = table, values
        residual -= table[values]
    return tables, codes


def _means(residual: FloatArray, values: NDArray[np.int64]) -> FloatArray:
    """The mean residual of each value of a byte, float32 (256, d), drawn to the bits' own."""
    chosen = membership(values[:, None])
    counts = np.asarray(chosen.sum(axis=0)).reshape(-1, 1)
    prior = _bits_alone(residual, values[:, None].astype(np.uint8))[0]
    means: FloatArray = ((chosen.T @ residual + _PRIOR * prior) / (counts + _PRIOR)).astype(np.float32)
    return means


def _fit_tables(x: FloatArray, codes: Bytes, tables: FloatArray) -> FloatArray:
    """Tables of least squared error for given codes, by conjugate gradients from the present ones.

    With the one-hot matrix S of the codes they solve `(S' S + prior) C = S' x + prior * C_prior`.
    """
    shape = tables.shape
    chosen = membership(codes.astype(np.int64))
    transposed = chosen.T.tocsr()
    prior = _bits_alone(x, codes).reshape(-1, shape[2])

    # `S' S` is all that many documents come to.
    together = _counts(codes) if len(x) > _FEW * shape[0] else None

    def image(step: FloatArray) -> FloatArray:
        product: FloatArray = transposed @ (chosen @ step) if together is None else together @ step
        return product + _PRIOR * step

    counts = np.asarray(chosen.sum(axis=0)).reshape(-1, 1)
    start = tables.reshape(-1, shape[2])
    fitted = conjugate_gradients(
        image,
        transposed @ (x - chosen @ start) + _PRIOR * (prior - start),
        start,
        counts + np.float32(_PRIOR),
        _CG_STEPS,
    )
    return fitted.reshape(shape)


def conjugate_gradients(
    image: Callable[[FloatArray], FloatArray],
    left: FloatArray,
    start: FloatArray,
    scale: FloatArray,
    steps: int,
) -> FloatArray:
    """Solve a symmetric positive definite system for all columns together, float32 (n, d).

    Args:
        image: The system's product with a candidate.
        left: What `start` leaves of the right-hand side.
        start: Where to start.
        scale: float32 (n, 1), the Jacobi preconditioner: about the system's diagonal.
        steps: At most; few documents are solved in few.
    """
    solution = start.copy()
    scaled = left / scale
    step, reached = scaled.copy(), float((left * scaled).sum(dtype=np.float64))
    enough = _CG_TOLERANCE * reached
    for _ in range(steps):
        if reached <= enough:
            break
        product = image(step)
        length = np.float32(reached / float((step * product).sum(dtype=np.float64)))
        solution += length * step
        left = left - length * product
        scaled = left / scale
        before, reached = reached, float((left * scaled).sum(dtype=np.float64))
        step = scaled + np.float32(reached / before) * step
    return solution


def _counts(codes: Bytes) -> FloatArray:
    """In how many codes two values of bytes stand together, `S' S`, float32 (256 m, 256 m)."""
    width = codes.shape[1]
    counts = np.empty((width, 256, width, 256), np.float32)
    for first in range(width):
        values = 256 * codes[:, first].astype(np.int64)
        for second in range(first, width):
            both = np.bincount(values + codes[:, second], minlength=1 << 16).reshape(256, 256)
            counts[first, :, second], counts[second, :, first] = both, both.T
    return counts.reshape(256 * width, 256 * width)


def _bits_alone(x: FloatArray, codes: Bytes) -> FloatArray:
    """Tables (m, 256, d) that add up one vector a bit: the regression of x on the bits."""
    bits = SIGNS[codes].reshape(len(codes), -1)
    gram = bits.T @ bits
    gram[np.diag_indices_from(gram)] += np.float32(_RIDGE * len(bits))
    vectors = np.linalg.solve(gram, bits.T @ x).reshape(codes.shape[1], 8, -1)
    tables: FloatArray = np.einsum("ab,mbd->mad", SIGNS, vectors).astype(np.float32)
    return tables


def membership(codes: NDArray[np.int64]) -> csr_array:
    """One-hot codes, sparse float32 (n, 256 m)."""
    from scipy.sparse import csr_array

    rows, width = codes.shape
    columns = (codes + 256 * np.arange(width)).ravel()
    return csr_array(
        (np.ones(rows * width, np.float32), columns, np.arange(0, rows * width + 1, width)),
        shape=(rows, 256 * width),
    )
