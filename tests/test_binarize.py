import math

import pytest
import torch

from llmhash.binarize import (
    ESTIMATORS,
    estimator,
    scaled_tanh,
    sharpness,
    signs,
    straight_through,
    straight_through_tanh,
)
from llmhash.errors import InputError

LOGITS = [-2.0, -0.5, 0.0, 0.25, 3.0]


def gradient_of(function):
    logits = torch.tensor(LOGITS, requires_grad=True)
    values = function(logits)
    values.sum().backward()
    return values.detach(), logits.grad


def test_a_zero_logit_is_minus_one_as_in_codes():
    assert signs(torch.tensor(LOGITS)).tolist() == [-1, -1, -1, 1, 1]


def test_straight_through_gives_signs_and_the_identity_s_gradient():
    values, gradient = gradient_of(straight_through)
    assert values.tolist() == [-1, -1, -1, 1, 1]
    assert gradient.tolist() == [1.0] * 5


def test_scaled_tanh_is_tanh_of_beta_times_logits():
    values, gradient = gradient_of(lambda logits: scaled_tanh(logits, 30, gamma=0.1))
    beta = math.sqrt(1 + 0.1 * 30)
    expected = [math.tanh(beta * logit) for logit in LOGITS]
    assert values.tolist() == pytest.approx(expected, abs=1e-6)
    assert gradient.tolist() == pytest.approx([beta * (1 - value**2) for value in expected], abs=1e-6)


def test_straight_through_tanh_mixes_exact_signs_with_the_tanh_s_slope():
    values, gradient = gradient_of(lambda logits: straight_through_tanh(logits, 30, gamma=0.1))
    _, slope = gradient_of(lambda logits: scaled_tanh(logits, 30, gamma=0.1))
    assert values.tolist() == pytest.approx([-1, -1, -1, 1, 1], abs=1e-6)
    assert gradient.tolist() == slope.tolist()


def test_sharpness_starts_at_one_and_grows():
    assert sharpness(0, 0.1) == 1.0
    assert sharpness(80, 0.1) == pytest.approx(3.0)
    assert sharpness(80, 0.0) == 1.0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_keeps_shape_and_range_and_passes_a_gradient(name):
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values = estimator(name)(logits, 5)
    values.sum().backward()
    assert values.shape == logits.shape
    assert values.abs().max() <= 1 + 1e-6
    assert (logits.grad > 0).all()


def test_an_unknown_estimator_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean scaled_tanh"):
        estimator("scaled_tan")
    with pytest.raises(InputError, match="gamma must be at least 0"):
        estimator("scaled_tanh", -1.0)
