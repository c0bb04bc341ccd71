import dataclasses
import math

import numpy as np
import pytest
import torch

from llmhash.objectives.registry import build_objective


def arrays(linear):
    return linear.weight.detach().numpy().astype(float), linear.bias.detach().numpy().astype(float)


def log_likelihood(words, latent, weight, bias):
    """sum_j x_j log p(w_j | z) of one text, by loops."""
    scores = [float(weight[j] @ latent + bias[j]) for j in range(len(bias))]
    total = sum(math.exp(score) for score in scores)
    return sum(words[j] * math.log(math.exp(scores[j]) / total) for j in range(len(bias)))


def mean_likelihood(words, latents, weight, bias):
    return np.mean([log_likelihood(x, z, weight, bias) for x, z in zip(words, latents, strict=True)])


def test_words_equals_its_formula(make_case):
    case = make_case()
    objective = build_objective("words", case.shapes)
    expected = -mean_likelihood(
        case.batch.targets["words"].numpy(),
        case.batch.view.latent.detach().numpy(),
        *arrays(objective.decoder),
    )
    assert objective(case.batch).item() == pytest.approx(expected, rel=1e-5)


def test_words_decode_the_latent_and_not_the_codes(make_case):
    case = make_case()
    objective = build_objective("words", case.shapes)
    loss = objective(case.batch)
    codes = dataclasses.replace(case.batch.view, codes=torch.zeros(5, 6), logits=torch.zeros(5, 6))
    assert objective(dataclasses.replace(case.batch, view=codes)) == loss
    latent = dataclasses.replace(case.batch.view, latent=torch.zeros(5, 6))
    assert objective(dataclasses.replace(case.batch, view=latent)) != loss


def test_a_text_without_words_costs_nothing(make_case):
    case = make_case(1)
    case.batch.targets["words"].zero_()
    assert build_objective("words", case.shapes)(case.batch).item() == 0.0


@pytest.mark.parametrize("sigma", [1.0, 0.1])
def test_embeddings_equals_the_gaussian_s_density_up_to_its_constant(make_case, sigma):
    case = make_case()
    objective = build_objective("embeddings", case.shapes, {"sigma": sigma})
    weight, bias = arrays(objective.decoder)
    values, latents = case.batch.targets["embeddings"].numpy(), case.batch.view.latent.detach().numpy()
    total = 0.0
    for x, z in zip(values, latents, strict=True):
        error = float(((x - weight @ z - bias) ** 2).sum())
        density = (2 * math.pi * sigma**2) ** (-len(x) / 2) * math.exp(-error / (2 * sigma**2))
        total -= math.log(density) + len(x) / 2 * math.log(2 * math.pi * sigma**2)
    assert objective(case.batch).item() == pytest.approx(total / len(values), rel=1e-4)


def test_topics_equals_its_formula(make_case):
    case = make_case()
    objective = build_objective("topics", case.shapes, {"size": 9, "orthogonality": 0.5})
    with torch.no_grad():
        objective.topics.add_(0.3 * torch.randn(6, 9, generator=torch.Generator().manual_seed(0)))
    topics = objective.topics.detach().numpy().astype(float).T  # (d, b), as the paper has it
    weight, bias = arrays(objective.decoder)
    assert topics.shape == (9, 6)
    latents = case.batch.view.latent.detach().numpy()
    selected = [sum((z[k] + 1) / 2 * topics[:, k] for k in range(6)) for z in latents]
    expected = -mean_likelihood(case.batch.targets["words"].numpy(), selected, weight, bias)
    expected += 0.5 * ((topics.T @ topics - np.eye(6)) ** 2).sum()
    assert objective(case.batch).item() == pytest.approx(expected, rel=1e-5)


def test_topics_begin_orthogonal_and_unselected_ones_tell_nothing(make_case):
    case = make_case()
    objective = build_objective("topics", case.shapes, {"size": 9})
    heavy = build_objective("topics", case.shapes, {"size": 9, "orthogonality": 1000.0})
    assert objective(case.batch).item() == pytest.approx(heavy(case.batch).item(), rel=1e-4)
    view = dataclasses.replace(case.batch.view, latent=-torch.ones(5, 6))
    batch = dataclasses.replace(case.batch, view=view)
    uniform = torch.log_softmax(objective.decoder.bias, 0)
    expected = -(batch.targets["words"] * uniform).sum(1).mean().item()
    assert objective(batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clean", [True, False])
def test_denoising_equals_its_formula(make_case, clean):
    case = make_case()
    settings = {"deletion": 0.5, "samples": 3, "clean": clean}
    objective = build_objective("denoising", case.shapes, settings)
    seen = []

    def encode(inputs):
        seen.append(inputs)
        return case.student(inputs)

    loss = objective(dataclasses.replace(case.batch, encode=encode))
    corrupted = seen[0].view(3, 5, -1)
    decoder, words = arrays(objective.decoder), case.batch.targets["words"].numpy()
    own = np.tanh(case.batch.view.logits.detach().numpy())
    expected = 0.0
    for i in range(5):
        views = [case.student(corrupted[k, i : i + 1]) for k in range(3)]
        likeness = [float(own[i] @ np.tanh(view.logits.detach().numpy()[0])) for view in views]
        weights = np.exp(likeness) / np.exp(likeness).sum()
        for k, view in enumerate(views):
            expected -= weights[k] * log_likelihood(words[i], view.latent.detach().numpy()[0], *decoder) / 5
    if clean:
        expected -= mean_likelihood(words, case.batch.view.latent.detach().numpy(), *decoder)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_denoising_deletes_whole_entries_at_the_given_rate_and_by_the_batch_s_generator(make_case):
    case = make_case()
    seen = []

    def encode(inputs):
        seen.append(inputs)
        return case.student(inputs)

    objective = build_objective("denoising", case.shapes, {"deletion": 0.25, "samples": 200})
    for seed in (1, 1, 2):
        generator = torch.Generator().manual_seed(seed)
        objective(dataclasses.replace(case.batch, encode=encode, generator=generator))
    kept = seen[0].view(200, 5, -1)
    assert torch.equal(kept[kept != 0], case.batch.inputs.expand_as(kept)[kept != 0])
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_denoising_gives_its_weights_no_gradient(make_case):
    case = make_case()
    objective = build_objective("denoising", case.shapes, {"clean": False})
    view = dataclasses.replace(case.batch.view, logits=case.batch.view.logits.detach().requires_grad_())
    objective(dataclasses.replace(case.batch, view=view)).backward()
    assert view.logits.grad is None
