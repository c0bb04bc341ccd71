"""Training what scores fixed codes: the listwise loss of the distill head, of one score."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from llmhash.heads.ranking import QuerySet, Ranking, RankingBatch
from llmhash.objectives.similarity import listwise_kl
from llmhash.training import TrainingPlan, train

Progress = Callable[[int, int, str], None]


def train_to_rank(
    module: nn.Module,
    score: Callable[[RankingBatch], Tensor],
    ranking: Ranking,
    training: QuerySet,
    held_out: QuerySet,
    plan: TrainingPlan,
    *,
    seed: int,
    progress: Progress | None,
) -> None:
    """Train `module` in place until its scores rank documents as the teacher does.

    Args:
        module: On the ranking's device. It ends with the weights that ranked `held_out` best.
        score: A batch to scores (m, c), already scaled, from the module's parameters.
        ranking: Gives candidates and targets.
        training: Queries to train on, ready for the ranking; their weights say how often each is drawn.
        held_out: Queries to choose the weights by, always with the same candidates.
        plan: How long and how fast.
        seed: Decides the batches and their candidates.
        progress: Called with (step, steps, message).
    """
    generator = torch.Generator().manual_seed(seed)

    def match(queries: QuerySet, items: Tensor, candidates: torch.Generator) -> Tensor:
        batch = ranking.batch(queries, items, candidates)
        return listwise_kl(batch.mask(score(batch)), batch.targets)

    def loss(items: Tensor, _step: int) -> Tensor:
        return match(training, items, generator)

    def validate() -> float:
        same, total = torch.Generator().manual_seed(seed), 0.0
        for items in torch.split(torch.arange(len(held_out)), plan.batch_size):
            total += len(items) * match(held_out, items, same).item()
        return total / len(held_out)

    train(
        module,
        loss,
        len(training),
        plan,
        seed=seed,
        weights=training.weights,
        validate=validate,
        progress=progress,
    )
