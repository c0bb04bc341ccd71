"""A corpus in clusters, and how tests of codebooks rank it."""

import numpy as np

from llmhash.heads.base import TrainingFeatures
from llmhash.heads.ranking import RankingSettings


def clustered_corpus(documents, queries, *, dim, clusters, shift):
    """Normalised documents in clusters, `shift` away from zero, and queries near some of them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clusters, dim))
    rows = shift + centres[rng.integers(clusters, size=documents)] + rng.normal(0, 0.4, (documents, dim))
    features = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    sources = rng.integers(documents, size=queries)
    near = features[sources] + rng.normal(0, 0.03, (queries, dim)).astype(np.float32)
    return TrainingFeatures(features, near.astype(np.float32), sources)


def ranking_settings(held_out):
    """All documents are candidates."""
    return RankingSettings(
        temperature=0.05,
        source_share=0.0,
        document_share=0.5,
        candidates=2000,
        neighbours=5,
        max_documents=10_000,
        max_queries=10_000,
        held_out=held_out,
    )
