import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.distill import DistillOptions, fit_distill, initial_projection
from llmhash.heads.nested import nested_itq, nested_widths
from llmhash.heads.projection import principal_components


def overlap(head, features, queries, k=4):
    """Share of the teacher's top k that the asymmetric score finds."""
    documents = np.where(head.document_logits(features.documents) > 0, 1.0, -1.0)
    teacher = np.argsort(-(queries @ features.documents.T), axis=1)[:, :k]
    found = np.argsort(-(head.query_logits(queries) @ documents.T), axis=1, kind="stable")[:, :k]
    return np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(teacher, found, strict=True)])


def test_widths_are_sorted_and_end_with_the_code_s():
    assert nested_widths((), 64) == (64,)
    assert nested_widths([64, 8, 8, 128, 256], 128) == (8, 64, 128)
    assert nested_widths([64], 64) == (64,)


@pytest.mark.parametrize("wrong", [0, -3, 1.5, True, "8"])
def test_widths_are_whole_numbers(wrong):
    with pytest.raises(InputError, match="nested"):
        nested_widths([wrong], 64)
    with pytest.raises(InputError, match="nested"):
        DistillOptions(nested=[wrong])


def test_each_prefix_of_the_start_spans_the_principal_components_it_has_room_for(gaussian):
    start = nested_itq(gaussian, (3, 7, 12), max_rows=1000)
    np.testing.assert_allclose(start @ start.T, np.eye(12), atol=1e-6)
    axes = principal_components(gaussian.documents, 12)
    for width in (3, 7, 12):
        held = start[:width] @ axes[:width].T
        np.testing.assert_allclose(held @ held.T, np.eye(width), atol=1e-6)


def test_bits_beyond_the_dimension_start_as_rotations(gaussian):
    start = nested_itq(gaussian, (4, 12, 30), max_rows=100, seed=3)
    assert start.shape == (30, 12)
    np.testing.assert_allclose(start[12:24] @ start[12:24].T, np.eye(12), atol=1e-10)
    np.testing.assert_array_equal(start, nested_itq(gaussian, (4, 12, 30), max_rows=100, seed=3))


def test_a_nested_head_s_prefixes_beat_those_of_a_plain_one(clustered):
    features, queries = clustered
    options = {"steps": 160, "validate_every": 40}
    plain = fit_distill(features, 32, options=DistillOptions(**options))
    nested = fit_distill(features, 32, options=DistillOptions(**options, nested=(8, 16)))
    for width in (8, 16):
        gain = overlap(nested.truncated(width), features, queries) - overlap(
            plain.truncated(width), features, queries
        )
        assert gain > 0.03
    assert overlap(nested, features, queries) > overlap(plain, features, queries) - 0.06


def test_widths_that_the_code_does_not_exceed_change_nothing(clustered):
    features, _ = clustered
    quick = {"steps": 10, "validate_every": 10}
    plain = fit_distill(features, 8, options=DistillOptions(**quick))
    same = fit_distill(features, 8, options=DistillOptions(**quick, nested=(8, 16)))
    np.testing.assert_array_equal(plain.weight, same.weight)


def test_a_truncated_head_makes_the_first_bits(clustered):
    features, _ = clustered
    shifted = TrainingFeatures(
        features.documents, features.queries + 1.0, features.sources, sides_differ=True
    )
    head = fit_distill(shifted, 16, options=DistillOptions(steps=5, validate_every=5, nested=(8,)))
    cut = head.truncated(8)
    assert (cut.bits, cut.dim, cut.shared) == (8, head.dim, False)
    rows = features.documents[:20]
    np.testing.assert_array_equal(cut.document_logits(rows) > 0, (head.document_logits(rows) > 0)[:, :8])
    np.testing.assert_allclose(cut.query_logits(rows), head.query_logits(rows)[:, :8], atol=1e-5)
    for wrong in (0, 17):
        with pytest.raises(InputError, match="16 bits"):
            head.truncated(wrong)


def test_a_single_width_starts_as_before(clustered):
    features, _ = clustered
    np.testing.assert_array_equal(
        initial_projection(features, 12, 0), initial_projection(features, 12, 0, (12,))
    )
