"""Fitting a network: a student trained on a weighted sum of objectives (see `network_training.py`).

Embeddings are centred and scaled before they reach the student; the head takes them as they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmhash.codes import check_bits
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures, refuse_not_dense
from llmhash.heads.network import NetworkHead
from llmhash.heads.network_inputs import NetworkSources
from llmhash.heads.network_options import NetworkOptions
from llmhash.heads.network_student import NetworkStudent
from llmhash.heads.network_training import needs_of, parse_terms, train_student, training_device
from llmhash.heads.sign import median_thresholds
from llmhash.training import Progress


def fit_network(
    features: TrainingFeatures,
    bits: int,
    *,
    objectives: Mapping[str, Any],
    seed: int = 0,
    options: NetworkOptions | None = None,
    progress: Progress | None = None,
) -> NetworkHead | AffineHead:
    """Train a network for the objectives; the same map for queries and documents.

    Args:
        features: Dense or CSR documents, and what the objectives need beside them.
        bits: Bits in a code.
        objectives: By name, each a mapping of its settings and its `weight` (a number or a schedule), a
            weight alone, or None.
        seed: Decides everything random.
        options: Settings; None takes the defaults.
        progress: Called with (step, steps, message).

    Returns:
        The network, or without hidden layers an affine head.

    Raises:
        InputError: A setting is out of range, an objective lacks what it needs, or training diverged.
    """
    options = options or NetworkOptions()
    check_bits(bits)
    refuse_not_dense("network", features.documents, words=options.start == "random")
    terms = parse_terms(objectives)
    sources = NetworkSources(features, needs_of(terms), training_device(options))
    student = NetworkStudent(sources, bits, options, seed=seed)
    train_student(student, sources, features, terms, options, bits=bits, seed=seed, progress=progress)
    head = student.head()
    if options.threshold == "zero":
        return head
    thresholds = median_thresholds(head.document_logits(features.documents))
    if isinstance(head, AffineHead):
        return replace(head, bias=head.bias - thresholds)
    return replace(head, biases=(*head.biases[:-1], head.biases[-1] - thresholds))
