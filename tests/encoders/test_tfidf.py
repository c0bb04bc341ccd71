import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from llmhash.encoders.base import Encoder
from llmhash.encoders.tfidf import PRESETS, TfidfEncoder, empty_rows, in_length, word_counts
from llmhash.errors import FormatError, InputError


@pytest.fixture
def corpus(sentences):
    return [*sentences, "", "the of and", "Sea SEA sea ship!"]


def test_tfidf_is_the_vectorizer_s(corpus):
    encoder = TfidfEncoder.fit(corpus)
    features = encoder.encode(corpus, "document")
    oracle = TfidfVectorizer(max_df=0.9, min_df=3, stop_words="english")
    expected = oracle.fit_transform(corpus)
    assert isinstance(features, scipy.sparse.csr_array) and features.dtype == np.float32
    assert list(encoder.vocabulary) == oracle.get_feature_names_out().tolist()
    np.testing.assert_allclose(features.toarray(), expected.toarray(), atol=1e-6)
    new = ["a ship and a court", "sea sea bread nothing else known"]
    np.testing.assert_allclose(
        encoder.encode(new, "query").toarray(), oracle.transform(new).toarray(), atol=1e-6
    )
    assert encoder.dim == features.shape[1] == len(encoder.vocabulary)


def test_wish_drops_common_rare_and_stop_words():
    texts = [
        f"everywhere the ship{' rare' * (i < 2)}{' three' * (i < 3)}{' half' * (i % 2)}" for i in range(10)
    ]
    vocabulary = TfidfEncoder.fit(texts, preset="wish").vocabulary
    assert vocabulary == ("half",)  # three is a stop word, everywhere and ship stand in every document
    assert {"everywhere", "three"} <= ENGLISH_STOP_WORDS
    plain = TfidfEncoder.fit(texts, preset="plain").vocabulary
    assert plain == ("everywhere", "half", "rare", "ship", "the", "three")


def test_survey_learns_from_documents_of_10_to_499_words_and_encodes_all():
    long = "ship oven " * 250
    fit = [f"harbour bread court judge law trial oath star{i} planet orbit" for i in range(4)]
    other = [f"comet moon team coach league goal match star{i} wind sail" for i in range(4)]
    short = ["oven flour"] * 4
    texts = [*fit, *other, *short, *[long] * 3]
    assert in_length(texts, "survey").tolist() == [True] * 8 + [False] * 7
    encoder = TfidfEncoder.fit(texts, preset="survey")
    assert "oven" not in encoder.vocabulary and "ship" not in encoder.vocabulary
    features = encoder.encode(texts, "document")
    assert features.shape[0] == len(texts)
    assert empty_rows(features).tolist() == list(range(8, 15))
    assert PRESETS["survey"].max_words == 10_000


def test_the_most_frequent_words_are_kept(corpus):
    small = TfidfEncoder.fit(corpus, preset="plain", max_features=5, weights="counts")
    counts = TfidfVectorizer(use_idf=False, norm=None).fit(corpus)
    totals = np.asarray(counts.transform(corpus).sum(axis=0)).ravel()
    names = counts.get_feature_names_out()
    kept = totals[np.isin(names, small.vocabulary)]
    assert len(kept) == 5 and kept.min() >= np.sort(totals)[-5]


def test_counts_and_binary_weights(corpus):
    counts = TfidfEncoder.fit(corpus, preset="plain", weights="counts").encode(["sea Sea ship"], "document")
    binary = TfidfEncoder.fit(corpus, preset="plain", weights="binary").encode(["sea Sea ship"], "document")
    assert sorted(counts.data.tolist()) == [1.0, 2.0]
    assert binary.data.tolist() == [1.0, 1.0]
    assert counts.indices.tolist() == binary.indices.tolist()


def test_word_counts_are_a_target_row_by_row(corpus):
    words = word_counts(corpus, preset="wish")
    assert words.dtype == np.float32 and words.shape[0] == len(corpus)
    assert empty_rows(words).tolist() == [200, 201]
    assert words[[202]].toarray().max() == 3.0
    weighed = word_counts(corpus, preset="wish", weights="tfidf")
    assert (weighed.indices == words.indices).all() and weighed.shape == words.shape


def test_a_text_without_a_known_word_is_a_row_of_zeros(corpus):
    encoder = TfidfEncoder.fit(corpus)
    features = encoder.encode(["xyzzy", "ship", ""], "document")
    assert empty_rows(features).tolist() == [0, 2]
    lsa = TfidfEncoder.fit(corpus, components=4)
    assert empty_rows(lsa.encode(["xyzzy", "ship", ""], "document")).tolist() == [0, 2]


