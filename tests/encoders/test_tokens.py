import json

import numpy as np
import pytest

from llmhash.encoders.base import TokenFeatures
from llmhash.encoders.cache import FeatureCache
from llmhash.encoders.tokens import TokenEncoder
from llmhash.errors import FormatError, InputError

torch = pytest.importorskip("torch")


def features_of(lengths, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = rng.normal(size=(offsets[-1], dim)).astype(np.float16)
    return TokenFeatures(values, offsets, rng.normal(size=(len(lengths), dim)).astype(np.float32))


def tokens_of(features, row):
    return features.values[features.offsets[row] : features.offsets[row + 1]]


def assert_same(first, second):
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.offsets, second.offsets)
    np.testing.assert_array_equal(first.summary, second.summary)


# -- features ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        np.array([3, 0, 0, 2], dtype=np.int64),
        np.array([], dtype=np.int64),
        np.array([-1, 1], dtype=np.int64),
        slice(1, 4),
        slice(None, None, 2),
        slice(4, 1),
        slice(5, None),
        slice(None),
    ],
)
def test_rows_of_token_features(rows):
    features = features_of([2, 0, 3, 1, 4])
    chosen = features[rows]
    expected = np.arange(5)[rows]
    assert len(chosen) == len(expected) and chosen.shape == (len(expected), 3)
    np.testing.assert_array_equal(chosen.summary, features.summary[rows])
    for place, row in enumerate(expected):
        np.testing.assert_array_equal(tokens_of(chosen, place), tokens_of(features, row))
    assert chosen.lengths.tolist() == features.lengths[rows].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((3, 2), np.float32)}, "values of token features must be float16"),
        ({"offsets": np.array([0, 1], np.int64)}, "of 1 texts and 2 dimensions cannot have a summary of"),
        ({"offsets": np.array([0, 4, 3], np.int64)}, "offsets must ascend from 0 to the 3 rows"),
        ({"offsets": np.array([0, 1, 2], np.int64)}, "offsets must ascend"),
        ({"summary": np.zeros((2, 5), np.float32)}, r"summary of shape \(2, 5\)"),
        ({"summary": np.zeros(2, np.float32)}, "with 2 axes"),
    ],
)
def test_arrays_that_do_not_fit(change, message):
    arrays = {
        "values": np.zeros((3, 2), np.float16),
        "offsets": np.array([0, 1, 3], np.int64),
        "summary": np.zeros((2, 2), np.float32),
    }
    assert len(TokenFeatures(**arrays)) == 2
    with pytest.raises(InputError, match=message):
        TokenFeatures(**arrays | change)


# -- the encoder ---------------------------------------------------------------------------------


def reference(folder, text):
    """The text's states from transformers itself: all of them, and those between [CLS] and [SEP]."""
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state[0].numpy()
    return states, states[1:-1]


def test_tokens_are_the_last_layer_s_without_special_ones_and_padding(transformer, texts):
    encoder = TokenEncoder.open(transformer, device="cpu", batch_size=3, cache=None)
    features = encoder.encode(texts, "document")
    assert len(features) == len(texts) and features.values.dtype == np.float16
    for row, text in enumerate(texts):
        states, inner = reference(transformer, text)
        np.testing.assert_allclose(tokens_of(features, row), inner, atol=3e-3)
        np.testing.assert_allclose(features.summary[row], states[0], atol=1e-5)
    assert features.lengths[texts.index("")] == 0
    assert features.lengths.max() == 62  # cut to the model's 64 with [CLS] and [SEP]
    assert encoder.dim == features.dim == 16


def test_the_summary_is_the_mean_where_the_model_pools_so(model, transformer, texts):
    features = TokenEncoder.open(model, device="cpu", cache=None).encode(texts, "query")
    states, _ = reference(transformer, texts[0])
    np.testing.assert_allclose(features.summary[0], states.mean(axis=0), atol=1e-5)
    cls = TokenEncoder.open(model, device="cpu", cache=None, summary="cls").encode(texts, "query")
    np.testing.assert_allclose(cls.summary[0], states[0], atol=1e-5)
    np.testing.assert_array_equal(cls.values, features.values)


def test_a_model_that_pools_by_cls(make_model, transformer, tmp_path):
    encoder = TokenEncoder.open(make_model(tmp_path / "cls", transformer, pooling="cls"), cache=None)
    assert encoder.summary == "cls"


def test_unknown_words_are_tokens(transformer):
    features = TokenEncoder.open(transformer, device="cpu", cache=None).encode(["§ ab", "§"], "document")
    assert features.lengths.tolist() == [3, 1]


