import dataclasses
import math

import numpy as np
import pytest
import torch

from llmhash.errors import InputError
from llmhash.objectives.registry import build_objective
from llmhash.objectives.similarity import target_similarities


def detached(tensor):
    return tensor.detach().numpy().astype(float)


def cosine(x, y):
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_ranking_hinge_equals_its_formula(make_case):
    case = make_case()
    queries, codes = detached(case.batch.queries.codes), detached(case.batch.view.codes)
    hinges = np.zeros((5, 5))
    for i in range(5):
        for j in range(5):
            hinges[i, j] = max(0.0, -(queries[i] @ codes[i] - queries[i] @ codes[j]) + 0.1)
    apart = [[hinges[i, j] for j in range(5) if j != i] for i in range(5)]
    # Some documents lead and some do not: only then do the two sides' order and the hinge show.
    assert 0 < np.count_nonzero(apart) < 20
    loss = build_objective("ranking_hinge", case.shapes, {"margin": 0.1})(case.batch)
    assert loss.item() == pytest.approx(np.mean(apart), rel=1e-5)


def test_ranking_hinge_is_zero_once_the_own_document_leads_by_the_margin(make_case):
    case = make_case(2)
    codes = torch.tensor([[1.0] * 6, [-1.0] * 6])
    view = dataclasses.replace(case.batch.view, codes=codes)
    batch = dataclasses.replace(case.batch, view=view, queries=view)
    assert build_objective("ranking_hinge", case.shapes, {"margin": 12})(batch).item() == 0.0
    assert build_objective("ranking_hinge", case.shapes, {"margin": 13})(batch).item() == 1.0


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_float_query_softmax_equals_its_formula_on_the_queries_logits(make_case, temperature):
    case = make_case()
    queries, codes = detached(case.batch.queries.logits), detached(case.batch.view.codes)
    total = 0.0
    for i in range(5):
        scores = [math.exp(queries[i] @ codes[j] / temperature) for j in range(5)]
        total -= math.log(scores[i] / sum(scores))
    loss = build_objective("float_query_softmax", case.shapes, {"temperature": temperature})(case.batch)
    assert loss.item() == pytest.approx(total / 5, rel=1e-5)


@pytest.mark.parametrize("name", ["ranking_hinge", "float_query_softmax", "contrastive"])
def test_a_document_that_the_batch_holds_twice_is_not_its_own_negative(make_case, name):
    case = make_case(2)
    objective = build_objective(name, case.shapes)
    # Queries and second looks are each the other document's: no loss is small.
    swapped = case.student(case.batch.inputs.flip(0))
    batch = dataclasses.replace(case.batch, queries=swapped, encode=lambda _inputs: swapped)
    twice = dataclasses.replace(batch, rows=torch.tensor([3, 3]))
    assert objective(batch).item() > 1.0
    assert objective(twice).item() == pytest.approx(0.0, abs=1e-6)


def test_contrastive_equals_its_formula_on_two_looks(make_case):
    case = make_case()
    other = torch.randn(5, 10, generator=torch.Generator().manual_seed(3))
    batch = dataclasses.replace(case.batch, encode=lambda inputs: case.student(inputs + other))
    first, second = detached(batch.view.codes), detached(case.student(batch.inputs + other).codes)
    total = 0.0
    for i in range(5):
        scores = [math.exp(cosine(first[i], second[j]) / 0.2) for j in range(5)]
        total -= math.log(scores[i] / sum(scores))
    loss = build_objective("contrastive", case.shapes, {"temperature": 0.2})(batch)
    assert loss.item() == pytest.approx(total / 5, rel=1e-5)


@pytest.mark.parametrize("target", ["embeddings", "words", "labels"])
def test_pairwise_equals_its_formula(make_case, target):
    case = make_case()
    values, codes = case.batch.targets[target].numpy(), detached(case.batch.view.codes)
    errors = []
    for i in range(5):
        for j in range(5):
            if i != j:
                labels = target == "labels"
                wanted = float((values[i] & values[j]).any()) if labels else cosine(values[i], values[j])
                errors.append((wanted - codes[i] @ codes[j] / 6) ** 2)
    loss = build_objective("pairwise", case.shapes, {"target": target})(case.batch)
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_similarities_by_label_are_of_shared_ones_and_other_targets_are_refused():
    labels = torch.tensor([[True, True, False], [False, True, False], [False, False, True], [False] * 3])
    assert target_similarities("labels", labels).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [0] * 4,
    ]
    with pytest.raises(InputError, match="target cannot be 'label'"):
        target_similarities("label", labels)


def triplets(objective, case, count):
    second, third = objective._draw(count, torch.Generator().manual_seed(1), torch.device("cpu"))
    return [(i, int(j), int(k)) for i in range(count) for j, k in zip(second[i], third[i], strict=True)]


@pytest.mark.parametrize("target", ["embeddings", "labels"])
def test_triplet_equals_its_formula_on_the_triplets_it_draws(make_case, target):
    case = make_case(6)
    objective = build_objective("triplet", case.shapes, {"target": target, "margin": 0.8, "samples": 9})
    similarities = target_similarities(target, case.batch.targets[target]).numpy().astype(float)
    codes = detached(case.batch.view.codes)

    def distance(i, j):
        return sum((codes[i, k] - codes[j, k]) ** 2 for k in range(6)) / 4

    losses, ties = [], 0
    for i, j, k in triplets(objective, case, 6):
        lead = distance(i, k) - distance(i, j)
        if similarities[i, j] == similarities[i, k]:
            losses.append(abs(lead))
            ties += 1
        else:
            losses.append(max(0.0, 0.8 - np.sign(similarities[i, j] - similarities[i, k]) * lead))
    assert len(losses) == 54
    assert (ties > 0) == (target == "labels")
    assert objective(case.batch).item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_triplets_are_of_three_different_documents_and_all_of_them_come_up(make_case):
    objective = build_objective("triplet", make_case().shapes, {"samples": 300})
    drawn = set(triplets(objective, None, 4))
    assert drawn == {(i, j, k) for i in range(4) for j in range(4) for k in range(4) if len({i, j, k}) == 3}


def test_triplet_counts_bits(make_case):
    case = make_case(3)
    codes = torch.tensor([[1.0] * 6, [1.0] * 5 + [-1.0], [-1.0] * 6])
    view = dataclasses.replace(case.batch.view, codes=codes)
    targets = {"embeddings": torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])}
    batch = dataclasses.replace(case.batch, view=view, targets=targets)
    objective = build_objective("triplet", case.shapes, {"margin": 6.0})
    # In order everywhere; the leads are 5, 4 and 1 bits.
    assert objective(batch).item() == pytest.approx((1 + 2 + 5) / 3, rel=1e-5)
