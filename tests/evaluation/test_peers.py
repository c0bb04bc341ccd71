from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from llmhash.errors import InputError, MissingExtraError
from llmhash.evaluation import RetrievalTask, evaluate
from llmhash.evaluation.peers import (
    GROUPS,
    PEERS,
    SEEDLESS_PEERS,
    Peer,
    faiss_threads,
    fit_peer,
    measure_peers,
    peer_names,
    peer_obstacle,
    peer_widths,
)
from llmhash.evaluation.peers.additive import BEAM, lsq_rounds
from llmhash.evaluation.peers.base import sample
from llmhash.evaluation.rankings import Block

#: Peers with a width that each can do on embeddings of 32 dimensions.
WIDTHS = dict.fromkeys(PEERS, 32) | {"lsq": 16, "pca_sq8": 64, "pca_rabitq": 80, "st_int8": 256}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads of OpenMP that wait for each other make these fits many times slower on a busy machine."""
    pytest.importorskip("faiss")
    with faiss_threads(1):
        yield


@pytest.fixture(scope="module")
def fitted(task) -> Callable[[str], Peer]:
    """Peers at their widths, each fitted once, with seed 0."""
    return cache(lambda name: fit_peer(name, task.documents, WIDTHS[name], seed=0))


def scores(name: str, task: RetrievalTask, bits: int, seed: int = 0) -> np.ndarray:
    """Scores of all documents, -inf for those not retrieved."""
    return scored(fit_peer(name, task.documents, bits, seed=seed), task)


def scored(peer: Peer, task: RetrievalTask) -> np.ndarray:
    """Scores of all documents, -inf for those not retrieved."""
    block = peer.ranking(task.queries, peer.encode(task.documents)).block(slice(0, len(task.queries)))
    return spread(block, len(task.documents))


def spread(block: Block, documents: int) -> np.ndarray:
    """The scores of a block by document, -inf for those not retrieved."""
    if block.candidates is None:
        return block.values
    out = np.full((len(block.values), documents), -np.inf)
    for row, values, candidates in zip(out, block.values, block.candidates, strict=True):
        row[candidates[candidates >= 0]] = values[candidates >= 0]
    return out


def searched(index, task: RetrievalTask) -> np.ndarray:
    """Scores of all documents as an index of FAISS gives them."""
    values, rows = index.search(task.queries, len(task.documents))
    out = np.empty_like(values)
    np.put_along_axis(out, rows, values, axis=1)
    return out


def test_names_expand_and_are_checked():
    assert peer_names(["faiss", "pq"]) == ["pq", "opq", "rq", "lsq", "pca_sq8", "pca_rabitq", "rabitq"]
    assert peer_names(["st_int8", "sentence-transformers"]) == ["st_int8", "st_ubinary"]
    assert set(peer_names(list(GROUPS))) == set(PEERS)
    assert peer_names([]) == []
    with pytest.raises(InputError, match="unknown peer 'scann'; there are faiss, sentence-transformers, pq"):
        peer_names(["scann"])


def test_faiss_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"llmhash\[faiss\]"):
        peer_names(["faiss"])


def test_peers_without_a_choice_run_at_their_own_width():
    assert peer_widths("rabitq", [64, 128], 384) == [384]
    assert peer_widths("st_int8", [64, 128], 384) == [3072]
    assert peer_widths("st_ubinary", [64, 128], 384) == [64, 128, 384]
    assert peer_widths("rq", [64, 128], 384) == [64, 128]


@pytest.mark.parametrize(
    ("name", "bits", "said"),
    [
        ("pq", 20, "no whole number of bytes"),
        ("opq", 512, "more sub-quantizers than the 32 dimensions"),
        ("pca_sq8", 512, "more components than the 32 dimensions"),
        ("pca_rabitq", 64, "codes and factors of 8 bytes together"),
        ("st_ubinary", 64, "more bits than the 32 dimensions"),
    ],
)
def test_widths_that_a_peer_cannot_do(task, name, bits, said):
    assert said in (peer_obstacle(name, bits, 32) or "")
    with pytest.raises(InputError, match=said):
        fit_peer(name, task.documents, bits, seed=0)


def test_rabitq_takes_the_components_that_fill_the_bytes():
    assert peer_obstacle("pca_rabitq", 64, 384) is not None
    assert peer_obstacle("pca_rabitq", 128, 384) is None
    assert peer_obstacle("pca_rabitq", 256, 384) is None


@pytest.mark.parametrize("name", PEERS)
def test_codes_have_the_bytes_that_are_counted(task, fitted, name):
    peer = fitted(name)
    codes = peer.encode(task.documents)
    own = {"rabitq": 32 // 8 + 8}  # Two factors of four bytes.
    assert codes.dtype == np.uint8
    assert codes.shape == (len(task.documents), peer.bytes_per_document)
    assert peer.bytes_per_document == own.get(name, WIDTHS[name] // 8)


def test_models_are_counted_whole(fitted):
    counted = {name: fitted(name).model_bytes for name in PEERS}
    assert counted == {
        "pq": 4 * 256 * 32,
        "opq": 4 * (256 * 32 + 32 * 32),
        "rq": 4 * 4 * 256 * 32,
        "lsq": 4 * 2 * 256 * 32,
        "pca_sq8": 4 * (8 * 32 + 8 + 2 * 8),
        "pca_rabitq": 4 * (16 * 32 + 2 * 16),
        "rabitq": 4 * (32 * 32 + 2 * 32),
        "st_ubinary": 0,
        "st_int8": 4 * 2 * 32,
    }


@pytest.mark.parametrize("name", PEERS)
def test_rankings_follow_the_teacher(task, fitted, name):
    # Chance finds a third of a percent of these documents; ten bytes and more find most.
    least = {"st_ubinary": 0.4, "pca_sq8": 0.4, "pca_rabitq": 0.4, "rabitq": 0.6, "st_int8": 0.97}
    peer = fitted(name)
    values, _ = evaluate(task, peer.ranking(task.queries, peer.encode(task.documents)))
    retention = values["ndcg@10"].mean() / task.teacher_values["ndcg@10"].mean()
    assert least.get(name, 0.7) < retention < 1.05


@pytest.mark.parametrize("name", PEERS)
def test_equal_codes_tie_exactly(task, fitted, name):
    peer = fitted(name)
    codes = peer.encode(task.documents)
    codes[[17, 180]] = codes[5]
    values = spread(peer.ranking(task.queries, codes).block(slice(0, len(task.queries))), len(codes))
    for other in (17, 180):
        both = np.isfinite(values[:, 5]) & np.isfinite(values[:, other])
        assert both.any()
        assert (values[both, 5] == values[both, other]).all()


@pytest.mark.parametrize("name", PEERS)
def test_a_seed_reproduces_a_fit(task, fitted, name):
    first = scored(fitted(name), task)
    np.testing.assert_array_equal(first, scores(name, task, WIDTHS[name]))
    same = np.array_equal(first, scores(name, task, WIDTHS[name], seed=1))
    assert same == (name in SEEDLESS_PEERS)


def test_pq_scores_are_those_of_a_faiss_index(task):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexPQ(task.dim, 8, 8, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.seed = 3
    index.pq.cp.min_points_per_centroid = 1
    index.train(task.documents)
    index.add(task.documents)
    np.testing.assert_allclose(scores("pq", task, 64, seed=3), searched(index, task), rtol=0, atol=1e-5)


def test_rq_scores_are_those_of_a_faiss_index(task):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexResidualQuantizer(task.dim, 4, 8, faiss.METRIC_INNER_PRODUCT)
    index.rq.max_beam_size = BEAM
    index.rq.train_type |= index.rq.Train_top_beam
    index.rq.cp.seed = 3
    index.rq.cp.min_points_per_centroid = 1
    index.train(task.documents)
    index.add(task.documents)
    np.testing.assert_allclose(scores("rq", task, 32, seed=3), searched(index, task), rtol=0, atol=1e-5)


def test_lsq_scores_are_those_of_a_faiss_index(task):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexLocalSearchQuantizer(task.dim, 2, 8, faiss.METRIC_INNER_PRODUCT)
    for name, value in lsq_rounds(2).items():
        setattr(index.lsq, name, value)
    index.lsq.random_seed = 3
    index.lsq.update_codebooks_with_double = False
    index.train(task.documents)
    index.add(task.documents)
    np.testing.assert_allclose(scores("lsq", task, 16, seed=3), searched(index, task), rtol=0, atol=1e-5)


def test_pca_sq8_scores_are_those_of_a_faiss_index(task):
    faiss = pytest.importorskip("faiss")
    pca = faiss.PCAMatrix(task.dim, 8)
    pca.train(task.documents)
    index = faiss.IndexScalarQuantizer(8, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(pca.apply(task.documents))
    index.add(pca.apply(task.documents))
    turned = replace(task, queries=pca.apply(task.queries) - faiss.vector_to_array(pca.b)[:8])
    np.testing.assert_allclose(scores("pca_sq8", task, 64), searched(index, turned), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "bits", "components"), [("rabitq", 32, 32), ("pca_rabitq", 80, 16)])
def test_rabitq_scores_are_those_of_a_faiss_index(task, name, bits, components):
    faiss = pytest.importorskip("faiss")
    documents, queries = task.documents, task.queries
    if components < task.dim:
        pca = faiss.PCAMatrix(task.dim, components)
        pca.train(documents)
        documents = pca.apply(documents)
        queries = pca.apply(queries) - faiss.vector_to_array(pca.b)[:components]
    rotation = faiss.RandomRotationMatrix(components, components)
    rotation.init(3)
    index = faiss.IndexRaBitQ(components, faiss.METRIC_INNER_PRODUCT)
    index.qb = 0
    index.train(rotation.apply(documents))
    index.add(rotation.apply(documents))
    expected = searched(index, replace(task, queries=rotation.apply(queries)))
    found = scores(name, task, bits, seed=3)
    # A rounding may turn a bit of a document over.
    assert np.mean(np.abs(found - expected) < 1e-5) > 0.98


def test_ubinary_codes_are_rescored_with_the_float_query(task):
    signs = task.documents[:, :16] > 0
    # 400 candidates are all 300 documents, and the best hundred come back.
    expected = task.queries[:, :16] @ signs.T.astype(np.float32)
    found = scores("st_ubinary", task, 16)
    kept = np.isfinite(found)
    assert (kept.sum(axis=1) == 100).all()
    np.testing.assert_allclose(found[kept], expected[kept], rtol=0, atol=1e-5)
    for row, chosen in zip(expected, kept, strict=True):
        assert row[chosen].min() >= row[~chosen].max() - 1e-5


def test_ubinary_candidates_are_the_nearest_by_hamming_distance():
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(2000, 64)).astype(np.float32)
    queries = rng.normal(size=(5, 64)).astype(np.float32)
    peer = fit_peer("st_ubinary", documents, 64, seed=0)
    block = peer.ranking(queries, peer.encode(documents)).block(slice(1, 4))
    assert block.candidates is not None
    distances = ((queries[1:4, None] > 0) != (documents[None] > 0)).sum(axis=2)
    furthest = np.sort(distances, axis=1)[:, 399]
    assert (np.take_along_axis(distances, block.candidates, axis=1) <= furthest[:, None]).all()


def test_int8_ranges_are_those_of_the_documents(task):
    peer = fit_peer("st_int8", task.documents, 256, seed=0)
    levels = peer.encode(task.documents).view(np.int8).astype(int) + 128
    low, high = task.documents.min(axis=0), task.documents.max(axis=0)
    expected = np.floor((task.documents - low) / ((high - low) / 255))
    assert np.abs(levels - np.clip(expected, 0, 255)).max() <= 1


@pytest.mark.parametrize("name", ["pq", "opq"])
def test_sub_quantizers_need_not_divide_the_dimension(task, name):
    peer = fit_peer(name, task.documents, 40, seed=0)  # 5 sub-quantizers of 32 dimensions.
    assert peer.bytes_per_document == 5
    exact = task.queries @ task.documents.T
    assert np.corrcoef(scores(name, task, 40).ravel(), exact.ravel())[0, 1] > 0.8
    assert peer.model_bytes == 4 * 256 * 35 + (4 * 35 * 32 if name == "opq" else 0)


def test_a_large_corpus_is_fitted_on_a_seeded_sample():
    documents = np.arange(100, dtype=np.float32)[:, None]
    chosen = sample(documents, 30, 0)[:, 0]
    assert len(set(chosen)) == 30
    assert (np.diff(chosen) > 0).all()
    assert (sample(documents, 30, 1)[:, 0] != chosen).any()
    assert sample(documents, 100, 0) is documents


def test_measurements_carry_means_over_seeds_and_their_settings(task):
    faiss = pytest.importorskip("faiss")
    threads = faiss.omp_get_max_threads()
    lines: list[str] = []
    measurements, notes = measure_peers(
        task,
        task.documents,
        names=["pq", "opq", "rabitq", "st_ubinary"],
        bits=[16, 20, 512],
        seeds=range(2),
        trained_on="in-corpus",
        progress=lines.append,
    )
    assert [(each.head, each.bits, each.bytes_per_document, each.seeds) for each in measurements] == [
        ("pq", 16, 2, 2),
        ("opq", 16, 2, 2),
        ("rabitq", 32, 12, 2),
        ("st_ubinary", 16, 2, 1),
        ("st_ubinary", 32, 4, 1),
    ]
    assert [each.scoring for each in measurements] == ["asymmetric_scan"] * 3 + ["asymmetric"] * 2
    assert "50 OPQ iterations, 2 sub-quantizers" in (measurements[1].settings or "")
    assert set(measurements[0].seconds) == {"fit", "encode", "search"}
    assert notes[:2] == [
        "pq at 20 bits left out: no whole number of bytes.",
        "pq at 512 bits left out: more sub-quantizers than the 32 dimensions.",
    ]
    assert len(notes) == 6
    assert lines[0] == "pq, 16 bits, seed 0"
    assert len(lines) == 8
    assert faiss.omp_get_max_threads() == threads


def test_few_documents_leave_peers_out_with_a_note(task):
    few = RetrievalTask.from_rows(
        task.documents[:200], task.queries[:3], np.array([[0], [1], [2]]), data="d", split="s", teacher="t"
    )
    measurements, notes = measure_peers(
        few, few.documents, names=["pq"], bits=[16], seeds=[0], trained_on="in-corpus"
    )
    assert not measurements
    assert notes == ["peers left out: 200 documents, and a codebook has 256 entries."]


@pytest.mark.parametrize("name", ["pq", "opq", "rq", "pca_sq8"])
def test_a_small_corpus_is_fitted_without_a_word(task, capfd, name):
    fit_peer(name, task.documents, WIDTHS[name], seed=0)
    assert capfd.readouterr() == ("", "")
