"""Precision@100 of validation documents among training documents: what trained heads are selected by."""

from __future__ import annotations

import numpy as np

from llmhash.codes import Codes
from llmhash.heads.base import FloatArray, Head, TrainingFeatures, sampled_rows
from llmhash.heads.sign import median_thresholds
from llmhash.metrics import RadiusCounts

CUTOFF = 100


class PrecisionCheck:
    """Measures heads on validation documents, as the label protocol measures them on test documents.

    Args:
        features: With labels and validation documents.
        queries: Validation documents that look up others, at most.
        documents: Training documents that they look among, at most.
        median: Threshold logits at the medians of those training documents.
        seed: Of both samples, which stay the same from check to check.
    """

    def __init__(
        self, features: TrainingFeatures, *, queries: int, documents: int, median: bool, seed: int
    ) -> None:
        validation, labels = features.validation, features.labels
        if validation is None or labels is None:
            raise ValueError("there are no validation labels.")
        rng = np.random.default_rng(seed)
        asked = sampled_rows(validation.features.shape[0], queries, rng)
        kept = sampled_rows(features.count, documents, rng)
        self._queries, self._query_labels = validation.features[asked], validation.labels[asked]
        self._documents, self._labels = features.documents[kept], labels[kept]
        self._median = median

    def precision(self, head: Head) -> float:
        """Mean Precision@100, ties in expectation; of a smaller database, precision over all of it."""
        logits = head.document_logits(self._documents)
        thresholds = median_thresholds(logits) if self._median else np.float32(0)
        counts = RadiusCounts.from_codes(
            _codes(head.document_logits(self._queries), thresholds),
            _codes(logits, thresholds),
            self._query_labels,
            self._labels,
        )
        return float(counts.precision(min(CUTOFF, len(self._labels))).mean())


def _codes(logits: FloatArray, thresholds: FloatArray | np.float32) -> Codes:
    return Codes.from_logits(logits - thresholds)
