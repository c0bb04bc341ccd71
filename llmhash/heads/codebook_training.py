"""Tables trained on the ranking, for codes that stay the signs of the head's logits.

They start as what the head's own asymmetric score is, a sum over bits, and leave that form by gradient
descent on the listwise loss of the distill head: what several bits of a byte mean together is learned too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from llmhash.heads.affine import AffineHead
from llmhash.heads.base import FloatArray
from llmhash.heads.codebook import SIGNS, Bytes, Codebook
from llmhash.heads.ranking import Ranking
from llmhash.heads.ranking_training import Progress, train_to_rank
from llmhash.training import TrainingPlan

# The learning rate is Adam's: parameters have entries of about 1.
_PLAN = TrainingPlan(steps=200, batch_size=128, learning_rate=0.006, validate_every=50, patience=3)
# Where scores start: the mean document as its own query. Training moves the scale.
_OWN_SCORE = 20.0


def train_codebook(
    head: AffineHead, ranking: Ranking, *, seed: int = 0, progress: Progress | None = None
) -> Codebook:
    """Train tables for the codes that `head` gives the ranking's documents.

    Args:
        head: A multiple of 8 bits; without a codebook.
        ranking: Training and held-out queries; features as the head takes them are its units times `unit`.
        seed: Decides the batches and their candidates.
        progress: Called with (step, steps, message).
    """
    documents = (ranking.documents + ranking.document_mean).cpu().numpy() * np.float32(ranking.unit)
    codes = head.document_codes(documents).packed
    tables, offsets = _bitwise(head)
    # Documents stand in for queries that lie near them, and so where queries have their mean.
    moved = documents + ((ranking.query_mean - ranking.document_mean) * ranking.unit).cpu().numpy()
    start = Codebook(tables, offsets=offsets)
    own = np.einsum("nd,nd->n", start.decode(codes), moved) + start.constants(codes)
    sharpness = _OWN_SCORE / max(float(own.mean()), 1e-6)
    readout = _Readout(tables * (sharpness * ranking.unit), offsets * sharpness, codes).to(
        ranking.documents.device
    )
    train_to_rank(
        readout,
        lambda batch: readout(batch.queries + ranking.query_mean, batch.rows),
        ranking,
        ranking.training,
        ranking.held_out,
        _PLAN,
        seed=seed,
        progress=progress,
    )
    return readout.codebook(ranking.unit)


class _Readout(nn.Module):
    """Tables and offsets in units of their own size, and the entries of both that codes name."""

    entries: Tensor

    def __init__(self, tables: FloatArray, offsets: FloatArray, codes: Bytes) -> None:
        super().__init__()
        self._size = float(np.sqrt(np.square(tables).mean())) or 1.0
        self.tables = nn.Parameter(torch.from_numpy(tables / np.float32(self._size)))
        self.offsets = nn.Parameter(torch.from_numpy(offsets))
        self.log_scale = nn.Parameter(torch.zeros(()))
        entries = codes + 256 * np.arange(codes.shape[1])
        self.register_buffer("entries", torch.from_numpy(entries.astype(np.int64)))

    def forward(self, queries: Tensor, rows: Tensor | None) -> Tensor:
        """Scores (m, c) of queries in units for documents."""
        entries = self.entries if rows is None else self.entries[rows]
        vectors = nn.functional.embedding_bag(entries, self.tables.flatten(0, 1), mode="sum")
        constants = self.offsets.flatten()[entries].sum(dim=1)
        scores: Tensor = self.log_scale.exp() * (self._size * (queries @ vectors.T) + constants)
        return scores

    def codebook(self, unit: float) -> Codebook:
        """For queries as the teacher gives them."""
        tables = self.tables.detach().cpu().numpy() * np.float32(self._size / unit)
        return Codebook(tables, offsets=self.offsets.detach().cpu().numpy().copy())


def _bitwise(head: AffineHead) -> tuple[FloatArray, FloatArray]:
    """The head's own asymmetric score as tables float32 (m, 256, d) and offsets float32 (m, 256)."""
    weight, bias = head.side("query")
    tables = np.einsum("ab,mbd->mad", SIGNS, weight.reshape(-1, 8, weight.shape[1]))
    offsets = np.einsum("ab,mb->ma", SIGNS, bias.reshape(-1, 8))
    return tables.astype(np.float32), offsets.astype(np.float32)
