"""The scan head: codes for the asymmetric scan alone, by residual quantization in the space that queries see.

A query is `a x + e`, a share of the document x that answers it and noise (both centred; see
`llmhash.heads.query_model`). With S the covariance of the noise, `L = S^(-1/2)` maps queries to a space in
which it is about the same in all directions. Were it normal, the document that a query q most likely belongs
to would be the one of least `||L q - a L x||`. There a code stands for the sum v of one table entry a byte,
chosen for its distance from `a L x` alone. Nothing holds codes to the signs of logits, which costs much of
what few bits can tell: Hamming distance between these codes ranks poorly.

Distances need `||v||^2`, which no sum over bytes is. Other additive quantizers store it beside the code
(Babenko and Lempitsky 2014, "Additive Quantization for Extreme Vector Compression"). Here codes stay as
short: the scan adds up what a regression on the bytes makes of it, and the best documents are then told apart
by the norms of their vectors (see `llmhash.index.asymmetric_search`).

The documents of a large corpus lie differently here and there: groups of them then have local maps, which
have their part where the best documents are told apart, so that the scan itself costs nothing more (see
`llmhash.heads.local_maps`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures, mean_vector
from llmhash.heads.codebook import Bytes, Codebook
from llmhash.heads.codebook_fit import Progress, fit_codebook, membership
from llmhash.heads.error_sampling import mapped, rows_by_error
from llmhash.heads.local_maps import with_local_maps
from llmhash.heads.projection import itq_start
from llmhash.heads.query_model import query_model, shrinkage_at

# Rounds of fitting.
_ROUNDS = 8
# In a corpus of more documents than these, groups of them have local maps. Tables for all then take fewer
# rounds, and maps and tables together so many, or more at more than so many bytes.
_ALIKE = 100_000
_START_ROUNDS, _LOCAL_ROUNDS, _WIDE_ROUNDS, _WIDE = 3, 4, 6, 16
# Documents that a large corpus's tables are fitted to, and tables and maps. More leave less of the sample to
# small topics; fewer tell too little of each group.
_ROWS, _LOCAL_ROWS = 100_000, 200_000
# Keeps the regression of the norms well posed where few documents take a value.
_DAMPING = 1.0


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
    local = len(features.documents) > _ALIKE and bits > 8
    most = _LOCAL_ROWS if local else _ROWS
    rows = rows_by_error(features.documents, mean, document_map, most, seed)
    white = mapped(features.documents[rows], mean, document_map)
    start = itq_start(white, bits, seed=seed)
    weight: FloatArray = start.weight @ document_map
    rounds, bending = _rounds(bits // 8, local)
    tell = _of_all(progress, rounds + bending)
    book = Codebook(
        _fit_tables(white, start, rounds, seed, tell),
        mean=mean,
        weights=np.zeros(2, np.float32),
        document_map=document_map,
        query_mean=None if local else query_mean,
        query_map=whitening,
        query_shift=-whitening @ query_mean,
    )
    sample = features.documents[rows]
    if local:

        def tell_more(turn: int) -> None:
            tell(rounds + turn + 1, bending, "local maps")

        book = with_local_maps(book, sample, white, bending, seed=seed, progress=tell_more)
    return AffineHead(
        weight,
        start.bias - weight @ mean,
        query_bias=None if queries.shift is None else start.bias - weight @ query_mean,
        codebook=_with_offsets(book, sample),
    )


def _rounds(width: int, local: bool) -> tuple[int, int]:
    """Rounds in which tables of codes of so many bytes are fitted, and rounds with local maps."""
    if not local:
        return _ROUNDS, 0
    return _START_ROUNDS, _WIDE_ROUNDS if width > _WIDE else _LOCAL_ROUNDS


def _of_all(progress: Progress | None, rounds: int) -> Progress:
    """Tells of so many rounds, whatever a part of them takes for their number."""

    def tell(turn: int, _: int, message: str) -> None:
        if progress is not None:
            progress(turn, rounds, message)

    return tell


def _fit_tables(x: FloatArray, start: AffineHead, rounds: int, seed: int, progress: Progress) -> FloatArray:
    """Tables float32 (m, 256, d) of mapped documents (n, d)."""
    tables = fit_codebook(
        x, start, parallel=0.0, pull=0.0, rows=len(x), rounds=rounds, seed=seed, progress=progress
    ).tables.copy()
    # The fit is about the sample's mean, and documents drawn for coding badly are off the middle of all.
    tables[0] += mean_vector(x)
    return tables


def _with_offsets(book: Codebook, documents: FloatArray) -> Codebook:
    """The codebook with offsets: sums over bytes near the norms of what documents' codes stand for."""
    codes = book.encode(documents, np.zeros((len(documents), book.bits), np.float32))
    return replace(book, offsets=additive(-np.square(book.decode(codes)).sum(axis=1) / 2, codes))


def additive(targets: FloatArray, codes: Bytes) -> FloatArray:
    """Terms float32 (m, 256) of the bytes that add up to the targets of codes: ridge regression."""
    from scipy.sparse.linalg import lsqr

    width = codes.shape[1]
    mean = targets.mean(dtype=np.float64)
    terms = lsqr(membership(codes.astype(np.int64)), targets - mean, damp=_DAMPING)[0]
    shared: FloatArray = (terms.reshape(width, 256) + mean / width).astype(np.float32)
    return shared
