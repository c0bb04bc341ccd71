"""Product quantization (Jégou et al. 2011), plain and after an optimized rotation (OPQ, Ge et al. 2013)."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmhash.evaluation.peers.base import CENTROIDS, SAMPLE, FloatArray, Quantizer, import_faiss, sample

# FAISS's default of 50 outer iterations is worth several points of retention with few sub-quantizers. With
# many it takes minutes a fit and gains nothing (10 equal 25 at 32), so their product is bounded.
_OPQ_ITERATIONS, _OPQ_LEAST, _OPQ_BUDGET = 50, 10, 800


def fit_pq(training: FloatArray, size: int, seed: int) -> Quantizer:
    """Fit PQ with `size` sub-quantizers of 8 bits on float32 (n, d)."""
    faiss = import_faiss()
    dim, width = training.shape[1], _padded(training.shape[1], size)

    def pad(vectors: FloatArray) -> FloatArray:
        return np.pad(vectors, ((0, 0), (0, width - dim)))

    quantizer = _product_quantizer(faiss, width, size, seed)
    quantizer.train(pad(sample(training, SAMPLE, seed)))
    return Quantizer(
        bytes_per_document=int(quantizer.code_size),
        model_bytes=4 * CENTROIDS * width,
        description=f"{size} sub-quantizers",
        to_codes=lambda documents: quantizer.compute_codes(pad(documents)),
        decode=quantizer.decode,
        turn_queries=pad,
    )


def fit_opq(training: FloatArray, size: int, seed: int) -> Quantizer:
    """Fit OPQ's rotation and PQ with `size` sub-quantizers of 8 bits on float32 (n, d)."""
    faiss = import_faiss()
    dim, width = training.shape[1], _padded(training.shape[1], size)
    fitted_on = sample(training, SAMPLE, seed)
    rotation = faiss.OPQMatrix(dim, size, width)
    rotation.niter = min(_OPQ_ITERATIONS, max(_OPQ_LEAST, _OPQ_BUDGET // size))
    guide = _product_quantizer(faiss, width, size, seed)
    rotation.pq = guide  # A borrowed pointer: `guide` must outlive the training.
    rotation.train(fitted_on)
    quantizer = _product_quantizer(faiss, width, size, seed)
    quantizer.train(rotation.apply(fitted_on))
    return Quantizer(
        bytes_per_document=int(quantizer.code_size),
        model_bytes=4 * CENTROIDS * width + 4 * width * dim,
        description=f"{rotation.niter} OPQ iterations, {size} sub-quantizers",
        to_codes=lambda documents: quantizer.compute_codes(rotation.apply(documents)),
        decode=quantizer.decode,
        turn_queries=rotation.apply,
    )


def _padded(dim: int, size: int) -> int:
    """Every sub-quantizer takes equally many dimensions: zeros fill up, as FAISS's own padding does."""
    return -(-dim // size) * size


def _product_quantizer(faiss: Any, dim: int, size: int, seed: int) -> Any:
    quantizer = faiss.ProductQuantizer(dim, size, 8)
    quantizer.cp.seed = seed
    quantizer.cp.min_points_per_centroid = 1  # No warnings on standard error for small corpora.
    return quantizer
