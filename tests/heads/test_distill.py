from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.distill import DistillOptions, fit_distill, initial_projection
from llmhash.heads.projection import fit_itq

QUICK = DistillOptions(steps=30, validate_every=10)


def overlaps(head, features, queries, k=10):
    """Share of the teacher's top k found by the asymmetric and the Hamming score."""
    documents = np.where(head.document_logits(features.documents) > 0, 1.0, -1.0)
    logits = head.query_logits(queries)
    teacher = np.argsort(-(queries @ features.documents.T), axis=1)[:, :k]
    shares = []
    for side in (logits, np.where(logits > 0, 1.0, -1.0)):
        found = np.argsort(-(side @ documents.T), axis=1, kind="stable")[:, :k]
        shares.append(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(teacher, found, strict=True)]))
    return shares


def test_it_beats_itq_by_a_clear_margin_in_both_scorings(clustered):
    features, queries = clustered
    options = DistillOptions(steps=160, validate_every=40)
    distilled = overlaps(fit_distill(features, 16, options=options), features, queries, k=4)
    closed_form = overlaps(fit_itq(features, 16), features, queries, k=4)
    assert distilled[0] > closed_form[0] + 0.06
    assert distilled[1] > closed_form[1] + 0.03


def test_it_needs_no_queries(clustered):
    features, queries = clustered
    vectors = TrainingFeatures(features.documents)
    options = DistillOptions(steps=120, validate_every=40)
    distilled = overlaps(fit_distill(vectors, 16, options=options), features, queries, k=4)
    assert distilled[0] > overlaps(fit_itq(vectors, 16), features, queries, k=4)[0] + 0.05


def test_a_corpus_above_the_candidates_is_ranked_by_samples_about_as_well(clustered):
    features, queries = clustered
    options = DistillOptions(steps=120, validate_every=40, candidates=400, neighbours=8, max_queries=1500)
    sampled = overlaps(fit_distill(features, 16, options=options), features, queries, k=4)
    assert sampled[0] > overlaps(fit_itq(features, 16), features, queries, k=4)[0] + 0.08


def test_candidates_can_come_from_a_sample_of_the_documents(clustered):
    features, _ = clustered
    options = DistillOptions(
        steps=20, validate_every=10, candidates=300, max_documents=500, max_queries=200, batch_size=16
    )
    head = fit_distill(features, 16, options=options)
    assert np.isfinite(head.weight).all()


def test_the_seed_decides_everything(clustered):
    features, _ = clustered
    options = DistillOptions(steps=20, validate_every=10, query_noise=0.1, candidates=500)
    first, same, other = (fit_distill(features, 12, seed=seed, options=options) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.weight, same.weight)
    np.testing.assert_array_equal(first.bias, same.bias)
    assert np.abs(first.weight - other.weight).max() > 1e-3


@pytest.mark.parametrize("bits", [1, 13, 48, 49, 100])
def test_any_number_of_bits(clustered, bits):
    features, _ = clustered
    head = fit_distill(features, bits, options=QUICK)
    assert head.document_logits(features.documents).shape == (1200, bits)
    assert head.shared


def test_more_bits_than_dimensions_start_from_rotations(clustered):
    features, _ = clustered
    start = initial_projection(features, 100, seed=0)
    assert start.shape == (100, 48)
    np.testing.assert_allclose(start[:48] @ start[:48].T, np.eye(48), atol=1e-10)
    assert np.abs(start[:48] - start[48:96]).max() > 0.1


@pytest.mark.parametrize("documents", [1, 2, 3, 12])
@pytest.mark.parametrize("dim", [1, 6])
def test_tiny_corpora_of_few_dimensions(documents, dim):
    rng = np.random.default_rng(0)
    features = TrainingFeatures(rng.normal(size=(documents, dim)).astype(np.float32))
    head = fit_distill(features, 8, options=QUICK)
    assert np.isfinite(head.document_logits(features.documents)).all()


def test_duplicates_and_constant_features_do_no_harm():
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(10, 6)), 5, axis=0).astype(np.float32)
    rows[:, 3] = 1.0
    codes = fit_distill(TrainingFeatures(rows), 8, options=QUICK).document_logits(rows) > 0
    assert (codes.reshape(10, 5, 8) == codes[::5, None]).all()
    same = np.ones((20, 6), dtype=np.float32)
    assert np.isfinite(fit_distill(TrainingFeatures(same), 8, options=QUICK).weight).all()


def test_the_teacher_s_scale_does_not_matter(clustered):
    features, _ = clustered
    larger = TrainingFeatures(features.documents * 8, features.queries * 8, features.sources)
    plain, scaled = fit_distill(features, 12, options=QUICK), fit_distill(larger, 12, options=QUICK)
    ours, theirs = plain.document_logits(features.documents), scaled.document_logits(larger.documents)
    assert ((ours > 0) == (theirs > 0)).mean() > 0.99


def test_sides_that_differ_get_a_query_bias(clustered):
    features, _ = clustered
    shifted = TrainingFeatures(
        features.documents, features.queries + 1.0, features.sources, sides_differ=True
    )
    head = fit_distill(shifted, 12, options=QUICK)
    assert head.query_weight is None
    share = (head.query_logits(shifted.queries) > 0).mean(axis=0)
    assert np.abs(share - 0.5).max() < 0.3


def test_progress_is_reported(clustered):
    seen = []
    options = replace(QUICK, codebook="always")
    fit_distill(clustered[0], 8, options=options, progress=lambda *step: seen.append(step))
    phases = [(step, len(list(group))) for step, group in groupby(steps for _, steps, _ in seen)]
    # Training, the codebook, and queries' anchors, which may stop early.
    assert [steps for steps, _ in phases] == [30, 8, 500]
    assert [count for _, count in phases[:2]] == [30, 8]
    assert [message for _, _, message in seen[30:38]] == 8 * ["codebook"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", 0.0),
        ("balance", -1.0),
        ("candidates", 0),
        ("document_share", 1.5),
        ("source_share", -0.1),
        ("estimator", "sine"),
        ("steps", 0),
        ("learning_rate", -1.0),
    ],
)
def test_impossible_options_are_refused(setting, value):
    with pytest.raises(InputError, match=setting):
        DistillOptions(**{setting: value})


def test_options_that_leave_nothing_to_learn_are_refused():
    with pytest.raises(InputError, match="nothing to learn"):
        DistillOptions(asymmetric=0.0, symmetric=0.0)
