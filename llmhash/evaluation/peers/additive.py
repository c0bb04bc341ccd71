"""Additive quantization: a document is the sum of one vector of each codebook.

Residual quantization (RQ, Chen et al. 2010) chooses them one after the other with a beam, local search
quantization (LSQ++, Martinez et al. 2018) all together.
"""

from __future__ import annotations

from llmhash.evaluation.peers.base import CENTROIDS, SAMPLE, FloatArray, Quantizer, import_faiss, sample

#: Partial sums that RQ follows: 16 gained nothing over 8 and took more than twice the time.
BEAM = 8

# Bytes of RQ's distances at a time.
_MEMORY = 1 << 29


def fit_rq(training: FloatArray, size: int, seed: int) -> Quantizer:
    """Fit RQ with `size` stages of 8 bits on float32 (n, d)."""
    faiss = import_faiss()
    dim = training.shape[1]
    quantizer = faiss.ResidualQuantizer(dim, size, 8)
    quantizer.max_beam_size = BEAM
    quantizer.max_mem_distances = _MEMORY
    quantizer.train_type |= quantizer.Train_top_beam
    quantizer.use_beam_LUT = 1
    quantizer.cp.seed = seed
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(sample(training, SAMPLE, seed))
    return Quantizer(
        bytes_per_document=int(quantizer.code_size),
        model_bytes=4 * CENTROIDS * size * dim,
        description=f"{size} stages, beam {BEAM}",
        to_codes=quantizer.compute_codes,
        decode=quantizer.decode,
        turn_queries=lambda queries: queries,
    )


def lsq_rounds(size: int) -> dict[str, int]:
    """Rounds of local search by `size`, the number of codebooks, in FAISS's names.

    A round of search takes time in the square of the codebooks and an update of them in the cube; these keep
    a fit on 10,000 documents at about a minute on one thread. At 8 codebooks FAISS's own 25, 8 and 16 took
    twice as long and gained nothing.
    """
    if size <= 8:
        return {"train_iters": 25, "train_ils_iters": 4, "encode_ils_iters": 8}
    if size <= 16:
        return {"train_iters": 12, "train_ils_iters": 2, "encode_ils_iters": 4}
    return {"train_iters": 3, "train_ils_iters": 1, "encode_ils_iters": 4}


def fit_lsq(training: FloatArray, size: int, seed: int) -> Quantizer:
    """Fit LSQ with `size` codebooks of 8 bits on float32 (n, d)."""
    faiss = import_faiss()
    dim = training.shape[1]
    quantizer = faiss.LocalSearchQuantizer(dim, size, 8)
    rounds = lsq_rounds(size)
    for name, value in rounds.items():
        setattr(quantizer, name, value)
    quantizer.update_codebooks_with_double = False  # Float is several times faster and lost nothing.
    quantizer.random_seed = seed
    quantizer.train(sample(training, SAMPLE, seed))
    return Quantizer(
        bytes_per_document=int(quantizer.code_size),
        model_bytes=4 * CENTROIDS * size * dim,
        description=", ".join([f"{size} codebooks", *(f"{name} {value}" for name, value in rounds.items())]),
        to_codes=quantizer.compute_codes,
        decode=quantizer.decode,
        turn_queries=lambda queries: queries,
    )
