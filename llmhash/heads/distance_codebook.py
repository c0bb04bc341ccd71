"""Codebooks in the space that queries see, fitted as the size of a corpus asks for.

All of a small corpus is fitted to. Of a large one tables are fitted to a sample of documents that are coded
badly (see `llmhash.heads.error_sampling`), and since its documents lie differently here and there, groups of
them then have local maps (see `llmhash.heads.local_maps`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray
from llmhash.heads.codebook import Codebook
from llmhash.heads.codebook_fit import Progress
from llmhash.heads.error_sampling import rows_by_error
from llmhash.heads.local_maps import WIDE, with_local_maps
from llmhash.heads.query_space import QuerySpace, with_offsets

# Rounds of fitting.
_ROUNDS = 8
# Documents that tables know each of, about a hundred for each value of a byte.
_KNOWN = 25_000
# In a corpus of more documents than these, groups of them have local maps. Tables for all then take fewer
# rounds, and maps and tables together so many, or more where codes are wide.
_ALIKE = 100_000
_START_ROUNDS, _LOCAL_ROUNDS, _WIDE_ROUNDS = 3, 4, 6
# Documents that tables and maps are fitted to: fewer tell too little of each group.
_LOCAL_ROWS = 200_000
# Documents that tables are fitted to where codes are held to signs; and how strongly they are where tables
# know each document, where they do not, and where there are maps.
_HELD_ROWS = 50_000
_PULL, _LARGE_PULL, _LOCAL_PULL = 0.1, 0.01, 0.005


def are_known(documents: int) -> bool:
    """Whether a codebook's tables know each of so many documents."""
    return documents <= _KNOWN


def lies_locally(documents: int, bits: int) -> bool:
    """Whether a codebook of so many documents has local maps: the first of several bytes tells where."""
    return documents > _ALIKE and bits > 8


def fitted_rows(
    space: QuerySpace, documents: FloatArray, most: int, *, local: bool, seed: int
) -> NDArray[np.int64]:
    """Rows of the documents (n, d) that tables are fitted to: `most` of a large corpus, or more with maps."""
    return rows_by_error(documents, space.mean, space.document_map, _LOCAL_ROWS if local else most, seed)


def fit_held_codebook(
    space: QuerySpace,
    documents: FloatArray,
    head: AffineHead,
    *,
    pull: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Codebook:
    """A codebook that chooses codes for distance and holds them to the signs of a head's logits.

    Args:
        space: Where distances are measured.
        documents: float32 (n, d), all of the corpus.
        head: Of the documents' features.
        pull: How strongly codes are held, as `fit_codebook` takes it; None holds them less the more documents
            there are.
        seed: Of the sample that is fitted to, and of the groups that have maps.
        progress: Called with (round, rounds, message).
    """
    local = lies_locally(len(documents), head.bits)
    sample = documents[fitted_rows(space, documents, _HELD_ROWS, local=local, seed=seed)]
    if pull is None:
        pull = _PULL if are_known(len(documents)) else _LOCAL_PULL if local else _LARGE_PULL
    return fit_distance_codebook(
        space,
        sample,
        space.documents(sample),
        space.of_points(head),
        local=local,
        logits=head.document_logits(sample),
        pull=pull,
        seed=seed,
        progress=progress,
    )


def fit_distance_codebook(
    space: QuerySpace,
    documents: FloatArray,
    points: FloatArray,
    head: AffineHead,
    *,
    local: bool,
    logits: FloatArray | None = None,
    pull: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Codebook:
    """A codebook that chooses codes for distance from documents, and scores by it.

    Args:
        space: Where distances are measured.
        documents: float32 (n, d), what is fitted to.
        points: float32 (n, d), where they are in the space.
        head: Of points; its logits start tables.
        local: Fit local maps.
        logits: float32 (n, bits), of the documents, whose signs codes are held to; None needs no pull.
        pull: How strongly, as `fit_codebook` takes it.
        seed: Of the groups that have maps.
        progress: Called with (round, rounds, message).
    """
    rounds, bending = _rounds(head.bits // 8, local)

    def tell(turn: int, _: int, message: str) -> None:
        if progress is not None:
            progress(turn, rounds + bending, message)

    def tell_more(turn: int) -> None:
        tell(rounds + turn + 1, bending, "local maps")

    book = space.fit_book(points, head, pull=pull, rounds=rounds, progress=tell)
    held_to = np.zeros((len(points), head.bits), np.float32) if logits is None else logits
    if local:
        book = with_local_maps(book, documents, points, held_to, bending, seed=seed, progress=tell_more)
    return with_offsets(book, book.encode(documents, held_to))


def _rounds(width: int, local: bool) -> tuple[int, int]:
    """Rounds in which tables of codes of so many bytes are fitted, and rounds with local maps."""
    if not local:
        return _ROUNDS, 0
    return _START_ROUNDS, _WIDE_ROUNDS if width > WIDE else _LOCAL_ROUNDS
