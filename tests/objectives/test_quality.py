import dataclasses

import numpy as np
import pytest
import torch

from llmhash.objectives.balance import bit_balance, decorrelation
from llmhash.objectives.registry import build_objective


def with_codes(case, codes, rows=None):
    codes = torch.as_tensor(codes, dtype=torch.float32)
    view = dataclasses.replace(case.batch.view, logits=codes, codes=codes)
    rows = case.batch.rows if rows is None else torch.tensor(rows)
    return dataclasses.replace(case.batch, view=view, rows=rows)


def test_balance_and_decorrelation_are_those_of_the_codes(make_case):
    case = make_case()
    codes = case.batch.view.codes
    assert build_objective("balance", case.shapes)(case.batch) == bit_balance(codes)
    assert build_objective("decorrelation", case.shapes)(case.batch) == decorrelation(codes)


@pytest.mark.parametrize("of", ["codes", "tanh", "logits"])
def test_quantization_equals_its_formula(make_case, of):
    case = make_case()
    logits = case.batch.view.logits.detach().numpy() * 1.5
    codes = np.tanh(2 * logits)
    values = {"codes": codes, "tanh": np.tanh(logits), "logits": logits}[of]
    expected = np.mean([sum((v - (1 if v > 0 else -1)) ** 2 for v in row) for row in values.astype(float)])
    view = dataclasses.replace(
        case.batch.view, logits=torch.from_numpy(logits), codes=torch.from_numpy(codes)
    )
    loss = build_objective("quantization", case.shapes, {"of": of})(
        dataclasses.replace(case.batch, view=view)
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


def dynamic_balance(codes, memory, u, v, temperature):
    """Equation 35 by loops, with the weights from all codes of the memory."""
    count, bits = codes.shape
    alpha = softmax(np.abs(memory.mean(axis=0)) / temperature)
    mutual = memory.T @ memory / len(memory)
    balance = sum(alpha[k] * abs(sum(codes[i, k] for i in range(count))) for k in range(bits)) / bits
    correlation = 0.0
    for k in range(bits):
        weights = softmax(np.array([abs(mutual[k, m] - (k == m)) for m in range(bits)]) / temperature)
        for m in range(bits):
            entry = sum(codes[i, k] * codes[i, m] for i in range(count)) / count - (k == m)
            correlation += (weights[m] * entry) ** 2
    return u * balance + v * correlation / bits**2


def test_dynamic_balance_equals_its_formula_with_a_memory_of_each_document_s_latest_code(make_case):
    case = make_case(documents=8)
    settings = {"balance": 0.7, "decorrelation": 0.3, "window": 100.0, "temperature": 0.2}
    objective = build_objective("dynamic_balance", case.shapes, settings)
    rng = np.random.default_rng(0)
    memory = {}
    for rows in ([0, 1, 2], [3, 1], [7], [2, 3, 4, 5]):
        values = rng.uniform(-1, 1, (len(rows), 6))
        memory.update(zip(rows, np.where(values > 0, 1.0, -1.0), strict=True))
        loss = objective(with_codes(case, values, rows))
        expected = dynamic_balance(values, np.array(list(memory.values())), 0.7, 0.3, 0.2)
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_dynamic_balance_forgets_what_was_seen_longer_ago_than_its_window(make_case):
    case = make_case(documents=8)
    objective = build_objective("dynamic_balance", case.shapes, {"window": 0.5})
    rng = np.random.default_rng(0)
    batches = [rng.uniform(-1, 1, (2, 6)) for _ in range(4)]
    for number, values in enumerate(batches[:3]):
        objective(with_codes(case, values, [2 * number, 2 * number + 1]))
    # Half an epoch is four documents: the last two batches.
    recent = np.where(np.concatenate(batches[1:3]) > 0, 1.0, -1.0)
    expected = dynamic_balance(batches[2], recent, 1.0, 0.01, 0.1)
    objective.eval()
    assert objective(with_codes(case, batches[2])).item() == pytest.approx(expected, rel=1e-4)


def test_dynamic_balance_counts_a_document_once_that_a_batch_holds_twice(make_case):
    case = make_case(documents=8)
    objective = build_objective("dynamic_balance", case.shapes)
    values = np.ones((3, 6))
    for _ in range(3):
        objective(with_codes(case, values, [4, 4, 4]))
    assert objective.total.tolist() == [1.0] * 6
    assert (objective.products == 1.0).all()


def test_dynamic_balance_remembers_nothing_in_eval_mode_and_starts_with_even_weights(make_case):
    case = make_case()
    objective = build_objective("dynamic_balance", case.shapes).eval()
    objective(case.batch)
    assert objective.seen == 0
    assert not objective.memory.any()
    alpha, _ = objective.weights()
    assert alpha.tolist() == pytest.approx([1 / 6] * 6)


def test_dynamic_balance_weighs_the_bit_most_that_the_corpus_leaves_least_balanced(make_case):
    case = make_case(4)
    codes = np.array(
        [[1, 1, 1, -1, 1, -1], [1, -1, -1, 1, 1, 1], [1, 1, -1, -1, -1, 1], [1, -1, 1, 1, -1, -1]]
    )
    objective = build_objective("dynamic_balance", case.shapes)
    objective(with_codes(case, codes))
    alpha, mutual = objective.weights()
    assert alpha.argmax() == 0
    assert alpha[0] > 0.9
    # Bits 1 and 3 are each other's opposite.
    assert mutual[1].argmax() == 3
    assert mutual[3].argmax() == 1


def test_dynamic_balance_keeps_its_memory_through_a_checkpoint_and_trains_none_of_it(make_case):
    case = make_case()
    objective = build_objective("dynamic_balance", case.shapes)
    objective(case.batch)
    other = build_objective("dynamic_balance", case.shapes)
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other.eval()(case.batch), objective.eval()(case.batch))
    assert list(objective.parameters()) == []


