from __future__ import annotations

import numpy as np

from llmhash.corpora import Documents
from llmhash.features import training_features


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
