import math

import pytest
import torch

from llmhash.binarize import (
    ESTIMATORS,
    estimator,
    gumbel_softmax,
    scaled_tanh,
    sharpness,
    signs,
    stochastic,
    straight_through,
    straight_through_tanh,
    time_varying_tanh,
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


def test_time_varying_tanh_hardens_along_a_straight_line():
    values, gradient = gradient_of(lambda logits: time_varying_tanh(logits, 30, gamma=0.1))
    expected = [math.tanh(4 * logit) for logit in LOGITS]
    assert values.tolist() == pytest.approx(expected, abs=1e-6)
    assert gradient.tolist() == pytest.approx([4 * (1 - value**2) for value in expected], abs=1e-5)


def test_plain_tanh_is_the_same_at_every_step():
    estimate = estimator("tanh")
    logits = torch.tensor(LOGITS)
    assert torch.equal(estimate(logits, 0), torch.tanh(logits))
    assert torch.equal(estimate(logits, 10_000), torch.tanh(logits))


@pytest.mark.parametrize(("draw", "temperature", "scale"), [(stochastic, 0.5, 2), (gumbel_softmax, 0.5, 1)])
def test_drawn_signs_come_up_as_often_as_the_bernoulli_distribution_says(draw, temperature, scale):
    """Gumbel-softmax's temperature softens the gradient, and leaves the draws alone (eq. 41)."""
    logits = torch.tensor(LOGITS).expand(20_000, -1)
    values = draw(logits, temperature, torch.Generator().manual_seed(0))
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    expected = [1 / (1 + math.exp(-scale * logit)) for logit in LOGITS]
    assert (values > 0).float().mean(0).tolist() == pytest.approx(expected, abs=0.015)


def test_stochastic_signs_have_the_slope_of_their_mean():
    _, gradient = gradient_of(lambda logits: stochastic(logits, 2.0))
    p = [1 / (1 + math.exp(-logit / 2.0)) for logit in LOGITS]
    assert gradient.tolist() == pytest.approx([2 * q * (1 - q) / 2.0 for q in p], abs=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_gumbel_softmax_has_the_slope_of_the_softmax_over_two_noisy_outcomes(temperature):
    uniform = torch.rand(len(LOGITS), generator=torch.Generator().manual_seed(5)).tolist()
    values, gradient = gradient_of(
        lambda logits: gumbel_softmax(logits, temperature, torch.Generator().manual_seed(5))
    )

    def share(logit, u):
        """Equation 42 for k = 1, whose log probability is `logit` above that of k = 0."""
        noise = math.log(u / (1 - u))
        scores = [math.exp(0.0), math.exp((logit + noise) / temperature)]
        return scores[1] / sum(scores)

    shares = [share(logit, u) for logit, u in zip(LOGITS, uniform, strict=True)]
    assert values.tolist() == [1 if value > 0.5 else -1 for value in shares]
    step = 1e-5
    slopes = [
        2 * (share(logit + step, u) - share(logit - step, u)) / (2 * step)
        for logit, u in zip(LOGITS, uniform, strict=True)
    ]
    assert gradient.tolist() == pytest.approx(slopes, rel=1e-3, abs=1e-5)


def test_two_gumbel_noises_differ_by_a_logistic_variable():
    """What lets one uniform number stand for the two Gumbel noises of eq. 41."""
    generator = torch.Generator().manual_seed(0)
    gumbel = -torch.log(-torch.log(torch.rand(2, 100_000, generator=generator, dtype=torch.float64)))
    uniform = torch.rand(100_000, generator=generator, dtype=torch.float64)
    shares = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    two, one = (torch.quantile(noise, shares) for noise in (gumbel[1] - gumbel[0], torch.logit(uniform)))
    assert two.tolist() == pytest.approx(one.tolist(), abs=0.04)


@pytest.mark.parametrize("name", ["stochastic", "gumbel_softmax"])
def test_draws_come_from_the_generator_that_is_given(name):
    estimate, logits = estimator(name), torch.zeros(50)
    state = torch.get_rng_state()
    draws = [estimate(logits, 0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("name", ["stochastic", "gumbel_softmax"])
def test_a_logit_far_from_zero_has_a_finite_gradient(name):
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    values = estimator(name, temperature=0.01)(logits, 0)
    values.sum().backward()
    assert values.tolist() == [-1.0, 1.0]
    assert torch.isfinite(logits.grad).all()


def test_the_temperature_may_follow_the_step():
    estimate = estimator("stochastic", temperature=lambda step: 1.0 / (1 + step))
    logits = torch.tensor(LOGITS, requires_grad=True)
    estimate(logits, 3).sum().backward()
    _, expected = gradient_of(lambda values: stochastic(values, 0.25))
    assert torch.equal(logits.grad, expected)


def test_a_temperature_that_is_not_above_zero_is_refused():
    with pytest.raises(InputError, match="temperature of an estimator must be above 0, not 0"):
        estimator("gumbel_softmax", temperature=0)
    fading = estimator("gumbel_softmax", temperature=lambda step: 1.0 - step)
    with pytest.raises(InputError, match="must be above 0"):
        fading(torch.zeros(2), 1)
