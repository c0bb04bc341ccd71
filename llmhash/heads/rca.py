"""Relevant component analysis, then iterative quantization: ITQ where queries lie evenly about documents.

Principal components are the directions in which documents differ most, whether or not queries tell them apart
there. Relevant component analysis (Shental et al. 2002; Bar-Hillel et al. 2003, "Learning distance functions
using equivalence relations", section 3) whitens by the covariance of points that are known to belong together
about their common centre, here of queries about the document that answers them, which it draws to the
identity for the sake of queries that lie off elsewhere. What is left is signal, to be quantized as by ITQ.
"""

from __future__ import annotations

from collections.abc import Callable

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures, mean_vector
from llmhash.heads.error_sampling import rows_by_error
from llmhash.heads.projection import fit_itq
from llmhash.heads.query_model import QueryModel, query_model, shrinkage_at
from llmhash.heads.sign import refuse_above_dim

# Documents that the rotation is fitted to at most.
_MAX_ROWS = 100_000


def fit_rca(
    features: TrainingFeatures,
    bits: int,
    *,
    shrinkage: float | None = None,
    queries: QueryModel | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> AffineHead:
    """Relevant component analysis of queries and their documents, rotated by ITQ.

    Args:
        features: Queries of known sources tell what belongs together, and the queries' own mean; without any,
            documents and their nearest others do.
        bits: Bits in a code, at most the dimension.
        shrinkage: The identity's share in the covariance, above 0 and at most 1, which is ITQ alone; None
            takes 0.5 up to 64 bits and more for wider codes (`llmhash.heads.query_model.shrinkage_at`).
        queries: What `query_model` says of the features, where it has been asked.
        seed: Of ITQ's start and, above 100,000 documents, of the sample (`llmhash.heads.error_sampling`).
        progress: Called with (iteration, iterations, message).

    Raises:
        InputError: `bits` is not from 1 to 4096, or above the dimension; or `shrinkage` is out of its range.
    """
    if shrinkage is not None and not 0 < shrinkage <= 1:
        raise InputError(f"shrinkage must be above 0 and at most 1, not {shrinkage}.")
    refuse_above_dim("rca", "rotates b principal components", bits, features.dim)
    queries = queries or query_model(features)
    whitening = queries.whitening(shrinkage_at(bits) if shrinkage is None else shrinkage)
    mean = mean_vector(features.documents)
    rows = rows_by_error(features.documents, mean, whitening, _MAX_ROWS, seed)
    white: FloatArray = features.documents[rows] @ whitening.T
    rotated = fit_itq(TrainingFeatures(white), bits, seed=seed, progress=progress)
    weight: FloatArray = rotated.weight @ whitening
    return AffineHead(
        weight,
        -weight @ mean,
        query_bias=None if queries.shift is None else -weight @ (mean + queries.shift),
    )
