"""Anchors for queries' codes: which bits the documents have that lie where a query lies.

Where a codebook chooses documents' codes, the bits of neighbours need not be linear in where they lie, and
a query's linear logits miss them by Hamming distance. Anchors learn them: they start at centroids of the
corpus, each with the mean code of its documents, and gradient descent on the listwise loss of the distill
head moves keys and votes while documents' codes stand still. Most of the queries are transplanted: a document
d, plus what another document's query was away from its own, `d + (q - d_q)`. A corpus's own queries are too
few for so many parameters, and so every document gets some.

Anchors of a few thousand documents are in part a memory of them, as a codebook's tables are, and count among
the model's bytes. At 64 bits, of SciFact's 5,183 documents, its training queries keep 60 % of the teacher's
nDCG@10 by Hamming distance without anchors, 63 with 512, 66 with 1,024, and 73 with 2,048.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from llmhash.binarize import estimator
from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.codebook import Codebook
from llmhash.heads.overlap import hamming_overlaps
from llmhash.heads.ranking import QuerySet, Ranking
from llmhash.heads.ranking_training import Progress, train_to_rank
from llmhash.training import TrainingPlan

#: Anchors at most, and documents for each at least.
MOST_ANCHORS, _DOCUMENTS_EACH = 2048, 2
# Documents that centroids are of at most, and rounds of k-means.
_KMEANS_ROWS, _KMEANS_ROUNDS = 25_000, 8
# Transplanted queries at hand, and their share of those drawn.
_TRANSPLANTED, _TRANSPLANTED_SHARE = 20_000, 0.75
# The learning rate is Adam's: keys have entries of about 0.05, votes and biases of about 1.
_PLAN = TrainingPlan(steps=500, batch_size=128, learning_rate=1e-3, validate_every=100, patience=3)
# How sharply the nearest anchors are told from others, where training starts, and what their votes then weigh
# beside logits of unit variance: little, or votes overfit.
_SHARPNESS, _VOTE = 40.0, 0.3
# Logarithm of the scale of the scores, likewise.
_LOG_SCALE = 2.7


def with_anchors(
    head: AffineHead, codes: Codes, ranking: Ranking, *, seed: int = 0, progress: Progress | None = None
) -> AffineHead:
    """The head with anchors for queries' codes; as it is where held-out queries do not gain by Hamming.

    Args:
        head: With a codebook that chooses documents' codes.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Its queries that are no documents, where there are some, are trained on and judged by.
        seed: Decides the centroids, the transplanted queries and the batches.
        progress: Called with (step, steps, message).
    """
    count = min(MOST_ANCHORS, len(ranking.documents) // _DOCUMENTS_EACH)
    if head.codebook is None or count == 0:
        return head
    student = _Anchors(head, codes, ranking, count, seed).to(ranking.documents.device)
    estimate = estimator("straight_through_tanh")
    given = ranking.training.given
    made = transplanted(ranking, _TRANSPLANTED, torch.Generator().manual_seed(seed))
    train_to_rank(
        student,
        lambda batch: student.scores(estimate(student(batch.queries), 0), batch.rows),
        ranking,
        given if made is None else ranking.ready(given.mixed(made, _TRANSPLANTED_SHARE)),
        ranking.held_out.given,
        _PLAN,
        seed=seed,
        progress=progress,
    )
    anchored = student.head(head, ranking)
    before, after = (hamming_overlaps(each, codes, ranking).mean() for each in (head, anchored))
    return anchored if after > before else head


def transplanted(ranking: Ranking, count: int, generator: torch.Generator) -> QuerySet | None:
    """Queries of random documents, as far from these as the corpus's queries are from their sources.

    Args:
        ranking: Has the queries, those of known sources, and the documents.
        count: Of transplanted queries.
        generator: Draws both.

    Returns:
        The queries, as long as those that they are made of; None where no source is known.
    """
    given = ranking.training.given
    sourced = given[torch.nonzero(given.sources >= 0)[:, 0]]
    if not len(sourced):
        return None
    device = ranking.documents.device
    made = sourced[torch.randint(len(sourced), (count,), generator=generator).to(device)]
    rows = torch.randint(len(ranking.documents), (count,), generator=generator).to(device)
    away = ranking.documents[rows] - ranking.documents[made.sources]

    def moved(vectors: Tensor) -> Tensor:
        there: Tensor = nn.functional.normalize(vectors + away) * vectors.norm(dim=1, keepdim=True)
        return there

    return QuerySet(
        moved(made.vectors),
        torch.full_like(rows, -1),
        rows,
        torch.full((count,), 1.0 / count, dtype=torch.float64),
        clean=None if made.clean is None else moved(made.clean),
    )


class _Anchors(nn.Module):
    """Keys, offsets and votes beside the head's own logits, for centred queries in units."""

    signs: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, head: AffineHead, codes: Codes, ranking: Ranking, count: int, seed: int) -> None:
        super().__init__()
        signs = torch.from_numpy(codes.to_pm1(np.float32))
        keys, votes = _centroids(ranking.documents.cpu(), signs, count, seed)
        weight, bias = (torch.from_numpy(array) for array in head.side("query"))
        self.keys = nn.Parameter(keys)
        self.offsets = nn.Parameter(torch.zeros(len(keys)))
        self.votes = nn.Parameter(_VOTE * votes)
        self.log_scale = nn.Parameter(torch.tensor(_LOG_SCALE))
        # Not part of the state that validation keeps.
        self.register_buffer("signs", signs, persistent=False)
        self.register_buffer("weight", weight * ranking.unit, persistent=False)
        moved = bias + weight @ (ranking.query_mean.cpu() * ranking.unit)
        self.register_buffer("bias", moved, persistent=False)

    def forward(self, centred: Tensor) -> Tensor:
        """Logits (m, bits)."""
        weights = torch.softmax(_SHARPNESS * (centred @ self.keys.T) + self.offsets, dim=1)
        logits: Tensor = nn.functional.linear(centred, self.weight, self.bias) + weights @ self.votes
        return logits

    def scores(self, query_codes: Tensor, rows: Tensor | None) -> Tensor:
        """Of queries' codes, as plus and minus ones (m, bits), for documents, (m, c)."""
        signs = self.signs if rows is None else self.signs[rows]
        scores: Tensor = self.log_scale.exp() / signs.shape[1] * (query_codes @ signs.T)
        return scores

    def head(self, head: AffineHead, ranking: Ranking) -> AffineHead:
        """The head with these anchors, for queries that are neither in units nor centred."""
        keys = _SHARPNESS * self.keys.detach().double().cpu()
        offsets = self.offsets.detach().double().cpu() - keys @ ranking.query_mean.double().cpu()
        book: Codebook | None = head.codebook
        if book is None:
            return head
        anchored = replace(
            book,
            anchor_keys=(keys / ranking.unit).float().numpy(),
            anchor_offsets=offsets.float().numpy(),
            anchor_votes=self.votes.detach().cpu().numpy().copy(),
        )
        return replace(head, codebook=anchored)


def _centroids(documents: Tensor, signs: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centroids (c, d) of documents (n, d), and the mean of their documents' signs (n, bits)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(documents))[:_KMEANS_ROWS])
    some = documents[rows]
    means = KMeans(count, init="random", n_init=1, max_iter=_KMEANS_ROUNDS, random_state=seed)
    with warnings.catch_warnings():
        # It warns of fewer different documents than centroids.
        warnings.simplefilter("ignore", ConvergenceWarning)
        nearest = torch.from_numpy(means.fit_predict(some.numpy()).astype(np.int64))
    members = torch.bincount(nearest, minlength=count)
    votes = torch.zeros(count, signs.shape[1]).index_add_(0, nearest, signs[rows])
    # Equal documents leave some centroids without any.
    kept = members > 0
    return torch.from_numpy(means.cluster_centers_)[kept].float(), votes[kept] / members[kept, None]
