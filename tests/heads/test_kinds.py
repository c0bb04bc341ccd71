import numpy as np
import pytest

from llmhash.errors import FormatError, InputError
from llmhash.heads.affine import AffineHead
from llmhash.heads.kinds import KINDS, affine_head, head_from_tensors
from llmhash.heads.network import NetworkHead
from llmhash.heads.spectral import SpectralHead

WEIGHT, BIAS = np.arange(12, dtype=np.float32).reshape(3, 4) - 5, np.ones(3, np.float32)
HEADS = [
    AffineHead(WEIGHT, BIAS),
    SpectralHead(WEIGHT, BIAS),
    NetworkHead((WEIGHT, WEIGHT[:, :3]), (BIAS, BIAS)),
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_a_head_is_read_as_its_kind(head):
    features = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    back = head_from_tensors(head.kind, head.tensors())
    assert type(back) is type(head)
    assert head.kind in KINDS
    np.testing.assert_array_equal(back.document_logits(features), head.document_logits(features))


def test_an_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(FormatError, match="unknown kind 'netwrk'; did you mean network"):
        head_from_tensors("netwrk", {})


def test_tensors_of_another_kind_are_refused():
    with pytest.raises(FormatError, match="not a network"):
        head_from_tensors("network", HEADS[0].tensors())
    with pytest.raises(FormatError, match="not an affine head"):
        head_from_tensors("affine", HEADS[2].tensors())


def test_what_takes_affine_heads_says_so():
    assert affine_head(HEADS[0], "cutting codes") is HEADS[0]
    with pytest.raises(
        InputError, match="cutting codes takes an affine head; this hasher's is of the kind 'spectral'"
    ):
        affine_head(HEADS[1], "cutting codes")
