import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.sign import fit_median, fit_sign, median_thresholds


def test_sign_takes_the_first_dimensions_as_they_are(gaussian):
    head = fit_sign(gaussian, 5)
    np.testing.assert_array_equal(head.document_logits(gaussian.documents), gaussian.documents[:, :5])
    assert head.shared


@pytest.mark.parametrize("rows", [300, 301])
def test_median_halves_every_bit(gaussian, rows):
    documents = gaussian.documents[:rows]
    logits = fit_median(TrainingFeatures(documents), 7).document_logits(documents)
    assert logits.shape == (rows, 7)
    assert ((logits > 0).sum(axis=0) == rows // 2).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 301])
def test_no_training_value_lies_on_its_threshold(gaussian, rows):
    column = gaussian.documents[:rows]
    thresholds = median_thresholds(column)
    assert np.abs(column - thresholds).min() > 1e-6


def test_an_odd_median_lies_midway_to_the_next_value():
    assert median_thresholds(np.array([[5.0], [1.0], [2.0]], dtype=np.float32)).tolist() == [3.5]
    assert median_thresholds(np.array([[5.0], [1.0], [2.0], [4.0]], dtype=np.float32)).tolist() == [3.0]


def test_tied_values_are_split_at_the_more_balanced_side():
    mostly_high = np.array([[0.0], [0.0], [1.0], [1.0], [1.0]], dtype=np.float32)
    assert median_thresholds(mostly_high).tolist() == [0.5]
    mostly_low = np.array([[0.0], [0.0], [0.0], [1.0], [2.0]], dtype=np.float32)
    assert median_thresholds(mostly_low).tolist() == [0.5]
    low_is_nearer_half = np.array([[0.0], [0.0], [1.0], [1.0], [1.0], [9.0]], dtype=np.float32)
    assert median_thresholds(low_is_nearer_half).tolist() == [0.5]


def test_a_constant_feature_is_always_zero():
    documents = np.full((5, 2), 0.3, dtype=np.float32)
    assert (fit_median(TrainingFeatures(documents), 2).document_logits(documents) < 0).all()


def test_sides_that_differ_are_split_each_at_their_own_medians(gaussian):
    queries = gaussian.documents[:99] + 10
    features = TrainingFeatures(gaussian.documents, queries, sides_differ=True)
    head = fit_median(features, 6)
    assert ((head.query_logits(queries) > 0).sum(axis=0) == 49).all()
    assert ((head.document_logits(gaussian.documents) > 0).sum(axis=0) == 150).all()
    assert fit_median(TrainingFeatures(gaussian.documents, queries), 6).shared


@pytest.mark.parametrize("fit", [fit_sign, fit_median])
def test_more_bits_than_dimensions_are_refused(gaussian, fit):
    with pytest.raises(InputError, match="takes the first b dimensions, and the teacher has 12"):
        fit(gaussian, 13)
    with pytest.raises(InputError, match="from 1 to 4096"):
        fit(gaussian, 0)
