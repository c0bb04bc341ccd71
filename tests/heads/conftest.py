import numpy as np
import pytest
from clusters import clustered_corpus

from llmhash.heads.base import TrainingFeatures
from llmhash.heads.projection import fit_itq


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def clustered():
    """Documents in tight clusters whose differences lie in directions of little variance; queries near them.

    The loud directions, which PCA and ITQ spend their bits on, say nothing about what is near what.
    """
    rng = np.random.default_rng(0)
    dim, loud, documents = 48, 12, 1200
    quiet = np.repeat(rng.normal(0, 0.7, (documents // 4, dim - loud)), 4, axis=0)
    quiet = quiet + rng.normal(0, 0.2, quiet.shape)
    features = unit(np.concatenate([rng.normal(0, 0.8, (documents, loud)), quiet], axis=1))
    sources = rng.integers(documents, size=2400)
    queries = unit(features[sources] + rng.normal(0, 0.05, (2400, dim)))
    return TrainingFeatures(features, queries[:2000], sources[:2000]), queries[2000:]


@pytest.fixture
def gaussian():
    """Plain correlated features with a mean that is not zero."""
    rng = np.random.default_rng(1)
    return TrainingFeatures((rng.normal(size=(301, 12)) @ rng.normal(size=(12, 12)) + 3).astype(np.float32))


@pytest.fixture(scope="session")
def corpus():
    """Documents in clusters, with queries near them that lie off by a constant."""
    return clustered_corpus(1000, 600, dim=32, clusters=40, shift=1)


@pytest.fixture(scope="session")
def head(corpus):
    """ITQ of that corpus, of 16 bits."""
    return fit_itq(corpus, 16)
