"""Quantizers of principal components, which carry most of an inner product, and of all dimensions.

Documents are centred, queries are not: the inner product of a query with the mean is the same for every
document, so what is left out changes no ranking.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmhash.evaluation.peers.base import ByteArray, FloatArray, Quantizer, import_faiss


def fit_pca_sq8(training: FloatArray, size: int, seed: int) -> Quantizer:
    """Fit `size` principal components, each scaled to a byte, on float32 (n, d). Nothing is random."""
    del seed
    faiss = import_faiss()
    dim = training.shape[1]
    matrix, bias = _components(faiss, training, size)
    quantizer = faiss.ScalarQuantizer(size, faiss.ScalarQuantizer.QT_8bit)
    quantizer.train(training @ matrix.T + bias)
    return Quantizer(
        bytes_per_document=int(quantizer.code_size),
        # The components, their means, and each one's range.
        model_bytes=4 * (size * dim + size + 2 * size),
        description=f"{size} components, 8 bits each",
        to_codes=lambda documents: quantizer.compute_codes(documents @ matrix.T + bias),
        decode=quantizer.decode,
        turn_queries=lambda queries: queries @ matrix.T,
    )


def rabitq_dimensions(size: int, dim: int) -> int | None:
    """The dimensions, `dim` at most, whose RaBitQ code takes `size` bytes with its factors; None for none."""
    faiss = import_faiss()
    for count in range(8, dim + 1, 8):
        if faiss.IndexRaBitQ(count, faiss.METRIC_INNER_PRODUCT).code_size == size:
            return count
    return None


def fit_pca_rabitq(training: FloatArray, size: int, seed: int) -> Quantizer:
    """Fit RaBitQ of the principal components that fill `size` bytes, factors included, on float32 (n, d).

    At 32 bytes one bit of 192 components was measured to rank far better than 2, 3 or 4 bits of 48, 32 or 24.
    """
    faiss = import_faiss()
    count = rabitq_dimensions(size, training.shape[1])
    if count is None:
        raise ValueError(f"no RaBitQ code takes {size} bytes")
    matrix, bias = _components(faiss, training, count)
    return _rabitq(faiss, training, matrix, bias, seed, f"{count} components, ")


def fit_rabitq(training: FloatArray, size: int, seed: int) -> Quantizer:
    """Fit RaBitQ with one bit for each of the d dimensions, and its factors, on float32 (n, d)."""
    del size
    faiss = import_faiss()
    dim = training.shape[1]
    return _rabitq(faiss, training, np.eye(dim, dtype=np.float32), np.zeros(dim, np.float32), seed, "")


def _components(faiss: Any, training: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """The leading principal components float32 (count, d) and what centring adds, float32 (count,)."""
    dim = training.shape[1]
    pca = faiss.PCAMatrix(dim, count)
    pca.max_points_per_d = len(training)  # All documents: the covariance is cheap.
    pca.train(training)
    matrix = faiss.vector_to_array(pca.A).reshape(-1, dim)[:count].copy()
    return matrix, faiss.vector_to_array(pca.b)[:count].copy()


def _rabitq(
    faiss: Any, training: FloatArray, matrix: FloatArray, bias: FloatArray, seed: int, before: str
) -> Quantizer:
    """RaBitQ (Gao and Long 2024) of `matrix @ document + bias`, after the random rotation it assumes.

    Its estimate of an inner product with a float query q is affine in q: q times the decoded vector, plus a
    constant of the document (its estimate for q = 0). Both together are a vector of one more dimension.
    """
    count, dim = matrix.shape
    rotation = faiss.RandomRotationMatrix(count, count)
    rotation.init(seed)
    turned, shift = rotation.apply(matrix.T.copy()).T, rotation.apply(bias[None, :])[0]
    fitted = faiss.IndexRaBitQ(count, faiss.METRIC_INNER_PRODUCT)
    fitted.qb = 0  # Queries stay float.
    fitted.train(training @ turned.T + shift)

    def decode(codes: ByteArray) -> FloatArray:
        index = faiss.clone_index(fitted)
        index.add_sa_codes(codes)
        constants, rows = index.search(np.zeros((1, count), np.float32), len(codes))
        decoded = np.empty((len(codes), count + 1), dtype=np.float32)
        decoded[:, :count] = index.sa_decode(codes)
        decoded[rows[0], count] = constants[0]
        return decoded

    return Quantizer(
        bytes_per_document=int(fitted.code_size),
        # Components and rotation are one matrix; its shift and RaBitQ's centre.
        model_bytes=4 * (count * dim + 2 * count),
        description=f"{before}one bit each, float queries",
        to_codes=lambda documents: fitted.sa_encode(documents @ turned.T + shift),
        decode=decode,
        turn_queries=lambda queries: np.pad(queries @ turned.T, ((0, 0), (0, 1)), constant_values=1.0),
    )
