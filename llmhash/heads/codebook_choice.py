"""Whether a codebook earns its place on a corpus: judged on held-out queries, documents not among them.

On a corpus of some thousand documents a codebook's tables know it closely, and it wins at every width. On
hundreds of thousands, few bits serve better by what training made of them than by reconstructing documents.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray
from llmhash.heads.ranking import QuerySet, Ranking, mix_in_source
from llmhash.index import asymmetric_scores
from llmhash.objectives.similarity import listwise_kl

# Sharpness of the softmax over scores, in units of their own spread: what training learns for its scores.
_SHARPNESS = np.geomspace(2.0, 64.0, 11)
# Documents that a query wants first.
_WANTED = 10
# Scores in memory at a time.
_CELLS = 1 << 24


def asymmetric_loss(head: AffineHead, codes: Codes, ranking: Ranking) -> float:
    """KL of the asymmetric scores from what held-out queries want of all documents.

    That is their sources, where those are known and count, else the teacher's ranking: a codebook in the
    space that queries see finds what answers a query better than the teacher does, and ranks the rest
    otherwise. A score's scale means nothing to a ranking, so that the best of a range of scales counts.

    Args:
        head: Queries to what scores codes.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Holds queries out.
    """
    held_out = ranking.held_out.given
    losses = np.zeros(len(_SHARPNESS))
    for items, queries in _blocks(held_out, codes, ranking):
        batch = ranking.whole(held_out, items)
        scores = torch.from_numpy(asymmetric_scores(head.asymmetric_queries(queries), codes))
        scores = scores.to(batch.targets)
        scores = (scores - scores.mean(dim=1, keepdim=True)) / scores.std(correction=0).clamp_min(1e-12)
        wanted = batch.targets
        if ranking.sources_count:
            sources = held_out.sources[items.to(wanted.device)]
            numbers = torch.arange(len(codes), device=wanted.device)
            wanted = mix_in_source(wanted, numbers == sources[:, None], 1.0)
        losses += len(items) * np.array(
            [listwise_kl(batch.mask(float(sharp) * scores), wanted).item() for sharp in _SHARPNESS]
        )
    return float(losses.min()) / len(held_out)


def hamming_overlap(head: AffineHead, codes: Codes, ranking: Ranking) -> float:
    """How many of the documents that held-out queries want first Hamming distance ranks first, 0 to 1.

    What a query wants is the teacher's distribution and its source. The loss above would ask for the right
    scores of all documents, of which Hamming distances of wide codes have too few.

    Args:
        head: Queries to codes.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Holds queries out.
    """
    held_out, wanted, found = ranking.held_out.given, min(_WANTED, len(codes)), 0.0
    for items, queries in _blocks(held_out, codes, ranking):
        batch = ranking.whole(held_out, items)
        distances = torch.from_numpy(head.query_codes(queries).hamming(codes).astype(np.float32))
        distances = distances.to(batch.left_out.device).masked_fill_(batch.left_out, torch.inf)
        nearest = distances.topk(wanted, largest=False).indices
        best = batch.targets.topk(wanted).indices
        found += float((best[:, :, None] == nearest[:, None, :]).any(dim=2).float().mean(dim=1).sum())
    return found / len(held_out)


def _blocks(queries: QuerySet, codes: Codes, ranking: Ranking) -> Iterator[tuple[torch.Tensor, FloatArray]]:
    """Numbers of queries and their features, of so many that their scores of all codes fit into memory."""
    for items in torch.split(torch.arange(len(queries)), max(1, _CELLS // len(codes))):
        yield items, (queries[items].vectors * ranking.unit).cpu().numpy()
