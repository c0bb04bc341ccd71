from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import llmhash; dir(llmhash); llmhash.Codes",
        "import sys, llmhash.cli\nsys.argv[1:] = []\ntry: llmhash.cli.main()\nexcept SystemExit: pass",
        "from llmhash import Collection",
    ],
)
def test_neither_torch_nor_numba_is_loaded(code: str) -> None:
    check = "\nimport sys; bad = {'torch', 'numba', 'transformers'} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", code + check], check=True, capture_output=True)


def test_help_lists_the_commands(run) -> None:
    shown = run("--help").out
    for command in (
        "distill",
        "fit",
        "train",
        "encode",
        "index",
        "search",
        "eval",
        "teachers",
        "cache",
        "info",
    ):
        assert command in shown


def test_version(run) -> None:
    import llmhash

    assert run("--version").out.strip() == f"llmhash {llmhash.__version__}"
