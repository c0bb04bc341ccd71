import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.projection import (
    fit_itq,
    fit_lsh,
    fit_pca,
    itq_rotation,
    principal_components,
    random_rotation,
)


@pytest.mark.parametrize("fit", [fit_lsh, fit_pca, fit_itq])
def test_logits_are_centred(gaussian, fit):
    logits = fit(gaussian, 9).document_logits(gaussian.documents)
    assert logits.shape == (301, 9)
    assert np.abs(logits.mean(axis=0)).max() < 1e-4 * np.abs(logits).max()


@pytest.mark.parametrize("fit", [fit_lsh, fit_pca, fit_itq])
def test_sides_that_differ_are_centred_each_on_their_own_mean(gaussian, fit):
    queries = gaussian.documents[:100] * 0.5 + 7
    head = fit(TrainingFeatures(gaussian.documents, queries, sides_differ=True), 4)
    assert np.abs(head.query_logits(queries).mean(axis=0)).max() < 1e-3
    assert np.abs(head.document_logits(gaussian.documents).mean(axis=0)).max() < 1e-3
    assert head.query_weight is None


def test_principal_components_are_orthonormal_and_carry_the_variance_in_order(gaussian):
    components = principal_components(gaussian.documents, 12)
    np.testing.assert_allclose(components @ components.T, np.eye(12), atol=1e-5)
    variances = ((gaussian.documents - gaussian.documents.mean(axis=0)) @ components.T).var(axis=0)
    assert (np.diff(variances) < 0).all()
    _, singular, _ = np.linalg.svd(gaussian.documents - gaussian.documents.mean(axis=0))
    np.testing.assert_allclose(variances, singular**2 / 301, rtol=1e-3)
    assert (np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1) > 0).all()


def test_components_without_variance_are_zero(gaussian):
    features = TrainingFeatures(gaussian.documents[:3])
    assert (fit_pca(features, 8).document_logits(features.documents)[:, 2:] == 0).all()


def test_itq_s_rotation_is_orthogonal_and_its_error_never_rises(gaussian):
    projected = gaussian.documents - gaussian.documents.mean(axis=0)
    rotation, errors = itq_rotation(projected, seed=3)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(12), atol=1e-10)
    assert len(errors) == 50
    assert (np.diff(errors) <= 1e-4 * errors[0]).all()
    assert errors[-1] < errors[0]


def test_itq_quantizes_better_than_principal_components(gaussian):
    def error(head):
        logits = head.document_logits(gaussian.documents)
        return np.square(np.where(logits > 0, 1, -1) - logits).sum()

    assert error(fit_itq(gaussian, 8)) < error(fit_pca(gaussian, 8))


def test_a_random_rotation_is_orthogonal():
    rotation = random_rotation(9, np.random.default_rng(0))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(9), atol=1e-12)


def test_lsh_takes_more_bits_than_dimensions_and_keeps_angles(gaussian):
    head = fit_lsh(gaussian, 4096)
    centred = gaussian.documents - gaussian.documents.mean(axis=0)
    cosine = centred[0] @ centred[1] / np.linalg.norm(centred[0]) / np.linalg.norm(centred[1])
    bits = head.document_logits(gaussian.documents[:2]) > 0
    assert (bits[0] != bits[1]).mean() == pytest.approx(np.arccos(cosine) / np.pi, abs=0.03)


@pytest.mark.parametrize("fit", [fit_lsh, fit_itq])
def test_the_seed_decides(gaussian, fit):
    first, same, other = (fit(gaussian, 6, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.weight, same.weight)
    assert np.abs(first.weight - other.weight).max() > 1e-3


def test_itq_on_a_sample_is_close_to_itq_on_all(clustered):
    features, _ = clustered
    head = fit_itq(features, 8, max_rows=600)
    logits = head.document_logits(features.documents)
    assert np.abs((logits > 0).mean(axis=0) - 0.5).max() < 0.2


@pytest.mark.parametrize("fit", [fit_pca, fit_itq])
def test_more_bits_than_dimensions_are_refused(gaussian, fit):
    with pytest.raises(InputError, match="the teacher has 12: ask for at most 12 bits"):
        fit(gaussian, 13)


def test_one_document_and_duplicates_make_a_finite_head():
    for rows in (1, 6):
        features = TrainingFeatures(np.full((rows, 5), 0.5, dtype=np.float32))
        for fit in (fit_lsh, fit_pca, fit_itq):
            assert np.isfinite(fit(features, 4).document_logits(features.documents)).all()
