import subprocess
import sys

import pytest

import llmhash.encoders


def test_names_are_lazy_and_whole():
    code = (
        "import sys, llmhash.encoders as e; e.TEACHERS; e.FeatureCache; e.resolve_teacher('minilm');"
        "loaded = {'torch', 'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules);"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    for name in llmhash.encoders.__all__:
        assert getattr(llmhash.encoders, name) is not None


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = llmhash.encoders.Nothing
