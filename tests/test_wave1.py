"""Every shipped recipe: it says what it is, takes a training step on a small label set, and is stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmhash import Hasher
from llmhash.corpora.labels import Labelled, LabelSet
from llmhash.encoders import JoinedEncoder, TfidfEncoder
from llmhash.encoders.base import TokenFeatures
from llmhash.errors import InputError
from llmhash.evaluation.label import LabelledCodes, label_report
from llmhash.heads.registry import head_options
from llmhash.recipes import COMPONENTS, load_recipe, recipe_names

BITS = 8
WAVE_1 = {
    "sign", "median", "lsh", "pca", "itq", "spectral", "sth",
    "vdsh", "nash", "wish", "dhim", "bpr", "smash", "distill",
}  # fmt: skip
WORDS = ("vdsh", "nash", "wish", "smash")


class TokensOf:
    """A token encoder without a model: each word's vector is that of the encoder it is made of."""

    name = "bag-of-tokens"
    sides_differ = False

    def __init__(self, encoder) -> None:
        self.encoder, self.dim, self.fingerprint = encoder, encoder.dim, "bag-of-tokens"

    def encode(self, texts, side, *, progress=False) -> TokenFeatures:
        words = [text.split() for text in texts]
        offsets = np.cumsum([0, *map(len, words)])
        flat = [word for each in words for word in each]
        values = np.array([self.encoder.encode([word], side)[0] for word in flat], np.float16)
        return TokenFeatures(
            values.reshape(-1, self.dim), offsets.astype(np.int64), self.encoder.encode(texts, side)
        )

    def config(self):
        return {"name": self.name}


@pytest.fixture
def labelled(sentences) -> LabelSet:
    """The sentences with their subject as the label; each split holds all five subjects."""
    subjects = [(str(row % 5),) for row in range(len(sentences))]

    def part(first, last):
        return Labelled(sentences[first:last], subjects[first:last])

    return LabelSet("subjects", part(0, 130), part(130, 160), part(160, 200), "official")


def shipped(name, **options):
    """A recipe in few bits, and on few pseudo-queries where it cuts any."""
    recipe = load_recipe(name, bits=BITS, options=options)
    return replace(recipe, pseudo_queries=min(100, recipe.pseudo_queries))


def fit(recipe, labelled, encoder, **settings):
    """The recipe's hasher; where it names a model, `encoder` takes its place."""
    teacher = None
    if recipe.encoder.words_share:
        words = TfidfEncoder.fit(labelled.train.texts, preset="plain", components=16)
        teacher = JoinedEncoder(encoder, words, recipe.encoder.words_share)
    elif not recipe.fits_encoder:
        teacher = TokensOf(encoder) if recipe.encoder.tokens else encoder
    return Hasher.fit_labels(recipe, labelled, teacher=teacher, **settings)


def test_wave_1_ships() -> None:
    assert set(recipe_names()) >= WAVE_1


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_takes_a_training_step(name, labelled, encoder) -> None:
    trained = "steps" in head_options(load_recipe(name).head)
    recipe = shipped(name, **({"steps": 1} if trained else {}))
    assert recipe.name == name
    assert recipe.description.endswith(".")
    assert recipe.paper.endswith(".")
    steps = []
    hasher = fit(recipe, labelled, encoder, progress=lambda step, of, _: steps.append((step, of)))
    if trained:
        assert steps[0] == (1, 1)
    codes = hasher.encode_documents(labelled.test.texts)
    assert (len(codes), codes.bits) == (40, BITS)
    # One that says the same of every text would be no code.
    assert len(np.unique(codes.packed, axis=0)) > 1


@pytest.mark.parametrize("name", WORDS)
def test_the_word_methods_learn_from_words_beside_embeddings(name, labelled, encoder) -> None:
    recipe = shipped(name, steps=1).with_encoder(name="minilm")
    assert (recipe.encoder.name, recipe.words.preset, recipe.words.weights) == ("minilm", "survey", "tfidf")
    hasher = fit(recipe, labelled, encoder)
    assert hasher.dim == encoder.dim
    assert hasher.features.words.shape[0] == len(labelled.train)


@pytest.mark.parametrize("name", ["itq", "sth", "bpr"])
def test_embedding_methods_take_words(name, labelled, encoder) -> None:
    recipe = shipped(name, **({"steps": 1} if name == "bpr" else {}))
    changed = recipe.with_encoder(name="tfidf")
    # STH takes words as they are; BPR starts from principal components.
    assert changed.encoder.components == (None if name == "sth" else COMPONENTS)
    chosen = recipe.with_encoder(name="tfidf", components=12)
    hasher = Hasher.fit_labels(chosen, labelled)
    assert (hasher.encoder.name, hasher.encoder.preset, hasher.dim) == ("tfidf", "survey", 12)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_class_with_one_document_is_trained_with_and_measured(split, labelled) -> None:
    part = getattr(labelled, split)
    lone = Labelled(part.texts, [("rare",), *part.labels[1:]])
    changed = replace(labelled, **{split: lone})
    hasher = Hasher.fit_labels(shipped("nash", steps=2).with_encoder(preset="plain"), changed)
    row = label_report([LabelledCodes.from_hasher(hasher, changed)], changed, k=10)["rows"][0]
    assert 0 < row["precision@10"] < 1


def test_words_joined_to_embeddings_stay_with_the_next_model_and_go_with_words_alone(sentences) -> None:
    recipe = load_recipe("sth-joined")
    assert recipe.fits_encoder
    assert recipe.needs == set()
    assert recipe.with_encoder(name="mpnet").encoder == replace(recipe.encoder, name="mpnet")
    alone = recipe.with_encoder(name="tfidf").encoder
    assert (alone.name, alone.words_share, alone.components) == ("tfidf", 0.0, COMPONENTS)
    with pytest.raises(InputError, match="joined to whole texts' embeddings: set tokens to false"):
        recipe.with_encoder(tokens=True).open_encoder(texts=sentences)
    with pytest.raises(InputError, match="fitted on the corpus, and there is none"):
        recipe.open_encoder()


def test_what_no_encoder_can_give_is_refused() -> None:
    with pytest.raises(InputError, match="dhim takes tokens, which tfidf does not give; name a model"):
        load_recipe("dhim").with_encoder(name="tfidf")
    with pytest.raises(InputError, match="components are those of the encoder tfidf, and minilm has none"):
        load_recipe("itq").with_encoder(components=5)


def test_other_settings_leave_the_method_alone() -> None:
    recipe = load_recipe("nash")
    assert recipe.with_encoder() == recipe
    moved = load_recipe("dhim").with_encoder(name="mpnet", device="cpu")
    assert (moved.encoder.name, moved.encoder.tokens, moved.words) == ("mpnet", True, None)
