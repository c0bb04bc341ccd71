import dataclasses
import math

import numpy as np
import pytest
import torch

from llmhash.objectives.registry import build_objective


def softplus(value):
    return math.log1p(math.exp(value))


def score(linear, local, code, sigmoid):
    weight, bias = (value.detach().numpy().astype(float) for value in (linear.weight, linear.bias))
    value = float(local @ (weight @ code + bias))
    return 1 / (1 + math.exp(-value)) if sigmoid else value


def information(linear, parts, codes, sigmoid):
    """Equation 24 averaged over a batch, by loops; `parts` lists each text's own."""
    total = 0.0
    for i, code in enumerate(codes):
        total -= np.mean([softplus(-score(linear, part, code, sigmoid)) for part in parts[i]])
        others = [j for j in range(len(codes)) if j != i]
        total -= np.mean(
            [np.mean([softplus(score(linear, part, code, sigmoid)) for part in parts[j]]) for j in others]
        )
    return total / len(codes)


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_infomax_equals_its_formula(make_case, sigmoid, beta):
    case = make_case(4)
    objective = build_objective("infomax", case.shapes, {"beta": beta, "sigmoid": sigmoid})
    view = case.batch.view
    codes = view.codes.detach().numpy().astype(float)
    locals_ = np.tanh(view.locals.detach().numpy().astype(float))
    parts = [texts[kept] for texts, kept in zip(locals_, view.mask.numpy(), strict=True)]
    assert {len(part) for part in parts} == {3, 4}
    expected = -information(objective.local_discriminator, parts, codes, sigmoid)
    if beta:
        summaries = np.tanh(objective.summary(case.batch.targets["summary"]).detach().numpy().astype(float))
        own = [[summary] for summary in summaries]
        expected -= beta * information(objective.summary_discriminator, own, codes, sigmoid)
    assert objective(case.batch).item() == pytest.approx(expected, rel=1e-4)


def test_padding_counts_for_nothing_and_no_mask_means_no_padding(make_case):
    case = make_case(4)
    objective = build_objective("infomax", case.shapes, {"beta": 0})
    whole = objective(case.batch)
    padding = case.batch.view.locals.detach().clone()
    padding[~case.batch.view.mask] = 1e3
    view = dataclasses.replace(case.batch.view, locals=padding)
    assert objective(dataclasses.replace(case.batch, view=view)).item() == pytest.approx(whole.item())
    full, none = (dataclasses.replace(case.batch.view, mask=mask) for mask in (torch.ones(4, 4).bool(), None))
    losses = [objective(dataclasses.replace(case.batch, view=view)) for view in (full, none)]
    assert losses[0] == losses[1]
    assert losses[0] != whole


def test_a_text_without_any_part_breaks_nothing(make_case):
    case = make_case(4)
    mask = case.batch.view.mask.clone()
    mask[2] = False
    view = dataclasses.replace(case.batch.view, mask=mask)
    loss = build_objective("infomax", case.shapes)(dataclasses.replace(case.batch, view=view))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(case.student.parts.weight.grad).all()


def test_a_copy_of_a_text_is_no_negative(make_case):
    case = make_case(3)
    objective = build_objective("infomax", case.shapes, {"beta": 0})
    twice = dataclasses.replace(case.batch, rows=torch.tensor([1, 1, 2]))
    codes = case.batch.view.codes.detach().numpy().astype(float)
    locals_ = np.tanh(case.batch.view.locals.detach().numpy().astype(float))
    parts = [texts[kept] for texts, kept in zip(locals_, case.batch.view.mask.numpy(), strict=True)]
    linear = objective.local_discriminator

    def apart(i, others):
        return np.mean(
            [np.mean([softplus(score(linear, p, codes[i], True)) for p in parts[j]]) for j in others]
        )

    expected = sum(
        np.mean([softplus(-score(linear, p, codes[i], True)) for p in parts[i]]) + apart(i, others)
        for i, others in enumerate([[2], [2], [0, 1]])
    )
    assert objective(twice).item() == pytest.approx(expected / 3, rel=1e-4)


def test_locals_and_summaries_pass_the_student_s_estimator(make_case):
    case = make_case(3)
    shapes = []

    def estimate(logits):
        shapes.append(tuple(logits.shape))
        return torch.sign(logits.detach())

    build_objective("infomax", case.shapes)(dataclasses.replace(case.batch, estimate=estimate))
    assert shapes == [(3, 4, 6), (3, 6)]


def test_training_on_it_makes_a_text_s_code_tell_its_own_parts(make_case):
    case = make_case(8)
    objective = build_objective("infomax", case.shapes, {"beta": 0.5})
    optimizer = torch.optim.Adam([*case.student.parameters(), *objective.parameters()], lr=0.03)
    before = objective(case.batch).item()
    for _ in range(150):
        batch = dataclasses.replace(case.batch, view=case.student(case.batch.inputs))
        optimizer.zero_grad()
        loss = objective(batch)
        loss.backward()
        optimizer.step()
    # With the sigmoid no loss is below this: own parts at 1, others at 0.
    least = 1.5 * (softplus(-1.0) + softplus(0.0))
    assert before > least + 0.3
    assert loss.item() < least + 0.1
