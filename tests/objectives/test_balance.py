import numpy as np
import pytest
import torch

from llmhash.objectives.balance import bit_balance, decorrelation

CODES = np.random.default_rng(0).choice([-1.0, 1.0], (40, 6)).astype(np.float32)


def test_balance_equals_its_formula_and_its_ends():
    assert bit_balance(torch.from_numpy(CODES)).item() == pytest.approx(np.mean(CODES.mean(axis=0) ** 2))
    even = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert bit_balance(even).item() == 0.0
    assert bit_balance(torch.ones(5, 3)).item() == 1.0


def test_decorrelation_equals_its_formula_and_its_ends():
    correlation = CODES.T @ CODES / len(CODES)
    expected = np.mean([correlation[i, j] ** 2 for i in range(6) for j in range(6) if i != j])
    assert decorrelation(torch.from_numpy(CODES)).item() == pytest.approx(expected, rel=1e-5)
    orthogonal = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert decorrelation(orthogonal).item() == 0.0
    assert decorrelation(torch.ones(5, 3)).item() == pytest.approx(1.0)


def test_descending_on_them_balances_and_decorrelates():
    values = torch.nn.Parameter(torch.from_numpy(np.abs(CODES)) * 0.5)
    values.data[:, 1:] *= torch.linspace(0.2, 1.0, 40)[:, None]
    optimizer = torch.optim.SGD([values], lr=5.0)
    before = bit_balance(values).item(), decorrelation(values).item()
    for _ in range(50):
        optimizer.zero_grad()
        (bit_balance(values) + decorrelation(values)).backward()
        optimizer.step()
    assert bit_balance(values).item() < before[0] / 10
    assert decorrelation(values).item() < before[1] / 10


def test_one_bit_has_nothing_to_be_correlated_with():
    codes = torch.ones(4, 1, requires_grad=True)
    loss = decorrelation(codes)
    loss.backward()
    assert loss.item() == 0.0
    assert codes.grad.abs().sum() == 0.0
