"""Objectives by name: what recipes call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from llmhash.errors import InputError, suggest
from llmhash.objectives.balance import Balance, Decorrelation
from llmhash.objectives.base import Objective, Shapes
from llmhash.objectives.bpr import FloatQuerySoftmax, RankingHinge
from llmhash.objectives.contrastive import Contrastive
from llmhash.objectives.denoising import Denoising
from llmhash.objectives.dynamic_balance import DynamicBalance
from llmhash.objectives.embeddings import Embeddings
from llmhash.objectives.infomax import Infomax
from llmhash.objectives.pairwise import Pairwise
from llmhash.objectives.priors import BernoulliKL, GaussianKL
from llmhash.objectives.quantization import Quantization
from llmhash.objectives.relevance_propagation import RelevancePropagation
from llmhash.objectives.topics import Topics
from llmhash.objectives.triplet import Triplet
from llmhash.objectives.words import Words

_CLASSES: dict[str, type[Objective]] = {
    "words": Words,
    "embeddings": Embeddings,
    "topics": Topics,
    "gaussian_kl": GaussianKL,
    "bernoulli_kl": BernoulliKL,
    "quantization": Quantization,
    "balance": Balance,
    "decorrelation": Decorrelation,
    "dynamic_balance": DynamicBalance,
    "relevance_propagation": RelevancePropagation,
    "infomax": Infomax,
    "ranking_hinge": RankingHinge,
    "float_query_softmax": FloatQuerySoftmax,
    "pairwise": Pairwise,
    "triplet": Triplet,
    "contrastive": Contrastive,
    "denoising": Denoising,
}
#: Names that `build_objective` knows.
OBJECTIVES = tuple(_CLASSES)


def objective_settings(name: str) -> tuple[str, ...]:
    """Names of the settings that an objective takes, without its weight.

    Raises:
        InputError: There is no objective of that name.
    """
    return tuple(inspect.signature(_find(name)).parameters)[1:]


def objective_needs(name: str, settings: Mapping[str, Any]) -> frozenset[str]:
    """What an objective will need of a batch, of `llmhash.objectives.base.NEEDS`, before it is built.

    Raises:
        InputError: Name or setting is unknown.
    """
    _check_settings(name, settings)
    return _find(name).needs_with(settings)


def build_objective(
    name: str, shapes: Shapes, settings: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Objective:
    """The objective called `name`.

    Args:
        name: One of `OBJECTIVES`.
        shapes: What it is built for.
        settings: Its settings by name; those left out take their defaults.
        seed: Decides the first weights of its decoders.

    Raises:
        InputError: Name or setting is unknown, a setting has a value it cannot have, or a target is missing.
    """
    given = dict(settings or {})
    _check_settings(name, given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # mypy sees nn.Module's constructor; each objective takes shapes and its settings.
        return _find(name)(shapes, **given)


def _check_settings(name: str, settings: Mapping[str, Any]) -> None:
    known = objective_settings(name)
    for setting in settings:
        if setting not in known:
            raise InputError(f"the objective {name} has no setting {setting!r}; {suggest(setting, known)}")


def _find(name: str) -> type[Objective]:
    if name not in _CLASSES:
        raise InputError(f"there is no objective {name!r}; {suggest(name, OBJECTIVES)}")
    return _CLASSES[name]
