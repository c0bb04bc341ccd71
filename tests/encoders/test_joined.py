import numpy as np
import pytest

from llmhash import Hasher
from llmhash.encoders import JoinedEncoder, TfidfEncoder, TokenFeatures
from llmhash.errors import FormatError, InputError
from llmhash.heads import fit_head
from llmhash.heads.base import TrainingFeatures
from llmhash.recipes import EncoderSettings, Recipe

SHARE = 0.3


@pytest.fixture
def words(sentences):
    return TfidfEncoder.fit(sentences, preset="plain", components=8)


def test_products_are_the_cosines_weighed_by_the_share(encoder, words, sentences):
    joined = JoinedEncoder(encoder, words, SHARE)
    features = joined.encode(sentences, "document")
    assert (features.shape, features.dtype) == ((len(sentences), joined.dim), np.float32)
    assert joined.dim == encoder.dim + 8
    embeddings, semantics = encoder.encode(sentences, "document"), words.encode(sentences, "document")
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = (1 - SHARE) * unit @ unit.T + SHARE * semantics @ semantics.T
    np.testing.assert_allclose(features @ features.T, expected, atol=1e-5)


def test_a_text_without_known_words_keeps_its_embedding(encoder, words):
    row = JoinedEncoder(encoder, words, SHARE).encode(["zzzz"], "query")[0]
    assert not row[encoder.dim :].any()
    assert np.isfinite(row).all()


def test_the_fingerprint_tells_parts_and_share_apart(encoder, words, sentences):
    other = TfidfEncoder.fit(sentences, preset="plain", components=7)
    made = [JoinedEncoder(encoder, *rest) for rest in ((words, 0.3), (words, 0.4), (other, 0.3))]
    assert len({each.fingerprint for each in made}) == 3
    assert made[0].sides_differ == encoder.sides_differ


def test_a_hasher_of_it_is_stored_and_read_back(sentences, make_model, transformer, tmp_path):
    model = str(make_model(tmp_path / "model", transformer))
    settings = EncoderSettings(model, device="cpu", words_share=SHARE, preset="plain", components=8)
    hasher = Hasher.from_recipe(Recipe("small", "itq", encoder=settings, bits=8), sentences)
    assert isinstance(hasher.encoder, JoinedEncoder)
    loaded = Hasher.load(hasher.save(tmp_path / "h"), device="cpu")
    assert loaded.fingerprint == hasher.fingerprint
    np.testing.assert_array_equal(
        loaded.encode_documents(sentences).packed, hasher.encode_documents(sentences).packed
    )
    assert "with words" in (tmp_path / "h" / "README.md").read_text()
    with pytest.raises(InputError, match="JoinedEncoder cannot become a SentenceTransformer"):
        hasher.to_sentence_transformers()
    config = hasher.encoder.config()
    del config["share"]
    with pytest.raises(FormatError, match="joined encoder is incomplete or damaged"):
        JoinedEncoder.from_config(config, hasher.encoder.tensors(), device="cpu")


class Tokens:
    """An encoder that gives no vector a text."""

    name, dim, fingerprint, sides_differ = "tokens", 4, "tokens", False

    def encode(self, texts, side, *, progress=False):
        offsets = np.zeros(len(texts) + 1, np.int64)
        return TokenFeatures(np.zeros((0, 4), np.float16), offsets, np.zeros((len(texts), 4), np.float32))


def test_bad_parts_are_refused(encoder, words, sentences):
    for share in (0, 1, -0.1):
        with pytest.raises(InputError, match="share must be above 0 and below 1"):
            JoinedEncoder(encoder, words, share)
    with pytest.raises(InputError, match="give `components`"):
        JoinedEncoder(encoder, TfidfEncoder.fit(sentences, preset="plain"), SHARE)
    with pytest.raises(InputError, match="dense vectors, which tokens does not give"):
        JoinedEncoder(Tokens(), words, SHARE).encode(sentences, "document")


def test_heads_see_one_dense_vector(encoder, words, sentences):
    features = TrainingFeatures(JoinedEncoder(encoder, words, SHARE).encode(sentences, "document"))
    head = fit_head("sth", features, 8, options={"learner": "ridge", "neighbours": 5})
    assert (head.bits, head.dim) == (8, features.dim)
