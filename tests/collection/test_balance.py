import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.collection import Collection
from llmhash.collection.balance import FEWEST, LIMIT, balance_drift, drift_of
from llmhash.errors import InputError

BITS = 48


def drawn(shares, count, seed=0):
    return Codes.pack(np.random.default_rng(seed).random((count, len(shares))) < shares)


@pytest.fixture
def trained_on():
    return np.random.default_rng(5).uniform(0.3, 0.7, BITS)


@pytest.fixture
def collection(tmp_path):
    with Collection.create(tmp_path / "c", bits=BITS, hasher_fingerprint="h") as made:
        yield made


@pytest.mark.parametrize("count", [100, 1000, 20_000])
def test_documents_like_those_of_training_do_not_drift_however_few(collection, trained_on, count):
    collection.add(drawn(trained_on, count))
    found = drift_of(collection, trained_on)
    assert found.sample == min(count, 10_000)
    assert found.drift < 0.02
    assert not found.exceeds


@pytest.mark.parametrize("count", [100, 5000])
def test_the_drift_is_the_difference_of_the_shares(collection, trained_on, count):
    collection.add(drawn(np.abs(trained_on - 0.2), count))
    found = drift_of(collection, trained_on)
    # Shares below 0.2 cannot fall by 0.2; there are none.
    assert found.drift == pytest.approx(0.2, abs=0.02)
    assert found.exceeds
    assert found.drift > LIMIT


def test_noise_alone_is_taken_out(trained_on):
    drifts = [balance_drift(drawn(trained_on, 200, seed), trained_on) for seed in range(40)]
    plain = [
        np.sqrt(np.square(drawn(trained_on, 200, seed).unpack().mean(axis=0) - trained_on).mean())
        for seed in range(40)
    ]
    assert np.mean(drifts) < 0.35 * np.mean(plain)


def test_deleted_documents_do_not_count(collection, trained_on):
    collection.add(drawn(trained_on, 300), ids=[f"a{i}" for i in range(300)])
    others = collection.add(drawn(1 - trained_on, 300, seed=1), ids=[f"b{i}" for i in range(300)])
    assert drift_of(collection, trained_on).drift > 0.05
    collection.delete(others)
    assert drift_of(collection, trained_on).drift < 0.03


def test_few_documents_tell_nothing(collection, trained_on):
    assert drift_of(collection, trained_on).drift is None
    collection.add(drawn(1 - trained_on, FEWEST - 1))
    found = drift_of(collection, trained_on)
    assert (found.drift, found.sample, found.exceeds) == (None, FEWEST - 1, False)


def test_shares_of_another_width_are_refused(collection, trained_on):
    with pytest.raises(InputError, match="47 shares"):
        drift_of(collection, trained_on[:-1])
