"""Hashers whose head is no affine one, or whose encoder was fitted: made by recipes, stored, read back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmhash import Hasher, Retriever
from llmhash.corpora.labels import Labelled, LabelSet
from llmhash.errors import FormatError, InputError
from llmhash.features import corpus_digest
from llmhash.metrics import RadiusCounts
from llmhash.recipes import load_recipe, with_options

NETWORK = """
head: network
description: A small variational network.
encoder: {encoder}
words: {words}
bits: 16
pseudo_queries: {queries}
objectives:
  words:
  bernoulli_kl: {{weight: 0.01}}
training:
  hidden: [32]
  epochs: 60
  batch_size: 32
  learning_rate: 0.01
  patience: 0
  device: cpu
"""
TFIDF = "{name: tfidf, preset: plain}"


@pytest.fixture
def recipe(tmp_path):
    def write(encoder=TFIDF, words="null", queries=0, **changes):
        path = tmp_path / "small.yaml"
        path.write_text(NETWORK.format(encoder=encoder, words=words, queries=queries))
        return load_recipe(str(path), **changes)

    return write


@pytest.fixture
def labelled(sentences) -> LabelSet:
    """The sentences with their subject as the label; each split holds all five subjects."""
    subjects = [(str(row % 5),) for row in range(len(sentences))]

    def part(first, last):
        return Labelled(sentences[first:last], subjects[first:last])

    return LabelSet("subjects", part(0, 120), part(120, 150), part(150, 200), "official")


def precision(hasher, labelled) -> float:
    counts = RadiusCounts.from_codes(
        hasher.encode_documents(labelled.test.texts),
        hasher.encode_documents(labelled.train.texts),
        labelled.matrix(labelled.test),
        labelled.matrix(labelled.train),
    )
    return float(counts.precision(20).mean())


@pytest.mark.parametrize("words", ["its own", "beside embeddings"])
def test_a_network_recipe_learns_topics_is_saved_and_gives_the_same_codes(
    words, recipe, labelled, encoder, tmp_path
) -> None:
    if words == "its own":
        made, teacher = recipe(), None
        barely = recipe(options={"steps": 1, "learning_rate": 1e-9})
    else:
        made, teacher = recipe(words="{preset: plain}"), encoder
        barely = recipe(words="{preset: plain}", options={"steps": 1, "learning_rate": 1e-9})
    hasher = Hasher.fit_labels(made, labelled, teacher=teacher)
    start = precision(Hasher.fit_labels(barely, labelled, teacher=teacher), labelled)
    assert precision(hasher, labelled) > start + 0.1
    assert hasher.head.kind == "network"
    assert hasher.has_seen(labelled.documents(labelled.train))
    if teacher is None:
        loaded = Hasher.load(hasher.save(tmp_path / "h"))
        assert loaded.fingerprint == hasher.fingerprint
        texts = labelled.test.texts
        np.testing.assert_array_equal(
            loaded.encode_documents(texts).packed, hasher.encode_documents(texts).packed
        )
        np.testing.assert_array_equal(loaded.encode_queries(texts), hasher.encode_queries(texts))
        assert (tmp_path / "h" / "encoder.safetensors").is_file()
        assert json.loads((tmp_path / "h" / "hasher.json").read_text())["head"] == "network"


def test_labels_are_given_to_select_only_and_test_documents_not_at_all(recipe, labelled, monkeypatch) -> None:
    hasher = Hasher.fit_labels(recipe(options={"steps": 2}), labelled)
    features = hasher.features
    np.testing.assert_array_equal(features.labels, labelled.matrix(labelled.train))
    assert features.validation.features.shape == (30, hasher.dim)
    np.testing.assert_array_equal(features.validation.labels, labelled.matrix(labelled.validation))
    without = LabelSet("bare", labelled.train, Labelled([], []), labelled.test, "official")
    assert Hasher.fit_labels(recipe(options={"steps": 2}), without).features.validation is None


def test_tfidf_words_pass_to_a_retriever_and_back(recipe, sentences, tmp_path) -> None:
    hasher = Hasher.from_recipe(recipe(options={"steps": 2}), sentences)
    assert hasher.document_features(sentences[:3]).shape == (3, hasher.dim)
    with Retriever.create(tmp_path / "c", hasher) as retriever:
        retriever.add(sentences)
        first = retriever.search(sentences[7], k=3)
    with Retriever.open(tmp_path / "c") as again:
        assert again.hasher.fingerprint == hasher.fingerprint
        assert again.search(sentences[7], k=3) == first


def test_a_sidecar_of_words_is_refused(recipe, sentences, tmp_path) -> None:
    words = Hasher.from_recipe(recipe(options={"steps": 2}), sentences)
    with pytest.raises(InputError, match=r"sidecar int8 .* words or tokens; leave it out"):
        Retriever.create(tmp_path / "c", words, sidecar="int8")
    assert not (tmp_path / "c").exists()
    made = recipe(encoder="{name: tfidf, preset: plain, components: 8}", words="{preset: plain}")
    components = Hasher.from_recipe(with_options(made, {"steps": 2}), sentences)
    with Retriever.create(tmp_path / "c", components, sidecar="int8") as retriever:
        retriever.add(sentences)
        assert retriever.search(sentences[7], k=1, scoring="int8")[0].text == sentences[7]


def test_pairs_come_from_pseudo_queries_of_words_too(recipe, sentences) -> None:
    made = recipe(queries=100, options={"steps": 3, "ranking_hinge": 1.0})
    hasher = Hasher.from_recipe(made, sentences)
    assert hasher.features.queries.shape[1] == hasher.dim
    assert hasher.training["queries"] == hasher.features.queries.shape[0] > 0
    named = Hasher.from_recipe(made, sentences, queries=["ship wind", "yeast"])
    assert named.features.queries.shape[0] == hasher.features.queries.shape[0] + 2


@pytest.mark.parametrize("head", ["spectral", "sth"])
def test_closed_form_heads_on_components_of_words(head, sentences, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"head: {head}\nencoder: {{name: tfidf, preset: plain, components: 8}}\nbits: 8\n")
    hasher = Hasher.fit(str(path), corpus=sentences)
    loaded = Hasher.load(hasher.save(tmp_path / "h"))
    np.testing.assert_array_equal(
        loaded.encode_documents(sentences).packed, hasher.encode_documents(sentences).packed
    )
    card = (tmp_path / "h" / "README.md").read_text()
    assert "features of\ntfidf" in card
    assert "to_sentence_transformers" not in card


def test_what_only_affine_heads_can_do_is_refused_in_one_sentence(encoder, sentences) -> None:
    vectors = encoder.encode(sentences, "document")
    hasher = Hasher.fit("spectral", corpus=sentences, teacher=encoder, bits=8)
    assert hasher.truncated(8) is hasher
    with pytest.raises(InputError, match=r"adapting to a corpus takes an affine head; .* kind 'spectral'"):
        hasher.adapted(sentences)
    with pytest.raises(InputError, match="makes good codes of 8 bits, not of 4"):
        hasher.truncated(4)
    with pytest.raises(InputError, match="cannot become a SentenceTransformer"):
        hasher.to_sentence_transformers()
    assert hasher.head.codebook is None
    itq = Hasher.fit("itq", corpus=vectors, bits=8)
    assert itq.truncated(8).fingerprint == itq.fingerprint


def test_kinds_have_different_fingerprints(encoder, sentences) -> None:
    spectral = Hasher.fit("spectral", corpus=sentences, teacher=encoder, bits=8)
    from llmhash.heads import AffineHead

    affine = Hasher(AffineHead(spectral.head.weight, spectral.head.bias), encoder)
    assert affine.fingerprint != spectral.fingerprint


def test_a_hasher_without_a_kind_is_affine(sentences, encoder, tmp_path) -> None:
    hasher = Hasher.fit("itq", corpus=encoder.encode(sentences, "document"), bits=8)
    folder = hasher.save(tmp_path / "h")
    config = json.loads((folder / "hasher.json").read_text())
    assert config.pop("head") == "affine"
    (folder / "hasher.json").write_text(json.dumps(config))
    assert Hasher.load(folder).fingerprint == hasher.fingerprint


def test_damaged_kinds_and_encoders_are_refused(recipe, sentences, tmp_path) -> None:
    folder = Hasher.from_recipe(recipe(options={"steps": 2}), sentences).save(tmp_path / "h")
    config = json.loads((folder / "hasher.json").read_text())
    for change, message in [
        ({"head": "netwrk"}, "unknown kind 'netwrk'; did you mean network"),
        ({"head": "affine"}, "not an affine head"),
        ({"bits": 17}, "do not belong together"),
        ({"encoder": {"kind": "words"}}, "encoder of an unknown kind 'words'"),
        ({"encoder_digest": "0"}, r"encoder\.safetensors is truncated or damaged"),
    ]:
        (folder / "hasher.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(FormatError, match=message):
            Hasher.load(folder)
    (folder / "hasher.json").write_text(json.dumps(config))
    (folder / "encoder.safetensors").unlink()
    with pytest.raises(FormatError, match=r"encoder\.safetensors is missing"):
        Hasher.load(folder)


def test_a_checkpoint_s_place_is_no_part_of_the_recipe(recipe, sentences, tmp_path) -> None:
    made = recipe(options={"steps": 2, "checkpoint": str(tmp_path / "run")})
    hasher = Hasher.from_recipe(made, sentences)
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    assert str(tmp_path) not in json.dumps(hasher.recipe)


def test_words_can_be_given_as_features(recipe, sentences) -> None:
    hasher = Hasher.from_recipe(recipe(options={"steps": 2}), sentences)
    words = hasher.encoder.encode(sentences[:4], "document")
    np.testing.assert_array_equal(
        hasher.encode_documents(words).packed, hasher.encode_documents(sentences[:4]).packed
    )
    assert corpus_digest(words) != corpus_digest(words[:3])


def test_tfidf_without_a_corpus_is_refused(recipe) -> None:
    made = recipe()
    assert made.fits_encoder
    with pytest.raises(InputError, match="the tfidf encoder is fitted on the corpus"):
        made.open_encoder()
