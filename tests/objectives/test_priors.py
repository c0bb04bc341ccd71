import dataclasses
import math

import numpy as np
import pytest
import torch

from llmhash.objectives.registry import build_objective


def test_gaussian_kl_equals_the_integral_of_its_definition(make_case):
    case = make_case(3)
    means = case.batch.view.logits.detach().numpy().astype(float)
    sigmas = np.exp(0.5 * case.batch.view.log_variance.detach().numpy().astype(float))
    grid = np.linspace(-14, 14, 40_001)
    total = 0.0
    for mean, sigma in zip(means.ravel(), sigmas.ravel(), strict=True):
        log_q = -0.5 * ((grid - mean) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))
        log_p = -0.5 * grid**2 - 0.5 * math.log(2 * math.pi)
        total += float(np.sum(np.exp(log_q) * (log_q - log_p)) * (grid[1] - grid[0]))
    assert build_objective("gaussian_kl", case.shapes)(case.batch).item() == pytest.approx(
        total / 3, rel=1e-4
    )


def test_gaussian_kl_is_zero_at_the_prior(make_case):
    case = make_case()
    view = dataclasses.replace(case.batch.view, logits=torch.zeros(5, 6), log_variance=torch.zeros(5, 6))
    batch = dataclasses.replace(case.batch, view=view)
    assert build_objective("gaussian_kl", case.shapes)(batch).item() == 0.0


def divergence(p, gamma):
    return p * math.log(p / gamma) + (1 - p) * math.log((1 - p) / (1 - gamma))


@pytest.mark.parametrize("gamma", [0.5, 0.2])
def test_bernoulli_kl_equals_its_formula(make_case, gamma):
    case = make_case()
    p = 1 / (1 + np.exp(-case.batch.view.logits.detach().numpy().astype(float)))
    each = sum(divergence(value, gamma) for value in p.ravel()) / len(p)
    together = sum(divergence(value, gamma) for value in p.mean(axis=0))
    loss = build_objective("bernoulli_kl", case.shapes, {"gamma": gamma})(case.batch)
    aggregate = build_objective("bernoulli_kl", case.shapes, {"gamma": gamma, "aggregate": True})(case.batch)
    assert loss.item() == pytest.approx(each, rel=1e-5)
    assert aggregate.item() == pytest.approx(together, rel=1e-4, abs=1e-7)


def test_certain_bits_cost_log_two_each_alone_and_nothing_together_if_balanced(make_case):
    case = make_case(2)
    logits = torch.tensor([[200.0] * 6, [-200.0] * 6], requires_grad=True)
    batch = dataclasses.replace(case.batch, view=dataclasses.replace(case.batch.view, logits=logits))
    loss = build_objective("bernoulli_kl", case.shapes)(batch)
    assert loss.item() == pytest.approx(6 * math.log(2), rel=1e-6)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    aggregate = build_objective("bernoulli_kl", case.shapes, {"aggregate": True})(batch)
    assert aggregate.item() == pytest.approx(0.0, abs=1e-5)
