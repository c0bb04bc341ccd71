"""How many of the documents that held-out queries want first a head ranks first.

It is not how well queries find their sources: pseudo-queries are all cut alike, and training learns more of
how than a real query gains by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray
from llmhash.heads.ranking import QuerySet, Ranking
from llmhash.index import asymmetric_scores

# Documents that a query wants first.
_WANTED = 10
# Scores in memory at a time.
_CELLS = 1 << 24


def asymmetric_overlaps(head: AffineHead, codes: Codes, ranking: Ranking) -> FloatArray:
    """How many of the documents that each held-out query wants first the asymmetric score ranks first.

    What a query wants is the teacher's distribution and its source.

    Args:
        head: Queries to what scores codes.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Holds queries out.

    Returns:
        float32 (q,), shares from 0 to 1.
    """
    return _overlaps(
        codes, ranking, lambda queries: -asymmetric_scores(head.asymmetric_queries(queries), codes)
    )


def hamming_overlaps(head: AffineHead, codes: Codes, ranking: Ranking) -> FloatArray:
    """The same by Hamming distance, of a head's codes of queries."""
    return _overlaps(
        codes, ranking, lambda queries: head.query_codes(queries).hamming(codes).astype(np.float32)
    )


def _overlaps(codes: Codes, ranking: Ranking, distances: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Of the first ten by distances, float32 (m, n) of queries, and the first ten that are wanted."""
    held_out, wanted, found = ranking.held_out.given, min(_WANTED, len(codes)), []
    for items, queries in _blocks(held_out, codes, ranking):
        batch = ranking.whole(held_out, items)
        there = torch.from_numpy(distances(queries)).to(batch.left_out.device)
        nearest = there.masked_fill_(batch.left_out, torch.inf).topk(wanted, largest=False).indices
        best = batch.targets.topk(wanted).indices
        found.append((best[:, :, None] == nearest[:, None, :]).any(dim=2).float().mean(dim=1))
    shares: FloatArray = torch.cat(found).cpu().numpy()
    return shares


def _blocks(queries: QuerySet, codes: Codes, ranking: Ranking) -> Iterator[tuple[Tensor, FloatArray]]:
    """Numbers of queries and their features, of so many that their scores of all codes fit into memory."""
    for items in torch.split(torch.arange(len(queries)), max(1, _CELLS // len(codes))):
        yield items, (queries[items].vectors * ranking.unit).cpu().numpy()
