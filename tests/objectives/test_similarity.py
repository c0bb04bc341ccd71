import numpy as np
import pytest
import torch

from llmhash.objectives.similarity import listwise_kl, listwise_targets

RNG = np.random.default_rng(0)
SIMILARITIES = RNG.uniform(-1, 1, (3, 5)).astype(np.float32)
SCORES = RNG.normal(0, 2, (3, 5)).astype(np.float32)


def softmax(values):
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_targets_are_the_softmax_over_temperature():
    targets = listwise_targets(torch.from_numpy(SIMILARITIES), 0.1)
    np.testing.assert_allclose(targets.numpy(), softmax(SIMILARITIES / 0.1), rtol=1e-4)


def test_kl_equals_its_formula():
    p, q = softmax(SIMILARITIES / 0.5), softmax(SCORES)
    expected = (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
    loss = listwise_kl(torch.from_numpy(SCORES), torch.from_numpy(p))
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_kl_is_zero_where_scores_match_up_to_a_constant_and_its_gradient_is_q_minus_p():
    p = torch.from_numpy(softmax(SIMILARITIES))
    assert listwise_kl(torch.from_numpy(SIMILARITIES) + 7, p).item() == pytest.approx(0.0, abs=1e-6)
    scores = torch.from_numpy(SCORES).requires_grad_()
    listwise_kl(scores, p).backward()
    np.testing.assert_allclose(scores.grad.numpy(), (softmax(SCORES) - p.numpy()) / 3, atol=1e-6)


def test_a_candidate_left_out_counts_for_nothing():
    similarities, scores = torch.from_numpy(SIMILARITIES.copy()), torch.from_numpy(SCORES.copy())
    similarities[:, 0], scores[:, 0] = -1e4, -1e4
    whole = listwise_kl(scores, listwise_targets(similarities, 0.2))
    rest = listwise_kl(scores[:, 1:], listwise_targets(similarities[:, 1:], 0.2))
    assert whole.item() == pytest.approx(rest.item(), rel=1e-5)
