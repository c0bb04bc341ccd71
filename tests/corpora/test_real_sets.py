"""Real data sets, where LLMHASH_DATA names a folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmhash.corpora import read_retrieval_set

SIZES = {"scifact": (5183, 300), "nfcorpus": (3395, 323), "cosqa": (6267, 500), "squad_dev": (2067, 10570)}


@pytest.mark.parametrize("name", SIZES)
def test_a_published_set_is_read_whole(name: str) -> None:
    folder = Path(os.environ.get("LLMHASH_DATA", "")) / name
    if "LLMHASH_DATA" not in os.environ or not folder.is_dir():
        pytest.skip(f"LLMHASH_DATA names no folder with {name}")
    data = read_retrieval_set(folder)
    assert (len(data.documents), len(data.queries)) == SIZES[name]
    assert data.queries_in_file >= len(data.queries)
