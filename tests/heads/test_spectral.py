import numpy as np
import pytest

from llmhash.errors import FormatError, InputError
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.spectral import SpectralHead, fit_spectral


def box(lengths, rows=4000, seed=0):
    """Uniform in a box, away from zero."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(size=(rows, len(lengths))) * np.array(lengths) + 5.0).astype(np.float32)


def test_the_modes_are_those_of_the_smallest_eigenvalues():
    # 1/8, 2/8, 1/3, 3/8, 4/8, 5/8, 2/3: the long side is cut twice before the short one is cut at all.
    documents = box([8.0, 3.0])
    head = fit_spectral(TrainingFeatures(documents), 7)
    low, length = documents.min(axis=0), np.ptp(documents, axis=0)
    expected = [(0, 1), (0, 2), (1, 1), (0, 3), (0, 4), (0, 5), (1, 2)]
    logits = head.document_logits(documents)
    for bit, (axis, mode) in enumerate(expected):
        # Principal components are the box's sides, as closely as the sample tells.
        place = (documents[:, axis] - low[axis]) / length[axis]
        sine = np.sin(np.pi / 2 + mode * np.pi * place)
        mirrored = np.sin(np.pi / 2 + mode * np.pi * (1 - place))
        clear = np.abs(sine) > 0.2
        agree = ((logits[:, bit] > 0) == (sine > 0))[clear].mean()
        agree_mirrored = ((logits[:, bit] > 0) == (mirrored > 0))[clear].mean()
        assert max(agree, agree_mirrored) > 0.97, (bit, axis, mode)


def test_bits_are_balanced_and_any_number_of_them():
    documents = box([8.0, 3.0, 1.0])
    head = fit_spectral(TrainingFeatures(documents), 40)
    assert (head.bits, head.dim, head.kind, head.codebook) == (40, 3, "spectral", None)
    np.testing.assert_allclose((head.document_logits(documents) > 0).mean(axis=0), 0.5, atol=0.06)
    assert np.abs(head.document_logits(documents)).max() <= 1.0


def test_queries_have_a_centre_of_their_own_where_sides_differ():
    documents = box([8.0, 3.0])
    queries = box([8.0, 3.0], seed=1) + np.float32(2.0)
    head = fit_spectral(TrainingFeatures(documents, queries, sides_differ=True), 4)
    np.testing.assert_allclose(
        (head.query_logits(queries) > 0).mean(axis=0),
        (head.document_logits(documents) > 0).mean(axis=0),
        atol=0.05,
    )
    shared = fit_spectral(TrainingFeatures(documents, queries), 4)
    np.testing.assert_array_equal(shared.query_logits(queries), shared.document_logits(queries))


def test_its_tensors_bring_it_back():
    documents = box([8.0, 3.0])
    head = fit_spectral(TrainingFeatures(documents, documents + 1, sides_differ=True), 5)
    back = SpectralHead.from_tensors(head.tensors())
    np.testing.assert_array_equal(back.document_logits(documents), head.document_logits(documents))
    np.testing.assert_array_equal(back.query_logits(documents), head.query_logits(documents))
    with pytest.raises(FormatError, match="not of spectral hashing"):
        SpectralHead.from_tensors({"weight": head.weight})
    with pytest.raises(FormatError, match="not of spectral hashing"):
        SpectralHead.from_tensors({**head.tensors(), "bias": head.bias[:2]})


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="documents that differ"):
        fit_spectral(TrainingFeatures(np.ones((9, 3), np.float32)), 4)
    head = fit_spectral(TrainingFeatures(box([8.0, 3.0])), 4)
    with pytest.raises(InputError, match=r"2 dimensions, not \(1, 3\)"):
        head.document_logits(np.zeros((1, 3), np.float32))
