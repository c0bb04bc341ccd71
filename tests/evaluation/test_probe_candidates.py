from __future__ import annotations

import numpy as np
import pytest

from llmhash.codes import Codes
from llmhash.evaluation import probe_candidates
from llmhash.evaluation.probe_candidates import candidate_curves
from llmhash.evaluation.probe_growth import NestedBenches
from llmhash.features import HeldOut
from llmhash.heads import TrainingFeatures, fit_head


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(3)
    documents = rng.normal(size=(600, 24)).astype(np.float32)
    sources = rng.choice(600, 50, replace=False)
    queries = documents[sources] + 0.3 * rng.normal(size=(50, 24)).astype(np.float32)
    nested = NestedBenches(documents, HeldOut(queries, sources), [150, 300, 600], seed=0, teacher="t")
    return [fit_head("itq", TrainingFeatures(documents), 24)] * 3, nested


def test_curves_never_fall_and_the_scans_top_ten_is_nearer_than_the_teachers(fitted):
    heads, nested = fitted
    teacher, scan = candidate_curves(heads, nested, wanted=0.9, target=None)
    for curve in (teacher, scan):
        assert curve.counts == (10, 20, 50, 100, 200, 500)
        assert (np.diff(curve.shares) >= 0).all()
        assert curve.expected is None
    assert scan.needed < teacher.needed
    assert (np.array(scan.shares) >= np.array(teacher.shares)).all()


def test_the_shares_are_those_of_shuffled_ties(fitted):
    heads, nested = fitted
    curve, _ = candidate_curves(heads, nested, wanted=0.9, target=None)
    task = nested.benches[-1].task
    head = heads[-1]
    queries = Codes.from_logits(head.query_logits(task.queries))
    distances = queries.hamming(Codes.from_logits(head.document_logits(task.documents))).astype(float)
    best = np.argsort(-(task.queries @ task.documents.T), axis=1)[:, :10]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        order = np.argsort(distances + rng.uniform(0, 0.5, distances.shape), axis=1)[:, :50]
        found.append(np.mean([np.isin(a, b).mean() for a, b in zip(best, order, strict=True)]))
    assert curve.shares[curve.counts.index(50)] == pytest.approx(np.mean(found), abs=0.005)


def test_needed_is_the_fewest_that_hold_the_wanted_share(fitted, monkeypatch):
    heads, nested = fitted
    curve, _ = candidate_curves(heads, nested, wanted=0.9, target=None)
    monkeypatch.setattr(probe_candidates, "COUNTS", (curve.needed - 1, curve.needed))
    again, _ = candidate_curves(heads, nested, wanted=0.9, target=None)
    assert again.shares[0] < 0.9 <= again.shares[1]


def test_everything_is_needed_to_be_sure_of_all(fitted):
    heads, nested = fitted
    all_of_it, _ = candidate_curves(heads, nested, wanted=1.0, target=None)
    some, _ = candidate_curves(heads, nested, wanted=0.5, target=None)
    assert some.needed < all_of_it.needed <= 600


def test_more_documents_need_more_candidates_but_not_more_than_there_are(fitted):
    heads, nested = fitted
    near, _ = candidate_curves(heads, nested, wanted=0.9, target=1200)
    far, _ = candidate_curves(heads, nested, wanted=0.9, target=1_000_000)
    assert near.needed < near.expected < far.expected < 1_000_000
    down, _ = candidate_curves(heads, nested, wanted=0.9, target=20)
    assert down.expected <= 20


def test_blocks_of_queries_change_nothing(fitted, monkeypatch):
    heads, nested = fitted
    whole = candidate_curves(heads, nested, wanted=0.9, target=5000)
    monkeypatch.setattr(probe_candidates, "_BLOCK_SCORES", 2000)
    assert candidate_curves(heads, nested, wanted=0.9, target=5000) == whole


def test_each_size_is_measured_by_its_own_head(fitted):
    heads, nested = fitted
    fewer_bits = fit_head("itq", TrainingFeatures(nested.benches[0].task.documents), 8)
    finer, _ = candidate_curves(heads, nested, wanted=0.9, target=1200)
    mixed, _ = candidate_curves([fewer_bits, *heads[1:]], nested, wanted=0.9, target=1200)
    assert (mixed.shares, mixed.needed) == (finer.shares, finer.needed)
    # More are needed of the smallest part then, so that they seem to grow less.
    assert mixed.expected < finer.expected