def test_dynamic_balance_counts_exactly_under_autocast(make_case):
    # bfloat16 holds no odd number above 256.
    case = make_case(401, documents=500)
    objective = build_objective("dynamic_balance", case.shapes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective(case.batch)
    signs = np.where(case.batch.view.logits.detach().numpy() > 0, 1, -1)
    np.testing.assert_array_equal(objective.products.numpy(), signs.T @ signs)


def cosine(x, y):
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


@pytest.mark.parametrize("source", ["inputs", "hidden", "embeddings"])
def test_relevance_propagation_equals_its_formula(make_case, source):
    case = make_case()
    view = case.batch.view
    long = {
        "inputs": case.batch.inputs,
        "hidden": view.hidden,
        "embeddings": case.batch.targets["embeddings"],
    }
    long = long[source].detach().numpy().astype(float)
    codes = view.codes.detach().numpy().astype(float)
    gaps = [
        abs(cosine(long[i], long[j]) - codes[i] @ codes[j] / 6) for i in range(5) for j in range(5) if i != j
    ]
    loss = build_objective("relevance_propagation", case.shapes, {"source": source})(case.batch)
    assert loss.item() == pytest.approx(sum(gaps) / (5 * 4), rel=1e-5)


def test_relevance_of_long_codes_of_signs_is_the_product_over_their_dimensions(make_case):
    case = make_case()
    long = torch.where(case.batch.inputs > 0, 1.0, -1.0)
    codes = case.batch.view.codes.detach().numpy().astype(float)
    products = long.numpy() @ long.numpy().T / 10
    gaps = [abs(products[i, j] - codes[i] @ codes[j] / 6) for i in range(5) for j in range(5) if i != j]
    loss = build_objective("relevance_propagation", case.shapes)(dataclasses.replace(case.batch, inputs=long))
    assert loss.item() == pytest.approx(np.mean(gaps), rel=1e-5)


def test_relevance_through_the_hidden_layer_teaches_both_sides_and_asks_for_one(make_case):
    case = make_case()
    objective = build_objective("relevance_propagation", case.shapes, {"source": "hidden"})
    objective(case.batch).backward()
    assert case.student.hidden.weight.grad.abs().max() > 0
    assert case.student.layer.weight.grad.abs().max() > 0
    view = dataclasses.replace(case.batch.view, hidden=None)
    with pytest.raises(ValueError, match="set its source to inputs"):
        objective(dataclasses.replace(case.batch, view=view))