def test_components_keep_what_the_corpus_s_best_subspace_does(corpus):
    words = TfidfEncoder.fit(corpus).encode(corpus, "document").toarray()
    encoder = TfidfEncoder.fit(corpus, components=5)
    features = encoder.encode(corpus, "document")
    assert features.shape == (len(corpus), 5) and features.dtype == np.float32 and encoder.dim == 5
    kept = np.square(words @ encoder.components.T).sum()
    best = np.square(np.linalg.svd(words, compute_uv=False)[:5]).sum()
    assert kept == pytest.approx(best, rel=1e-3)
    norms = np.linalg.norm(features, axis=1)
    np.testing.assert_allclose(norms[:200], 1.0, atol=1e-5)
    # Texts on one subject lie closer than those on others.
    similarity = features[:200] @ features[:200].T
    same = (np.arange(200) % 5)[:, None] == np.arange(200) % 5
    assert similarity[same].mean() > similarity[~same].mean() + 0.5


@pytest.mark.parametrize("components", [None, 3])
def test_stored_and_loaded(corpus, tmp_path, components):
    from safetensors.numpy import load_file, save_file

    encoder = TfidfEncoder.fit(corpus + ["naïve café naïve café naïve café"] * 3, components=components)
    save_file(encoder.tensors(), tmp_path / "encoder.safetensors")
    config = json.loads(json.dumps(encoder.config()))
    again = TfidfEncoder.from_config(config, load_file(tmp_path / "encoder.safetensors"))
    assert again.fingerprint == encoder.fingerprint and again.vocabulary == encoder.vocabulary
    assert "naïve" in again.vocabulary
    first, second = encoder.encode(corpus, "query"), again.encode(corpus, "query")
    assert abs(first - second).sum() == 0


def test_the_fingerprint_is_of_the_content(corpus):
    encoder = TfidfEncoder.fit(corpus)
    assert encoder.fingerprint == TfidfEncoder.fit(corpus).fingerprint
    others = [
        TfidfEncoder.fit(corpus[:150]),
        TfidfEncoder.fit(corpus, weights="counts"),
        TfidfEncoder.fit(corpus, components=3),
        TfidfEncoder.fit(corpus, max_features=10),
    ]
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_it_is_an_encoder(corpus):
    encoder: Encoder = TfidfEncoder.fit(corpus)
    assert encoder.name == "tfidf" and not encoder.sides_differ
    assert encoder.encode([], "document").shape == (0, encoder.dim)
    assert TfidfEncoder.fit(corpus, components=2).encode([], "query").shape == (0, 2)


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (["one text", "two texts"], {}, "wish leaves no word of the 2 documents.*preset plain"),
        (["the and of"] * 9, {}, "leaves no word"),
        (["short"] * 9, {"preset": "survey"}, "survey leaves no word of the 0 documents"),
        ([], {"preset": "plain"}, "plain leaves no word"),
        (["a b c"], {"preset": "wishh"}, "no word preset 'wishh'; did you mean wish"),
        (["a b c"], {"weights": "tfid"}, "no word weights 'tfid'; did you mean tfidf"),
        (["ship sea"], {"preset": "plain", "components": 9}, "at most 1 components, not 9"),
        (["ship sea"], {"preset": "plain", "components": 0}, "components must be at least 1"),
        (["ship sea"], {"max_features": 0}, "max_features must be at least 1"),
        ("ship sea", {}, "must be a list of strings"),
    ],
)
def test_unusable_input(texts, settings, message):
    with pytest.raises(InputError, match=message):
        TfidfEncoder.fit(texts, **settings)


def test_an_unknown_side(corpus):
    with pytest.raises(InputError, match="document or query, not 'title'"):
        TfidfEncoder.fit(corpus).encode(corpus, "title")


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        ({"weights": None}, {}),
        ({"dim": 3}, {}),
        ({}, {"idf": np.ones(2, np.float32)}),
        ({}, {"components": np.ones((2, 2), np.float32)}),
        ({}, {"vocabulary": np.array([255, 254], np.uint8)}),
    ],
)
def test_damaged_files(corpus, config, tensors):
    encoder = TfidfEncoder.fit(corpus)
    with pytest.raises(FormatError, match="stored tfidf encoder"):
        TfidfEncoder.from_config({**encoder.config(), **config}, {**encoder.tensors(), **tensors})
    with pytest.raises(FormatError, match="stored tfidf encoder is incomplete"):
        TfidfEncoder.from_config({}, encoder.tensors())


def test_scikit_learn_is_loaded_on_use_only():
    code = "import sys, llmhash.encoders.tfidf; sys.exit('sklearn' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
