"""Whether a codebook earns its place on a corpus: judged on held-out queries, documents not among them.

On a corpus of some thousand documents a codebook's tables know it closely, and it wins at every width. On
hundreds of thousands, few bits serve better by what training made of them than by reconstructing documents.
Where it chooses documents' codes, Hamming distance gains in few bits by letting it choose queries' too; wide
codes do as well by the signs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray
from llmhash.heads.ranking import Ranking
from llmhash.index import asymmetric_scores
from llmhash.objectives.similarity import listwise_kl

# Sharpness of the softmax over scores, in units of their own spread: what training learns for its scores.
_SHARPNESS = np.geomspace(2.0, 64.0, 11)
# Scores in memory at a time.
_CELLS = 1 << 24


def asymmetric_loss(head: AffineHead, codes: Codes, ranking: Ranking) -> float:
    """KL of the asymmetric scores from the teacher's ranking of all documents, over the held-out queries.

    Args:
        head: Queries to what scores codes.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Holds queries out.
    """
    return _loss(lambda queries: asymmetric_scores(head.asymmetric_queries(queries), codes), codes, ranking)


def hamming_loss(head: AffineHead, codes: Codes, ranking: Ranking) -> float:
    """The same of Hamming distances from the head's codes of queries."""
    return _loss(lambda queries: -head.query_codes(queries).hamming(codes).astype(np.float32), codes, ranking)


def with_query_codes(head: AffineHead, codes: Codes, ranking: Ranking) -> AffineHead:
    """The head whose codebook chooses queries' codes too, where held-out queries then rank better by Hamming.

    Args:
        head: With a codebook that chooses documents' codes and not yet queries'.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Holds queries out.
    """
    if head.codebook is None:
        return head
    mean = (ranking.query_mean * ranking.unit).cpu().numpy()
    chosen = replace(head, codebook=replace(head.codebook, query_mean=mean))
    return chosen if hamming_loss(chosen, codes, ranking) < hamming_loss(head, codes, ranking) else head


def _loss(score: Callable[[FloatArray], NDArray[np.float32]], codes: Codes, ranking: Ranking) -> float:
    """KL of scores from the teacher's ranking of all documents, over the held-out queries.

    A score's scale means nothing to a ranking, so that the best of a range of scales counts.

    Args:
        score: Queries float32 (q, d) to scores of the documents, (q, n).
        codes: Of the documents.
        ranking: Holds queries out.
    """
    held_out = ranking.held_out.given
    losses = np.zeros(len(_SHARPNESS))
    for items in torch.split(torch.arange(len(held_out)), max(1, _CELLS // len(codes))):
        batch = ranking.whole(held_out, items)
        queries = (held_out[items].vectors * ranking.unit).cpu().numpy()
        scores = torch.from_numpy(score(queries)).to(batch.targets)
        scores = (scores - scores.mean(dim=1, keepdim=True)) / scores.std(correction=0).clamp_min(1e-12)
        losses += len(items) * np.array(
            [listwise_kl(batch.mask(float(sharp) * scores), batch.targets).item() for sharp in _SHARPNESS]
        )
    return float(losses.min()) / len(held_out)
