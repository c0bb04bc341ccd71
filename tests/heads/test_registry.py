import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

from llmhash.encoders.base import TokenFeatures
from llmhash.errors import InputError
from llmhash.heads import HEADS, TrainingFeatures, fit_head, head_options

FEW_STEPS = {
    "distill": {"steps": 5},
    "itq": {"iterations": 5},
    "network": {"steps": 5, "embeddings": None},
    "sth": {"max_rows": 100},
}
#: Those that take one vector a text.
DENSE = [name for name in HEADS if name != "tokens"]
#: Those of any number of bits, and one of whole bytes.
WIDTHS = [(name, bits) for name in DENSE if name != "scan" for bits in (1, 7, 12)] + [
    ("scan", 8),
    ("scan", 16),
]


@pytest.mark.parametrize(("name", "bits"), WIDTHS)
def test_every_head_makes_the_bits_asked_for(gaussian, name, bits):
    head = fit_head(name, gaussian, bits, options=FEW_STEPS.get(name))
    assert (head.bits, head.dim) == (bits, 12)
    logits = head.document_logits(gaussian.documents)
    # The corpus's mean is far from zero, so sign's bits may all be equal; no other head's may.
    assert name == "sign" or ((logits > 0).mean(axis=0) > 0).all()
    assert np.isfinite(logits).all()


def test_the_names_are_the_documented_ones():
    assert HEADS == (
        "sign", "median", "lsh", "pca", "itq", "rca", "spectral", "sth", "scan", "distill", "network",
        "tokens",
    )  # fmt: skip


def test_an_unknown_head_is_refused_with_the_nearest_names(gaussian):
    with pytest.raises(InputError, match="no head 'distil'; did you mean distill"):
        fit_head("distil", gaussian, 4)
    with pytest.raises(
        InputError, match="there are sign, median, lsh, pca, itq, rca, spectral, sth, scan, distill"
    ):
        fit_head("zzzzzz", gaussian, 4)


def test_an_unknown_option_is_refused_with_the_nearest_one(gaussian):
    with pytest.raises(InputError, match="no option 'temprature'; did you mean temperature"):
        fit_head("distill", gaussian, 4, options={"temprature": 0.1})
    with pytest.raises(InputError, match="no option 'steps'; it takes none"):
        fit_head("sign", gaussian, 4, options={"steps": 1})


def test_options_of_the_wrong_kind_are_refused(gaussian):
    with pytest.raises(InputError, match="iterations must be a whole number"):
        fit_head("itq", gaussian, 4, options={"iterations": "many"})
    for name, options in (("distill", {}), ("network", {"embeddings": 1}), ("sth", {})):
        wrong = {"steps" if name != "sth" else "neighbours": "many"}
        with pytest.raises(InputError, match="wrong type"):
            fit_head(name, gaussian, 4, options={**options, **wrong})


def test_options_of_a_network_are_objectives_and_settings(gaussian):
    assert {"words", "bernoulli_kl", "hidden", "estimator"} < set(head_options("network"))
    assert {"infomax", "windows", "channels"} < set(head_options("tokens"))
    assert "hidden" not in head_options("tokens")
    with pytest.raises(InputError, match="no option 'word'; did you mean words"):
        fit_head("network", gaussian, 4, options={"word": 1})


def test_features_that_a_head_does_not_take_are_refused(gaussian):
    words = TrainingFeatures(csr_array(np.maximum(gaussian.documents, 0)))
    for name in ("sign", "median", "lsh", "pca", "itq", "rca", "spectral", "distill"):
        with pytest.raises(InputError, match=f"the head {name} takes dense features: give the tfidf encoder"):
            fit_head(name, words, 4)
    tokens = TokenFeatures(np.zeros((3, 12), np.float16), np.array([0, 1, 3]), np.zeros((2, 12), np.float32))
    for name in DENSE:
        with pytest.raises(InputError, match=f"the head {name} takes one vector a text"):
            fit_head(
                name, TrainingFeatures(tokens), 4, options={"embeddings": 1} if name == "network" else {}
            )


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
