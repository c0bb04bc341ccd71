import subprocess
import sys

import numpy as np
import pytest

from llmhash.errors import InputError
from llmhash.heads import HEADS, fit_head, head_options

FEW_STEPS = {"distill": {"steps": 5}, "itq": {"iterations": 5}}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("bits", [1, 7, 12])
def test_every_head_makes_the_bits_asked_for(gaussian, name, bits):
    head = fit_head(name, gaussian, bits, options=FEW_STEPS.get(name))
    assert (head.bits, head.dim) == (bits, 12)
    logits = head.document_logits(gaussian.documents)
    # The corpus's mean is far from zero, so sign's bits may all be equal; no other head's may.
    assert name == "sign" or ((logits > 0).mean(axis=0) > 0).all()
    assert np.isfinite(logits).all()


def test_the_names_are_the_documented_ones():
    assert HEADS == ("sign", "median", "lsh", "pca", "itq", "distill")


def test_an_unknown_head_is_refused_with_the_nearest_names(gaussian):
    with pytest.raises(InputError, match="no head 'distil'; did you mean distill"):
        fit_head("distil", gaussian, 4)
    with pytest.raises(InputError, match="there are sign, median, lsh, pca, itq, distill"):
        fit_head("zzzzzz", gaussian, 4)


def test_an_unknown_option_is_refused_with_the_nearest_one(gaussian):
    with pytest.raises(InputError, match="no option 'temprature'; did you mean temperature"):
        fit_head("distill", gaussian, 4, options={"temprature": 0.1})
    with pytest.raises(InputError, match="no option 'steps'; it takes none"):
        fit_head("sign", gaussian, 4, options={"steps": 1})


def test_options_of_the_wrong_kind_are_refused(gaussian):
    with pytest.raises(InputError, match="iterations must be a whole number"):
        fit_head("itq", gaussian, 4, options={"iterations": "many"})
    with pytest.raises(InputError, match="wrong type"):
        fit_head("distill", gaussian, 4, options={"steps": "many"})


def test_options_reach_the_head(gaussian):
    few = fit_head("itq", gaussian, 6, options={"iterations": 1})
    many = fit_head("itq", gaussian, 6, options={"iterations": 40})
    assert np.abs(few.weight - many.weight).max() > 1e-3
    assert {"steps", "temperature", "source_share"} < set(head_options("distill"))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("bits", [0, -3, 4097, True])
def test_impossible_widths_are_refused(gaussian, name, bits):
    with pytest.raises(InputError, match="bits must be a whole number from 1 to 4096"):
        fit_head(name, gaussian, bits)


@pytest.mark.parametrize("name", ["sign", "median", "pca", "itq"])
def test_bits_above_the_dimension_are_refused_where_there_is_no_such_bit(gaussian, name):
    with pytest.raises(InputError, match="the teacher has 12"):
        fit_head(name, gaussian, 13)


def test_closed_form_heads_need_no_torch():
    program = (
        "import sys, numpy as np\n"
        "from llmhash.heads import TrainingFeatures, fit_head\n"
        "features = TrainingFeatures(np.random.default_rng(0).normal(size=(20, 8)).astype('float32'))\n"
        "for name in ('sign', 'median', 'lsh', 'pca', 'itq'):\n"
        "    fit_head(name, features, 4)\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
