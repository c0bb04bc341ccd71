from __future__ import annotations

import numpy as np
import pytest

from llmhash.corpora import Documents
from llmhash.errors import InputError
from llmhash.features import training_features
from llmhash.heads import TrainingFeatures


def test_held_out_texts_are_never_trained_on(encoder, sentences) -> None:
    seen: list[str] = []
    encode = encoder.encode

    def recording(texts, side, *, progress=False):
        if side == "query":
            seen.extend(texts)
        return encode(texts, side)

    encoder.encode = recording
    features, held_out = training_features(
        encoder, Documents.from_texts(sentences), pseudo_queries=400, queries=["a named question"]
    )
    assert len(held_out.queries) == len(held_out.sources)
    assert 20 <= len(held_out.queries) <= 0.1 * 400
    assert len({row.tobytes() for row in held_out.queries}) == len(held_out.queries)
    trained = {row.tobytes() for row in features.queries}
    assert not trained & {row.tobytes() for row in held_out.queries}
    assert "a named question" in seen
    # The named query comes last, its source unknown.
    assert features.sources[-1] == -1
    assert (features.sources[:-1] >= 0).all()


def test_without_pseudo_queries_there_are_no_queries(encoder, sentences) -> None:
    features, held_out = training_features(encoder, Documents.from_texts(sentences), pseudo_queries=0)
    assert features.queries is None
    assert len(held_out.queries) == 0
    np.testing.assert_array_equal(features.documents, encoder.encode(sentences, "document"))


def test_noise_corrupts_that_share_of_the_training_queries_and_keeps_their_clean_rows(
    encoder, sentences
) -> None:
    documents = Documents.from_texts(sentences)
    settings = {"pseudo_queries": 400, "queries": ["a named question", "another question"], "seed": 3}
    plain, plain_held_out = training_features(encoder, documents, **settings)
    noisy, held_out = training_features(encoder, documents, **settings, noise=0.5)
    again, _ = training_features(encoder, documents, **settings, noise=0.5)
    assert plain.clean_queries is None
    np.testing.assert_array_equal(noisy.clean_queries, plain.queries)
    np.testing.assert_array_equal(noisy.sources, plain.sources)
    np.testing.assert_array_equal(noisy.queries, again.queries)
    np.testing.assert_array_equal(held_out.queries, plain_held_out.queries)

    corrupted = (noisy.queries != plain.queries).any(axis=1)
    # A fifth of the words of a half; some short queries keep all of theirs.
    assert 0.3 < corrupted[:-2].mean() < 0.5
    assert not corrupted[-2:].any()
    # A corrupted query still resembles itself more than it does the others.
    likeness = noisy.queries[corrupted] @ plain.queries.T
    assert np.mean(np.diag(likeness[:, np.flatnonzero(corrupted)]) >= likeness.max(axis=1) - 1e-6) > 0.7


def test_no_corrupted_query_is_one_that_was_set_aside(encoder) -> None:
    # Of three words each, a query that loses one is often another document's query.
    texts = [f"{first} {second} {third}" for first in "abcdef" for second in "uvwxyz" for third in "mno"]
    documents = Documents.from_texts(texts)
    features, held_out = training_features(encoder, documents, pseudo_queries=400, noise=1.0)
    assert features.clean_queries is not None
    trained = {row.tobytes() for row in features.queries}
    assert len(held_out.queries)
    assert not trained & {row.tobytes() for row in held_out.queries}


def test_without_queries_to_corrupt_there_are_no_clean_ones(encoder, sentences) -> None:
    documents = Documents.from_texts(sentences)
    named = {"pseudo_queries": 0, "queries": ["a named question"]}
    features, _ = training_features(encoder, documents, **named, noise=1.0)
    assert len(features.queries) == 1
    assert features.clean_queries is None
    with pytest.raises(InputError, match=r"noise must be from 0 to 1, not 1\.5"):
        training_features(encoder, documents, pseudo_queries=10, noise=1.5)


@pytest.mark.parametrize(
    ("queries", "clean", "message"),
    [
        (np.ones((3, 4)), np.ones((2, 4)), r"have shape \(2, 4\) where the queries have \(3, 4\)"),
        (np.ones((3, 4)), np.ones((3, 5)), "clean queries must match the queries row by row"),
        (None, np.ones((3, 4)), "where the queries have none"),
        (np.ones((3, 4)), np.full((3, 4), np.nan), "clean queries hold NaN"),
    ],
)
def test_clean_queries_match_the_queries(queries, clean, message) -> None:
    with pytest.raises(InputError, match=message):
        TrainingFeatures(np.ones((5, 4)), queries, clean_queries=clean)
