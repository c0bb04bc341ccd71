from __future__ import annotations

import sys

import numpy as np
import pytest

from llmhash.errors import InputError, MissingExtraError
from llmhash.evaluation import RetrievalTask
from llmhash.evaluation.peers import fit_peer, measure_peers, peer_names


def test_names_expand_and_are_checked():
    pytest.importorskip("faiss")
    assert peer_names(["faiss", "pq"]) == ["pq", "opq", "rabitq"]
    assert peer_names([]) == []
    with pytest.raises(InputError, match="unknown peer 'scann'; there are faiss, pq, opq, rabitq"):
        peer_names(["scann"])


def test_faiss_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"llmhash\[faiss\]"):
        peer_names(["faiss"])


def test_pq_scores_are_those_of_a_faiss_index(task):
    faiss = pytest.importorskip("faiss")
    peer = fit_peer("pq", task.documents, task, 64, seed=3)
    index = faiss.IndexPQ(task.dim, 8, 8, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.seed = 3
    index.pq.cp.min_points_per_centroid = 1
    index.train(task.documents)
    index.add(task.documents)
    values, rows = index.search(task.queries, len(task.documents))
    expected = np.empty_like(values)
    np.put_along_axis(expected, rows, values, axis=1)
    scores = peer.ranking.block(slice(0, len(task.queries))).values
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    # Equal documents have equal codes, and those tie exactly.
    assert (scores[:, 299] == scores[:, 0]).all()
    assert peer.bytes_per_document == index.sa_code_size() == 8
    assert peer.model_bytes == 4 * 256 * task.dim


def test_rabitq_scores_all_documents_at_its_own_size(task):
    faiss = pytest.importorskip("faiss")
    peer = fit_peer("rabitq", task.documents, task, task.dim, seed=0)
    scores = peer.ranking.block(slice(0, len(task.queries))).values
    assert np.isfinite(scores).all()
    exact = task.queries @ task.documents.T
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.8
    assert peer.bytes_per_document == faiss.IndexRaBitQ(task.dim).code_size == task.dim // 8 + 8


@pytest.mark.parametrize("name", ["pq", "opq"])
def test_sub_quantizers_need_not_divide_the_dimension(task, name):
    pytest.importorskip("faiss")
    peer = fit_peer(name, task.documents, task, 40, seed=0)  # 5 sub-quantizers of 32 dimensions.
    assert peer.bytes_per_document == 5
    exact = task.queries @ task.documents.T
    scores = peer.ranking.block(slice(0, len(task.queries))).values
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.8
    assert peer.model_bytes == 4 * 256 * 35 + (4 * 35 * 32 if name == "opq" else 0)


@pytest.mark.parametrize("name", ["pq", "opq", "rabitq"])
def test_a_seed_reproduces_a_fit(task, name):
    pytest.importorskip("faiss")

    def scores(seed):
        return fit_peer(name, task.documents, task, 32, seed=seed).ranking.block(slice(0, 5)).values

    np.testing.assert_array_equal(scores(0), scores(0))
    assert (scores(0) != scores(1)).any()


def test_measurements_carry_means_over_seeds_and_their_settings(task):
    faiss = pytest.importorskip("faiss")
    threads = faiss.omp_get_max_threads()
    lines: list[str] = []
    measurements, notes = measure_peers(
        task,
        task.documents,
        names=["pq", "opq", "rabitq"],
        bits=[16, 20, 32, 512],
        seeds=range(2),
        trained_on="in-corpus",
        progress=lines.append,
    )
    assert [(each.head, each.bits, each.bytes_per_document) for each in measurements] == [
        ("pq", 16, 2),
        ("pq", 32, 4),
        ("opq", 16, 2),
        ("opq", 32, 4),
        ("rabitq", 32, 12),
    ]
    assert all(each.seeds == 2 and each.scoring == "asymmetric_scan" for each in measurements)
    assert "50 OPQ iterations, 2 sub-quantizers" in (measurements[2].settings or "")
    assert set(measurements[0].seconds) == {"fit", "encode", "search"}
    assert notes[:2] == [
        "pq at 20 bits left out: no whole number of bytes.",
        "pq at 512 bits left out: more sub-quantizers than the 32 dimensions.",
    ]
    assert len(notes) == 4
    assert lines[0] == "pq, 16 bits, seed 0"
    assert len(lines) == 10
    assert faiss.omp_get_max_threads() == threads


def test_few_documents_leave_peers_out_with_a_note(task):
    few = RetrievalTask.from_rows(
        task.documents[:200], task.queries[:3], np.array([[0], [1], [2]]), data="d", split="s", teacher="t"
    )
    measurements, notes = measure_peers(
        few, few.documents, names=["pq"], bits=[16], seeds=[0], trained_on="in-corpus"
    )
    assert not measurements
    assert notes == ["peers left out: 200 documents, and a sub-quantizer has 256 centroids."]


def test_a_small_corpus_is_fitted_without_a_word(task, capfd):
    pytest.importorskip("faiss")
    fit_peer("opq", task.documents, task, 16, seed=0)
    assert capfd.readouterr() == ("", "")
