import dataclasses

import pytest
import torch

from llmhash.errors import InputError
from llmhash.objectives.base import NEEDS, Shapes
from llmhash.objectives.registry import OBJECTIVES, build_objective, objective_needs, objective_settings


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_objective_gives_a_finite_scalar_and_a_finite_gradient(make_case, name, count):
    case = make_case(count)
    loss = build_objective(name, case.shapes)(case.batch)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    gradients = [p.grad for p in case.student.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_gradient_reaches_the_logits(make_case, name):
    case = make_case(7)
    build_objective(name, case.shapes)(case.batch).backward()
    assert case.student.layer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_down_the_gradient_lowers_the_loss(make_case, name):
    case = make_case(7)
    objective = build_objective(name, case.shapes)
    parameters = [*case.student.parameters(), *objective.parameters()]
    queries = torch.randn(7, case.shapes.dim, generator=torch.Generator().manual_seed(2))

    def loss():
        view, paired = case.student(case.batch.inputs), case.student(queries)
        generator = torch.Generator().manual_seed(1)
        batch = dataclasses.replace(case.batch, view=view, queries=paired, generator=generator)
        return objective(batch)

    loss()  # Fills a memory.
    objective.eval()
    before = loss()
    before.backward()
    with torch.no_grad():
        norm = sum(p.grad.square().sum() for p in parameters if p.grad is not None).sqrt()
        for p in parameters:
            if p.grad is not None:
                p -= 1e-3 * p.grad / norm
    assert loss() < before


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bits_that_are_all_equal_and_far_from_zero_break_nothing(make_case, name):
    case = make_case(5)
    with torch.no_grad():
        case.student.layer.weight.zero_()
        case.student.layer.bias.fill_(200.0)
    view = case.student(case.batch.inputs)
    batch = dataclasses.replace(case.batch, view=view, queries=case.student(case.batch.inputs))
    loss = build_objective(name, case.shapes)(batch)
    assert torch.isfinite(loss)
    loss.backward()
    assert torch.isfinite(case.student.layer.bias.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_bit_is_enough(make_case, name):
    case = make_case(4, bits=1)
    assert torch.isfinite(build_objective(name, case.shapes)(case.batch))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_needs_are_told_before_and_after_it_is_built(make_case, name):
    shapes = make_case().shapes
    needs = objective_needs(name, {})
    assert needs <= set(NEEDS)
    assert build_objective(name, shapes).needs == needs


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_sees_only_what_it_said_it_needs(make_case, name):
    case = make_case(5)
    needs = objective_needs(name, {})
    kept = {target: values for target, values in case.batch.targets.items() if target in needs}
    view = dataclasses.replace(case.batch.view, hidden=None)
    if "locals" not in needs:
        view.locals = view.mask = None
    if "log_variance" not in needs:
        view.log_variance = None
    batch = dataclasses.replace(
        case.batch, targets=kept, view=view, queries=case.batch.queries if "pairs" in needs else None
    )
    shapes = Shapes(6, 10, {target: values.shape[1] for target, values in kept.items()}, 40)
    assert torch.isfinite(build_objective(name, shapes)(batch))


def test_needs_follow_the_settings():
    assert objective_needs("pairwise", {"target": "labels"}) == {"labels"}
    assert objective_needs("triplet", {"target": "words"}) == {"words"}
    assert objective_needs("relevance_propagation", {"source": "embeddings"}) == {"embeddings"}
    assert objective_needs("infomax", {"beta": 0}) == {"locals"}


def test_the_seed_decides_the_first_weights_and_torch_s_own_generator_is_left_alone(make_case):
    shapes = make_case().shapes
    state = torch.get_rng_state()
    first, again, other = (build_objective("words", shapes, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.decoder.weight, again.decoder.weight)
    assert not torch.equal(first.decoder.weight, other.decoder.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_names_are_refused_with_the_nearest(make_case):
    shapes = make_case().shapes
    with pytest.raises(InputError, match="no objective 'word'; did you mean words"):
        build_objective("word", shapes)
    with pytest.raises(InputError, match="infomax has no setting 'bta'; did you mean beta"):
        build_objective("infomax", shapes, {"bta": 1})
    with pytest.raises(InputError, match="words has no setting 'weight'; it takes none"):
        objective_needs("words", {"weight": 1})
    assert objective_settings("topics") == ("size", "orthogonality")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("embeddings", {"sigma": 0}, "sigma must be a number above 0"),
        ("embeddings", {"sigma": "1"}, "sigma must be a number above 0 on, not '1'"),
        ("topics", {"size": 1.5}, "size must be a whole number from 1 on"),
        ("topics", {"orthogonality": -1}, "orthogonality must be a number from 0"),
        ("bernoulli_kl", {"gamma": 1}, "gamma must be below 1"),
        ("bernoulli_kl", {"aggregate": "yes"}, "aggregate must be true or false"),
        ("quantization", {"of": "code"}, "of cannot be 'code'; did you mean codes"),
        ("dynamic_balance", {"temperature": float("nan")}, "temperature must be a number above 0"),
        ("pairwise", {"target": "label"}, "target cannot be 'label'; did you mean labels"),
        ("triplet", {"target": ["labels"]}, "target cannot be"),
        ("triplet", {"samples": True}, "samples must be a whole number"),
        ("relevance_propagation", {"source": "input"}, "did you mean inputs"),
        ("infomax", {"beta": -1}, "beta must be a number from 0"),
        ("denoising", {"deletion": 1.5}, "deletion must be a number from 0 to 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(make_case, name, settings, message):
    with pytest.raises(InputError, match=message):
        build_objective(name, make_case().shapes, settings)


@pytest.mark.parametrize(
    ("name", "target"), [("words", "words"), ("embeddings", "embeddings"), ("infomax", "summary")]
)
def test_a_missing_target_is_named(name, target):
    with pytest.raises(InputError, match=f"needs {target}"):
        build_objective(name, Shapes(6, 10, {}, 40))


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("gaussian_kl", {"log_variance": None}, "set latent to gaussian"),
        ("infomax", {"locals": None}, "head over token embeddings"),
    ],
)
def test_a_view_without_what_is_needed_is_refused(make_case, name, missing, message):
    case = make_case()
    view = dataclasses.replace(case.batch.view, **missing)
    with pytest.raises(InputError, match=message):
        build_objective(name, case.shapes)(dataclasses.replace(case.batch, view=view))


@pytest.mark.parametrize("name", ["ranking_hinge", "float_query_softmax"])
def test_pairs_that_are_missing_are_refused(make_case, name):
    case = make_case()
    with pytest.raises(InputError, match=f"{name} needs queries paired"):
        build_objective(name, case.shapes)(dataclasses.replace(case.batch, queries=None))
