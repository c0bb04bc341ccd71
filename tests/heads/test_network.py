from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from llmhash.codes import Codes
from llmhash.errors import FormatError, InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.network import ACTIVATIONS, NetworkHead, network

TORCH = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "selu": torch.selu}


def layers(*widths):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(out, into)).astype(np.float32) for into, out in pairwise(widths)]
    return tuple(weights), tuple(rng.normal(size=out).astype(np.float32) for out in widths[1:])


@pytest.fixture
def features():
    values = np.random.default_rng(1).normal(size=(5000, 7)).astype(np.float32)
    return np.where(values > 0.5, values, 0).astype(np.float32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_logits_are_the_network_s(activation, features):
    weights, biases = layers(7, 6, 5, 3)
    values = torch.from_numpy(features)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values = TORCH[activation](
            torch.nn.functional.linear(values, torch.tensor(weight), torch.tensor(bias))
        )
    expected = torch.nn.functional.linear(values, torch.tensor(weights[-1]), torch.tensor(biases[-1])).numpy()
    head = NetworkHead(weights, biases, activation)
    np.testing.assert_allclose(head.document_logits(features), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head.query_logits(csr_array(features)), expected, rtol=1e-4, atol=1e-4)
    assert (head.bits, head.dim, head.kind, head.codebook) == (3, 7, "network", None)
    assert head.nbytes == 4 * sum(array.size for array in (*weights, *biases))


def test_codes_are_the_signs_and_queries_keep_their_logits(features):
    head = NetworkHead(*layers(7, 6, 12))
    logits = head.document_logits(features)
    np.testing.assert_array_equal(head.document_codes(features).packed, Codes.from_logits(logits).packed)
    np.testing.assert_array_equal(head.asymmetric_queries(features), logits)


def test_saturated_activations_do_not_overflow():
    weights = (np.full((2, 1), 1e4, np.float32), np.ones((1, 2), np.float32))
    biases = (np.zeros(2, np.float32), np.zeros(1, np.float32))
    with np.errstate(over="raise"):
        for activation in ("sigmoid", "selu", "tanh"):
            logits = NetworkHead(weights, biases, activation).document_logits(
                np.array([[1.0], [-1.0]], np.float32)
            )
            assert np.isfinite(logits).all()


def test_without_hidden_layers_it_is_an_affine_head():
    (weight,), (bias,) = layers(4, 3)
    head = network([weight], [bias], "relu")
    assert isinstance(head, AffineHead)
    np.testing.assert_array_equal(head.weight, weight)


def test_its_tensors_bring_it_back(features):
    head = NetworkHead(*layers(7, 6, 5, 3), "selu")
    assert "layers.1.selu.weight" in head.tensors()
    back = NetworkHead.from_tensors(dict(reversed(head.tensors().items())))
    np.testing.assert_array_equal(back.document_logits(features), head.document_logits(features))


def test_more_layers_than_nine_keep_their_order(features):
    head = NetworkHead(*layers(*[7] * 12, 3), "tanh")
    back = NetworkHead.from_tensors(head.tensors())
    np.testing.assert_array_equal(back.document_logits(features), head.document_logits(features))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("layers.0.relu.bias"),
        lambda tensors: tensors.pop("layers.1.linear.weight"),
        lambda tensors: tensors.update({"layers.0.tanh.weight": tensors.pop("layers.0.relu.weight")}),
        lambda tensors: tensors.update({"layers.0.sine.weight": tensors["layers.0.relu.weight"]}),
        lambda tensors: tensors.update({"other": tensors["layers.0.relu.bias"]}),
        lambda tensors: tensors.update({"layers.0.relu.bias": np.zeros(9, np.float32)}),
        lambda tensors: tensors.clear(),
    ],
)
def test_damaged_tensors_are_refused(change):
    tensors = NetworkHead(*layers(4, 3, 2)).tensors()
    change(tensors)
    with pytest.raises(FormatError, match="the stored head is not a network"):
        NetworkHead.from_tensors(tensors)


def test_bad_layers_and_features_are_refused(features):
    weights, biases = layers(4, 3, 2)
    with pytest.raises(InputError, match="no activation 'rellu'; did you mean relu"):
        NetworkHead(weights, biases, "rellu")
    with pytest.raises(InputError, match="two layers or more"):
        NetworkHead(weights[:1], biases[:1])
    with pytest.raises(InputError, match="layer 1 must be float32 with 3 inputs, not float32"):
        NetworkHead((weights[0], weights[0]), biases)
    broken = (weights[0], np.full_like(weights[1], np.nan))
    with pytest.raises(InputError, match="layer 1 holds NaN or infinity; the fit diverged"):
        NetworkHead(broken, biases)
    with pytest.raises(InputError, match=r"takes features of 4 dimensions, not \(5000, 7\)"):
        NetworkHead(weights, biases).document_logits(features)