def test_other_architectures(xlm_transformer):
    features = TokenEncoder.open(xlm_transformer, device="cpu", cache=None).encode(["ab", ""], "document")
    states, inner = reference(xlm_transformer, "ab")
    np.testing.assert_allclose(tokens_of(features, 0), inner, atol=3e-3)
    np.testing.assert_allclose(features.summary[0], states[0], atol=1e-5)


def test_max_length_counts_special_tokens(transformer):
    encoder = TokenEncoder.open(transformer, device="cpu", cache=None, max_length=6)
    assert encoder.encode(["abcdefgh ij", "ab"], "document").lengths.tolist() == [4, 2]


def test_what_is_in_the_cache_is_not_computed(transformer, texts, own_cache, monkeypatch):
    encoder = TokenEncoder.open(transformer, device="cpu", batch_size=2)
    first = encoder.encode(texts, "document")
    assert FeatureCache().info()["entries"] == len(set(texts))
    again = TokenEncoder.open(transformer, device="cpu")
    calls = []
    run = again._run
    monkeypatch.setattr(again, "_run", lambda batch: calls.extend(batch) or run(batch))
    assert_same(again.encode(texts, "query"), first)
    assert calls == []
    more = again.encode([*texts[:2], "new text"], "document")
    assert calls == ["new text"]
    assert_same(more[:2], first[:2])
    # Another length, another summary: other features.
    TokenEncoder.open(transformer, device="cpu", max_length=8).encode(texts, "document")
    TokenEncoder.open(transformer, device="cpu", summary="mean").encode(texts, "document")
    assert FeatureCache().info()["entries"] == 3 * len(set(texts)) + 1


def test_what_was_finished_before_an_error_is_kept(transformer, texts, monkeypatch):
    encoder = TokenEncoder.open(transformer, device="cpu", batch_size=2)
    run = encoder._run

    def fail(batch):
        if "gamma" in batch:
            raise RuntimeError("killed")
        return run(batch)

    monkeypatch.setattr(encoder, "_run", fail)
    with pytest.raises(RuntimeError, match="killed"):
        encoder.encode(texts, "document")
    assert FeatureCache().info()["entries"] == 4


def test_the_cache_takes_any_number_of_tokens_exactly():
    """Two halves in the place of a float32, an odd number of halves included."""
    from llmhash.encoders.tokens import _pack, _unpack

    features = features_of([0, 1, 4, 3, 0], dim=3)
    features.values[:2] = [[np.nan, np.inf, 1], [-0.0, 6e-8, 65504]]
    assert_same(_unpack(_pack(features)), features)


def test_the_fingerprint_and_the_configuration(transformer, other_transformer, texts):
    encoder = TokenEncoder.open(transformer, device="cpu")
    config = json.loads(json.dumps(encoder.config()))
    assert config["kind"] == "tokens" and config["dim"] == 16 and config["summary"] == "cls"
    again = TokenEncoder.from_config(config, device="cpu")
    assert again.fingerprint == encoder.fingerprint and again.dim == 16
    assert not again.sides_differ and again.name == transformer
    others = [
        TokenEncoder.open(other_transformer),
        TokenEncoder.open(transformer, max_length=8),
        TokenEncoder.open(transformer, summary="mean"),
        TokenEncoder.open(transformer, dtype="bfloat16"),
    ]
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 5
    with pytest.raises(FormatError, match="incomplete"):
        TokenEncoder.from_config({"kind": "tokens"})
    with pytest.raises(FormatError, match="does not say what its summary is"):
        TokenEncoder.from_config({**config, "summary": None})


def test_no_texts(transformer):
    features = TokenEncoder.open(transformer, device="cpu").encode([], "document")
    assert len(features) == 0 and features.shape == (0, 16)


def test_nan_is_refused(tmp_path, transformer):
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(transformer)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(transformer).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="gives NaN, infinity or numbers beyond float16 in float32"):
        TokenEncoder.open(str(tmp_path), device="cpu").encode(["ab"], "document")


def test_a_model_that_is_no_single_transformer(routed):
    with pytest.raises(InputError, match="no single transformer"):
        TokenEncoder.open(routed, device="cpu").encode(["ab"], "document")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"summary": "max"}, "summary must be cls or mean, not 'max'"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_settings_out_of_range(transformer, settings, message):
    with pytest.raises(InputError, match=message):
        TokenEncoder.open(transformer, **settings)


def test_wrong_calls(transformer):
    encoder = TokenEncoder.open(transformer, device="cpu")
    with pytest.raises(InputError, match="document or query, not 'title'"):
        encoder.encode(["ab"], "title")
    with pytest.raises(InputError, match="must be a list of strings"):
        encoder.encode("ab", "document")
    with pytest.raises(InputError, match="unknown teacher 'minilmm'"):
        TokenEncoder.open("minilmm")
