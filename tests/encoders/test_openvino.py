import subprocess
import sys

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from llmhash.encoders import SentenceEncoder
from llmhash.errors import InputError, MissingExtraError

# Two models come and go, the first one first; then Ctrl-C.
_INTERRUPTED_AFTERWARDS = """
import faulthandler, gc, signal, sys
from llmhash.encoders import SentenceEncoder

faulthandler.enable()
encoders = []
for _ in range(2):
    encoders.append(SentenceEncoder.open(sys.argv[1], device="cpu", cache=None, backend="openvino"))
    encoders[-1].encode(["a"], "document")
while encoders:
    del encoders[0]
    gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def open_with(model, **settings):
    return SentenceEncoder.open(model, device="cpu", cache=None, **settings)


def test_a_missing_package_names_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"llmhash\[openvino\]"):
        open_with(model, backend="openvino").encode(["a"], "document")


class TestCompiled:
    @pytest.fixture(autouse=True, scope="class")
    def package(self):
        pytest.importorskip("openvino")

    @pytest.fixture(scope="class")
    def compiled_bert(self, package, prompted):
        return open_with(prompted, backend="openvino")

    @pytest.mark.parametrize("batch_size", [1, 3])
    @pytest.mark.parametrize("side", ["query", "document"])
    def test_bert_gives_what_torch_gives(self, prompted, compiled_bert, texts, batch_size, side):
        compiled_bert.batch_size = batch_size
        features = compiled_bert.encode(texts, side)
        np.testing.assert_allclose(features, open_with(prompted).encode(texts, side), atol=1e-5)

    def test_an_export_is_a_torch_model(self, compiled_bert, prompted, texts):
        exported = SentenceTransformer(modules=compiled_bert.export_modules(), device="cpu")
        expected = SentenceTransformer(prompted, device="cpu", local_files_only=True)
        np.testing.assert_allclose(exported.encode(texts), expected.encode(texts, prompt=""), atol=1e-6)

    def test_xlm_roberta_in_bfloat16_keeps_nearly_all(self, tmp_path, xlm_transformer, make_model, texts):
        folder = make_model(tmp_path / "m", xlm_transformer, pooling="cls")
        full = open_with(folder).encode(texts, "document")
        half = open_with(folder, backend="openvino", dtype="bfloat16").encode(texts, "document")
        assert ((full > 0) == (half > 0)).mean() > 0.95
        assert (full * half).sum(axis=1).min() > 0.99
        np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5)

    def test_a_routed_model_is_refused(self, routed):
        with pytest.raises(InputError, match="take torch"):
            open_with(routed, backend="openvino").encode(["a"], "document")

    def test_an_interrupt_after_models_are_gone_is_one(self, prompted):
        command = [sys.executable, "-c", _INTERRUPTED_AFTERWARDS, str(prompted)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert (result.returncode, result.stdout) == (0, "interrupted\n"), result.stderr
