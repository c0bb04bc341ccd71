import numpy as np
import pytest

from llmhash.encoders.batching import check_texts, encode_texts
from llmhash.encoders.cache import FeatureCache, TextKeys
from llmhash.errors import InputError


def lengths(texts):
    """A model: a text's length and its first letter."""
    return np.array([[len(text), ord((text or " ")[0])] for text in texts], dtype=np.float32)


def expected(texts):
    return lengths(texts).tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_rows_are_in_the_order_of_the_texts(batch_size):
    rng = np.random.default_rng(0)
    texts = ["x" * rng.integers(0, 9) for _ in range(40)]
    batches = []

    def run(batch):
        batches.append(batch)
        return lengths(batch)

    assert encode_texts(texts, run, batch_size=batch_size).tolist() == expected(texts)
    assert sorted(text for batch in batches for text in batch) == sorted(set(texts))
    assert max(map(len, batches)) <= batch_size


def test_the_cache_is_asked_first_and_filled_after(tmp_path):
    cache, keys = FeatureCache(tmp_path), TextKeys("a model")
    encode_texts(["a", "bb"], lengths, batch_size=8, cache=cache, key=keys.key)
    seen = []

    def run(batch):
        seen.extend(batch)
        return lengths(batch)

    texts = ["ccc", "bb", "a", "ccc"]
    assert encode_texts(texts, run, batch_size=8, cache=cache, key=keys.key).tolist() == expected(texts)
    assert seen == ["ccc"]
    assert cache.info()["entries"] == 3


def test_a_failure_keeps_the_batches_before_it(tmp_path):
    cache, keys = FeatureCache(tmp_path), TextKeys("a model")

    def run(batch):
        if "a" in batch:
            raise MemoryError
        return lengths(batch)

    with pytest.raises(MemoryError):
        encode_texts(["a", "bb", "ccc"], run, batch_size=1, cache=cache, key=keys.key)
    assert cache.get([keys.key(text) for text in ("a", "bb", "ccc")]).keys() == {
        keys.key("bb"),
        keys.key("ccc"),
    }


def test_a_model_that_loses_a_text_is_not_believed():
    with pytest.raises(ValueError, match="shorter"):
        encode_texts(["a", "b"], lambda batch: lengths(batch)[:1], batch_size=2)


def test_texts_are_checked():
    assert check_texts(("a", "", "ä \udcff")) == ["a", "", "ä \ufffd"]
    for wrong in ("one string", [b"bytes"], ["a", 1.0]):
        with pytest.raises(InputError, match="string"):
            check_texts(wrong)
