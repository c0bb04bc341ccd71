"""Heads: features to logits, fitted in closed form or trained. `fit_head` knows them by name."""

from llmhash.heads.affine import AffineHead
from llmhash.heads.base import Head, TrainingFeatures, Validation, check_features
from llmhash.heads.registry import HEADS, fit_head, head_options

__all__ = [
    "HEADS",
    "AffineHead",
    "Head",
    "TrainingFeatures",
    "Validation",
    "check_features",
    "fit_head",
    "head_options",
]
