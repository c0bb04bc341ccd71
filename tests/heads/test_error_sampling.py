"""Which documents heads are fitted to, of a corpus that has more than they need."""

import numpy as np
import pytest

from llmhash.heads import distance_codebook, error_sampling, rca, scan
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.error_sampling import rows_by_error
from llmhash.heads.rca import fit_rca
from llmhash.heads.scan import fit_scan

DIM, MANY, FEW = 16, 3600, 400
TAKEN, ANY = 1200, 300


@pytest.fixture
def limits(monkeypatch):
    monkeypatch.setattr(scan, "_ROWS", TAKEN)
    monkeypatch.setattr(rca, "_MAX_ROWS", TAKEN)
    monkeypatch.setattr(error_sampling, "_ROUGH_ROWS", 600)


@pytest.fixture(scope="module")
def documents():
    """A large topic of documents near each other, then a small one in other directions."""
    rng = np.random.default_rng(0)
    large, small = rng.normal(size=(MANY, DIM)), rng.normal(size=(FEW, DIM))
    large[:, DIM // 2 :] *= 0.1
    small[:, : DIM // 2] *= 0.1
    return np.concatenate([large, small]).astype(np.float32)


def rows_of(documents, seed=0, most=TAKEN):
    return rows_by_error(documents, documents.mean(axis=0), np.eye(DIM, dtype=np.float32), most, seed)


def test_a_corpus_that_fits_is_taken_whole(documents):
    np.testing.assert_array_equal(rows_of(documents, most=MANY + FEW), np.arange(MANY + FEW))


def test_documents_of_small_topics_are_likelier(documents, limits):
    rows = rows_of(documents)
    assert len(rows) == TAKEN
    assert (np.diff(rows) > 0).all()
    # Were all as likely, 0.3 of them would be taken.
    assert (rows >= MANY).sum() > 0.7 * FEW


def test_documents_without_error_are_among_the_others(documents, limits):
    copies = np.concatenate([np.ones((3000, DIM), np.float32), documents[-FEW:], documents[: 2 * FEW]])
    rows = rows_of(copies)
    assert (rows < 3000).sum() == pytest.approx(ANY * 3000 / len(copies), rel=0.15)


def test_documents_of_a_map_that_loses_a_topic_are_not_likelier(documents, limits):
    """Errors are those of mapped documents, and where a map leaves nothing of a topic it is coded well."""
    kept = np.diag((np.arange(DIM) < DIM // 2).astype(np.float32))
    rows = rows_by_error(documents, documents.mean(axis=0), kept, TAKEN, 0)
    assert (rows >= MANY).sum() < 0.2 * FEW


def test_the_seed_decides(documents, limits):
    np.testing.assert_array_equal(rows_of(documents), rows_of(documents))
    assert (np.isin(rows_of(documents, seed=1), rows_of(documents)).mean()) < 0.9


def test_documents_that_are_all_alike_are_no_error(limits):
    assert len(np.unique(rows_of(np.ones((2000, DIM), np.float32)))) == TAKEN


def test_small_topics_are_coded_with_less_error(documents, limits, monkeypatch):
    features = TrainingFeatures(documents)

    def error():
        book = fit_scan(features, 16).codebook
        mapped = (documents - book.mean) @ book.document_map.T
        left = mapped - book.decode(book.encode(documents, np.zeros((len(documents), 16), np.float32)))
        return np.square(left[MANY:]).sum() / np.square(mapped[MANY:]).sum()

    by_error = error()
    monkeypatch.setattr(error_sampling, "_POWER", 0)
    assert by_error < 0.6 * error()


def test_bits_look_where_small_topics_differ(documents, limits, monkeypatch):
    documents = np.concatenate([documents[:MANY], 2 * documents[MANY:]])
    sources = np.arange(len(documents))[::4]
    noise = np.random.default_rng(1).normal(size=(len(sources), DIM)).astype(np.float32)
    features = TrainingFeatures(documents, documents[sources] + 0.5 * noise, sources)

    def share_there():
        squares = np.square(fit_rca(features, 8).weight)
        return squares[:, DIM // 2 :].sum() / squares.sum()

    by_error = share_there()
    monkeypatch.setattr(error_sampling, "_POWER", 0)
    assert by_error > 0.2 > 0.05 > share_there()


def test_local_maps_are_fitted_to_more_documents(documents, monkeypatch):
    taken = []

    def take(documents, _mean, _map, most, _seed):
        taken.append(most)
        return np.arange(300)

    monkeypatch.setattr(distance_codebook, "rows_by_error", take)
    for alike in (600, 599):
        monkeypatch.setattr(distance_codebook, "_ALIKE", alike)
        for bits in (8, 16):
            fit_scan(TrainingFeatures(documents[:600]), bits)
    assert taken == [100_000, 100_000, 100_000, 200_000]
