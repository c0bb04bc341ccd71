"""Fitting a general head to a corpus that it has never seen: no queries, and no training of what codes it.

Two things of a general head are wrong for a narrow corpus. Its thresholds lie where the documents that it
was trained on have their mean, so that many bits hardly vary; and bits stand for what they stood for there.
The corpus's own mean mends the first. Enough documents mend the second, too: where documents near each other
lie evenly about each other, their own ITQ (`llmhash.heads.rca`) is a better projection than one trained on
others, and a codebook of them (`llmhash.heads.distance_codebook`) scores its codes, where what documents are
off their nearest others stands in for what queries are off theirs.

A codebook of some thousand documents is partly a memory, and worth having of all of a corpus. Those that it
has not seen gain less: once they are about half of all, codes without one rank as well, and fitted to 25,000
of 350,000 it ranks worse.

Where tables know each document, what queries' codes are is learned, too: anchors
(`llmhash.heads.codebook_anchors`) are trained on documents moved as others' nearest lie off those. By Hamming
distance 64 and 128 bits of seven development sets then keep 70.9 and 84.4 % of the teacher's nDCG@10 instead
of 64.5 and 79.8.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray, TrainingFeatures, check_features
from llmhash.heads.codebook_fit import Progress
from llmhash.heads.distance_codebook import are_known, fit_held_codebook
from llmhash.heads.query_model import query_model, stand_in_queries
from llmhash.heads.query_space import QuerySpace
from llmhash.heads.rca import fit_rca

#: Documents below which their mean says too little, and the head is left as it is.
FEWEST_DOCUMENTS = 100
#: Documents below which their own projection, and a codebook with 256 entries a byte, say more of them than
#: of those to come.
OWN_DOCUMENTS = 1000
# Near documents tell less of queries than queries would, and a codebook makes up for what is left as it is.
_SHRINKAGE = 0.8
# Queries that anchors are trained on.
_STAND_INS = 10_000


def adapt(
    head: AffineHead,
    documents: FloatArray,
    *,
    codebook: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> AffineHead:
    """The head with the documents' mean as its thresholds; of enough documents, their own ITQ and codebook.

    Where the codebook knows each document, it has anchors for queries' codes. Thresholds of queries, where
    they have their own, move by as much as those of documents. A head that tells the sides apart keeps its
    projection: what queries are off documents is known in its logits alone.

    Args:
        head: Any affine head; a codebook that it has is replaced. From `OWN_DOCUMENTS` on, prefixes of codes
            are no codes, even where they were.
        documents: float32 (n, dim), of the corpus.
        codebook: Fit one, too, where there are as many and the code is of whole bytes: where these are all
            the documents, or most of them.
        seed: Of ITQ's start, of what anchors are trained on and, of many documents, of the sample that the
            codebook is fitted to.
        progress: Called with (round, rounds, message), or of anchors with (step, steps, message).

    Raises:
        InputError: There are no documents, or they are of another dimension.
    """
    documents = check_features(documents, "documents")
    count = len(documents)
    if count == 0 or documents.shape[1] != head.dim:
        raise InputError(f"this head adapts to features (n, {head.dim}), not {documents.shape}.")
    if count < FEWEST_DOCUMENTS:
        return head
    own_projection = head.shared and head.bits <= head.dim
    own_codebook = codebook and head.bits % 8 == 0
    if count < OWN_DOCUMENTS or not (own_projection or own_codebook):
        return _centred(head, documents)
    features = TrainingFeatures(documents)
    queries = replace(query_model(features), shift=_queries_off(head))
    own = (
        fit_rca(features, head.bits, shrinkage=_SHRINKAGE, queries=queries, seed=seed, progress=progress)
        if own_projection
        else _centred(head, documents)
    )
    if not own_codebook:
        return own
    space = QuerySpace.fit(features, head.bits, queries)
    book = fit_held_codebook(space, documents, own, seed=seed, progress=progress)
    if not are_known(count):
        return replace(own, codebook=replace(book, query_mean=space.query_mean))
    return _with_anchors(replace(own, codebook=book), documents, queries.shift, seed, progress)


def _with_anchors(
    head: AffineHead,
    documents: FloatArray,
    shift: FloatArray | None,
    seed: int,
    progress: Progress | None,
) -> AffineHead:
    """The head with anchors for queries' codes, trained on stand-ins for queries."""
    from llmhash.heads.codebook_anchors import with_anchors  # Loads torch.
    from llmhash.heads.distill import DistillOptions
    from llmhash.heads.ranking import Ranking

    queries, sources = stand_in_queries(documents, shift, _STAND_INS, seed)
    features = TrainingFeatures(documents, queries, sources, sides_differ=shift is not None)
    settings = replace(DistillOptions().ranking(), document_share=0.0)
    ranking = Ranking(features, settings, seed=seed, device="cpu")
    return with_anchors(head, head.document_codes(documents), ranking, seed=seed, progress=progress)


def _queries_off(head: AffineHead) -> FloatArray | None:
    """What the mean of queries is off that of documents, float32 (dim,); None where the head does not tell.

    Where thresholds are one projection's of each side's mean, they tell as much of it as that one sees.
    """
    if head.query_bias is None or head.query_weight is not None:
        return None
    off: FloatArray = np.linalg.lstsq(head.weight, head.bias - head.query_bias, rcond=None)[0]
    return off


def _centred(head: AffineHead, documents: FloatArray) -> AffineHead:
    """The head without a codebook, its thresholds at the documents' mean."""
    mean = documents.mean(axis=0, dtype=np.float64)
    shift = head.weight.astype(np.float64) @ mean + head.bias
    centred = replace(head, bias=(head.bias - shift).astype(np.float32), codebook=None)
    if head.query_bias is None:
        return centred
    return replace(centred, query_bias=(head.query_bias - shift).astype(np.float32))
