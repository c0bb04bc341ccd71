import numpy as np
import pytest
from scipy.sparse import csr_array

from llmhash.errors import InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.base import TrainingFeatures
from llmhash.heads.sth import fit_sth, laplacian_eigenmaps, regress


def clusters(rows=240, dim=10, count=6, seed=0):
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(count, dim))
    of = np.arange(rows) % count
    noise = np.random.default_rng(seed).normal(0, 0.25, (rows, dim))
    return (centres[of] + noise).astype(np.float32), of


def test_the_eigenmaps_solve_the_generalised_problem():
    rng = np.random.default_rng(0)
    weights = np.triu(rng.uniform(size=(30, 30)) * (rng.uniform(size=(30, 30)) < 0.4), 1)
    graph = weights + weights.T + np.roll(np.eye(30), 1, axis=0) + np.roll(np.eye(30), -1, axis=0)
    degrees = np.diag(graph.sum(axis=1))
    maps, found = laplacian_eigenmaps(csr_array(graph), 4, seed=0)
    maps = maps.astype(np.float64)
    values = np.sort(np.linalg.eigvals(np.linalg.solve(degrees, degrees - graph)).real)
    np.testing.assert_allclose(found, values[1:5], atol=1e-9)
    for column, value in zip(maps.T, values[1:5], strict=True):
        np.testing.assert_allclose(
            (degrees - graph) @ column, value * degrees @ column, atol=1e-5 * np.abs(column).max() * 30
        )


@pytest.mark.parametrize("sparse", [False, True])
def test_neighbours_get_near_codes_and_so_do_texts_from_elsewhere(sparse):
    documents, of = clusters()
    others, of_others = clusters(seed=1)
    if sparse:
        documents, others = (csr_array(np.maximum(values, 0)) for values in (documents, others))
    head = fit_sth(TrainingFeatures(documents), 8, neighbours=5)
    assert isinstance(head, AffineHead)
    near = head.document_codes(others).hamming(head.document_codes(documents))
    same = of_others[:, None] == of[None, :]
    assert near[same].mean() < 0.5 * near[~same].mean()


def test_a_rotated_diffusion_map_cuts_between_clusters_and_medians_through_them():
    # With a bit more than tells five clusters apart.
    documents, of = clusters(count=5)

    def divided(diffusion):
        options = {"neighbours": 60, "learner": "ridge", "diffusion": diffusion}
        codes = fit_sth(TrainingFeatures(documents), 6, **options).document_codes(documents).unpack()
        shares = np.array([codes[of == cluster].mean(axis=0) for cluster in range(5)])
        return np.minimum(shares, 1 - shares).mean()

    weighed, rotated, medians = (divided(each) for each in (4.0, 0.0, None))
    assert weighed < 0.01 < rotated < medians


def test_ridge_regression_learns_the_bits_too():
    documents, of = clusters()
    others, of_others = clusters(seed=1)
    svm, ridge = (
        fit_sth(TrainingFeatures(documents), 8, neighbours=5, learner=each) for each in ("svm", "ridge")
    )
    near = ridge.document_codes(others).hamming(ridge.document_codes(documents))
    same = of_others[:, None] == of[None, :]
    assert near[same].mean() < 0.5 * near[~same].mean()
    agree = ridge.document_codes(documents).unpack() == svm.document_codes(documents).unpack()
    assert agree.mean() > 0.9


def test_ridge_regression_is_the_minimum_of_its_loss():
    rng = np.random.default_rng(0)
    documents, codes = rng.normal(2, 1, (50, 4)).astype(np.float32), rng.uniform(size=(50, 3)) < 0.4
    head = regress(documents, codes, 0.5)
    signs = np.where(codes, 1.0, -1.0)

    def loss(weight, bias):
        return 0.5 * np.square(documents @ weight.T + bias - signs).sum() + 0.5 * np.square(weight).sum()

    least = loss(head.weight, head.bias)
    for _ in range(20):
        step = rng.normal(0, 0.01, (3, 5))
        assert loss(head.weight + step[:, :4], head.bias + step[:, 4]) > least


def test_it_is_reproducible_and_the_seed_decides_the_sample():
    documents, _ = clusters()
    features = TrainingFeatures(documents)
    one, again, other = (fit_sth(features, 6, seed=seed, max_rows=100) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.weight, again.weight)
    assert np.abs(one.weight - other.weight).max() > 1e-3


def test_documents_that_are_all_the_same_still_have_codes():
    head = fit_sth(TrainingFeatures(np.ones((20, 4), np.float32)), 3)
    assert head.document_codes(np.ones((2, 4), np.float32)).packed.shape == (2, 1)


def test_progress_and_bad_input():
    documents, _ = clusters(rows=40)
    features, seen = TrainingFeatures(documents), []
    fit_sth(features, 3, progress=lambda *step: seen.append(step))
    assert [step[:2] for step in seen] == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(InputError, match="more than 41 documents for 40 bits, not 40"):
        fit_sth(features, 40)
    with pytest.raises(InputError, match="neighbours must be at least 1"):
        fit_sth(features, 3, neighbours=0)
    with pytest.raises(InputError, match="diffusion must be at least 0, not -1"):
        fit_sth(features, 3, diffusion=-1.0)
    with pytest.raises(InputError, match="learner cannot be 'rigde'; did you mean ridge"):
        fit_sth(features, 3, learner="rigde")
    with pytest.raises(InputError, match="takes dense features"):
        fit_sth(TrainingFeatures(csr_array(documents)), 3, learner="ridge")
