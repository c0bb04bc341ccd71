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

import numpy as np

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.codebook_fit import Progress
from llmhash.heads.error_sampling import rows_by_error
from llmhash.heads.local_maps import with_local_maps
from llmhash.heads.projection import itq_start
from llmhash.heads.query_space import QuerySpace, with_offsets

# Rounds of fitting.
_ROUNDS = 8
# In a corpus of more documents than these, groups of them have local maps. Tables for all then take fewer
# rounds, and maps and tables together so many, or more at more than so many bytes.
_ALIKE = 100_000
_START_ROUNDS, _LOCAL_ROUNDS, _WIDE_ROUNDS, _WIDE = 3, 4, 6, 16
# Documents that a large corpus's tables are fitted to, and tables and maps. More leave less of the sample to
# small topics; fewer tell too little of each group.
_ROWS, _LOCAL_ROWS = 100_000, 200_000


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
    local = len(features.documents) > _ALIKE and bits > 8
    most = _LOCAL_ROWS if local else _ROWS
    rows = rows_by_error(features.documents, space.mean, space.document_map, most, seed)
    sample = features.documents[rows]
    points = space.documents(sample)
    start = itq_start(points, bits, seed=seed)
    rounds, bending = _rounds(bits // 8, local)
    tell = _of_all(progress, rounds + bending)
    book = space.fit_book(points, start, pull=0.0, rounds=rounds, rows=len(points), seed=seed, progress=tell)
    if local:

        def tell_more(turn: int) -> None:
            tell(rounds + turn + 1, bending, "local maps")

        book = with_local_maps(book, sample, points, bending, seed=seed, progress=tell_more)
    else:
        book = replace(book, query_mean=space.query_mean)
    codes = book.encode(sample, np.zeros((len(sample), bits), np.float32))
    return replace(space.head(start), codebook=with_offsets(book, codes))


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
