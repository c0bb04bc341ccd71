"""A map of the queries for codes that a codebook has chosen: what it is fitted without, that queries rank.

A codebook reconstructs documents, and so knows best in what most of them differ. What a query's nearest
documents differ in is less of that. Codes and tables stay, and gradient descent on the listwise loss of the
distill head finds the affine map of queries whose scores rank documents as the teacher does for the queries
themselves. It is d x d whatever the width and the corpus, so that it is no memory of documents.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from llmhash.codes import Codes
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray
from llmhash.heads.codebook import Codebook
from llmhash.heads.codebook_choice import asymmetric_loss
from llmhash.heads.ranking import Ranking
from llmhash.heads.ranking_training import Progress, train_to_rank
from llmhash.training import TrainingPlan

# The learning rate is Adam's: the map starts as the identity.
_PLAN = TrainingPlan(steps=300, batch_size=128, learning_rate=1e-3, validate_every=50, patience=3)
# Where the scale of the scores starts. Training moves it.
_SHARPNESS = 30.0


def with_query_map(
    head: AffineHead, codes: Codes, ranking: Ranking, *, seed: int = 0, progress: Progress | None = None
) -> AffineHead:
    """The head whose codebook maps queries before they score; as it is where held-out queries do not gain.

    Args:
        head: With a codebook that chooses documents' codes and has no map yet.
        codes: The head's, of the documents that the ranking ranks.
        ranking: Its queries that are no documents, where there are some, are trained on and judged by: a
            document finds its like by the codebook as it is, and drags the map back to the identity.
        seed: Decides the batches and their candidates.
        progress: Called with (step, steps, message).
    """
    if head.codebook is None:
        return head
    vectors = torch.from_numpy(head.codebook.decode(codes.packed)).to(ranking.documents) / ranking.unit
    student = _Map(vectors, ranking.query_mean).to(ranking.documents.device)
    train_to_rank(
        student,
        lambda batch: student(batch.queries, batch.rows),
        ranking,
        ranking.training.given,
        ranking.held_out.given,
        _PLAN,
        seed=seed,
        progress=progress,
    )
    mapped = replace(head, codebook=student.codebook(head.codebook, ranking.unit))
    gains = asymmetric_loss(mapped, codes, ranking) < asymmetric_loss(head, codes, ranking)
    return mapped if gains else head


class _Map(nn.Module):
    """What is added to queries, in units, and the scale of their scores for documents' `vectors` (n, d)."""

    vectors: Tensor
    mean: Tensor

    def __init__(self, vectors: Tensor, mean: Tensor) -> None:
        super().__init__()
        dim = vectors.shape[1]
        self.added = nn.Parameter(torch.zeros(dim, dim))
        self.log_scale = nn.Parameter(torch.tensor(_SHARPNESS).log())
        # Not part of the state that validation keeps.
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, centred: Tensor, rows: Tensor | None) -> Tensor:
        """Scores (m, c) of centred queries for documents."""
        mapped = centred + self.mean + nn.functional.linear(centred, self.added)
        vectors = self.vectors if rows is None else self.vectors[rows]
        scores: Tensor = self.log_scale.exp() * (mapped @ vectors.T)
        return scores

    def codebook(self, book: Codebook, unit: float) -> Codebook:
        """The codebook with the map, for queries that are neither in units nor centred."""
        added, mean = self.added.detach().double().cpu(), self.mean.double().cpu() * unit
        whole = torch.eye(len(added), dtype=torch.float64) + added
        query_map: FloatArray = whole.float().numpy()
        shift: FloatArray = (-added @ mean).float().numpy()
        return replace(book, query_map=query_map, query_shift=shift)
