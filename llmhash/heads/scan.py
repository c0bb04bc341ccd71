"""The scan head: codes for the asymmetric scan alone, by residual quantization in the space that queries see.

A code stands for the sum v of one table entry a byte, chosen for its distance from the document in that space
(`llmhash.heads.query_space`) alone. Nothing holds codes to the signs of logits, which costs much of what few
bits can tell: Hamming distance between these codes ranks poorly.

The documents of a large corpus lie differently here and there: groups of them then have local maps, which
have their part where the best documents are told apart, so that the scan itself costs nothing more (see
`llmhash.heads.local_maps`).
"""

from __future__ import annotations

from dataclasses import replace

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook_fit import Progress
from llmhash.heads.distance_codebook import fit_distance_codebook, fitted_rows, lies_locally
from llmhash.heads.projection import itq_start
from llmhash.heads.query_space import QuerySpace

# Documents that a large corpus's tables are fitted to. More leave less of the sample to small topics.
_ROWS = 100_000


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
    space = QuerySpace.fit(features, bits)
    local = lies_locally(len(features.documents), bits)
    sample = features.documents[fitted_rows(space, features.documents, _ROWS, local=local, seed=seed)]
    points = space.documents(sample)
    start = itq_start(points, bits, seed=seed)
    book = fit_distance_codebook(space, sample, points, start, local=local, seed=seed, progress=progress)
    if not local:
        book = replace(book, query_mean=space.query_mean)
    return replace(space.head(start), codebook=book)
